//! Every metric of the daemon: one documented field each, and one place that names them.
//!
//! Names follow the Prometheus conventions (base units, `_total` for counters). No label carries an
//! account, a device, an id or anything else that grows with use.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A label with a closed set of values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// A word from an enum of ours.
    pub reason: &'static str,
}

/// A counter for each reason.
pub type ByReason = Family<Reason, Counter<u64, AtomicU64>>;

/// No label at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Unlabelled {}

/// A gauge that is there only while there is something to show.
pub type Perhaps = Family<Unlabelled, Gauge>;

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

/// A counter for each job.
pub type JobCounter = Family<OfJob, Counter<u64, AtomicU64>>;

/// A gauge for each job.
pub type JobGauge = Family<OfJob, Gauge>;

/// A histogram for each job.
pub type JobHistogram = Family<OfJob, Histogram, fn() -> Histogram>;

/// A counter for each job and outcome.
pub type JobOutcomes = Family<JobOutcome, Counter<u64, AtomicU64>>;

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $name:literal $(, $unit:expr)?;)+) => {
        /// The daemon's metrics. Cheap to update: atomics, no locks except for a new label value.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        impl Metrics {
            /// Registers every metric under `chatctl_`.
            #[must_use]
            pub fn new() -> Self {
                let mut registry = Registry::with_prefix("chatctl");
                $(let $field = <$kind as New>::new();
                metrics!(@register registry, $name, concat!($($help),+), $field $(, $unit)?);)+
                Self { registry, $($field,)+ }
            }
        }
    };
    (@register $registry:ident, $name:literal, $help:expr, $field:ident) => {
        $registry.register($name, $help.trim(), $field.clone());
    };
    (@register $registry:ident, $name:literal, $help:expr, $field:ident, $unit:expr) => {
        $registry.register_with_unit($name, $help.trim(), $unit, $field.clone());
    };
}

/// How a metric begins.
trait New {
    fn new() -> Self;
}

impl New for Counter {
    fn new() -> Self {
        Self::default()
    }
}

impl New for Gauge {
    fn new() -> Self {
        Self::default()
    }
}

impl New for ByReason {
    fn new() -> Self {
        Self::default()
    }
}

impl New for Histogram {
    /// From 0.25 ms to 8 s, doubling.
    fn new() -> Self {
        Self::new(exponential_buckets(0.000_25, 2.0, 16))
    }
}

impl New for Perhaps {
    fn new() -> Self {
        Self::default()
    }
}

impl New for JobCounter {
    fn new() -> Self {
        Self::default()
    }
}

impl New for JobGauge {
    fn new() -> Self {
        Self::default()
    }
}

impl New for JobOutcomes {
    fn new() -> Self {
        Self::default()
    }
}

impl New for JobHistogram {
    /// From 1 ms to 17 min, by fours.
    fn new() -> Self {
        Self::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 11)))
    }
}

metrics! {
    /// WebSocket sessions that are open now
    sessions: Gauge = "sessions";
    /// WebSocket sessions opened
    sessions_opened: Counter = "sessions_opened";
    /// WebSocket sessions closed, by close code name
    sessions_closed: ByReason = "sessions_closed";
    /// Frames received
    frames_received: Counter = "frames_received";
    /// Frames sent
    frames_sent: Counter = "frames_sent";
    /// Messages that were not frames, by what was wrong
    frames_bad: ByReason = "frames_bad";
    /// Envelopes accepted and put on the tail
    envelopes_accepted: Counter = "envelopes_accepted";
    /// Envelopes handed to a session, redeliveries included
    envelopes_delivered: Counter = "envelopes_delivered";
    /// Envelopes acked by their device
    envelopes_acked: Counter = "envelopes_acked";
    /// Envelopes that were acked before the disk had them, and never touched it
    envelopes_elided: Counter = "envelopes_elided";
    /// Envelopes written to the store
    envelopes_stored: Counter = "envelopes_stored";
    /// Envelopes dropped before an ack, by reason
    envelopes_dropped: ByReason = "envelopes_dropped";
    /// Sends refused, by code
    sends_refused: ByReason = "sends_refused";
    /// Sends answered as duplicates
    sends_duplicate: Counter = "sends_duplicate";
    /// Commits of mail
    commits: Counter = "commits";
    /// Commits of mail that failed
    commits_failed: Counter = "commits_failed";
    /// Time of one commit of mail, in the store
    commit_duration: Histogram = "commit_duration", Unit::Seconds;
    /// Payload bytes on the tail
    tail_bytes: Gauge = "tail_bytes";
    /// One-time items claimed, by result: item, fallback, nothing
    claims: ByReason = "claims";
    /// Devices that were low on one-time keys when this relay last looked at all of them
    devices_low_on_keys: Gauge = "devices_low_on_keys";
    /// Requests over a budget or rate, by which
    rate_limited: ByReason = "rate_limited";
    /// TLS handshakes done
    tls_handshakes: Counter = "tls_handshakes";
    /// TLS handshakes that came to nothing: plain, slow, lost, alert, incompatible, protocol
    tls_handshakes_failed: ByReason = "tls_handshakes_failed";
    /// When the certificate ends that new connections are given; not there without TLS
    tls_certificate_expiry: Perhaps = "tls_certificate_expiry_timestamp", Unit::Seconds;
    /// Tokens verified, by result
    tokens_verified: ByReason = "tokens_verified";
    /// Whether the configuration was good when it was last read: 1, or 0 while an older one is kept
    config_good: Gauge = "config_last_reload_successful";
    /// When the configuration was last read and followed, as Unix time
    config_read_at: Gauge = "config_last_reload_success_timestamp_seconds";
    /// Revocations of tokens that this relay heeds
    revocations: Gauge = "revocations";
    /// When the revocations were last read from the store, seconds since 1970
    revocations_read: Gauge = "revocations_read_timestamp", Unit::Seconds;
    /// HTTP answers, by problem code, or ok
    http_answers: ByReason = "http_answers";
    /// Runs of jobs that ended on this relay, and ticks that it noted, by outcome
    job_runs: JobOutcomes = "job_runs";
    /// Time of one run of a job
    job_duration: JobHistogram = "job_duration", Unit::Seconds;
    /// When a job last ended well on any relay, or else when the store first heard of it, as Unix time
    job_last_success: JobGauge = "job_last_success_timestamp", Unit::Seconds;
    /// When a job is due next, as Unix time
    job_next_run: JobGauge = "job_next_run_timestamp", Unit::Seconds;
    /// Time between two ticks of a job, as of now
    job_interval: JobGauge = "job_interval", Unit::Seconds;
    /// What runs of a job removed or found
    job_affected: JobCounter = "job_affected";
    /// Runs of a job that are under way on this relay
    job_running: JobGauge = "job_running";
    /// Whether a job is paused
    job_paused: JobGauge = "job_paused";
    /// Runs of a job in a row, on any relay, that did not end well
    job_failures: JobGauge = "job_failures";
}

impl Metrics {
    /// The text exposition for `GET /metrics` (OpenMetrics).
    ///
    /// # Errors
    ///
    /// [`std::fmt::Error`] never in practice: the buffer grows.
    pub fn exposition(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
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

/// Shows a value, or nothing.
pub trait Show {
    /// Shows this from now on.
    fn show(&self, value: Option<i64>);
}

impl Show for Perhaps {
    fn show(&self, value: Option<i64>) {
        match value {
            Some(value) => drop(self.get_or_create(&Unlabelled {}).set(value)),
            None => self.clear(),
        }
    }
}

/// Reads what was counted.
pub trait Counted {
    /// How many there were for `reason`.
    fn counted(&self, reason: &'static str) -> u64;
}

impl Counted for ByReason {
    fn counted(&self, reason: &'static str) -> u64 {
        self.get(&Reason { reason }).map_or(0, |counter| counter.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_names_and_describes_every_metric() {
        let metrics = Metrics::new();
        metrics.envelopes_elided.inc();
        metrics.sessions_closed.count("normal");
        let text = metrics.exposition().unwrap();
        assert!(text.contains("chatctl_envelopes_elided_total 1"), "{text}");
        assert!(
            text.contains("chatctl_sessions_closed_total{reason=\"normal\"} 1"),
            "{text}"
        );
        let helps = text
            .lines()
            .filter(|line| line.starts_with("# HELP chatctl_"))
            .count();
        let types = text
            .lines()
            .filter(|line| line.starts_with("# TYPE chatctl_"))
            .count();
        assert_eq!(helps, types);
        // A family without a sample has no lines yet.
        assert!(helps >= 14, "{text}");
    }
}
