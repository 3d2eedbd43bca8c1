//! Whether the wall clock can be believed by those who delete what is old.
//!
//! # Why
//!
//! A clock that somebody sets a year ahead makes everything look old at once: all mail would be over. Whoever waits
//! loses nothing, so a step forward is doubted for a while; if it is undone meanwhile, nothing has happened. Time
//! that passed while the machine slept is no step. What a relay finds when it starts it has to believe.

use std::time::Duration;

use crate::model::Clock;

/// Compares the wall clock with the time that has passed.
#[derive(Debug)]
pub(super) struct Doubt {
    clock: Clock,
    /// What the wall clock shows at the moment from which passed time counts, as it is believed.
    believed: i128,
    step: Option<Step>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    /// What would have to be believed.
    origin: i128,
    /// When it was first seen, in passed time.
    since: Duration,
}

/// A step that is doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doubted {
    /// How far the clock went.
    pub(super) ahead: Duration,
    /// How long it is still doubted.
    pub(super) remaining: Duration,
}

impl Doubt {
    /// Believes the clock as it stands.
    #[must_use]
    pub(super) fn new(clock: Clock) -> Self {
        let believed = origin(&clock);
        Self {
            clock,
            believed,
            step: None,
        }
    }

    /// Looks at the clock; the step that is doubted, if there is one.
    pub(super) fn look(&mut self) -> Option<Doubted> {
        let (origin, passed) = (origin(&self.clock), self.clock.passed());
        let ahead = origin - self.believed;
        if ahead <= TOLERANCE_MS {
            // A little drift, or a step back: nothing looks older than it is.
            self.believed = origin;
            self.step = None;
            return None;
        }
        let is_same = |step: &Step| (origin - step.origin).abs() <= TOLERANCE_MS;
        let step = self.step.filter(is_same).unwrap_or(Step {
            origin,
            since: passed,
        });
        let remaining = HOLD.saturating_sub(passed.saturating_sub(step.since));
        if remaining.is_zero() {
            self.believed = origin;
            self.step = None;
            return None;
        }
        self.step = Some(step);
        let ahead = Duration::from_millis(u64::try_from(ahead).unwrap_or(u64::MAX));
        Some(Doubted { ahead, remaining })
    }
}

fn origin(clock: &Clock) -> i128 {
    let passed = i128::try_from(clock.passed().as_millis()).unwrap_or(i128::MAX);
    i128::from(clock.now().0).saturating_sub(passed)
}

/// A difference that is no step: clocks drift, and the two are not read at the same moment.
const TOLERANCE_MS: i128 = 60_000;

/// How long a step is doubted.
const HOLD: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::model::UnixMs;

    const HOUR: u64 = 3_600_000;
    const YEAR: u64 = 8_766 * HOUR;

    fn doubt() -> (Doubt, impl Fn(i64, u64)) {
        let (clock, [wall, steady]) = Clock::loose(UnixMs(1_800_000_000_000));
        let pass = move |shown: i64, passed: u64| {
            let now = wall.load(Ordering::Relaxed).saturating_add_signed(shown);
            wall.store(now, Ordering::Relaxed);
            steady.fetch_add(passed, Ordering::Relaxed);
        };
        (Doubt::new(clock), pass)
    }

    #[test]
    fn time_that_passes_is_believed_however_long_it_was() {
        let (mut doubt, pass) = doubt();
        for hours in [1, 24, 8_766] {
            pass((hours * HOUR).cast_signed(), hours * HOUR);
            assert_eq!(doubt.look(), None);
        }
        pass(HOUR.cast_signed() + 50_000, HOUR);
        assert_eq!(doubt.look(), None);
    }

    #[test]
    fn a_step_ahead_is_doubted_for_an_hour_and_then_believed() {
        let (mut doubt, pass) = doubt();
        pass(YEAR.cast_signed(), 0);
        let hour = Duration::from_secs(3600);
        let doubted = Doubted {
            ahead: Duration::from_millis(YEAR),
            remaining: hour,
        };
        assert_eq!(doubt.look(), Some(doubted));
        pass((HOUR / 2).cast_signed(), HOUR / 2);
        let later = Doubted {
            remaining: hour / 2,
            ..doubted
        };
        assert_eq!(doubt.look(), Some(later));
        pass((HOUR / 2).cast_signed(), HOUR / 2);
        assert_eq!(doubt.look(), None);
    }

    #[test]
    fn a_step_that_is_undone_leaves_no_doubt() {
        let (mut doubt, pass) = doubt();
        pass(YEAR.cast_signed(), 0);
        assert!(doubt.look().is_some());
        pass(-YEAR.cast_signed(), 1_000);
        assert_eq!(doubt.look(), None);
        pass(-(24 * HOUR).cast_signed(), 0);
        assert_eq!(doubt.look(), None);
    }

    #[test]
    fn another_step_begins_the_hour_anew() {
        let (mut doubt, pass) = doubt();
        pass(YEAR.cast_signed(), 0);
        assert!(doubt.look().is_some());
        pass((YEAR + HOUR / 2).cast_signed(), HOUR / 2);
        assert_eq!(doubt.look().map(|doubted| doubted.remaining), Some(HOLD));
    }
}
