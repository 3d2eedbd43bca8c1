//! Which messages were decrypted already: bounded, and kept over restarts.
//!
//! # Why
//!
//! A ratchet opens a message once. The relay delivers at least once: after a crash between the app's save and its ack
//! the message comes again, must not be decrypted, and must be acked.

use std::collections::{HashSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chatctl_protocol::{Address, ClientMsgId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};

/// The last [`REMEMBERED`] messages.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(super) struct Seen {
    order: VecDeque<Mark>,
    marks: HashSet<Mark>,
}

/// A message in sixteen bytes: its sender and its name.
type Mark = [u8; 16];

impl Seen {
    pub(super) fn has(&self, from: &Address, name: &ClientMsgId) -> bool {
        self.marks.contains(&mark(from, name))
    }

    pub(super) fn insert(&mut self, from: &Address, name: &ClientMsgId) {
        self.push(mark(from, name));
    }

    fn push(&mut self, mark: Mark) {
        if !self.marks.insert(mark) {
            return;
        }
        self.order.push_back(mark);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.marks.remove(&oldest);
        }
    }
}

fn mark(from: &Address, name: &ClientMsgId) -> Mark {
    let mut hash = Sha512::new();
    hash.update(from.account.as_str());
    hash.update(b"\0");
    hash.update(from.device_id.as_str());
    hash.update(b"\0");
    hash.update(name.as_bytes());
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

impl From<Seen> for String {
    fn from(seen: Seen) -> Self {
        STANDARD_NO_PAD.encode(seen.order.iter().flatten().copied().collect::<Vec<u8>>())
    }
}

impl From<String> for Seen {
    fn from(text: String) -> Self {
        let mut seen = Self::default();
        let bytes = STANDARD_NO_PAD.decode(text).unwrap_or_default();
        for mark in bytes.as_chunks::<16>().0 {
            seen.push(*mark);
        }
        seen
    }
}

/// More than a relay ever has unacked at a device.
const REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use chatctl_protocol::{AccountId, DeviceId};

    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first_and_the_rest_survives_a_restart() {
        let ada = Address {
            account: AccountId::parse("ada").unwrap(),
            device_id: DeviceId::parse("1").unwrap(),
        };
        let name = |number: usize| ClientMsgId::parse(number.to_be_bytes()).unwrap();
        let mut seen = Seen::default();
        for number in 0..=REMEMBERED {
            seen.insert(&ada, &name(number));
            seen.insert(&ada, &name(number));
        }
        let seen: Seen = serde_json::from_str(&serde_json::to_string(&seen).unwrap()).unwrap();
        assert!(!seen.has(&ada, &name(0)));
        assert!((1..=REMEMBERED).all(|number| seen.has(&ada, &name(number))));
        assert_eq!(seen.order.len(), REMEMBERED);
    }
}
