//! What a store promises about tokens that are good no more.
//!
//! Must not know tokens: what a revocation says is for those who check them.

use async_trait::async_trait;

use crate::model::{Revocation, UnixMs};
use crate::store::Error;

/// Revocations, numbered in the order in which they became visible.
#[async_trait]
pub trait RevocationStore: Send + Sync {
    /// Keeps a revocation and returns its number, higher than every one before it. Durable when it returns.
    ///
    /// There is one revocation for each token, account and device: a later one takes the earlier one's place, and
    /// whichever of `up_to` and `expires_at` is later stays.
    async fn revoke(&self, revocation: &Revocation) -> Result<u64, Error>;

    /// The revocations with a number above `after`, lowest first, at most `limit`. Whoever has read up to a number
    /// misses nothing by going on from there: none becomes visible below one that was.
    async fn revocations(&self, after: u64, limit: usize) -> Result<Vec<(u64, Revocation)>, Error>;

    /// Forgets revocations whose `expires_at` is at or before `now`, at most `limit`; how many there were.
    async fn prune_revocations(&self, now: UnixMs, limit: usize) -> Result<usize, Error>;
}
