//! Where state lives: the verbs, and the promises that every implementation keeps.
//!
//! `embedded` and `mongodb` stand behind these traits, and `model`, a small one in memory against which they
//! are checked.
//! `conformance` has a function per promise.
//!
//! Must not know sockets, sessions, tokens or limits: what is refused by policy is refused above.
//!
//! # Promises
//!
//! - A verb that changes something is atomic, and durable when it returns `Ok`.
//! - `Err(Unavailable)` means an unknown outcome: the caller may call again with the same arguments.
//! - Reads show committed state only, and never wait for a writer's fsync.
//! - An id, once used for a mailbox, is never used for another one, over restarts and removals.
//! - After an I/O error on the way to the disk the store is poisoned: every verb answers
//!   [`Error::Poisoned`] until a restart. It never tries an fsync a second time.

use std::sync::Arc;

mod accounts;
mod chores;
#[cfg(test)]
pub mod conformance;
mod devices;
pub mod digest;
pub mod embedded;
mod head;
mod jobs;
mod keys;
mod mail;
pub mod model;
pub mod mongodb;
mod revocations;
mod sessions;
pub mod upkeep;

pub use crate::model::Overlap;
pub use crate::store::accounts::{AccountStore, Newcomer, OnOther, PutAccount};
pub use crate::store::chores::{ChoreStore, Compacted, Due, Litter, LowPool, LowPools, Swept};
pub use crate::store::devices::{DeviceStore, Registered, Registration};
pub use crate::store::jobs::{
    AHEAD, ATTEMPTS, Begin, Begun, Ended, FOREVER, Grant, Held, JobState, JobStore, Outcome, Run, RunId,
    RunQuery, TakenOver, Trigger, Work, holder,
};
pub use crate::store::keys::{
    Claim, ClaimTarget, Claimed, Item, KeyLogEntry, KeyStore, Keyset, PoolCount, PoolUpload, Upload, Uploaded,
};
pub use crate::store::mail::{
    Batch, Committed, Deletion, Expired, ExpiredEnvelope, Gap, GapReason, MailStore, Measure, Posting, Room,
    SendKey, SendRecord, Span, Start, Usage,
};
pub use crate::store::revocations::RevocationStore;
pub use crate::store::sessions::{Lease, SessionStore};

/// The node number in the ids of mail that tools write without a relay. No relay has it.
pub const TOOL_NODE: u16 = 1023;

/// Why a store could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no room. Nothing was changed; the store goes on when there is room again.
    #[error("the store has no room")]
    Full,
    /// It cannot tell now; the outcome is unknown and the same call may be made again.
    #[error("the store is not available: {0}")]
    Unavailable(Arc<str>),
    /// A write failed on its way to the disk. Only a restart helps.
    #[error("the store has stopped after an I/O error: {0}")]
    Poisoned(Arc<str>),
    /// What is stored cannot be read as what it should be.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(Arc<str>),
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Self::Corrupt(error.to_string().into())
    }
}

impl From<chatctl_protocol::NameError> for Error {
    fn from(error: chatctl_protocol::NameError) -> Self {
        Self::Corrupt(error.to_string().into())
    }
}

/// The store, as the daemon holds it.
pub trait Store:
    MailStore + AccountStore + DeviceStore + KeyStore + SessionStore + RevocationStore + ChoreStore + JobStore
{
}
impl<T> Store for T where
    T: MailStore
        + AccountStore
        + DeviceStore
        + KeyStore
        + SessionStore
        + RevocationStore
        + ChoreStore
        + JobStore
{
}
