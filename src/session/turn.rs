//! What a session gathers from one frame to the next, to do it once for all of them.
//!
//! Owns the time of the turn, whom its sends call, and how many frames there were. Must not know what frames mean.

use chatctl_protocol::EnvelopeId;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::committer::Calls;
use crate::model::{Clock, MailboxId, UnixMs};
use crate::switchboard::{Moment, Switchboard};

/// From the first frame that is heard to the end of the pump.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Frames that were heard.
    pub(super) frames: u32,
    pub(super) calls: Gathered,
    steady: Option<Instant>,
    wall: Option<UnixMs>,
}

impl Turn {
    /// The turn takes place at this time; for who has read the clock anyway.
    pub(super) const fn is_at(&mut self, now: Instant) {
        self.steady = Some(now);
    }

    /// When the turn takes place.
    pub(super) fn steady(&mut self) -> Instant {
        *self.steady.get_or_insert_with(Instant::now)
    }

    /// The same by the wall clock.
    pub(super) fn wall(&mut self, clock: &Clock) -> UnixMs {
        *self.wall.get_or_insert_with(|| clock.now())
    }

    /// The same on both clocks.
    pub(super) fn moment(&mut self, clock: &Clock) -> Moment {
        Moment {
            wall: self.wall(clock),
            steady: self.steady(),
        }
    }

    /// Time goes on: what comes now is read from the clocks.
    pub(super) const fn forget_time(&mut self) {
        self.steady = None;
        self.wall = None;
    }
}

/// Those who are to be rung for the sends of a turn: each once, with the highest id.
#[derive(Debug, Default)]
pub(super) struct Gathered(SmallVec<[(MailboxId, EnvelopeId); 1]>);

impl Gathered {
    /// Whom one more send calls.
    pub(super) fn add(&mut self, calls: Calls, switchboard: &Switchboard) {
        match calls {
            Calls::Ring(rings) => {
                for (mailbox, id) in rings {
                    match self.0.iter_mut().find(|(rung, _)| *rung == mailbox) {
                        Some((_, highest)) => *highest = id.max(*highest),
                        None => self.0.push((mailbox, id)),
                    }
                }
                // So many are looked through for each ring.
                if self.0.len() >= MAX_GATHERED {
                    self.call(switchboard);
                }
            }
            Calls::Look(_) => switchboard.call(calls),
        }
    }

    /// Rings them.
    pub(super) fn call(&mut self, switchboard: &Switchboard) {
        if !self.0.is_empty() {
            switchboard.call(Calls::Ring(std::mem::take(&mut self.0)));
        }
    }
}

/// Most that are gathered before they are rung.
const MAX_GATHERED: usize = 16;
