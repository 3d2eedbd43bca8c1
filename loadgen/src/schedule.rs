//! When each message of an open load is due. Fixed before the run: nothing that a server does moves it.
//!
//! # Why
//!
//! A schedule is a curve, the number of messages that are due until a moment, and every message is the moment at
//! which the curve reaches its number. Rates that stand or grow evenly make lines and parabolas, so nothing is added
//! up message by message, and nothing drifts. Poisson arrivals are the same curve read at sums of random gaps.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use crate::clock::{Nanos, nanos};
use crate::scenario::{Arrival, Stage};

/// A message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Since the load began, warm-up included.
    pub at: Nanos,
    /// Whether it counts, which no message of the warm-up does.
    pub measured: bool,
}

/// The messages of one worker, in order of time. Ends with the load.
#[derive(Debug, Clone)]
pub struct Schedule {
    warmup: Curve,
    load: Curve,
    warmup_lasts: Nanos,
    worker: Worker,
    is_measured: bool,
}

/// Which of a curve's messages are a worker's.
#[derive(Debug, Clone)]
enum Worker {
    /// Every so many-th.
    Constant { next: u64, index: u32, of: u32 },
    /// Independent ones, at its share of the rate.
    Poisson {
        at: f64,
        of: u32,
        dice: Box<Xoshiro256PlusPlus>,
    },
}

/// How many messages are due until a moment.
#[derive(Debug, Clone, Default)]
struct Curve {
    pieces: Vec<Piece>,
    seconds: f64,
    messages: f64,
}

/// A part of a curve in which the rate stands, or changes evenly.
#[derive(Debug, Clone, Copy)]
struct Piece {
    starts: f64,
    before: f64,
    rate: f64,
    growth: f64,
}

impl Schedule {
    /// The schedule of worker `index` of `of`. Warm-up comes first, at the rate with which the first stage begins. A
    /// worker beyond the last has the messages of none.
    #[must_use]
    pub fn new(
        stages: &[Stage],
        arrival: Arrival,
        warmup: Duration,
        seed: u64,
        (index, of): (u32, u32),
    ) -> Self {
        let mut before = Curve::default();
        if let Some(first) = stages.first() {
            let rate = first.from.unwrap_or(first.rate).get();
            before.grow(rate, rate, warmup.as_secs_f64());
        }
        let mut load = Curve::default();
        for stage in stages {
            let from = stage.from.unwrap_or(stage.rate);
            load.grow(from.get(), stage.rate.get(), stage.lasts.0.as_secs_f64());
        }
        let of = of.max(1);
        let worker = match arrival {
            Arrival::Constant => Worker::Constant {
                next: u64::from(index),
                index,
                of,
            },
            Arrival::Poisson => {
                // Far apart, so that neighbours of one run are not workers of the next.
                let own = seed.wrapping_add(u64::from(index).wrapping_mul(0x9E37_79B9_7F4A_7C15));
                let mut dice = Box::new(Xoshiro256PlusPlus::seed_from_u64(own));
                let at = gap(&mut dice);
                Worker::Poisson { at, of, dice }
            }
        };
        Self {
            warmup: before,
            load,
            warmup_lasts: nanos(warmup),
            worker,
            is_measured: false,
        }
    }

    /// From the beginning of the warm-up to the end of the last stage.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        Duration::from_nanos(self.warmup_lasts) + Duration::from_secs_f64(self.load.seconds)
    }

    /// Messages that are due in the measured part, of all workers together; of Poisson arrivals, the expected ones.
    #[must_use]
    pub fn planned(&self) -> u64 {
        self.load.whole()
    }
}

impl Iterator for Schedule {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        loop {
            let curve = if self.is_measured {
                &self.load
            } else {
                &self.warmup
            };
            if let Some(seconds) = self.worker.next(curve) {
                let began = if self.is_measured { self.warmup_lasts } else { 0 };
                return Some(Due {
                    at: began + (seconds * 1e9).round() as Nanos,
                    measured: self.is_measured,
                });
            }
            if self.is_measured {
                return None;
            }
            self.is_measured = true;
            // Both parts begin anew: what is measured does not depend on how long the warm-up was.
            self.worker.begin();
        }
    }
}

impl Worker {
    /// The moment of its next message on a curve, in seconds.
    fn next(&mut self, curve: &Curve) -> Option<f64> {
        match self {
            Self::Constant { next, index, of } => {
                if index >= of || *next >= curve.whole() {
                    return None;
                }
                let at = curve.reaches(*next as f64);
                *next += u64::from(*of);
                Some(at)
            }
            Self::Poisson { at, of, dice } => {
                let messages = *at * f64::from(*of);
                if messages >= curve.messages {
                    return None;
                }
                *at += gap(dice);
                Some(curve.reaches(messages))
            }
        }
    }

    fn begin(&mut self) {
        match self {
            Self::Constant { next, index, .. } => *next = u64::from(*index),
            Self::Poisson { at, dice, .. } => *at = gap(dice),
        }
    }
}

impl Curve {
    fn grow(&mut self, from: f64, to: f64, seconds: f64) {
        if seconds <= 0.0 {
            return;
        }
        self.pieces.push(Piece {
            starts: self.seconds,
            before: self.messages,
            rate: from,
            growth: (to - from) / seconds,
        });
        self.seconds += seconds;
        self.messages += f64::midpoint(from, to) * seconds;
    }

    /// Messages from number 0 that are due before the end. What sums of seconds and rates lose is not a message.
    fn whole(&self) -> u64 {
        (self.messages * (1.0 - 1e-12) - 1e-6).ceil().max(0.0) as u64
    }

    /// When so many messages were due. Below the end.
    fn reaches(&self, messages: f64) -> f64 {
        let at = self.pieces.partition_point(|piece| piece.before <= messages);
        let Some(piece) = self.pieces.get(at.saturating_sub(1)) else {
            return 0.0;
        };
        let more = messages - piece.before;
        // The root of rate * t + growth / 2 * t² = more, in the form that loses no digits when growth is small.
        let root = (piece.rate * piece.rate + 2.0 * piece.growth * more)
            .max(0.0)
            .sqrt();
        piece.starts + 2.0 * more / (piece.rate + root)
    }
}

/// A gap between arrivals, in arrivals.
fn gap(dice: &mut Xoshiro256PlusPlus) -> f64 {
    -(1.0 - dice.random::<f64>()).ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::{Rate, Span};

    fn stage(from: Option<f64>, rate: f64, millis: u64) -> Stage {
        Stage {
            from: from.map(|from| Rate::per_second(from).unwrap()),
            rate: Rate::per_second(rate).unwrap(),
            lasts: Span(Duration::from_millis(millis)),
        }
    }

    fn stages() -> impl Strategy<Value = Vec<Stage>> {
        let one = (prop::option::of(1.0..3000.0), 1.0..3000.0, 1u64..2000);
        prop::collection::vec(
            one.prop_map(|(from, rate, millis)| stage(from, rate, millis)),
            1..4,
        )
    }

    fn constant(stages: &[Stage], warmup: Duration, worker: (u32, u32)) -> Schedule {
        Schedule::new(stages, Arrival::Constant, warmup, 42, worker)
    }

    fn poisson(stages: &[Stage], seed: u64, worker: (u32, u32)) -> Vec<Due> {
        Schedule::new(stages, Arrival::Poisson, Duration::ZERO, seed, worker).collect()
    }

    #[test]
    fn messages_are_due_to_the_nanosecond_after_a_warm_up_that_does_not_count() {
        let schedule = constant(&[stage(None, 4.0, 1000)], Duration::from_millis(500), (0, 1));
        assert_eq!(
            (schedule.planned(), schedule.lasts()),
            (4, Duration::from_millis(1500))
        );
        let due: Vec<_> = schedule.map(|due| (due.at / 1_000_000, due.measured)).collect();
        assert_eq!(
            due,
            [
                (0, false),
                (250, false),
                (500, true),
                (750, true),
                (1000, true),
                (1250, true)
            ]
        );
    }

    #[test]
    fn a_rate_that_grows_evenly_is_integrated() {
        // From 0+ to 200/s in a second: 100 messages, the k-th at sqrt(k / 100).
        let schedule = constant(&[stage(Some(1e-9), 200.0, 1000)], Duration::ZERO, (0, 1));
        assert_eq!(schedule.planned(), 100);
        for (k, due) in schedule.enumerate().skip(1) {
            let expected = (k as f64 / 100.0).sqrt() * 1e9;
            assert!((due.at as f64 - expected).abs() < 100.0, "{k}: {due:?}");
        }
    }

    #[test]
    fn an_hour_does_not_drift() {
        let schedule = constant(&[stage(None, 3000.0, 3_600_000)], Duration::ZERO, (999, 1000));
        assert_eq!(schedule.planned(), 10_800_000);
        let last = schedule.last().unwrap();
        assert_eq!(last.at, 3_600_000_000_000 - 333_333);
    }

    #[test]
    fn a_load_without_stages_has_no_messages_and_a_worker_too_many_has_none() {
        assert_eq!(constant(&[], Duration::from_secs(1), (0, 1)).count(), 0);
        assert_eq!(
            constant(&[stage(None, 9.0, 1000)], Duration::ZERO, (2, 2)).count(),
            0
        );
    }

    #[test]
    fn independent_arrivals_have_the_mean_and_the_variance_of_poisson() {
        let stages = [stage(None, 1000.0, 20_000)];
        for seed in 1..=10 {
            let all: Vec<Due> = (0..4)
                .flat_map(|index| poisson(&stages, seed, (index, 4)))
                .collect();
            let count = all.len() as f64;
            // 4.5 standard deviations.
            assert!((count - 20_000.0).abs() < 4.5 * 20_000f64.sqrt(), "{count}");
            let mut each = vec![0f64; 2000];
            for due in &all {
                each[(due.at / 10_000_000) as usize] += 1.0;
            }
            let mean = count / 2000.0;
            let variance = each.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 1999.0;
            assert!((0.8..1.2).contains(&(variance / mean)), "{variance} of {mean}");
        }
    }

    proptest! {
        #[test]
        fn constant_messages_are_as_many_as_rate_times_time(stages in stages(), warmup in 0u64..500) {
            let schedule = constant(&stages, Duration::from_millis(warmup), (0, 1));
            let area: f64 = stages.iter()
                .map(|one| f64::midpoint(one.from.unwrap_or(one.rate).get(), one.rate.get()) * one.lasts.0.as_secs_f64())
                .sum();
            let (planned, lasts) = (schedule.planned(), schedule.lasts());
            prop_assert!((planned as f64 - area).abs() <= 1.0, "{planned} of {area}");
            let due: Vec<Due> = schedule.collect();
            prop_assert_eq!(due.iter().filter(|due| due.measured).count() as u64, planned);
            prop_assert!(due.is_sorted_by_key(|due| due.at));
            prop_assert!(due.iter().all(|due| Duration::from_nanos(due.at) < lasts + Duration::from_nanos(2)));
            prop_assert!(due.iter().all(|due| due.measured == (due.at >= warmup * 1_000_000)));
        }

        #[test]
        fn workers_share_the_constant_schedule_without_a_rest(stages in stages(), of in 1u32..7, warmup in 0u64..300) {
            let warmup = Duration::from_millis(warmup);
            let whole: Vec<Due> = constant(&stages, warmup, (0, 1)).collect();
            let mut parts: Vec<Due> = (0..of).flat_map(|index| constant(&stages, warmup, (index, of))).collect();
            parts.sort_by_key(|due| due.at);
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn the_same_seed_makes_the_same_arrivals_in_order(stages in stages(), seed: u64, of in 1u32..4) {
            let one = poisson(&stages, seed, (0, of));
            prop_assert_eq!(&one, &poisson(&stages, seed, (0, of)));
            prop_assert!(one.is_sorted_by_key(|due| due.at));
            if one.len() > 5 {
                prop_assert_ne!(&one, &poisson(&stages, seed ^ 1, (0, of)));
                prop_assert_ne!(&one, &poisson(&stages, seed, (1, of)));
            }
        }
    }
}
