//! Names of the protocol, parsed once at the door: accounts, devices, envelopes, suites.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct NameError {
    /// Which name.
    pub what: &'static str,
    /// The rule in words.
    pub rule: &'static str,
}

/// Which bytes a name may have: digits, small letters, these, and capital letters or not.
const fn letters(others: &[u8], capitals: bool) -> [bool; 256] {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = byte as u8;
        allowed[byte] = letter.is_ascii_lowercase()
            || letter.is_ascii_digit()
            || (capitals && letter.is_ascii_uppercase());
        byte += 1;
    }
    let mut place = 0;
    while place < others.len() {
        allowed[others[place] as usize] = true;
        place += 1;
    }
    allowed
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $rule:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the name.
            ///
            /// # Errors
            ///
            /// [`NameError`] when it is empty, too long, or has a character outside its rule.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                Self::check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// As [`Self::parse`], for who needs no name of their own. Allocates nothing.
            ///
            /// # Errors
            ///
            /// As [`Self::parse`].
            pub fn check(text: &str) -> Result<(), NameError> {
                // Every send passes here: a look into a table for each byte.
                static ALLOWED: [bool; 256] = $allowed;
                let is_good = !text.is_empty()
                    && text.len() <= $max
                    && text.bytes().all(|byte| ALLOWED[usize::from(byte)]);
                match is_good {
                    true => Ok(()),
                    false => Err(NameError { what: $what, rule: $rule }),
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }
    };
}

text_name!(
    /// A user id, the token's `sub`: 1–128 bytes of `[A-Za-z0-9_@+=:.-]`.
    AccountId, "account", 128, "1 to 128 characters of A-Z a-z 0-9 _ @ + = : . -",
    letters(b"_@+=:.-", true)
);

text_name!(
    /// One installation of an account, the token's `dev`: 1–32 of `[A-Za-z0-9_-]`.
    DeviceId, "device_id", 32, "1 to 32 characters of A-Z a-z 0-9 _ -",
    letters(b"_-", true)
);

text_name!(
    /// A family of keys: `signal`, `olm`, `mls` or `x-<name>`; 1–32 of `[a-z0-9-]`.
    SuiteName, "suite", 32, "signal, olm, mls or x-<name> of a-z 0-9 -",
    letters(b"-", false)
);

text_name!(
    /// A queue of items inside a keyset: 1–32 of `[a-z0-9_.:-]`.
    PoolName, "pool", 32, "1 to 32 characters of a-z 0-9 _ . : -",
    letters(b"_.:-", false)
);

/// A family of keys. A device may publish one keyset for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Suite {
    /// Signal's PQXDH bundles: pools `ec`, `spk`, `kem`.
    Signal,
    /// Olm one-time keys: pool `otk`.
    Olm,
    /// MLS key packages (RFC 9420): one pool per cipher suite, `kp:0001`.
    Mls,
    /// Anything else, named `x-<name>`; opaque.
    Other(SuiteName),
}

impl Suite {
    /// Parses a suite name.
    ///
    /// # Errors
    ///
    /// [`NameError`] for anything but `signal`, `olm`, `mls` and `x-<name>`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text {
            "signal" => Ok(Self::Signal),
            "olm" => Ok(Self::Olm),
            "mls" => Ok(Self::Mls),
            _ => match SuiteName::parse(text) {
                Ok(name) if text.len() > 2 && text.starts_with("x-") => Ok(Self::Other(name)),
                Ok(_) | Err(_) => Err(NameError {
                    what: "suite",
                    rule: "signal, olm, mls or x-<name> of a-z 0-9 -",
                }),
            },
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Signal => "signal",
            Self::Olm => "olm",
            Self::Mls => "mls",
            Self::Other(name) => name.as_str(),
        }
    }
}

impl TryFrom<String> for Suite {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<Suite> for String {
    fn from(suite: Suite) -> Self {
        suite.as_str().to_owned()
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One device of one account: where mail goes, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// The user.
    pub account: AccountId,
    /// The installation.
    pub device_id: DeviceId,
}

/// The id of an envelope: 64 bits, time-ordered, strictly increasing per node.
///
/// 41 bits of milliseconds since [`EnvelopeId::EPOCH_MS`], 10 bits of node, 12 bits of counter; the
/// top bit stays clear, so it fits a signed 64-bit integer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EnvelopeId(u64);

impl EnvelopeId {
    /// 2026-01-01T00:00:00Z, where the milliseconds of ids begin.
    pub const EPOCH_MS: u64 = 1_767_225_600_000;
    /// Below every id that is ever minted.
    pub const ZERO: Self = Self(0);
    /// Above every id that is ever minted.
    pub const MAX: Self = Self(i64::MAX as u64);

    const NODE_BITS: u32 = 10;
    const COUNTER_BITS: u32 = 12;

    /// The first id of a millisecond on a node. A clock before the epoch counts as the epoch.
    #[must_use]
    pub const fn at(unix_ms: u64, node: u16) -> Self {
        let ms = unix_ms.saturating_sub(Self::EPOCH_MS) & ((1 << 41) - 1);
        let node = (node as u64) & ((1 << Self::NODE_BITS) - 1);
        Self((ms << (Self::NODE_BITS + Self::COUNTER_BITS)) | (node << Self::COUNTER_BITS))
    }

    /// The next id of the same node; the counter runs over into the milliseconds.
    #[must_use]
    pub const fn next(self) -> Self {
        let counter = self.0 & ((1 << Self::COUNTER_BITS) - 1);
        if counter + 1 < (1 << Self::COUNTER_BITS) {
            return Self(self.0 + 1);
        }
        let node = self.0 & (((1 << Self::NODE_BITS) - 1) << Self::COUNTER_BITS);
        let ms = self.0 >> (Self::NODE_BITS + Self::COUNTER_BITS);
        Self(((ms + 1) << (Self::NODE_BITS + Self::COUNTER_BITS)) | node)
    }

    /// The id of the same node and counter, `ms` milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0 + (ms << (Self::NODE_BITS + Self::COUNTER_BITS)))
    }

    /// The node that minted it.
    #[must_use]
    pub const fn node(self) -> u16 {
        ((self.0 >> Self::COUNTER_BITS) & ((1 << Self::NODE_BITS) - 1)) as u16
    }

    /// The millisecond that it belongs to, since 1970.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        Self::EPOCH_MS + (self.0 >> (Self::NODE_BITS + Self::COUNTER_BITS))
    }

    /// An id of `node` at or above this one, with nothing of that node between the two: this one itself
    /// if it is that node's, else the first of the next millisecond.
    #[must_use]
    pub const fn for_node(self, node: u16) -> Self {
        match self.node() == node {
            true => self,
            false => Self::at(self.unix_ms() + 1, node),
        }
    }

    /// The id of a number, as on the wire.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvelopeId({})", self.0)
    }
}

/// The sender's name for a message: 1–32 bytes, 16 random ones recommended.
///
/// Kept inline: it outlives the frame that it came in, and must not pin the frame's memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientMsgId {
    length: u8,
    bytes: [u8; Self::MAX_BYTES],
}

impl ClientMsgId {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 32;

    /// Parses the bytes of a frame.
    ///
    /// # Errors
    ///
    /// [`NameError`] when there are none, or more than [`Self::MAX_BYTES`].
    pub fn parse(name: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let name = name.as_ref();
        let mut bytes = [0; Self::MAX_BYTES];
        // Most names are UUIDs. A copy of known length stays in registers; one of any length is read back before the
        // processor has written it, which costs more than all the rest of this.
        if let (Ok(uuid), Some(room)) = (<[u8; 16]>::try_from(name), bytes.first_chunk_mut::<16>()) {
            *room = uuid;
            return Ok(Self { length: 16, bytes });
        }
        match (u8::try_from(name.len()), bytes.get_mut(..name.len())) {
            (Ok(length @ 1..), Some(room)) => {
                room.copy_from_slice(name);
                Ok(Self { length, bytes })
            }
            _ => Err(NameError {
                what: "client_msg_id",
                rule: "1 to 32 bytes",
            }),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for ClientMsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientMsgId({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_keep_their_rules() {
        assert!(AccountId::parse("alice@example.org").is_ok());
        assert!(AccountId::parse("").is_err());
        assert!(AccountId::parse("a/b").is_err());
        assert!(AccountId::parse(&"a".repeat(129)).is_err());
        assert!(DeviceId::parse("127").is_ok());
        assert!(DeviceId::parse("a.b").is_err());
        assert!(Suite::parse("x-mine").is_ok());
        assert!(Suite::parse("x-").is_err());
        assert!(Suite::parse("other").is_err());
        assert!(PoolName::parse("kp:0001").is_ok());
    }

    #[test]
    fn names_have_just_the_letters_of_their_rules() {
        let of = |is_good: fn(&str) -> bool| -> String {
            let letters = (0..=127_u8).map(char::from);
            letters.filter(|letter| is_good(&letter.to_string())).collect()
        };
        let (digits, small, large) = (
            "0123456789",
            "abcdefghijklmnopqrstuvwxyz",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        );
        assert_eq!(
            of(|text| AccountId::check(text).is_ok()),
            format!("+-.{digits}:=@{large}_{small}")
        );
        assert_eq!(
            of(|text| DeviceId::check(text).is_ok()),
            format!("-{digits}{large}_{small}")
        );
        assert_eq!(
            of(|text| SuiteName::check(text).is_ok()),
            format!("-{digits}{small}")
        );
        assert_eq!(
            of(|text| PoolName::check(text).is_ok()),
            format!("-.{digits}:_{small}")
        );
        assert!(AccountId::check("\u{e4}").is_err());
    }

    proptest! {
        #[test]
        fn an_id_for_another_node_is_above_and_has_its_bits(id in 0u64..1 << 62, node in 0u16..1024) {
            let id = EnvelopeId::from_u64(id);
            let other = id.for_node(node);
            prop_assert!(other >= id && other.next() > id);
            prop_assert_eq!((other.node(), other.next().node()), (node, node));
            prop_assert!(other.unix_ms() <= id.unix_ms() + 1);
        }

        #[test]
        fn ids_of_a_node_strictly_increase(ms in 0u64..1 << 40, node in 0u16..1024, steps in 1usize..9000) {
            let mut id = EnvelopeId::at(EnvelopeId::EPOCH_MS + ms, node);
            for _ in 0..steps {
                let next = id.next();
                prop_assert!(next > id && next < EnvelopeId::MAX);
                prop_assert_eq!(next.node(), node);
                id = next;
            }
        }
    }
}
