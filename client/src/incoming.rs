//! What the relay's frames mean to a device: mail, the answer to a send, or tidings for the app.

use std::time::Duration;

use chatctl_protocol::v1::{self, frame::Body};

use crate::{Error, Event, SendOutcome};

/// A frame of the relay, understood.
pub(crate) enum Incoming {
    Mail(v1::Deliver),
    /// The send's id on the wire, and what became of it.
    Answer(u64, SendOutcome),
    Tidings(Event),
}

impl Incoming {
    /// # Errors
    ///
    /// [`Error::Unexpected`] for a frame that a relay never sends, or not now.
    pub(crate) fn read(body: Body) -> Result<Self, Error> {
        let event = match body {
            Body::Deliver(deliver) => return Ok(Self::Mail(deliver)),
            Body::SendOk(ok) => return Ok(Self::Answer(ok.id, ok.into())),
            Body::SendErr(err) => return Ok(Self::Answer(err.id, err.into())),
            Body::QueueEmpty(_) => Event::QueueEmpty,
            Body::Gap(gap) => Event::Gap(gap),
            Body::KeysLow(low) => Event::KeysLow(low),
            Body::FallbackUsed(used) => Event::FallbackUsed(used),
            Body::DevicesChanged(changed) => Event::DevicesChanged(changed),
            Body::TokenExpiring(v1::TokenExpiring { in_ms }) => {
                Event::TokenExpiring(Duration::from_millis(in_ms))
            }
            Body::AuthOk(v1::AuthOk { expires_in_ms }) => {
                Event::TokenRefreshed(Duration::from_millis(expires_in_ms))
            }
            Body::MailWaiting(waiting) => Event::MailWaiting(waiting),
            Body::Pong(v1::Pong { id }) => Event::Pong(id),
            Body::Goodbye(goodbye) => Event::Goodbye(goodbye),
            Body::HelloOk(_) => return Err(Error::Unexpected("a second HelloOk")),
            Body::Hello(_) | Body::Send(_) | Body::Ack(_) | Body::Auth(_) | Body::Ping(_) => {
                return Err(Error::Unexpected("a frame that only clients send"));
            }
        };
        Ok(Self::Tidings(event))
    }
}
