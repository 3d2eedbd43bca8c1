//! Tokens that are good no more: said to the store, to this relay, and to those who are here with them.
//!
//! # Why in this order
//!
//! The store first, so that what an operator was told is so stays so. Then what tokens are checked against, then
//! those who are here: a session notes its token before it looks whether that is revoked, so that one of the two
//! finds the other.

use std::sync::Arc;

use crate::auth::Revocations;
use crate::model::{Revocation, UnixMs};
use crate::store;
use crate::switchboard::Switchboard;

/// What came of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Struck {
    /// Its number in the store.
    pub number: u64,
    /// Sessions of this relay that it closes.
    pub closed: usize,
}

impl Switchboard {
    /// What is revoked, for those who check tokens.
    #[must_use]
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Revokes tokens, here at once and on other relays of the same store within seconds.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when it could not be written; nobody was told then.
    pub async fn revoke(&self, revocation: &Revocation) -> Result<Struck, store::Error> {
        let number = self.store.revoke(revocation).await?;
        let closed = self.heed(revocation);
        Ok(Struck { number, closed })
    }

    /// Learns what was revoked since the last time, by whomever.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store cannot be read; what was read is heeded.
    pub async fn learn_revocations(&self) -> Result<(), store::Error> {
        loop {
            let read_to = self.revocations.read_to();
            let page = self.store.revocations(read_to, PAGE).await;
            let page = page.inspect_err(|error| self.committer.lost(error))?;
            for (number, revocation) in &page {
                self.heed(revocation);
                self.revocations.has_read_to(*number);
            }
            if page.len() < PAGE {
                break;
            }
        }
        let seconds = i64::try_from(self.clock.now().0 / 1000).unwrap_or(i64::MAX);
        self.metrics.revocations_read.set(seconds);
        Ok(())
    }

    /// The revocations after a number, lowest first.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store cannot be read.
    pub async fn list_revocations(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Revocation)>, store::Error> {
        self.store.revocations(after, limit).await
    }

    /// Removes the revocations of tokens that are over by themselves; how many there were.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store cannot be written; some may be gone.
    pub async fn prune_revocations(&self) -> Result<usize, store::Error> {
        let now = self.clock.now();
        self.forget_revocations();
        let mut pruned = 0;
        loop {
            let some = self.store.prune_revocations(now, PAGE).await?;
            pruned += some;
            if some < PAGE {
                return Ok(pruned);
            }
        }
    }

    /// Forgets, here and not in the store, revocations that are over. For the server's housekeeping.
    pub fn forget_revocations(&self) {
        let now: UnixMs = self.clock.now();
        self.revocations.forget(now);
        self.count_revocations();
    }

    fn heed(&self, revocation: &Revocation) -> usize {
        if revocation.expires_at <= self.clock.now() {
            return 0;
        }
        self.revocations.learn(revocation);
        self.count_revocations();
        self.hub.attendance().revoke(&revocation.what)
    }

    fn count_revocations(&self) {
        let count = i64::try_from(self.revocations.count()).unwrap_or(i64::MAX);
        self.metrics.revocations.set(count);
    }
}

/// Revocations that are read, or removed, in one go.
const PAGE: usize = 1_000;
