//! What the owner of keys should hear: a pool runs low, a fallback was handed out.
//!
//! Owns when the bell is rung and what it means. Must not know sessions: when to tell the client, and
//! with which delay, is theirs.

use chatctl_protocol::{PoolName, Suite};
use quick_cache::sync::Cache;

use crate::directory::{Directory, Error};
use crate::hub::Notices;
use crate::model::MailboxId;
use crate::store::PoolCount;

/// Pools whose state is remembered. Forgetting one costs a ring too many.
const MAX_TOLD: usize = 64 * 1024;

/// Something that the owner of a keyset should do something about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyNotice {
    /// A queue runs low.
    Low {
        /// Which family.
        suite: Suite,
        /// Which pool.
        pool: PoolName,
        /// One-time items left.
        remaining: u32,
    },
    /// The fallback was handed out and should be rotated.
    FallbackUsed {
        /// Which family.
        suite: Suite,
        /// Which pool.
        pool: PoolName,
    },
}

/// How bad it is, as bits of which more mean worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    low: bool,
    empty: bool,
    fallback_used: bool,
}

impl State {
    fn of(suite: &Suite, count: &PoolCount, keys_low: u32) -> Self {
        if !is_watched(suite, &count.pool) {
            return Self::default();
        }
        Self {
            low: count.count <= keys_low,
            empty: count.count == 0,
            fallback_used: count.fallback_used,
        }
    }

    /// Both: claims that ran side by side may report in any order, and none of them makes it better.
    const fn and(self, other: Self) -> Self {
        Self {
            low: self.low || other.low,
            empty: self.empty || other.empty,
            fallback_used: self.fallback_used || other.fallback_used,
        }
    }
}

/// The states that owners have been rung for, so that they are rung when it gets worse and not at
/// every claim.
#[derive(Debug)]
pub(super) struct Told(Cache<(MailboxId, Suite, PoolName), State>);

impl Told {
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_TOLD))
    }

    /// Whether a pool of these got worse than the owner was last rung for.
    pub(super) fn is_news(
        &self,
        mailbox: MailboxId,
        suite: &Suite,
        counts: &[PoolCount],
        keys_low: u32,
    ) -> bool {
        let mut news = false;
        for count in counts {
            let key = (mailbox, suite.clone(), count.pool.clone());
            let before = self.0.get(&key).unwrap_or_default();
            let now = before.and(State::of(suite, count, keys_low));
            if now != before {
                news = true;
                self.0.insert(key, now);
            }
        }
        news
    }

    /// This is how it stands, and the owner knows: it has just uploaded, or just asked.
    pub(super) fn settle(&self, mailbox: MailboxId, suite: &Suite, counts: &[PoolCount], keys_low: u32) {
        for count in counts {
            let key = (mailbox, suite.clone(), count.pool.clone());
            let state = State::of(suite, count, keys_low);
            if state == State::default() {
                drop(self.0.remove(&key));
            } else {
                self.0.insert(key, state);
            }
        }
    }

    /// Whether the queue is known to have held something, with the fallback handed out before that.
    pub(super) fn was_spared(&self, mailbox: MailboxId, suite: &Suite, pool: &PoolName) -> bool {
        self.0
            .get(&(mailbox, suite.clone(), pool.clone()))
            .is_some_and(|state| state.fallback_used && !state.empty)
    }
}

impl Directory {
    /// What the owner of a mailbox should hear now, over all its suites. Reads the store.
    ///
    /// A session asks when it begins and when the bell was rung for keys.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn key_notices(&self, mailbox: MailboxId) -> Result<Vec<KeyNotice>, Error> {
        let mut notices = Vec::new();
        for suite in self.store.suites(mailbox).await? {
            let Some(keyset) = self.store.keyset(mailbox, &suite).await? else {
                continue;
            };
            // A claim may report after the upload that made up for it. The ring that follows leads here,
            // and the record is put right; else the next shortage would be taken for an old one.
            self.told
                .settle(mailbox, &suite, &keyset.counts, self.rules().keys_low);
            for PoolCount {
                pool,
                count,
                fallback_used,
                ..
            } in keyset.counts
            {
                if !is_watched(&suite, &pool) {
                    continue;
                }
                if fallback_used {
                    notices.push(KeyNotice::FallbackUsed {
                        suite: suite.clone(),
                        pool: pool.clone(),
                    });
                }
                if count <= self.rules().keys_low {
                    notices.push(KeyNotice::Low {
                        suite: suite.clone(),
                        pool,
                        remaining: count,
                    });
                }
            }
        }
        Ok(notices)
    }

    /// Rings the owner if a claim made things worse.
    pub(super) fn ring_owner(&self, mailbox: MailboxId, suite: &Suite, touched: &[PoolCount]) {
        if self.told.is_news(mailbox, suite, touched, self.rules().keys_low) {
            self.hub.notify(mailbox, Notices::KEYS);
        }
    }
}

/// Whether a pool is one that can run low. Signal's `spk` has a fallback and no queue, by design:
/// "empty, and the fallback was handed out" is how it always stands.
fn is_watched(suite: &Suite, pool: &PoolName) -> bool {
    !(matches!(suite, Suite::Signal) && pool.as_str() == "spk")
}
