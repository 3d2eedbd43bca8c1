//! Who runs which job, in memory: this process has the store for itself, and its leases end with it.
//!
//! Shows committed state only: the writer changes it after the commit that changed the rows. Must not know SQL.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::UnixMs;
use crate::store::embedded::shared::Change;
use crate::store::embedded::writer::Tx;
use crate::store::{Grant, Held, RunId};

/// The right to run a job for a while.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    /// The run.
    pub(super) run: RunId,
    /// Who.
    pub(super) holder: Arc<str>,
    /// What tells it from every one before.
    pub(super) fence: u64,
    /// Since when.
    pub(super) since: UnixMs,
    /// When it is over without a renewal.
    pub(super) ends: Instant,
}

impl Lease {
    /// Whether it is not over yet.
    pub(super) fn is_good(&self, at: Instant) -> bool {
        self.ends > at
    }

    /// Whether it is this one that was granted.
    pub(super) fn is(&self, grant: &Grant) -> bool {
        self.fence == grant.fence && self.run == grant.run
    }

    /// As it is told.
    pub(super) fn held(&self, at: Instant) -> Held {
        Held {
            run: self.run.clone(),
            holder: Arc::clone(&self.holder),
            fence: self.fence,
            since: self.since,
            remaining: self.ends.saturating_duration_since(at),
        }
    }

    /// The same lease from now on.
    pub(super) fn renewed(&self, at: Instant, term: Duration) -> Self {
        Self {
            ends: at + term,
            ..self.clone()
        }
    }
}

/// The leases of all jobs.
#[derive(Debug, Default)]
pub(super) struct Leases(HashMap<Arc<str>, Lease>);

impl Leases {
    /// The lease of a job, whether it is over or not.
    pub(super) fn of(&self, job: &str) -> Option<Lease> {
        self.0.get(job).cloned()
    }

    /// Gives a job's lease, or takes it back.
    pub(super) fn set(&mut self, job: Arc<str>, lease: Option<Lease>) {
        match lease {
            Some(lease) => self.0.insert(job, lease),
            None => self.0.remove(&job),
        };
    }
}

impl Tx<'_> {
    /// The lease of a job as this transaction sees it.
    pub(super) fn lease(&self, job: &str) -> Option<Lease> {
        let touched = self.group.lease(job);
        touched.unwrap_or_else(|| self.shared.leases.lock().of(job))
    }

    /// Gives a job's lease, or takes it back, once the transaction is committed.
    pub(super) fn set_lease(&mut self, job: &str, lease: Option<Lease>) {
        self.group.note(Change::Leased(job.into(), lease));
    }
}
