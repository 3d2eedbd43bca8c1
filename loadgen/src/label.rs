//! What a message of the bench carries in the clear in front of its body: who sent it, which one it is, when it was
//! due and when it left, and a checksum over all of it.
//!
//! # Why
//!
//! The label is not encrypted, although the body is: a message's times are stamped when it leaves, after it was
//! encrypted, and are read when it arrives, before it is decrypted, so that the cost of cryptography is in no latency.
//! A relay does not look into payloads; it carries the label as it carries ciphertext. The label counts towards
//! the size of a message.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::clock::Nanos;

/// A label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The run, so that mail of another one is not counted.
    pub run: u64,
    /// From which client to which.
    pub stream: u32,
    /// Whether it was due inside the measured part of the run.
    pub measured: bool,
    /// Counts the stream's messages from 0, without gaps.
    pub seq: u64,
    /// When it was due. In a closed model, when it left.
    pub due: Nanos,
    /// When it left.
    pub sent: Nanos,
}

/// Why bytes are not a message of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Too short, or without our mark.
    #[error("not a message of a bench")]
    Foreign,
    /// The checksum does not match.
    #[error("a message that was changed on its way")]
    Corrupt,
}

impl Label {
    /// Puts the label in front of a body. One allocation, one copy.
    #[must_use]
    pub fn seal(&self, body: &[u8]) -> Bytes {
        let mut payload = BytesMut::with_capacity(LABEL_BYTES + body.len());
        payload.put_u16_le(MARK);
        payload.put_u16_le(u16::from(self.measured));
        payload.put_u32_le(self.stream);
        payload.put_u64_le(self.run);
        payload.put_u64_le(self.seq);
        payload.put_u64_le(self.due);
        payload.put_u64_le(self.sent);
        let mut sum = crc32fast::Hasher::new();
        sum.update(&payload);
        sum.update(body);
        payload.put_u32_le(sum.finalize());
        payload.put_slice(body);
        payload.freeze()
    }

    /// The label of a payload, and its body. The body shares the payload's memory.
    ///
    /// # Errors
    ///
    /// [`LabelError`].
    pub fn open(payload: &Bytes) -> Result<(Self, Bytes), LabelError> {
        let label = payload.first_chunk::<LABEL_BYTES>().ok_or(LabelError::Foreign)?;
        let (head, sum) = label.split_at(LABEL_BYTES - 4);
        let field = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
        let front = field(0);
        if front as u16 != MARK {
            return Err(LabelError::Foreign);
        }
        let body = payload.slice(LABEL_BYTES..);
        let mut found = crc32fast::Hasher::new();
        found.update(head);
        found.update(&body);
        if found.finalize().to_le_bytes() != sum {
            return Err(LabelError::Corrupt);
        }
        let label = Self {
            run: field(8),
            stream: (front >> 32) as u32,
            measured: (front >> 16) & 1 == 1,
            seq: field(16),
            due: field(24),
            sent: field(32),
        };
        Ok((label, body))
    }
}

/// What a label takes of a payload.
pub const LABEL_BYTES: usize = 44;

/// `cB`: a payload of a bench.
const MARK: u16 = u16::from_le_bytes(*b"cB");

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> Label {
        Label {
            run: u64::MAX - 1,
            stream: 7,
            measured: true,
            seq: 1 << 40,
            due: 12,
            sent: 13,
        }
    }

    #[test]
    fn a_label_comes_back_with_its_body() {
        let payload = label().seal(b"body");
        assert_eq!(payload.len(), LABEL_BYTES + 4);
        assert_eq!(Label::open(&payload), Ok((label(), Bytes::from_static(b"body"))));
    }

    #[test]
    fn every_changed_bit_is_found() {
        let payload = label().seal(b"body");
        for bit in 0..payload.len() * 8 {
            let mut changed = payload.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Label::open(&changed.into()).is_err(), "bit {bit}");
        }
        assert_eq!(Label::open(&payload.slice(..20)), Err(LabelError::Foreign));
    }
}
