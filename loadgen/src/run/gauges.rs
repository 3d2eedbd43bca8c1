//! What all workers of a run know together, so that somebody can tell when a phase is over.
//!
//! Changed once for every batch, never once for every message.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::progress::Progress;
use crate::wire::Trouble;

/// Gauges.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// Sessions that live.
    alive: AtomicI64,
    /// Sessions that began.
    joined: AtomicI64,
    /// Workers that have not handed out everything that is due.
    pacing: AtomicI64,
    /// Messages that wait for their connection.
    queued: AtomicI64,
    /// Messages that left and were not answered.
    unanswered: AtomicI64,
    /// Messages that are safe, one for each device.
    accepted: AtomicI64,
    /// Messages that arrived, one for each device.
    delivered: AtomicI64,
    /// Clients that will never be back, and the last thing that went wrong.
    given_up: AtomicI64,
    last: Mutex<Option<Trouble>>,
}

/// What one turn of a client changed.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) queued: i64,
    pub(super) unanswered: i64,
    pub(super) sent: i64,
    pub(super) accepted: i64,
    pub(super) delivered: i64,
    pub(super) errors: i64,
}

impl Gauges {
    /// Adds what a turn changed, here and where it is shown.
    pub(super) fn turn(&self, turn: &Turn, shown: &Progress) {
        let gauges = [
            (&self.queued, turn.queued),
            (&self.unanswered, turn.unanswered),
            (&self.accepted, turn.accepted),
            (&self.delivered, turn.delivered),
        ];
        for (gauge, change) in gauges {
            if change != 0 {
                gauge.fetch_add(change, Ordering::Relaxed);
            }
        }
        let counters = [
            (&shown.sent, turn.sent),
            (&shown.accepted, turn.accepted),
            (&shown.delivered, turn.delivered),
            (&shown.errors, turn.errors),
        ];
        for (counter, events) in counters {
            if events != 0 {
                counter.fetch_add(events.unsigned_abs(), Ordering::Relaxed);
            }
        }
    }

    pub(super) fn joined(&self, shown: &Progress) {
        self.alive.fetch_add(1, Ordering::Relaxed);
        self.joined.fetch_add(1, Ordering::Relaxed);
        shown.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left(&self, shown: &Progress) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
        shown.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn began_pacing(&self) {
        self.pacing.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended_pacing(&self) {
        self.pacing.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn went_wrong(&self, trouble: &Trouble, shown: &Progress) {
        shown.errors.fetch_add(1, Ordering::Relaxed);
        if trouble.fatal {
            self.given_up.fetch_add(1, Ordering::Relaxed);
        }
        *self.last.lock() = Some(trouble.clone());
    }

    /// Sessions that live.
    pub(super) fn alive(&self) -> u64 {
        u64::try_from(self.alive.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Sessions that began so far.
    pub(super) fn joined_ever(&self) -> u64 {
        u64::try_from(self.joined.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Copies that arrived so far.
    pub(super) fn delivered(&self) -> i64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Whether somebody will never be back.
    pub(super) fn has_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed) > 0
    }

    /// The last thing that went wrong.
    pub(super) fn last(&self) -> Option<Trouble> {
        self.last.lock().clone()
    }

    /// Whether everything that is due has left.
    pub(super) fn has_left(&self) -> bool {
        let waiting = [&self.pacing, &self.queued];
        waiting.iter().all(|gauge| gauge.load(Ordering::Relaxed) <= 0)
    }

    /// Whether everything that is due has left and was answered.
    pub(super) fn is_answered(&self) -> bool {
        let waiting = [&self.pacing, &self.queued, &self.unanswered];
        waiting.iter().all(|gauge| gauge.load(Ordering::Relaxed) <= 0)
    }

    /// Whether everything that is safe has arrived, too.
    pub(super) fn is_settled(&self) -> bool {
        let accepted = self.accepted.load(Ordering::Relaxed);
        self.is_answered() && self.delivered.load(Ordering::Relaxed) >= accepted
    }
}
