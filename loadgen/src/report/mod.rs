//! A run as a document: [`Report`] is `chatctl.bench.report/v1`, and everything that is shown (a screen, a page, a
//! table, a log of histograms) is made from it alone.
//!
//! Units stand in the names. Members are only ever added to a version.

pub mod build;
pub mod compare;
pub mod csv;
pub mod figures;
pub mod histogram;
pub mod hlog;
pub mod html;
pub mod judge;
pub mod junit;
pub mod markdown;
#[cfg(test)]
mod sample;
pub mod screen;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::outcome::Integrity;
use crate::scenario::Scenario;

/// A report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Names the run.
    pub run_id: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// What came of it.
    pub verdict: Verdict,
    /// Why, when it did not pass: one sentence each.
    pub reasons: Vec<String>,
    /// Figures for scripts, flat; `e2e_p99_ms`, `throughput_per_second`, `lost` and the like.
    pub ci: BTreeMap<String, f64>,
    /// Labels of the person who ran it.
    pub labels: BTreeMap<String, String>,
    /// What was done.
    pub scenario: Scenario,
    /// A digest of the scenario, without its name and its thresholds: reports are comparable when it is the same.
    pub scenario_hash: String,
    /// Where.
    pub environment: Environment,
    /// Planned and done.
    pub load: LoadFigures,
    /// By the names of [`crate::tally::Latency`]. Those that were not measured are left out.
    pub latency: BTreeMap<String, LatencyFigures>,
    /// What became of the messages.
    pub integrity: Integrity,
    /// Errors by class.
    pub errors: Vec<ErrorFigures>,
    /// What the server used, when it could be seen.
    pub server: Option<ServerFigures>,
    /// What the generator used.
    pub generator: GeneratorFigures,
    /// What had to hold.
    pub thresholds: Vec<Judged>,
    /// Second by second.
    pub series: Series,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every threshold holds.
    Pass,
    /// A threshold does not hold.
    Fail,
    /// The generator was the bottleneck, or could not see what it was to measure: the figures say nothing.
    Invalid,
    /// It was stopped before its end.
    Interrupted,
}

/// Where a run took place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// The version of chatctl that measured.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
    /// `chatctl`, or the adapter.
    pub target: String,
    /// Where it was, without secrets.
    pub url: String,
    /// What the server says that it is.
    pub server_version: Option<String>,
    /// The store behind it, when it was told.
    pub store: Option<String>,
    /// Model of the processor.
    pub cpu: String,
    /// Processors that can be used.
    pub cores: u32,
    /// The kernel's release.
    pub kernel: String,
    /// Descriptors that may be open.
    pub nofile: u64,
    /// Whether server and generator share the machine: figures are a lower bound then.
    pub same_host: bool,
    /// Threads that generated.
    pub workers: u32,
    /// Agents that took part, with the uncertainty of their clocks.
    pub agents: Vec<AgentFigures>,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentFigures {
    /// Its address.
    pub address: String,
    /// Clients that it simulated.
    pub clients: u32,
    /// How far its clock was from the coordinator's.
    pub clock_offset_seconds: f64,
    /// How sure that is.
    pub clock_uncertainty_seconds: f64,
}

/// Planned and done, in the measured part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadFigures {
    /// `open`, `closed`, or `none` where nothing is sent. In a closed model latency is what the server takes, not what
    /// users would feel.
    pub model: String,
    /// How long it was measured.
    pub seconds: f64,
    /// Clients.
    pub clients: u32,
    /// Messages planned per second, each counted once for each recipient; none in a closed model.
    pub planned_per_second: Option<f64>,
    /// Messages that were due.
    pub due: u64,
    /// Messages that left.
    pub sent: u64,
    /// Messages that were due and never left.
    pub missed: u64,
    /// Messages that were accepted.
    pub accepted: u64,
    /// Messages that arrived.
    pub delivered: u64,
    /// The same, per second.
    pub sent_per_second: f64,
    /// The same, per second.
    pub accepted_per_second: f64,
    /// The same, per second.
    pub delivered_per_second: f64,
    /// Payload that arrived.
    pub delivered_bytes_per_second: f64,
    /// Messages that went into mailboxes of devices that were away, per second.
    #[serde(default)]
    pub stored_per_second: Option<f64>,
    /// Messages that came out of them, per second.
    #[serde(default)]
    pub drained_per_second: Option<f64>,
    /// Everything else that was counted, by the names of [`crate::tally::Count`].
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
}

/// A latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyFigures {
    /// How often it was measured.
    pub count: u64,
    /// The shortest.
    pub min_seconds: f64,
    /// The mean.
    pub mean_seconds: f64,
    /// Half are shorter.
    pub p50_seconds: f64,
    /// The 75th percentile.
    pub p75_seconds: f64,
    /// The 90th percentile.
    pub p90_seconds: f64,
    /// The 95th percentile.
    pub p95_seconds: f64,
    /// The 99th percentile.
    pub p99_seconds: f64,
    /// The 99.9th percentile.
    pub p999_seconds: f64,
    /// The 99.99th percentile.
    pub p9999_seconds: f64,
    /// The longest.
    pub max_seconds: f64,
    /// The whole histogram, of nanoseconds: HdrHistogram V2 compressed, in base64.
    pub hdr_v2: String,
}

impl LatencyFigures {
    /// The percentiles 50, 75, 90, 95, 99, 99.9 and 99.99, and the longest, in seconds.
    #[must_use]
    pub const fn percentiles(&self) -> [f64; 8] {
        [
            self.p50_seconds,
            self.p75_seconds,
            self.p90_seconds,
            self.p95_seconds,
            self.p99_seconds,
            self.p999_seconds,
            self.p9999_seconds,
            self.max_seconds,
        ]
    }
}

/// Errors of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorFigures {
    /// The class: `close.1013`.
    pub class: String,
    /// How often.
    pub count: u64,
}

/// What the server used in the measured part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerFigures {
    /// Its process, when it is on this host.
    pub pid: Option<u32>,
    /// Processor time.
    pub cpu_seconds: f64,
    /// Processor time for each message that arrived.
    pub cpu_seconds_per_message: Option<f64>,
    /// Resident memory at the most.
    pub rss_max_bytes: u64,
    /// Resident memory before the first client.
    pub rss_before_bytes: u64,
    /// What a connection added to it.
    pub rss_bytes_per_connection: Option<f64>,
    /// Bytes given to the disk.
    pub written_bytes: Option<u64>,
    /// Bytes given to the disk for each message that was accepted.
    pub written_bytes_per_message: Option<f64>,
    /// Commits of the store.
    pub commits: Option<u64>,
    /// Commits for each message that was accepted.
    pub commits_per_message: Option<f64>,
    /// The share of envelopes that were acked before they had to be stored.
    pub elided_share: Option<f64>,
}

/// What the generator used in the measured part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorFigures {
    /// Processor time.
    pub cpu_seconds: f64,
    /// Processor time for each message that was sent.
    pub cpu_seconds_per_message: Option<f64>,
    /// The busiest thread's share of a processor.
    pub busiest_worker: f64,
    /// The 99th percentile of how late messages left.
    pub late_p99_seconds: f64,
    /// Resident memory at the most.
    pub rss_max_bytes: u64,
    /// Descriptors that were open.
    pub open_files: u64,
    /// What `calibrate` found on this machine, when it was run.
    pub ceiling_per_second: Option<f64>,
}

/// A threshold and what was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// As it was written.
    pub expression: String,
    /// What was found, in the unit of the metric (seconds, bytes, events, shares); none when nothing was measured.
    pub actual: Option<f64>,
    /// The same for people: `18.4ms`.
    pub shown: String,
    /// Whether it holds. Never when nothing was measured.
    pub holds: bool,
}

/// Interval by interval: every list has one value for each of `at`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// How long an interval is.
    pub interval_seconds: f64,
    /// Where intervals begin, in seconds since the run began to connect.
    pub at: Vec<f64>,
    /// The phase an interval begins in: `connect`, `warmup`, `load`, `drain`.
    pub phase: Vec<String>,
    /// Due per second.
    pub due: Vec<f64>,
    /// Sent per second.
    pub sent: Vec<f64>,
    /// Accepted per second.
    pub accepted: Vec<f64>,
    /// Delivered per second.
    pub delivered: Vec<f64>,
    /// Connections at its end.
    pub connections: Vec<f64>,
    /// Reconnects in it.
    pub reconnects: Vec<f64>,
    /// Errors in it.
    pub errors: Vec<f64>,
    /// e2e, from due; none when nothing arrived.
    pub e2e_p50_seconds: Vec<Option<f64>>,
    /// e2e, from due.
    pub e2e_p90_seconds: Vec<Option<f64>>,
    /// e2e, from due.
    pub e2e_p99_seconds: Vec<Option<f64>>,
    /// e2e, from due.
    pub e2e_max_seconds: Vec<Option<f64>>,
    /// From sent.
    pub service_p50_seconds: Vec<Option<f64>>,
    /// From sent.
    pub service_p99_seconds: Vec<Option<f64>>,
    /// The OK, from due.
    pub ok_p99_seconds: Vec<Option<f64>>,
    /// Upper bounds of the heat map's rows, the last one without end.
    pub heat_seconds: Vec<f64>,
    /// For each interval, how many e2e latencies are in each row.
    pub heat: Vec<Vec<u32>>,
    /// The server's share of a processor.
    pub server_cpu: Vec<Option<f64>>,
    /// The server's resident memory.
    pub server_rss_bytes: Vec<Option<f64>>,
    /// The generator's share of a processor.
    pub generator_cpu: Vec<f64>,
}

/// The version of the format.
pub const SCHEMA: &str = "chatctl.bench.report/v1";
