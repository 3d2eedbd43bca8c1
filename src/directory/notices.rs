//! What the owner of keys should hear: a pool runs low, a fallback was handed out.
//!
//! Owns when the bell is rung and what it means. Must not know sessions: when to tell the client, and
//! with which delay, is theirs.

use chatctl_protocol::{PoolName, Suite};
use quick_cache::sync::Cache;

use crate::directory::{Directory, Error};
use crate::hub::Notices;
use crate::model::{MailboxId, UnixMs};
use crate::store::{LowPool, PoolCount};

/// Pools whose state is remembered. Forgetting one costs a ring too many.
const MAX_TOLD: usize = 64 * 1024;

/// Time after which an owner that was told of a shortage is told again, if it did nothing about it.
const REMIND_SECONDS: u64 = 24 * 3600;

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
/// every claim; and when each owner was last told of a shortage, so that a report that finds it again and again
/// reminds them once a day.
#[derive(Debug)]
pub(super) struct Told {
    states: Cache<(MailboxId, Suite, PoolName), State>,
    heard: Cache<MailboxId, UnixMs>,
}

impl Told {
    pub(super) fn new() -> Self {
        Self {
            states: Cache::new(MAX_TOLD),
            heard: Cache::new(MAX_TOLD),
        }
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
            let before = self.states.get(&key).unwrap_or_default();
            let now = before.and(State::of(suite, count, keys_low));
            if now != before {
                news = true;
                self.states.insert(key, now);
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
                drop(self.states.remove(&key));
            } else {
                self.states.insert(key, state);
            }
        }
    }

    /// The owner hears of a shortage now; whether it last did so a day ago or longer.
    fn is_due(&self, mailbox: MailboxId, now: UnixMs) -> bool {
        let heard = self.heard.get(&mailbox);
        // A clock that stepped back: better a ring too many than none for long.
        let is_due = heard.is_none_or(|at| now < at || now >= at.plus_seconds(REMIND_SECONDS));
        if is_due {
            self.heard.insert(mailbox, now);
        }
        is_due
    }

    /// Whether the queue is known to have held something, with the fallback handed out before that.
    pub(super) fn was_spared(&self, mailbox: MailboxId, suite: &Suite, pool: &PoolName) -> bool {
        self.states
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
        if !notices.is_empty() {
            self.told.heard.insert(mailbox, self.clock.now());
        }
        Ok(notices)
    }

    /// Rings the owner if a claim made things worse.
    pub(super) fn ring_owner(&self, mailbox: MailboxId, suite: &Suite, touched: &[PoolCount]) {
        if self.told.is_news(mailbox, suite, touched, self.rules().keys_low) {
            self.told.heard.insert(mailbox, self.clock.now());
            self.hub.notify(mailbox, Notices::KEYS);
        }
    }

    /// A report has found this pool low: rings the owner, if it is here and was not told within a day. One ring is
    /// for all of its pools, since who hears it looks at them all.
    pub fn remind(&self, low: &LowPool) {
        let here = is_watched(&low.suite, &low.pool) && self.hub.is_here(low.mailbox);
        if here && self.told.is_due(low.mailbox, self.clock.now()) {
            self.hub.notify(low.mailbox, Notices::KEYS);
        }
    }
}

/// Whether a pool is one that can run low. Signal's `spk` has a fallback and no queue, by design:
/// "empty, and the fallback was handed out" is how it always stands.
#[must_use]
pub fn is_watched(suite: &Suite, pool: &PoolName) -> bool {
    !(matches!(suite, Suite::Signal) && pool.as_str() == "spk")
}
