//! Envelopes that arrived, parsed once.

use std::fmt;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, EnvelopeId, NameError, v1};

/// One envelope for this device. Its Debug shows no account, no id of the message and no payload.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// What an ack names.
    pub id: EnvelopeId,
    /// Who sent it, as far as the relay says.
    pub from: Option<Address>,
    /// The app's own message type.
    pub kind: u32,
    /// The sender's name for the message: the same over retries.
    pub message_id: ClientMsgId,
    /// The sender's clock, milliseconds since 1970.
    pub sent_at: i64,
    /// The relay's clock, milliseconds since 1970.
    pub accepted_at: i64,
    /// 1 at the first delivery.
    pub attempt: u32,
    /// Ciphertext.
    pub payload: Bytes,
    /// A wake-up hint.
    pub urgent: bool,
    /// It was never stored.
    pub ephemeral: bool,
}

/// An envelope that breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an envelope with a bad name")]
pub struct MailError(#[from] NameError);

impl TryFrom<v1::Envelope> for Mail {
    type Error = MailError;

    fn try_from(envelope: v1::Envelope) -> Result<Self, MailError> {
        let from = match envelope.from {
            Some(from) => Some(Address {
                account: AccountId::parse(&from.account)?,
                device_id: DeviceId::parse(&from.device_id)?,
            }),
            None => None,
        };
        Ok(Self {
            id: EnvelopeId::from_u64(envelope.id),
            from,
            kind: envelope.kind,
            message_id: ClientMsgId::parse(envelope.client_msg_id)?,
            sent_at: envelope.sent_at,
            accepted_at: envelope.accepted_at,
            attempt: envelope.attempt,
            payload: envelope.payload,
            urgent: envelope.urgent,
            ephemeral: envelope.ephemeral,
        })
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("attempt", &self.attempt)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(account: &str) -> v1::Envelope {
        v1::Envelope {
            id: 9,
            from: Some(v1::Address {
                account: account.to_owned(),
                device_id: "1".to_owned(),
            }),
            client_msg_id: Bytes::from_static(b"m"),
            attempt: 1,
            payload: Bytes::from_static(b"secret"),
            ..v1::Envelope::default()
        }
    }

    #[test]
    fn mail_never_prints_what_it_carries() {
        let mail = Mail::try_from(envelope("alice")).unwrap();
        assert_eq!(
            format!("{mail:?}"),
            "Mail { id: EnvelopeId(9), kind: 0, attempt: 1, payload: 6 bytes, .. }"
        );
    }

    #[test]
    fn a_sender_that_cannot_exist_is_an_error() {
        assert!(Mail::try_from(envelope("a/b")).is_err());
        assert!(
            Mail::try_from(v1::Envelope {
                client_msg_id: Bytes::new(),
                ..envelope("a")
            })
            .is_err()
        );
    }
}
