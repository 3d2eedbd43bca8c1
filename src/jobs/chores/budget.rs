//! How much one step takes on: so much that the store is busy with it for some milliseconds, whatever the store.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::Store;

/// Things that the next step may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Budget {
    /// At most so many.
    pub(super) const fn things(self) -> usize {
        self.0
    }

    /// Learns from a step that began at a time and did so many. One step changes the budget by a factor of two at
    /// most: a single slow fsync says little.
    pub(super) fn learn(&mut self, store: &dyn Store, began: Instant, done: usize) {
        let near = match store.is_shared() {
            true => NEAR_BESIDE_OTHERS,
            false => NEAR,
        };
        self.adapt(near, began.elapsed(), done);
    }

    fn adapt(&mut self, near: Duration, took: Duration, done: usize) {
        // A step that found little says nothing about a full one, unless it was slow all the same.
        if done < self.0 / 2 && took <= near {
            return;
        }
        let micros = usize::try_from(took.as_micros()).unwrap_or(usize::MAX).max(1);
        let wanted = done.saturating_mul(near.as_micros() as usize) / micros;
        let within_reach = wanted.clamp(self.0 / 2, self.0 * 2);
        self.0 = within_reach.clamp(LEAST, MOST);
    }
}

/// Before anything is known.
const FIRST: usize = 500;

/// So few that the cost of a commit outweighs them.
const LEAST: usize = 50;

/// So many that even a store without an fsync notices.
const MOST: usize = 1_000;

/// How long a step should take where there is one writer: those who send meanwhile wait for it.
const NEAR: Duration = Duration::from_millis(4);

/// How long where a database writes for many at once, and a commit takes some milliseconds whatever is in it.
const NEAR_BESIDE_OTHERS: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: impl IntoIterator<Item = (u64, usize)>) -> usize {
        let mut budget = Budget::default();
        for (millis, done) in steps {
            budget.adapt(NEAR, Duration::from_millis(millis), done);
        }
        budget.things()
    }

    #[test]
    fn a_quick_store_gets_more_and_a_slow_one_less_within_bounds() {
        assert_eq!(after([]), 500);
        assert_eq!(after([(0, 500)]), 1_000);
        assert_eq!(after([(0, 500), (0, 1_000), (0, 1_000)]), 1_000);
        assert_eq!(after([(10, 500)]), 250);
        assert_eq!(after([(100, 500), (100, 250), (100, 125), (100, 62)]), 50);
        assert_eq!(after([(3, 500)]), 666);
    }

    #[test]
    fn a_step_that_found_little_says_nothing_unless_it_was_slow() {
        assert_eq!(after([(1, 3)]), 500);
        assert_eq!(after([(20, 3)]), 250);
    }
}
