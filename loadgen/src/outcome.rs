//! What a run found, before anybody judges it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::progress::Phase;
use crate::tally::Tally;

/// An outcome.
#[derive(Debug, Clone, Default)]
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
#[derive(Debug, Clone)]
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
