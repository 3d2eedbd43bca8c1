//! What SQLite's errors mean to the callers of a store.
//!
//! Owns that one decision: which errors stop the store for good.

use rusqlite::{ErrorCode, ffi};

use crate::store::Error;

impl From<rusqlite::Error> for Error {
    /// On a connection that writes. Readers turn [`Error::Poisoned`] into [`Error::Unavailable`].
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string().into();
        // The shared memory of the WAL is a file, too, and this error comes before anything counts as
        // committed.
        if error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_SHMSIZE) {
            return Self::Full;
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            // Whether the bytes are on the disk is unknown, and a second fsync would lie about it.
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
                Self::Poisoned(text)
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => Self::Corrupt(text),
            Some(_) => Self::Unavailable(text),
        }
    }
}

/// Why a piece of work leaves nothing behind.
#[derive(Debug)]
pub(super) enum Undo<T> {
    /// It is refused, and this is the answer.
    Refused(T),
    /// It failed.
    Failed(Error),
}

impl<T, E: Into<Error>> From<E> for Undo<T> {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i32) -> Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    #[test]
    fn an_io_error_poisons_and_a_full_disk_does_not() {
        assert!(matches!(of(ffi::SQLITE_IOERR_FSYNC), Error::Poisoned(_)));
        assert!(matches!(of(ffi::SQLITE_IOERR_WRITE), Error::Poisoned(_)));
        assert!(matches!(of(ffi::SQLITE_FULL), Error::Full));
        assert!(matches!(of(ffi::SQLITE_IOERR_SHMSIZE), Error::Full));
        assert!(matches!(of(ffi::SQLITE_BUSY), Error::Unavailable(_)));
        assert!(matches!(of(ffi::SQLITE_CORRUPT), Error::Corrupt(_)));
    }
}
