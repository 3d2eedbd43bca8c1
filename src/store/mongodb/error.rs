//! What the driver's errors mean for who asked.
//!
//! Must not know which verb failed. No text from here holds a URI, a document or a key's bytes.

use std::sync::Arc;

use mongodb::error::{Error as DriverError, ErrorKind, WriteFailure};

use crate::store::Error;

/// Codes of a server that has no room: OutOfDiskSpace, and Atlas' quota.
const NO_ROOM: [i32; 2] = [14_031, 8_000];

/// Code of a unique index that has the key already.
const DUPLICATE: i32 = 11_000;

/// Codes of a login that failed, or of a user who may not.
const DENIED: [i32; 3] = [13, 18, 8_000];

/// Code of a collection that is there already.
const EXISTS: i32 = 48;

/// Codes of an index that is there with other options, or other keys.
const CONFLICTS: [i32; 2] = [85, 86];

/// Code of a document that its validator refuses: our own mistake.
const INVALID: i32 = 121;

/// The store's word for an error of the driver: an unknown outcome, unless it says otherwise.
pub(super) fn meaning(error: &DriverError) -> Error {
    match code(error) {
        Some(code) if NO_ROOM.contains(&code) && !is_denied(error) => return Error::Full,
        Some(INVALID) => return Error::Corrupt("a validator refused a document".into()),
        Some(_) | None => {}
    }
    match &*error.kind {
        ErrorKind::Bson(_) | ErrorKind::BsonDeserialization(_) | ErrorKind::InvalidResponse { .. } => {
            Error::Corrupt("a document does not have its form".into())
        }
        _ => Error::Unavailable(words(error)),
    }
}

/// One sentence about an error, without what was asked.
pub(super) fn words(error: &DriverError) -> Arc<str> {
    let text = match &*error.kind {
        ErrorKind::ServerSelection { .. } => "no primary answers".to_owned(),
        ErrorKind::Io(error) => error.to_string(),
        ErrorKind::Authentication { .. } => "the login is refused".to_owned(),
        ErrorKind::ConnectionPoolCleared { .. } => "the connection was given up".to_owned(),
        ErrorKind::Command(command) => format!("{} (code {})", command.code_name, command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => format!("write error {}", write.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => {
            format!(
                "no majority confirms: {} (code {})",
                concern.code_name, concern.code
            )
        }
        ErrorKind::InsertMany(_) => format!("write error {}", code(error).unwrap_or_default()),
        ErrorKind::Shutdown => "the store is closed".to_owned(),
        _ => "the database did not do it".to_owned(),
    };
    text.into()
}

/// The first reason in the driver's account of what it found at each host, which is long.
pub(super) fn first_cause(account: &str) -> &str {
    [
        "Authentication failed",
        "invalid peer certificate",
        "Connection refused",
        "timed out",
        "failed to lookup address",
    ]
    .into_iter()
    .find(|cause| account.contains(cause))
    .unwrap_or("no primary answers")
}

/// Whether the transaction may be tried again from its beginning: nothing of it was done.
pub(super) fn is_transient(error: &DriverError) -> bool {
    error.contains_label(mongodb::error::TRANSIENT_TRANSACTION_ERROR)
}

/// Whether a commit may have been done.
pub(super) fn is_unknown_commit(error: &DriverError) -> bool {
    error.contains_label(mongodb::error::UNKNOWN_TRANSACTION_COMMIT_RESULT)
}

/// Whether a unique key was there already.
pub(super) fn is_duplicate(error: &DriverError) -> bool {
    code(error) == Some(DUPLICATE)
}

/// Whether a collection that was to be made is there already.
pub(super) fn is_existing(error: &DriverError) -> bool {
    code(error) == Some(EXISTS)
}

/// Whether an index that was to be made is there and is another one.
pub(super) fn is_conflict(error: &DriverError) -> bool {
    code(error).is_some_and(|code| CONFLICTS.contains(&code))
}

/// Whether the login or the user's rights are the reason.
pub(super) fn is_denied(error: &DriverError) -> bool {
    matches!(&*error.kind, ErrorKind::Authentication { .. })
        || code(error).is_some_and(|code| DENIED.contains(&code))
}

fn code(error: &DriverError) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        ErrorKind::InsertMany(many) => many
            .write_errors
            .as_ref()
            .and_then(|errors| errors.first())
            .map(|error| error.code),
        _ => None,
    }
}
