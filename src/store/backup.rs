//! What a store promises about a copy of itself that is taken while it is used.
//!
//! Must not know where the copy goes, or who may ask for it.

use std::fmt;
use std::io::{self, Read};

use async_trait::async_trait;

use crate::model::UnixMs;
use crate::store::Error;

/// What a backup holds, as of the moment that it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The version of chatctl that took it.
    pub version: String,
    /// The schema of what is in it.
    pub schema: u32,
    /// When it was taken.
    pub at: UnixMs,
    /// Tells the store that it is of from others: its epoch.
    pub store: u64,
    /// Accounts.
    pub accounts: u64,
    /// Devices.
    pub devices: u64,
    /// Envelopes that wait.
    pub envelopes: u64,
    /// Their payloads, in bytes.
    pub payload_bytes: u64,
    /// One-time keys that nobody has claimed.
    pub one_time_keys: u64,
    /// Sends that are remembered, so that a retry adds nothing.
    pub records: u64,
    /// Revocations of tokens.
    pub revocations: u64,
}

/// A copy that is read from its beginning to its end, which says whether it came whole. Dropping it gives back
/// the room that it took.
pub struct Snapshot {
    /// What is in it.
    pub contents: Contents,
    /// How many bytes there are to read.
    pub bytes: u64,
    source: Box<dyn Read + Send>,
}

impl Snapshot {
    /// A copy that is read out of `source`.
    pub fn new(contents: Contents, bytes: u64, source: impl Read + Send + 'static) -> Self {
        Self {
            contents,
            bytes,
            source: Box::new(source),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("contents", &self.contents)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Read for Snapshot {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read(buffer)
    }
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Another one is being taken, or read.
    #[error("another backup is being taken")]
    Running,
    /// The copy does not fit on the store's disk beside what stays free for mail.
    #[error("the copy takes {needed} bytes for a while, and the disk has {free} without its reserve")]
    NoRoom {
        /// Bytes that the copy takes.
        needed: u64,
        /// Bytes that there are for it.
        free: u64,
    },
    /// The store has its own tools for it.
    #[error("a store of this kind is backed up with its own tools")]
    Unsupported,
    /// The store stopped, or nobody waits any more.
    #[error("the backup was given up")]
    GivenUp,
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Copies of the whole store.
#[async_trait]
pub trait BackupStore: Send + Sync {
    /// Copies everything in one moment between this call and its return: what was committed before is in it. One at a
    /// time, until the copy is dropped. Writers go on meanwhile. Cancel safe: dropping the future gives it up.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; nothing is left behind.
    async fn backup(&self, _at: UnixMs) -> Result<Snapshot, BackupError> {
        Err(BackupError::Unsupported)
    }
}
