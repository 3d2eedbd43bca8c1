//! What a session gathers from one frame to the next, to do it once for all of them.
//!
//! Owns the time of the turn, whom its sends call, and how many frames there were. Must not know what frames mean.

use chatctl_protocol::EnvelopeId;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::committer::Calls;
use crate::model::{Clock, MailboxId, UnixMs};
use crate::switchboard::Moment;

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
    /// Whom one more send calls. Returns who is to be called at once.
    #[must_use]
    pub(super) fn add(&mut self, calls: Calls) -> Option<Calls> {
        let rings = match calls {
            Calls::Ring(rings) => rings,
            Calls::Look(_) => return Some(calls),
        };
        for (mailbox, id) in rings {
            match self.0.iter_mut().find(|(rung, _)| *rung == mailbox) {
                Some((_, highest)) => *highest = id.max(*highest),
                None => self.0.push((mailbox, id)),
            }
        }
        // So many are looked through for each ring.
        match self.0.len() >= MAX_GATHERED {
            true => self.take(),
            false => None,
        }
    }

    /// Who is to be called for all of them, if anybody.
    #[must_use]
    pub(super) fn take(&mut self) -> Option<Calls> {
        (!self.0.is_empty()).then(|| Calls::Ring(std::mem::take(&mut self.0)))
    }
}

/// Most that are gathered before they are rung.
const MAX_GATHERED: usize = 16;

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    fn ring(mailbox: u64, id: u64) -> Calls {
        Calls::Ring(smallvec![(MailboxId(mailbox), EnvelopeId::from_u64(id))])
    }

    #[test]
    fn each_is_rung_once_for_a_turn_with_the_highest_id() {
        let mut gathered = Gathered::default();
        for (mailbox, id) in [(1, 10), (2, 11), (1, 13), (1, 12)] {
            assert_eq!(gathered.add(ring(mailbox, id)), None);
        }
        let both = smallvec![
            (MailboxId(1), EnvelopeId::from_u64(13)),
            (MailboxId(2), EnvelopeId::from_u64(11))
        ];
        assert_eq!(gathered.take(), Some(Calls::Ring(both)));
        assert_eq!(gathered.take(), None);
    }

    #[test]
    fn too_many_are_rung_before_the_end_of_the_turn() {
        let mut gathered = Gathered::default();
        let most = MAX_GATHERED as u64;
        let early: Vec<_> = (1..=most)
            .filter_map(|mailbox| gathered.add(ring(mailbox, mailbox)))
            .collect();
        let all = (1..=most).map(|mailbox| (MailboxId(mailbox), EnvelopeId::from_u64(mailbox)));
        assert_eq!(early, [Calls::Ring(all.collect())]);
        assert_eq!(gathered.take(), None);
    }

    #[test]
    fn who_has_to_look_is_called_at_once() {
        let look = Calls::Look(smallvec![MailboxId(1)]);
        assert_eq!(Gathered::default().add(look.clone()), Some(look));
    }
}
