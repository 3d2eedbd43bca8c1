//! What a session says, before somebody encodes it.
//!
//! Mail and answers stay what they are inside the relay: whoever writes frames does so from them, without building the
//! schema's structures first.

use chatctl_protocol::v1::{self, frame::Body};

use crate::committer::EnvelopeIds;
use crate::mailbox::Delivery;
use crate::session::frames;

/// One frame for the client.
#[derive(Debug)]
pub enum Said {
    /// Envelopes, not more than fit into one frame in every encoding.
    Mail(Vec<Delivery>),
    /// A send is safe.
    Safe {
        /// The sender's number of it.
        id: u64,
        /// Its envelopes.
        ids: EnvelopeIds,
        /// It had been sent before.
        duplicate: bool,
    },
    /// Anything else.
    Other(Body),
}

impl Said {
    /// As the schema has it.
    #[must_use]
    pub fn into_body(self) -> Body {
        match self {
            Self::Mail(page) => Body::Deliver(v1::Deliver {
                envelopes: page.iter().map(frames::envelope_frame).collect(),
            }),
            Self::Safe { id, ids, duplicate } => Body::SendOk(v1::SendOk {
                id,
                envelope_ids: ids.iter().map(|id| id.as_u64()).collect(),
                duplicate,
            }),
            Self::Other(body) => body,
        }
    }
}

impl From<Body> for Said {
    fn from(body: Body) -> Self {
        Self::Other(body)
    }
}
