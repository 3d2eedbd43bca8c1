//! What stands inside a ciphertext: who writes to whom, under which name, and the words.
//!
//! # Why
//!
//! Olm binds keys and not names: without the names inside, a relay could show Ada's message to Bob as one of Carol's if
//! Carol published Ada's keys as hers, or as another message of Ada's. The message's own name stands inside as well, so that the relay
//! cannot show one message twice under two names.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chatctl_protocol::{Address, ClientMsgId};
use serde::{Deserialize, Serialize};

use crate::e2ee::Identity;

/// A letter, before it is encrypted or after it is opened. JSON; fields that are not known are ignored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The device that writes.
    pub from: Address,
    /// The device that reads.
    pub to: Address,
    /// The message's name, in base64.
    id: String,
    /// Who writes, cryptographically: in every letter until the first answer, so that it can be read without a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Words that are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Words that are not, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

impl Letter {
    /// A letter of these words.
    #[must_use]
    pub fn new(from: &Address, to: &Address, name: &ClientMsgId, words: &[u8]) -> Self {
        let text = std::str::from_utf8(words).ok().map(str::to_owned);
        Self {
            from: from.clone(),
            to: to.clone(),
            id: STANDARD_NO_PAD.encode(name.as_bytes()),
            identity: None,
            data: text.is_none().then(|| STANDARD_NO_PAD.encode(words)),
            text,
        }
    }

    /// With the writer's identity.
    #[must_use]
    pub fn introducing(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// What is encrypted.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Names and text cannot fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what was decrypted, or `None` when it is not a letter.
    #[must_use]
    pub fn parse(plaintext: &[u8]) -> Option<Self> {
        serde_json::from_slice(plaintext).ok()
    }

    /// Whether it is the letter that its envelope says.
    #[must_use]
    pub fn is(&self, from: &Address, to: &Address, name: &ClientMsgId) -> bool {
        self.from == *from && self.to == *to && self.id == STANDARD_NO_PAD.encode(name.as_bytes())
    }

    /// The words, or `None` when there are none.
    #[must_use]
    pub fn into_words(self) -> Option<Vec<u8>> {
        match (self.text, self.data) {
            (Some(text), _) => Some(text.into_bytes()),
            (None, Some(data)) => STANDARD_NO_PAD.decode(data).ok(),
            (None, None) => None,
        }
    }
}

/// Without the words.
impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Letter")
    }
}

#[cfg(test)]
mod tests {
    use chatctl_protocol::{AccountId, DeviceId};

    use super::*;

    fn address(account: &str) -> Address {
        Address {
            account: AccountId::parse(account).unwrap(),
            device_id: DeviceId::parse("1").unwrap(),
        }
    }

    #[test]
    fn words_come_back_whether_they_are_text_or_not() {
        let (ada, bob) = (address("ada"), address("bob"));
        let name = ClientMsgId::parse([7; 16]).unwrap();
        for words in ["grüße".as_bytes(), b"", b"\xff\x00"] {
            let letter = Letter::new(&ada, &bob, &name, words);
            let read = Letter::parse(&letter.to_bytes()).unwrap();
            assert_eq!(read, letter);
            assert!(read.is(&ada, &bob, &name));
            assert!(!read.is(&bob, &ada, &name));
            assert!(!read.is(&ada, &bob, &ClientMsgId::parse([8; 16]).unwrap()));
            assert_eq!(read.into_words().unwrap(), words);
        }
        assert_eq!(Letter::parse(b"{}"), None);
        assert_eq!(
            format!("{:?}", Letter::new(&ada, &bob, &name, b"secret")),
            "Letter"
        );
    }
}
