//! The kinds of metrics that there are, and how each begins.
//!
//! Must not know their names.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::metrics::times::Times;

/// A label with a closed set of values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// A word from an enum of ours.
    pub reason: &'static str,
}

/// A counter for each reason.
pub type ByReason = Family<Reason, Counter<u64, AtomicU64>>;

/// A label for the job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfJob {
    /// Its name. Not called `job`: that is what Prometheus calls what it asks.
    pub job_name: &'static str,
}

/// Labels for the runs of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobOutcome {
    /// The job's name.
    pub job_name: &'static str,
    /// What became of the run: a word from an enum of ours.
    pub outcome: &'static str,
}

/// A label with what became of something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfOutcome {
    /// A word from a closed set of ours.
    pub outcome: &'static str,
}

/// A counter for each outcome.
pub type ByOutcome = Family<OfOutcome, Counter<u64, AtomicU64>>;

/// Labels of a build.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Build {
    /// Of chatctl.
    pub version: &'static str,
    /// What it was built from, or `unknown`.
    pub commit: &'static str,
}

/// One sample, for this build.
pub type BuildInfo = Family<Build, Gauge>;

/// A gauge that is left out while there is nothing to say.
#[derive(Debug, Clone)]
pub struct MaybeGauge(Arc<AtomicI64>);

impl MaybeGauge {
    /// Says it, or nothing. A negative value counts as nothing.
    pub fn set(&self, value: Option<u64>) {
        let value = value.map_or(NOTHING, |value| i64::try_from(value).unwrap_or(i64::MAX));
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it says.
    #[must_use]
    pub fn get(&self) -> Option<u64> {
        u64::try_from(self.0.load(Ordering::Relaxed)).ok()
    }
}

impl EncodeMetric for MaybeGauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self.get() {
            Some(value) => encoder.encode_gauge(&value),
            None => Ok(()),
        }
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        self.get().is_none()
    }
}

impl TypedMetric for MaybeGauge {
    const TYPE: MetricType = MetricType::Gauge;
}

/// Stands for nothing in a [`MaybeGauge`].
const NOTHING: i64 = -1;

/// A counter for each job.
pub type JobCounter = Family<OfJob, Counter<u64, AtomicU64>>;

/// A gauge for each job.
pub type JobGauge = Family<OfJob, Gauge>;

/// A histogram for each job.
pub type JobHistogram = Family<OfJob, Histogram, fn() -> Histogram>;

/// A counter for each job and outcome.
pub type JobOutcomes = Family<JobOutcome, Counter<u64, AtomicU64>>;

/// How a metric begins.
pub(super) trait New {
    /// What the samples' names end with, after the metric's.
    const SUFFIXES: &'static [&'static str];

    fn new() -> Self;
}

impl New for Counter {
    const SUFFIXES: &'static [&'static str] = &["_total"];

    fn new() -> Self {
        Self::default()
    }
}

impl New for Gauge {
    const SUFFIXES: &'static [&'static str] = &[""];

    fn new() -> Self {
        Self::default()
    }
}

impl New for ByReason {
    const SUFFIXES: &'static [&'static str] = &["_total"];

    fn new() -> Self {
        Self::default()
    }
}

impl New for Times {
    const SUFFIXES: &'static [&'static str] = &["_bucket", "_sum", "_count"];

    fn new() -> Self {
        Self::default()
    }
}

impl New for MaybeGauge {
    const SUFFIXES: &'static [&'static str] = &[""];

    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(NOTHING)))
    }
}

impl New for BuildInfo {
    const SUFFIXES: &'static [&'static str] = &[""];

    fn new() -> Self {
        let info = Self::default();
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("CHATCTL_COMMIT").unwrap_or("unknown"),
        };
        info.get_or_create(&build).set(1);
        info
    }
}

impl New for ByOutcome {
    const SUFFIXES: &'static [&'static str] = &["_total"];

    fn new() -> Self {
        Self::default()
    }
}

impl New for JobCounter {
    const SUFFIXES: &'static [&'static str] = &["_total"];

    fn new() -> Self {
        Self::default()
    }
}

impl New for JobGauge {
    const SUFFIXES: &'static [&'static str] = &[""];

    fn new() -> Self {
        Self::default()
    }
}

impl New for JobOutcomes {
    const SUFFIXES: &'static [&'static str] = &["_total"];

    fn new() -> Self {
        Self::default()
    }
}

impl New for JobHistogram {
    const SUFFIXES: &'static [&'static str] = &["_bucket", "_sum", "_count"];

    /// From 1 ms to 17 min, by fours.
    fn new() -> Self {
        Self::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 11)))
    }
}

/// Counts one more for a reason.
pub trait Count {
    /// One more for `reason`.
    fn count(&self, reason: &'static str);
}

impl Count for ByReason {
    fn count(&self, reason: &'static str) {
        self.get_or_create(&Reason { reason }).inc();
    }
}
