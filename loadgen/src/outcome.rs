//! What a run found, before anybody judges it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::progress::Phase;
use crate::tally::Tally;

/// An outcome.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// What was measured: messages that were due in the measured part, and every connection, claim and drain.
    pub measured: Tally,
    /// Everything, warm-up included.
    pub whole: Tally,
    /// What became of every message of the run, warm-up included.
    pub integrity: Integrity,
    /// How long the measured part was, in seconds.
    pub seconds: f64,
    /// When it began, in seconds on the run's clock.
    pub began: f64,
    /// Interval by interval, warm-up and drain included; at most [`MOST_MOMENTS`].
    pub moments: Vec<Moment>,
    /// How long each of them is, in seconds.
    pub interval: f64,
    /// Messages that were due and never left.
    pub missed: u64,
    /// Processor time of the generator in the measured part, in seconds.
    pub cpu: f64,
    /// The busiest worker's share of a processor in the measured part.
    pub busiest_worker: f64,
    /// How long it took to store everything, of an offline load.
    pub store_seconds: Option<f64>,
    /// How long it took to drain everything, of an offline load; none when not everything came.
    pub drain_seconds: Option<f64>,
    /// Whether it was stopped before its end.
    pub is_interrupted: bool,
}

impl Outcome {
    /// Adds what another agent found in the same run. Counts and histograms add up without loss; of an interval's
    /// percentiles the larger one stands, so that what was slow anywhere stays to be seen.
    pub fn merge(&mut self, other: Self) {
        self.measured.merge(&other.measured);
        self.whole.merge(&other.whole);
        self.integrity.add(&other.integrity);
        self.seconds = self.seconds.max(other.seconds);
        self.began = match self.moments.is_empty() {
            true => other.began,
            false => self.began.min(other.began),
        };
        self.missed += other.missed;
        self.cpu += other.cpu;
        self.busiest_worker = self.busiest_worker.max(other.busiest_worker);
        self.store_seconds = longer(self.store_seconds, other.store_seconds);
        self.drain_seconds = longer(self.drain_seconds, other.drain_seconds);
        self.is_interrupted |= other.is_interrupted;
        self.interval = self.interval.max(other.interval);
        for moment in other.moments {
            let place = self
                .moments
                .partition_point(|mine| mine.at + self.interval / 2.0 < moment.at);
            match self.moments.get_mut(place) {
                Some(mine) if (mine.at - moment.at).abs() <= self.interval / 2.0 => mine.beside(&moment),
                _ => self.moments.insert(place, moment),
            }
        }
    }
}

impl Integrity {
    /// Adds what became of other messages.
    pub const fn add(&mut self, other: &Self) {
        self.streams += other.streams;
        self.lost += other.lost;
        self.unanswered += other.unanswered;
        self.duplicated += other.duplicated;
        self.redelivered += other.redelivered;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.undecryptable += other.undecryptable;
        self.keys_twice += other.keys_twice;
    }
}

impl Moment {
    /// Adds the same interval of somebody else.
    fn beside(&mut self, other: &Self) {
        self.join(other);
        self.connections += other.connections;
        self.cpu += other.cpu;
    }

    /// Adds the counts of another moment; of percentiles, the larger one stands.
    pub(crate) fn join(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.e2e = larger(self.e2e, other.e2e);
        self.service = larger(self.service, other.service);
        self.ok = self.ok.max(other.ok);
        for (mine, theirs) in self.heat.iter_mut().zip(&other.heat) {
            *mine = mine.saturating_add(*theirs);
        }
    }
}

fn larger<const N: usize>(one: Option<[u64; N]>, two: Option<[u64; N]>) -> Option<[u64; N]> {
    match (one, two) {
        (Some(one), Some(two)) => Some(std::array::from_fn(|at| one[at].max(two[at]))),
        (one, two) => one.or(two),
    }
}

fn longer(one: Option<f64>, two: Option<f64>) -> Option<f64> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.max(two)),
        (one, two) => one.or(two),
    }
}

/// What became of the messages: of every stream from one sender to one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Integrity {
    /// Streams that were watched.
    pub streams: u64,
    /// Messages that were said to be safe and did not arrive.
    pub lost: u64,
    /// Messages that left, were not said to be safe, and did not arrive: nobody promised anything.
    pub unanswered: u64,
    /// Messages that came twice.
    pub duplicated: u64,
    /// Messages that came again because their ack was lost: allowed.
    pub redelivered: u64,
    /// Messages that came after a later one.
    pub reordered: u64,
    /// Messages that were changed on their way.
    pub corrupt: u64,
    /// Messages that could not be decrypted.
    pub undecryptable: u64,
    /// One-time keys that were handed out twice.
    pub keys_twice: u64,
}

/// An interval.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Moment {
    /// When it begins, in seconds on the run's clock.
    pub at: f64,
    /// The phase it begins in.
    pub phase: Phase,
    /// What was counted in it, by the moment of counting. Only counts and errors: latencies are in `e2e` and the rest.
    pub counts: Tally,
    /// Percentiles of e2e (50, 90, 99, 100) in nanoseconds.
    pub e2e: Option<[u64; 4]>,
    /// Percentiles of service (50, 99).
    pub service: Option<[u64; 2]>,
    /// The 99th percentile of OKs.
    pub ok: Option<u64>,
    /// How many e2e latencies are in each row of [`heat_rows`].
    pub heat: Vec<u32>,
    /// Connections at its end.
    pub connections: u64,
    /// The generator's share of a processor in it.
    pub cpu: f64,
}

/// Upper bounds of a heat map's rows in nanoseconds, three for each doubling from 50 µs; what is above the last is in a row
/// of its own.
#[must_use]
pub fn heat_rows() -> Vec<u64> {
    (0..HEAT_ROWS)
        .map(|row| (50_000.0 * 2f64.powf(f64::from(row) / 3.0)) as u64)
        .collect()
}

/// Intervals of an outcome at most: of a longer run they are longer than a second.
pub const MOST_MOMENTS: usize = 1200;
/// Up to about 30 s.
const HEAT_ROWS: u32 = 58;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Count;

    fn found(at: f64, delivered: u64, e2e: u64) -> Outcome {
        let mut counts = Tally::default();
        counts.add(Count::Delivered, delivered);
        let moment = Moment {
            at,
            phase: Phase::Load,
            counts: counts.clone(),
            e2e: Some([e2e; 4]),
            service: None,
            ok: None,
            heat: vec![1, 0],
            connections: 5,
            cpu: 0.25,
        };
        Outcome {
            measured: counts,
            seconds: 1.0,
            began: at,
            moments: vec![moment],
            interval: 1.0,
            ..Outcome::default()
        }
    }

    #[test]
    fn what_agents_found_adds_up_interval_by_interval() {
        let mut sum = Outcome::default();
        for part in [found(3.0, 10, 7), found(3.2, 20, 9), found(4.1, 5, 1)] {
            sum.merge(part);
        }
        let moments: Vec<_> = sum
            .moments
            .iter()
            .map(|moment| {
                (
                    moment.at,
                    moment.counts.count(Count::Delivered),
                    moment.connections,
                    moment.e2e,
                )
            })
            .collect();
        assert_eq!(moments, [(3.0, 30, 10, Some([9; 4])), (4.1, 5, 5, Some([1; 4]))]);
        assert_eq!((sum.measured.count(Count::Delivered), sum.began), (35, 3.0));
    }
}
