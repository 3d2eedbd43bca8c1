//! Messages on their way out, and what became of them.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use chatctl_protocol::v1::{self, frame::Body};
use chatctl_protocol::{AccountId, ClientMsgId, Code, DeviceId, EnvelopeId, frame};

/// One message to the devices of one account: all of them or none.
///
/// Its id is drawn when it is made and stays for life, so that a retry is never a second message.
#[derive(Clone, PartialEq)]
pub struct Message {
    frame: v1::Send,
}

impl Message {
    /// A message to an account, with a fresh random id.
    #[must_use]
    pub fn new(to: AccountId) -> Self {
        let id: [u8; 16] = rand::random();
        Self {
            frame: v1::Send {
                to_account: to.into(),
                client_msg_id: Bytes::copy_from_slice(&id),
                ..v1::Send::default()
            },
        }
    }

    /// With the ciphertext for one more device. `registration_id` is the one it was encrypted for,
    /// `kind` is the app's own.
    #[must_use]
    pub fn device(
        mut self,
        device_id: DeviceId,
        registration_id: u32,
        kind: u32,
        payload: impl Into<Bytes>,
    ) -> Self {
        self.frame.messages.push(v1::DeviceMessage {
            device_id: device_id.into(),
            registration_id,
            kind,
            payload: payload.into(),
        });
        self
    }

    /// With an id that the app chose, to retry a message over a restart of the app.
    #[must_use]
    pub fn named(mut self, id: &ClientMsgId) -> Self {
        self.frame.client_msg_id = Bytes::copy_from_slice(id.as_bytes());
        self
    }

    /// Waits at most this long for its recipients; whole seconds, at least one.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.frame.ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).max(1);
        self
    }

    /// Asks the recipient to wake up.
    #[must_use]
    pub fn urgent(mut self) -> Self {
        self.frame.urgent = true;
        self
    }

    /// Never stored: dropped when the recipient is away.
    #[must_use]
    pub fn ephemeral(mut self) -> Self {
        self.frame.ephemeral = true;
        self
    }

    /// The sender's clock, milliseconds since 1970.
    #[must_use]
    pub fn sent_at(mut self, unix_ms: i64) -> Self {
        self.frame.sent_at = unix_ms;
        self
    }

    /// The bytes that name this message for ever.
    #[must_use]
    pub fn id(&self) -> &Bytes {
        &self.frame.client_msg_id
    }

    /// The message as bytes, for an app's own outbox: ciphertext cannot be made twice.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        frame::encode_proto(Body::Send(self.frame.clone()))
    }

    /// A message from [`Message::to_bytes`], or `None` when the bytes are not one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match frame::decode_proto(Bytes::copy_from_slice(bytes)) {
            Ok(Body::Send(frame)) => Some(Self { frame }),
            Ok(_) | Err(_) => None,
        }
    }

    pub(crate) fn into_frame(self) -> v1::Send {
        self.frame
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.frame.messages.iter().map(|part| part.payload.len()).sum();
        write!(f, "Message({} devices, {bytes} bytes)", self.frame.messages.len())
    }
}

/// Names one send of one [`crate::Device`] until its outcome arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SendId(pub(crate) u64);

/// What became of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// The message is safe: on the relay's disk, or already acked.
    Accepted {
        /// One for each device, in the message's order.
        envelope_ids: Vec<EnvelopeId>,
        /// An earlier try of the same message was the one that counted.
        duplicate: bool,
    },
    /// Nothing of it is stored.
    Refused(Refusal),
}

/// Why a send was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, unless this client is too old to know it.
    pub code: Option<Code>,
    /// The reason as the relay said it.
    pub word: String,
    /// Whether the same message may be accepted later.
    pub retryable: bool,
    /// How long to wait before it is tried again.
    pub retry_after: Duration,
    /// Devices that the message left out.
    pub missing: Vec<String>,
    /// Devices that the account does not have.
    pub extra: Vec<String>,
    /// Devices with another registration id now: claim their keys again.
    pub stale: Vec<String>,
}

impl From<v1::SendOk> for SendOutcome {
    fn from(ok: v1::SendOk) -> Self {
        Self::Accepted {
            envelope_ids: ok.envelope_ids.into_iter().map(EnvelopeId::from_u64).collect(),
            duplicate: ok.duplicate,
        }
    }
}

impl From<v1::SendErr> for SendOutcome {
    fn from(err: v1::SendErr) -> Self {
        Self::Refused(Refusal {
            code: code_of(&err.code),
            word: err.code,
            retryable: err.retryable,
            retry_after: Duration::from_millis(err.retry_after_ms),
            missing: err.missing,
            extra: err.extra,
            stale: err.stale,
        })
    }
}

fn code_of(word: &str) -> Option<Code> {
    use serde::Deserialize as _;
    use serde::de::value::{Error, StrDeserializer};
    Code::deserialize(StrDeserializer::<Error>::new(word)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message::new(AccountId::parse("bob").unwrap()).device(
            DeviceId::parse("1").unwrap(),
            7,
            0,
            "ciphertext",
        )
    }

    #[test]
    fn payloads_and_ids_never_print() {
        assert_eq!(format!("{:?}", message()), "Message(1 devices, 10 bytes)");
    }

    #[test]
    fn a_message_comes_back_from_its_bytes() {
        let message = message();
        assert_eq!(Message::from_bytes(&message.to_bytes()), Some(message));
        assert_eq!(Message::from_bytes(b"else"), None);
    }

    #[test]
    fn every_message_has_an_id_of_its_own() {
        assert_ne!(message().id(), message().id());
        assert_eq!(message().id().len(), 16);
    }

    #[test]
    fn a_reason_that_is_not_known_yet_keeps_its_word() {
        assert_eq!(code_of("device_mismatch"), Some(Code::DeviceMismatch));
        assert_eq!(code_of("of_the_future"), None);
    }
}
