//! What a worker counted in a second. It goes to the collector and comes back empty.

use crate::clock::Nanos;
use crate::tally::Tally;

/// A slice.
#[derive(Debug, Default)]
pub(super) struct Slice {
    /// Messages that were due in the measured part, and what belongs to no message.
    pub(super) measured: Tally,
    /// The other messages.
    pub(super) rest: Tally,
}

/// A slice on its way.
#[derive(Debug)]
pub(super) struct Handed {
    /// Whose.
    pub(super) worker: usize,
    /// When it was begun.
    pub(super) began: Nanos,
    /// Where it goes when it was read.
    pub(super) slice: Box<Slice>,
}

impl Slice {
    /// The part for messages that are measured, or not.
    pub(super) const fn of(&mut self, measured: bool) -> &mut Tally {
        match measured {
            true => &mut self.measured,
            false => &mut self.rest,
        }
    }

    pub(super) fn clear(&mut self) {
        self.measured.clear();
        self.rest.clear();
    }
}
