//! The digests that every store computes alike: of a keyset, of handed-out items, of the key log.
//!
//! Owns their exact bytes: a client computes the same ones, so they never change within protocol
//! version 1. Must not know how keys are kept.
//!
//! Texts and byte strings are written as their length (`u32`, big endian) and their bytes; numbers are
//! big endian.

use chatctl_protocol::{DeviceId, PoolName, Suite};
use sha2::{Digest as _, Sha256};

use crate::model::UnixMs;
use crate::store::{Item, KeyLogEntry};

/// How long a handed-out item is remembered, in seconds: 90 days.
pub const TOMBSTONE_SECONDS: u64 = 90 * 24 * 3600;

/// Most handed-out items that are remembered for one pool, whatever their age.
pub const TOMBSTONES_PER_POOL: usize = 10_000;

/// What is remembered of an item once it was handed out: 16 bytes of SHA-256 over its data.
#[must_use]
pub fn tombstone(item: &Item) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(&item.data).into();
    let mut short = [0; 16];
    short.copy_from_slice(&hash[..16]);
    short
}

/// Whether an item that was handed out at `at` is still remembered at `now`.
#[must_use]
pub fn is_remembered(at: UnixMs, now: UnixMs) -> bool {
    now < at.plus_seconds(TOMBSTONE_SECONDS)
}

/// SHA-256 over the identity and every fallback, in the order of the pools' names: `identity`, then
/// for each pool that has one `name || id || data`, and one byte 0, or 1 and the signature.
#[must_use]
pub fn keyset<'a>(identity: &[u8], fallbacks: impl Iterator<Item = (&'a PoolName, &'a Item)>) -> [u8; 32] {
    let mut hash = Sha256::new();
    text(&mut hash, identity);
    for (pool, item) in fallbacks {
        text(&mut hash, pool.as_str().as_bytes());
        text(&mut hash, item.id.as_bytes());
        text(&mut hash, &item.data);
        match &item.signature {
            None => hash.update([0]),
            Some(signature) => {
                hash.update([1]);
                text(&mut hash, signature);
            }
        }
    }
    hash.finalize().into()
}

/// The entry that follows `last` in a key log: its hash is SHA-256 over the hash of the entry before
/// (32 zeros at first), `seq`, `at` (both `u64`), the device id, the suite's name, and SHA-256 of the
/// identity (32 bytes, no length).
#[must_use]
pub fn key_log_entry(
    last: Option<(u64, [u8; 32])>,
    at: UnixMs,
    device_id: &DeviceId,
    suite: &Suite,
    identity: &[u8],
) -> KeyLogEntry {
    let (last_seq, previous) = last.unwrap_or((0, [0; 32]));
    let seq = last_seq + 1;
    let identity_hash: [u8; 32] = Sha256::digest(identity).into();
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(seq.to_be_bytes());
    hash.update(at.0.to_be_bytes());
    text(&mut hash, device_id.as_str().as_bytes());
    text(&mut hash, suite.as_str().as_bytes());
    hash.update(identity_hash);
    KeyLogEntry {
        seq,
        at,
        device_id: device_id.clone(),
        suite: suite.clone(),
        identity_hash,
        hash: hash.finalize().into(),
    }
}

fn text(hash: &mut Sha256, bytes: &[u8]) {
    // Names, keys and identities are bounded far below 4 GiB at the door.
    hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_keyset_digest_is_over_lengths_and_bytes_in_the_order_of_the_names() {
        let pool = PoolName::parse("spk").unwrap();
        let item = Item {
            id: "7".into(),
            data: Bytes::from_static(b"key"),
            signature: Some(Bytes::from_static(b"sig")),
        };
        let bytes = b"\0\0\0\x02id\0\0\0\x03spk\0\0\0\x017\0\0\0\x03key\x01\0\0\0\x03sig";
        let expected: [u8; 32] = Sha256::digest(bytes).into();
        assert_eq!(keyset(b"id", [(&pool, &item)].into_iter()), expected);
    }

    #[test]
    fn a_key_log_is_a_chain() {
        let device = DeviceId::parse("1").unwrap();
        let first = key_log_entry(None, UnixMs(5), &device, &Suite::Signal, b"a");
        let second = key_log_entry(
            Some((first.seq, first.hash)),
            UnixMs(6),
            &device,
            &Suite::Signal,
            b"b",
        );
        let mut bytes = first.hash.to_vec();
        bytes.extend_from_slice(&2u64.to_be_bytes());
        bytes.extend_from_slice(&6u64.to_be_bytes());
        bytes.extend_from_slice(b"\0\0\0\x011\0\0\0\x06signal");
        bytes.extend_from_slice(&Sha256::digest(b"b"));
        let expected: [u8; 32] = Sha256::digest(&bytes).into();
        assert_eq!((second.seq, second.hash), (2, expected));
    }
}
