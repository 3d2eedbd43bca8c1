//! Small conversions between our words and BSON.
//!
//! Keys are big-endian bytes, so that the order of the bytes is the order of the numbers.

use chatctl_protocol::EnvelopeId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime};

use crate::model::{MailboxId, UnixMs};
use crate::store::Error;

/// Bytes as a BSON value.
pub(super) fn binary(bytes: impl Into<Vec<u8>>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.into(),
    }
}

/// Two numbers as one key: all keys of the first lie together, in the order of the second.
pub(super) fn pair(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}

/// The key of an envelope.
pub(super) fn envelope_key(mailbox: MailboxId, id: EnvelopeId) -> Binary {
    binary(pair(mailbox.0, id.as_u64()))
}

/// The two numbers of a [`pair`].
///
/// # Errors
///
/// [`Error::Corrupt`] when it is not 16 bytes.
pub(super) fn split(key: &[u8]) -> Result<(u64, u64), Error> {
    let (Some(first), Some(second), 16) = (key.first_chunk::<8>(), key.last_chunk::<8>(), key.len()) else {
        return Err(Error::Corrupt("a key is not 16 bytes".into()));
    };
    Ok((u64::from_be_bytes(*first), u64::from_be_bytes(*second)))
}

/// A time as BSON's date, which the TTL index understands.
pub(super) fn date(time: UnixMs) -> DateTime {
    DateTime::from_millis(i64::try_from(time.0).unwrap_or(i64::MAX))
}

/// The time of a date; one before 1970 counts as 1970.
pub(super) fn time(date: DateTime) -> UnixMs {
    UnixMs(u64::try_from(date.timestamp_millis()).unwrap_or(0))
}

/// The word for a document that lacks a field, or has another type in it.
pub(super) fn malformed(what: &str) -> Error {
    Error::Corrupt(format!("a document of {what} does not have its form").into())
}
