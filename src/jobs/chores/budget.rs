//! How much one step takes on: so much that the store is busy with it for some milliseconds, whatever the store.

use std::time::Duration;

use tokio::time::Instant;

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
    pub(super) fn learn(&mut self, began: Instant, done: usize) {
        self.adapt(began.elapsed(), done);
    }

    fn adapt(&mut self, took: Duration, done: usize) {
        // A step that found little says nothing about a full one, unless it was slow all the same.
        if done < self.0 / 2 && took <= NEAR {
            return;
        }
        let micros = usize::try_from(took.as_micros()).unwrap_or(usize::MAX).max(1);
        let wanted = done.saturating_mul(NEAR.as_micros() as usize) / micros;
        let within_reach = wanted.clamp(self.0 / 2, self.0 * 2);
        self.0 = within_reach.clamp(LEAST, MOST);
    }
}

/// Before anything is known.
const FIRST: usize = 500;

/// So few that the cost of a commit outweighs them.
const LEAST: usize = 50;

/// So many that even a store without an fsync notices.
const MOST: usize = 2_000;

/// How long a step should take: those who send meanwhile wait for it.
const NEAR: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: impl IntoIterator<Item = (u64, usize)>) -> usize {
        let mut budget = Budget::default();
        for (millis, done) in steps {
            budget.adapt(Duration::from_millis(millis), done);
        }
        budget.things()
    }

    #[test]
    fn a_quick_store_gets_more_and_a_slow_one_less_within_bounds() {
        assert_eq!(after([]), 500);
        assert_eq!(after([(0, 500)]), 1_000);
        assert_eq!(after([(0, 500), (0, 1_000), (0, 2_000)]), 2_000);
        assert_eq!(after([(10, 500)]), 250);
        assert_eq!(after([(100, 500), (100, 250), (100, 125), (100, 62)]), 50);
        assert_eq!(after([(4, 500)]), 625);
    }

    #[test]
    fn a_step_that_found_little_says_nothing_unless_it_was_slow() {
        assert_eq!(after([(1, 3)]), 500);
        assert_eq!(after([(20, 3)]), 250);
    }
}
