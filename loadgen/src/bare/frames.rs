//! What the relay's own protocol says, answered without doing any of it.
//!
//! Frames are read and written as the relay does it, without the schema's structures: what it costs more than this one is
//! what it does, and not how it reads.

use bytes::Bytes;
use chatctl_protocol::frame::{decode_proto, encode_proto};
use chatctl_protocol::spoken::{SendRef, Spoken, read_proto};
use chatctl_protocol::v1::{self, frame::Body};
use chatctl_protocol::writing::{DeliverFrame, EnvelopeRef, SendOkFrame};
use smallvec::SmallVec;

/// A frame that a client sent, as far as anything is done about it.
pub(super) enum Asked {
    /// Messages to others: whom, and what they get; and what the sender is told.
    Send {
        letters: SmallVec<[(Name, Bytes); 1]>,
        ok: Bytes,
    },
    /// Nothing is kept, so nothing is to be done.
    Nothing,
}

/// A client's name, as its token has it.
pub(super) type Name = SmallVec<[u8; 64]>;

/// Who a hello is from: its token, which is `account/device` here.
pub(super) fn name(hello: Bytes) -> Option<Bytes> {
    match decode_proto(hello) {
        Ok(Body::Hello(hello)) => Some(hello.token.into()),
        Ok(_) | Err(_) => None,
    }
}

/// What a hello is answered with: a session, and an empty mailbox.
pub(super) fn welcome() -> [Bytes; 2] {
    [
        encode_proto(Body::HelloOk(v1::HelloOk::default())),
        encode_proto(Body::QueueEmpty(v1::QueueEmpty {})),
    ]
}

/// Reads a frame. `next_id` counts envelopes; none when it is not a frame.
pub(super) fn read(frame: &[u8], next_id: &mut u64) -> Option<Asked> {
    match read_proto(frame).ok()? {
        Spoken::Send(send) => Some(asked(&send, next_id)),
        Spoken::Other(Body::Send(send)) => Some(asked(&SendRef::from(&send), next_id)),
        Spoken::Ack(_) | Spoken::Other(_) => Some(Asked::Nothing),
    }
}

fn asked(send: &SendRef<'_>, next_id: &mut u64) -> Asked {
    let mut ids: SmallVec<[u64; 4]> = SmallVec::new();
    let mut letters = SmallVec::new();
    for message in &send.messages {
        *next_id += 1;
        ids.push(*next_id);
        let mut name = Name::from_slice(send.to_account.as_bytes());
        name.push(b'/');
        name.extend_from_slice(message.device_id.as_bytes());
        let envelope = EnvelopeRef {
            id: *next_id,
            account: "",
            device_id: "",
            kind: message.kind,
            client_msg_id: send.client_msg_id,
            sent_at: 0,
            accepted_at: 0,
            attempt: 1,
            payload: message.payload,
            urgent: false,
            ephemeral: false,
        };
        let deliver = DeliverFrame::new(std::iter::once(envelope));
        let mut letter = Vec::with_capacity(deliver.encoded_len());
        deliver.write(&mut letter);
        letters.push((name, letter.into()));
    }
    let safe = SendOkFrame::new(send.id, ids.iter().copied(), false);
    let mut ok = Vec::with_capacity(safe.encoded_len());
    safe.write(&mut ok);
    Asked::Send {
        letters,
        ok: ok.into(),
    }
}
