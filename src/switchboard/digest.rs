//! What tells a retry from another message under the same name.
//!
//! What may change between tries (the clock, the time to live) is left out.
//!
//! # Why
//!
//! It stands in the record of each send, so it must come out the same on every relay and after every upgrade. It is
//! compared only with what the same sender sent under the same name, so whoever finds two messages of one digest
//! deceives nobody but themselves: it need not be cryptographic. XXH3 has been stable since version 0.8.0 of its
//! specification and costs a tenth of SHA-256, which records from before have.

use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::switchboard::Send;

/// The digest of a send. Each field is hashed with the hash of those before it as its seed; its length counts.
pub(super) fn digest(send: &Send<'_>) -> [u8; 8] {
    let mut hash = 0;
    fields(send, |bytes| hash = xxh3_64_with_seed(bytes, hash));
    hash.to_be_bytes()
}

/// The same, as relays wrote it before: a retry may find such a record.
pub(super) fn old_digest(send: &Send<'_>) -> [u8; 8] {
    let mut hash = Sha256::new();
    fields(send, |bytes| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    });
    let mut short = [0; 8];
    short.copy_from_slice(&hash.finalize()[..8]);
    short
}

fn fields(send: &Send<'_>, mut field: impl FnMut(&[u8])) {
    field(send.to.as_bytes());
    for message in &send.messages {
        field(message.device_id.as_bytes());
        field(&message.kind.to_le_bytes());
        field(message.payload);
    }
}

#[cfg(test)]
mod tests {
    use chatctl_protocol::ClientMsgId;
    use smallvec::smallvec;

    use super::*;
    use crate::switchboard::DeviceMessage;

    const TO_ONE: DeviceMessage<'_> = DeviceMessage {
        device_id: "1",
        registration_id: 7,
        kind: 3,
        payload: b"ciphertext",
    };

    fn send<'a>(to: &'a str, messages: &[DeviceMessage<'a>]) -> Send<'a> {
        Send {
            to,
            messages: messages.iter().copied().collect(),
            client_msg_id: ClientMsgId::parse([1]).unwrap(),
            ttl_seconds: 0,
            urgent: false,
            ephemeral: false,
            sent_at: 0,
        }
    }

    /// If this test fails, retries of sends from before an upgrade are taken for other messages.
    #[test]
    fn digests_are_the_same_for_ever() {
        let long = DeviceMessage {
            device_id: "2",
            payload: &[0x5a; 300],
            ..TO_ONE
        };
        let send = send("bob", &[TO_ONE, long]);
        assert_eq!(u64::from_be_bytes(digest(&send)), NEW);
        assert_eq!(u64::from_be_bytes(old_digest(&send)), OLD);
    }

    #[test]
    fn all_that_makes_another_message_makes_another_digest_and_nothing_else_does() {
        let first = send("bob", &[TO_ONE]);
        let again = Send {
            ttl_seconds: 60,
            urgent: true,
            sent_at: 9,
            messages: smallvec![DeviceMessage {
                registration_id: 8,
                ..TO_ONE
            }],
            ..send("bob", &[])
        };
        let others = [
            send("bobby", &[TO_ONE]),
            send("bob", &[]),
            send("bob", &[TO_ONE, TO_ONE]),
            send(
                "bob",
                &[DeviceMessage {
                    device_id: "2",
                    ..TO_ONE
                }],
            ),
            send("bob", &[DeviceMessage { kind: 4, ..TO_ONE }]),
            send(
                "bob",
                &[DeviceMessage {
                    payload: b"ciphertexT",
                    ..TO_ONE
                }],
            ),
            send(
                "bob",
                &[DeviceMessage {
                    payload: b"",
                    ..TO_ONE
                }],
            ),
        ];
        for of in [digest, old_digest] {
            assert_eq!(of(&first), of(&again));
            let others: Vec<_> = others.iter().map(of).collect();
            assert!(!others.contains(&of(&first)), "{others:?}");
        }
    }

    const NEW: u64 = 3_375_218_793_165_513_120;
    const OLD: u64 = 15_687_586_842_357_785_400;
}
