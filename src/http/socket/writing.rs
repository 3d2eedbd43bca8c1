//! What a session says, as messages.

use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::writing::{DeliverFrame, EnvelopeRef, SendOkFrame};
use chatctl_protocol::{Encoding, frame};

use crate::http::socket::wire::{BINARY, TEXT, put, put_head};
use crate::mailbox::Delivery;
use crate::session::Said;

/// Appends one frame of the protocol. One that the encoding cannot say is left out.
pub(super) fn write(said: Said, encoding: Encoding, out: &mut Vec<u8>) {
    match (encoding, said) {
        (Encoding::Proto, Said::Mail(page)) => {
            let frame = DeliverFrame::new(page.iter().map(envelope));
            put_head(BINARY, frame.encoded_len(), out);
            frame.write(out);
        }
        (Encoding::Proto, Said::Safe { id, ids, duplicate }) => {
            let frame = SendOkFrame::new(id, ids.iter().map(|id| id.as_u64()), duplicate);
            put_head(BINARY, frame.encoded_len(), out);
            frame.write(out);
        }
        (_, said) => write_body(said.into_body(), encoding, out),
    }
}

fn write_body(body: Body, encoding: Encoding, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Proto => put(BINARY, &frame::encode_proto(body), out),
        Encoding::Json => {
            if let Ok(text) = frame::encode_json(body) {
                put(TEXT, text.as_bytes(), out);
            }
        }
    }
}

fn envelope(delivery: &Delivery) -> EnvelopeRef<'_> {
    let envelope = &delivery.envelope;
    EnvelopeRef {
        id: envelope.id.as_u64(),
        account: envelope.from.account.as_str(),
        device_id: envelope.from.device_id.as_str(),
        kind: envelope.kind,
        client_msg_id: envelope.client_msg_id.as_bytes(),
        sent_at: envelope.sent_at,
        accepted_at: i64::try_from(envelope.accepted_at.0).unwrap_or(i64::MAX),
        attempt: delivery.attempt,
        payload: &envelope.payload,
        urgent: envelope.urgent,
        ephemeral: envelope.ephemeral,
    }
}
