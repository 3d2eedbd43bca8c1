//! A histogram of times that costs two additions to update, and no lock: it stands on the way of mail.
//!
//! Must not know what takes the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// How often something took how long: from 0.25 ms to 8 s by doubling, and longer. Clones share their counts.
#[derive(Debug, Clone, Default)]
pub struct Times(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// The last one counts what took longer than all bounds.
    buckets: [AtomicU64; BOUNDS + 1],
    micros: AtomicU64,
}

impl Times {
    /// Counts one that took so long.
    pub fn observe(&self, took: Duration) {
        self.observe_some(took, 1);
    }

    /// Counts some that took equally long.
    pub fn observe_some(&self, took: Duration, count: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.0.buckets.get(bucket(micros)) {
            bucket.fetch_add(count, Ordering::Relaxed);
        }
        let all = micros.saturating_mul(count);
        self.0.micros.fetch_add(all, Ordering::Relaxed);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    /// How long they took together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.0.micros.load(Ordering::Relaxed))
    }

    /// Within which time this part of them was done, as far as the buckets tell; `None` where there were none, or
    /// where it is longer than all bounds.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let counts = self.counts();
        let all: u64 = counts.iter().sum();
        if all == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among counts far below 2^52"
        )]
        let rank = ((all as f64 * part).ceil() as u64).clamp(1, all);
        let mut so_far = 0;
        let found = counts.iter().position(|count| {
            so_far += count;
            so_far >= rank
        });
        found
            .filter(|index| *index < BOUNDS)
            .map(|index| Duration::from_micros(bound(index)))
    }

    fn counts(&self) -> [u64; BOUNDS + 1] {
        std::array::from_fn(|index| {
            let bucket = self.0.buckets.get(index);
            bucket.map_or(0, |bucket| bucket.load(Ordering::Relaxed))
        })
    }
}

/// The first bucket whose bound is not shorter.
const fn bucket(micros: u64) -> usize {
    let steps = micros.div_ceil(SHORTEST).next_power_of_two().trailing_zeros() as usize;
    if micros > bound(BOUNDS - 1) { BOUNDS } else { steps }
}

/// A bucket's bound in microseconds.
const fn bound(index: usize) -> u64 {
    SHORTEST << index
}

impl EncodeMetric for Times {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.counts();
        let bounds = (0..BOUNDS).map(|index| Duration::from_micros(bound(index)).as_secs_f64());
        let bounds = bounds.chain([f64::MAX]);
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let sum = self.sum().as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Times {
    const TYPE: MetricType = MetricType::Histogram;
}

/// The shortest bound, in microseconds.
const SHORTEST: u64 = 250;

/// Bounds.
const BOUNDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_under_the_first_bound_that_is_not_shorter() {
        let cases = [
            (0, 0),
            (250, 0),
            (251, 1),
            (500, 1),
            (501, 2),
            (8_192_000, 15),
            (8_192_001, 16),
            (u64::MAX, 16),
        ];
        for (micros, expected) in cases {
            assert_eq!(bucket(micros), expected, "{micros}");
        }
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let times = Times::default();
        assert_eq!(times.quantile(0.5), None);
        times.observe_some(Duration::from_micros(100), 98);
        times.observe(Duration::from_millis(3));
        times.observe(Duration::from_secs(60));
        assert_eq!(
            (times.count(), times.sum()),
            (100, Duration::from_micros(60_012_800))
        );
        assert_eq!(times.quantile(0.5), Some(Duration::from_micros(250)));
        assert_eq!(times.quantile(0.99), Some(Duration::from_millis(4)));
        assert_eq!(times.quantile(1.0), None);
    }
}
