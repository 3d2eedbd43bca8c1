//! Every metric of the daemon: one documented field each, and one place that names them.
//!
//! Names follow the Prometheus conventions (base units, `_total` for counters). No label carries an
//! account, a device, an id or anything else that grows with use. What is only looked at is set when somebody
//! asks (`http/vitals.rs`), never on the way of mail.

mod kinds;
mod plain;
pub mod process;
mod times;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::kinds::New;

pub use crate::metrics::kinds::{
    Build, BuildInfo, ByOutcome, ByReason, Count, Counted, JobCounter, JobGauge, JobHistogram, JobOutcome,
    JobOutcomes, MaybeGauge, OfJob, OfOutcome, Reason,
};
pub use crate::metrics::times::Times;

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $name:literal $(, $unit:expr)?;)+) => {
        /// The daemon's metrics. Cheap to update: atomics, no locks except for a new label value.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        impl Metrics {
            /// Registers every metric under `chatctl_`, and those of the process under `process_`. The process
            /// counts as started now.
            #[must_use]
            pub fn new() -> Self {
                let mut root = Registry::default();
                root.sub_registry_with_prefix("process")
                    .register_collector(Box::new(process::Process::started_now()));
                let registry = root.sub_registry_with_prefix("chatctl");
                $(let $field = <$kind as New>::new();
                metrics!(@register registry, $name, concat!($($help),+), $field $(, $unit)?);)+
                Self { registry: root, $($field,)+ }
            }

            /// The names of all samples that there can be, with the suffixes of their kinds. For those who write
            /// dashboards: what has not happened yet, or cannot happen to a relay, is not in its exposition.
            #[must_use]
            pub fn names() -> Vec<String> {
                let mut names: Vec<String> = process::NAMES.iter().map(ToString::to_string).collect();
                $(let name = metrics!(@name $name $(, $unit)?);
                names.extend(<$kind as New>::SUFFIXES.iter().map(|suffix| format!("chatctl_{name}{suffix}")));)+
                names
            }
        }
    };
    (@name $name:literal) => {
        $name.to_owned()
    };
    (@name $name:literal, $unit:expr) => {
        format!("{}_{}", $name, $unit.as_str())
    };
    (@register $registry:ident, $name:literal, $help:expr, $field:ident) => {
        $registry.register($name, $help.trim(), $field.clone());
    };
    (@register $registry:ident, $name:literal, $help:expr, $field:ident, $unit:expr) => {
        $registry.register_with_unit($name, $help.trim(), $unit, $field.clone());
    };
}

metrics! {
    /// Which build this is, always 1
    build: BuildInfo = "build_info";
    /// Whether new clients are welcome: 1, or 0 while the relay drains or its store does not answer
    ready: Gauge = "ready";
    /// What time it is here, as Unix time: tokens are judged by it
    clock: Gauge = "clock_timestamp", Unit::Seconds;
    /// WebSocket sessions that are open now
    sessions: Gauge = "sessions";
    /// WebSocket sessions that there may be at once
    sessions_max: Gauge = "sessions_max";
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
    commit_duration: Times = "commit_duration", Unit::Seconds;
    /// Time from accepting an envelope to handing it to a session that was open already
    delivery: Times = "envelope_delivery", Unit::Seconds;
    /// Payload bytes on the tail
    tail_bytes: Gauge = "tail", Unit::Bytes;
    /// Bytes of sends that wait for their commit
    uncommitted_bytes: Gauge = "uncommitted", Unit::Bytes;
    /// Bytes of sends that may wait for their commit; when they are used up, sends wait
    uncommitted_max_bytes: Gauge = "uncommitted_max", Unit::Bytes;
    /// Envelopes in the store that wait for their devices, where the store knows
    envelopes_waiting: MaybeGauge = "envelopes_waiting";
    /// Size of the store's files, where they are on this machine
    store_bytes: MaybeGauge = "store", Unit::Bytes;
    /// Size of the store's write-ahead log, where it is on this machine
    store_log_bytes: MaybeGauge = "store_log", Unit::Bytes;
    /// Free disk space for the store, where it is on this machine
    store_free_bytes: MaybeGauge = "store_free", Unit::Bytes;
    /// Free disk space below which sends are refused
    store_reserve_bytes: MaybeGauge = "store_reserve", Unit::Bytes;
    /// Time of one request to the database, all its round trips included; none on the embedded store
    store_request_duration: Times = "store_request_duration", Unit::Seconds;
    /// Requests that the database did not answer, or not in time
    store_requests_failed: Counter = "store_requests_failed";
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
    tls_certificate_expiry: MaybeGauge = "tls_certificate_expiry_timestamp", Unit::Seconds;
    /// Tokens verified, by result
    tokens_verified: ByReason = "tokens_verified";
    /// Whether the configuration was good when it was last read: 1, or 0 while an older one is kept
    config_good: Gauge = "config_last_reload_successful";
    /// When the configuration was last read and followed, as Unix time
    config_read_at: Gauge = "config_last_reload_success_timestamp", Unit::Seconds;
    /// Revocations of tokens that this relay heeds
    revocations: Gauge = "revocations";
    /// When the revocations were last read from the store, as Unix time
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
    /// Spans for the collector of traces, by what became of them: sent, failed, dropped
    spans: ByOutcome = "spans";
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

    /// The same in the older text format (version 0.0.4), for those who cannot read OpenMetrics.
    ///
    /// # Errors
    ///
    /// [`std::fmt::Error`] never in practice: the buffer grows.
    pub fn plain_exposition(&self) -> Result<String, std::fmt::Error> {
        self.exposition().map(|text| plain::from_openmetrics(&text))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
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
