//! What is forgotten because nobody needs it any more: records of sends, revocations, tombstones, runs.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{add, budget::Budget};
use crate::jobs::{Chore, Desk, Findings, Step, before};
use crate::store::digest::TOMBSTONE_SECONDS;
use crate::store::{Error, Litter};

/// What is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Sends past the idempotency window.
    Records,
    /// Revocations of tokens that are over by themselves.
    Revocations,
    /// That one-time keys were handed out.
    Tombstones,
    /// Runs of jobs.
    Runs,
}

impl What {
    /// What they are called in counts.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Revocations => "revocations",
            Self::Tombstones => "tombstones",
            Self::Runs => "runs",
        }
    }

    /// Which of them may go by now.
    pub(super) fn litter(self, desk: &Desk) -> Litter {
        let now = desk.clock.now();
        match self {
            Self::Records => Litter::Records {
                before: before(now, desk.terms.idempotency),
            },
            Self::Revocations => Litter::Revocations { now },
            Self::Tombstones => Litter::Tombstones {
                before: before(now, TOMBSTONES),
            },
            Self::Runs => Litter::Runs {
                before: before(now, desk.terms.keep_history),
                keep: RUNS_KEPT,
            },
        }
    }

    async fn forget(self, desk: &Desk, limit: usize) -> Result<usize, Error> {
        let (store, now) = (&desk.store, desk.clock.now());
        match self {
            Self::Records => {
                let before = before(now, desk.terms.idempotency);
                store.forget_records(before, limit).await
            }
            Self::Revocations => store.prune_revocations(now, limit).await,
            Self::Tombstones => store.forget_tombstones(before(now, TOMBSTONES), limit).await,
            Self::Runs => {
                let before = before(now, desk.terms.keep_history);
                store.trim_runs(before, RUNS_KEPT, limit).await
            }
        }
    }
}

/// Forgets what is old of a kind.
#[derive(Debug)]
pub(super) struct Forget {
    what: What,
    budget: Budget,
}

impl Forget {
    pub(super) fn new(what: What) -> Self {
        Self {
            what,
            budget: Budget::default(),
        }
    }
}

#[async_trait]
impl Chore for Forget {
    async fn step(&mut self, desk: &Desk, findings: &mut Findings) -> Result<Step, Error> {
        let limit = self.budget.things();
        let began = Instant::now();
        let forgotten = self.what.forget(desk, limit).await?;
        self.budget.learn(&*desk.store, began, forgotten);
        findings.work.affected += forgotten as u64;
        add(findings, self.what.word(), forgotten as u64);
        Ok(match forgotten < limit {
            true => Step::Done,
            false => Step::More,
        })
    }
}

/// How long items that were handed out are remembered.
const TOMBSTONES: Duration = Duration::from_secs(TOMBSTONE_SECONDS);

/// Runs that are remembered of each job, however young the older ones are.
const RUNS_KEPT: usize = 1_000;
