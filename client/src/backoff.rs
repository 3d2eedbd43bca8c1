//! Full-jitter exponential back-off: how long to wait before the next attempt.

use std::time::Duration;

/// Bounds of the waiting. Each failure doubles the range that the wait is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Range after the first failure.
    pub base: Duration,
    /// Largest range.
    pub cap: Duration,
    /// A session that lived this long counts as a success: the range starts again at `base`.
    pub steady: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(60),
            steady: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// The range after `failures` in a row, counted from one.
    pub(crate) fn range(&self, failures: u32) -> Duration {
        // 2^20 half seconds is six days: far beyond any cap that makes sense.
        let doublings = failures.saturating_sub(1).min(20);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// A wait drawn evenly from the range.
    pub(crate) fn draw(&self, failures: u32) -> Duration {
        // Evenly from zero: clients that lost the same relay must not come back together.
        self.range(failures).mul_f64(rand::random_range(0.0..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_doubles_up_to_the_cap() {
        let ranges: Vec<_> = [1, 2, 3, 7, 8, 9, u32::MAX]
            .map(|failures| Backoff::default().range(failures).as_millis())
            .to_vec();
        assert_eq!(ranges, [500, 1000, 2000, 32_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn a_wait_stays_inside_its_range() {
        let backoff = Backoff::default();
        for failures in 1..20 {
            assert!(backoff.draw(failures) <= backoff.range(failures));
        }
    }
}
