//! What the relay's own protocol says, answered without doing any of it.

use bytes::Bytes;
use chatctl_protocol::frame::{decode_proto, encode_proto};
use chatctl_protocol::v1::{self, frame::Body};

/// A frame that a client sent, as far as anything is done about it.
pub(super) enum Asked {
    /// Messages to others: whom, and what they get; and what the sender is told.
    Send { letters: Vec<(Bytes, Bytes)>, ok: Bytes },
    /// Nothing is kept, so nothing is to be done.
    Nothing,
}

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
pub(super) fn read(frame: Bytes, next_id: &mut u64) -> Option<Asked> {
    let Body::Send(send) = decode_proto(frame).ok()? else {
        return Some(Asked::Nothing);
    };
    let mut envelope_ids = Vec::with_capacity(send.messages.len());
    let mut letters = Vec::with_capacity(send.messages.len());
    for message in send.messages {
        *next_id += 1;
        envelope_ids.push(*next_id);
        let mut name = String::with_capacity(send.to_account.len() + 1 + message.device_id.len());
        name.push_str(&send.to_account);
        name.push('/');
        name.push_str(&message.device_id);
        let envelope = v1::Envelope {
            id: *next_id,
            kind: message.kind,
            client_msg_id: send.client_msg_id.clone(),
            attempt: 1,
            payload: message.payload,
            ..v1::Envelope::default()
        };
        let deliver = v1::Deliver {
            envelopes: vec![envelope],
        };
        letters.push((name.into(), encode_proto(Body::Deliver(deliver))));
    }
    let ok = encode_proto(Body::SendOk(v1::SendOk {
        id: send.id,
        envelope_ids,
        duplicate: false,
    }));
    Some(Asked::Send { letters, ok })
}
