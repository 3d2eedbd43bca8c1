//! How long commits take: how many there were, and what was usual lately.
//!
//! Beside the histogram of the metrics, which cannot be read here and knows no "lately". Bounded: two windows of
//! buckets, each a sixteenth of its octave wide.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What is known of the durations of commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommitTimes {
    /// Commits since the start, failed ones included.
    pub count: u64,
    /// Their durations together.
    pub sum: Duration,
    /// Half of those of the last one to two minutes were no longer; `None` when there were none.
    pub p50: Option<Duration>,
    /// 99 of a hundred were no longer.
    pub p99: Option<Duration>,
}

/// Counts durations.
#[derive(Debug)]
pub(super) struct Times(Mutex<Windows>);

#[derive(Debug)]
struct Windows {
    count: u64,
    sum: Duration,
    since: Instant,
    current: Box<Buckets>,
    previous: Box<Buckets>,
}

type Buckets = [u32; BUCKETS];

impl Times {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Windows {
            count: 0,
            sum: Duration::ZERO,
            since: Instant::now(),
            current: Box::new([0; BUCKETS]),
            previous: Box::new([0; BUCKETS]),
        }))
    }

    /// One more.
    pub(super) fn note(&self, took: Duration) {
        let mut windows = self.0.lock();
        windows.turn();
        windows.count += 1;
        windows.sum += took;
        let bucket = &mut windows.current[bucket(took)];
        *bucket = bucket.saturating_add(1);
    }

    /// As of now.
    pub(super) fn read(&self) -> CommitTimes {
        let mut windows = self.0.lock();
        windows.turn();
        CommitTimes {
            count: windows.count,
            sum: windows.sum,
            p50: windows.quantile(50),
            p99: windows.quantile(99),
        }
    }
}

impl Windows {
    fn turn(&mut self) {
        let age = self.since.elapsed();
        if age < WINDOW {
            return;
        }
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.fill(0);
        if age >= 2 * WINDOW {
            self.previous.fill(0);
        }
        self.since = Instant::now();
    }

    /// The middle of the bucket in which so many of a hundred end.
    fn quantile(&self, of_a_hundred: u64) -> Option<Duration> {
        let both = || {
            let pairs = self.current.iter().zip(self.previous.iter());
            pairs.map(|(current, previous)| u64::from(*current) + u64::from(*previous))
        };
        let total: u64 = both().sum();
        let wanted = (total * of_a_hundred).div_ceil(100).max(1);
        let mut seen = 0;
        let found = both().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map(middle)
    }
}

/// The bucket of a duration.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < STEPS {
        return micros as usize;
    }
    let octave = u64::from(micros.ilog2()) - u64::from(STEPS.ilog2());
    let index = (octave + 1) * STEPS + (micros >> octave) % STEPS;
    (index as usize).min(BUCKETS - 1)
}

fn middle(bucket: usize) -> Duration {
    let (octave, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    let micros = match octave {
        0 => step,
        octave => {
            let width = 1 << (octave - 1);
            (STEPS + step) * width + width / 2
        }
    };
    Duration::from_micros(micros)
}

/// Buckets in an octave.
const STEPS: u64 = 16;

/// Up to two minutes; what took longer counts as that.
const BUCKETS: usize = 24 * STEPS as usize;

/// How long a window is filled.
const WINDOW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_told_within_a_thirtieth() {
        for micros in [0, 1, 15, 16, 17, 100, 999, 1_000, 12_345, 1_000_000, 59_999_999] {
            let told = middle(bucket(Duration::from_micros(micros))).as_micros() as u64;
            assert!(told.abs_diff(micros) <= micros / 30, "{micros}: {told}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_usual_is_forgotten_after_two_minutes_and_the_sum_never() {
        let times = Times::new();
        assert_eq!(times.read(), CommitTimes::default());
        (0..98).for_each(|_| times.note(Duration::from_micros(10)));
        (0..2).for_each(|_| times.note(Duration::from_micros(15)));
        let read = CommitTimes {
            count: 100,
            sum: Duration::from_micros(1_010),
            p50: Some(Duration::from_micros(10)),
            p99: Some(Duration::from_micros(15)),
        };
        assert_eq!(times.read(), read);
        tokio::time::advance(WINDOW).await;
        assert_eq!(times.read(), read);
        tokio::time::advance(WINDOW).await;
        let forgotten = CommitTimes {
            p50: None,
            p99: None,
            ..read
        };
        assert_eq!(times.read(), forgotten);
    }
}
