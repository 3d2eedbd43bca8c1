//! What tells a retry from another message under the same name.
//!
//! Owns the comparison with what was stored. Must not know what it is computed from.

/// A send's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// As it is stored.
    pub now: [u8; 8],
    /// As relays stored it before: what is in the store may be as old. Sends that need no asking need none.
    pub before: Option<[u8; 8]>,
}

impl Digest {
    /// Whether a record of this name is of the same message.
    #[must_use]
    pub fn is(&self, stored: [u8; 8]) -> bool {
        self.now == stored || self.before == Some(stored)
    }
}

impl From<[u8; 8]> for Digest {
    fn from(now: [u8; 8]) -> Self {
        Self { now, before: None }
    }
}
