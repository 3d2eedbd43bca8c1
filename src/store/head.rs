//! What a store keeps of an envelope besides its ids, times and payload: a small protobuf message.
//!
//! Shared by every store that writes envelopes down. Must not know where the bytes go.

use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::model::{Envelope, UnixMs};
use crate::store::Error;

/// The head of an envelope. Fields are added, never changed.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Head {
    #[prost(string, tag = "1")]
    account: String,
    #[prost(string, tag = "2")]
    device_id: String,
    #[prost(bytes = "bytes", tag = "3")]
    client_msg_id: Bytes,
    #[prost(uint32, tag = "4")]
    kind: u32,
    #[prost(sint64, tag = "5")]
    sent_at: i64,
    #[prost(uint64, tag = "6")]
    accepted_at: u64,
    #[prost(bool, tag = "7")]
    urgent: bool,
}

/// What stands beside a head.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: chatctl_protocol::EnvelopeId,
    pub(super) mailbox: crate::model::MailboxId,
    pub(super) sender: crate::model::MailboxId,
    pub(super) expires_at: UnixMs,
    pub(super) payload: Bytes,
}

/// The head of an envelope, as bytes.
pub(super) fn encode(envelope: &Envelope) -> Vec<u8> {
    let mut head = Vec::new();
    encode_into(envelope, &mut head);
    head
}

/// The head of an envelope, in the place of what a buffer holds. As [`Head`] would be encoded, whose fields would be
/// copies.
pub(super) fn encode_into(envelope: &Envelope, head: &mut Vec<u8>) {
    head.clear();
    let texts = [
        envelope.from.account.as_str().as_bytes(),
        envelope.from.device_id.as_str().as_bytes(),
        envelope.client_msg_id.as_bytes(),
    ];
    for (tag, text) in (1..).zip(texts).filter(|(_, text)| !text.is_empty()) {
        encode_key(tag, WireType::LengthDelimited, head);
        encode_varint(text.len() as u64, head);
        head.extend_from_slice(text);
    }
    let sent_at = (envelope.sent_at << 1 ^ envelope.sent_at >> 63).cast_unsigned();
    let numbers = [
        u64::from(envelope.kind),
        sent_at,
        envelope.accepted_at.0,
        u64::from(envelope.urgent),
    ];
    for (tag, number) in (4..).zip(numbers).filter(|(_, number)| *number != 0) {
        encode_key(tag, WireType::Varint, head);
        encode_varint(number, head);
    }
}

/// The envelope of a head and of what stands beside it.
///
/// # Errors
///
/// [`Error::Corrupt`] when the bytes are no head.
pub(super) fn decode(head: &[u8], stored: Stored) -> Result<Arc<Envelope>, Error> {
    let head = Head::decode(head)?;
    Ok(Arc::new(Envelope {
        id: stored.id,
        mailbox: stored.mailbox,
        sender: stored.sender,
        from: Arc::new(Address {
            account: AccountId::parse(&head.account)?,
            device_id: DeviceId::parse(&head.device_id)?,
        }),
        client_msg_id: ClientMsgId::parse(&head.client_msg_id)?,
        kind: head.kind,
        sent_at: head.sent_at,
        accepted_at: UnixMs(head.accepted_at),
        expires_at: stored.expires_at,
        urgent: head.urgent,
        ephemeral: false,
        payload: stored.payload,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MailboxId;
    use crate::store::conformance::envelope;

    #[test]
    fn a_head_is_encoded_as_its_message_is() {
        for (sent_at, kind, urgent) in [
            (-5, 0, false),
            (1_800_000_000_000, 7, true),
            (i64::MIN, 300, false),
        ] {
            let envelope = Envelope {
                sent_at,
                kind,
                urgent,
                ..envelope(1, MailboxId(2), "x")
            };
            let head = Head {
                account: envelope.from.account.as_str().to_owned(),
                device_id: envelope.from.device_id.as_str().to_owned(),
                client_msg_id: Bytes::copy_from_slice(envelope.client_msg_id.as_bytes()),
                kind,
                sent_at,
                accepted_at: envelope.accepted_at.0,
                urgent,
            };
            assert_eq!(encode(&envelope), head.encode_to_vec());
        }
    }
}
