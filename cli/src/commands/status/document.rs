//! A status as a relay answers it. What an older relay does not say is zero or nothing, what a newer one says besides
//! is passed on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::out::Document;

/// How a relay is. Durations are seconds, sizes bytes; counters are since its start.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) pid: u32,
    /// RFC 3339.
    pub(crate) started_at: String,
    /// By a clock that nobody sets.
    pub(crate) up_seconds: f64,
    /// What its clock shows (RFC 3339).
    pub(crate) now: String,
    /// Its number among the relays of its store.
    pub(crate) node: Option<u16>,
    /// Whether new clients are welcome.
    pub(crate) ready: bool,
    /// Why they are not.
    pub(crate) not_ready: Option<String>,
    pub(crate) draining: bool,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) sessions: Sessions,
    pub(crate) store: Store,
    pub(crate) mail: Mail,
    pub(crate) keys: Keys,
    /// Null where no TLS is spoken.
    pub(crate) tls: Option<Tls>,
    pub(crate) config: Configuration,
    /// Null when the store does not say.
    pub(crate) jobs: Option<Vec<Job>>,
    /// Whether the relay runs jobs by schedule.
    pub(crate) jobs_by_schedule: bool,
    /// Requests over a budget or rate, by which.
    pub(crate) rate_limited: BTreeMap<String, u64>,
    /// HTTP answers, by problem code, or `ok`.
    pub(crate) http: BTreeMap<String, u64>,
    /// Null where no supervisor asks for a sign of life.
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) process: Process,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Document for Status {
    const SCHEMA: &'static str = "chatctl.status/v1";
}

/// Where it listens.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Listener {
    pub(crate) address: String,
    /// `tcp` or `unix`.
    pub(crate) kind: String,
    pub(crate) tls: bool,
    /// Whether the supervisor opened it.
    pub(crate) inherited: bool,
}

/// Sessions of devices.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Sessions {
    pub(crate) open: u64,
    pub(crate) most: u64,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    /// By the name of the close code.
    pub(crate) closed_by: BTreeMap<String, u64>,
    pub(crate) descriptors: Descriptors,
}

/// Files and sockets of the process; null where there is no limit.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Descriptors {
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
    pub(crate) open: Option<u64>,
}

/// The store.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Store {
    /// `embedded` or `mongodb`.
    pub(crate) kind: String,
    pub(crate) answers: bool,
    pub(crate) bytes: Option<u64>,
    pub(crate) free_bytes: Option<u64>,
}

/// Mail.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Mail {
    /// What is durable already included.
    pub(crate) tail_bytes: u64,
    pub(crate) tail_most: u64,
    pub(crate) uncommitted_bytes: u64,
    pub(crate) uncommitted_most: u64,
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) acked: u64,
    /// Acked before the disk had them.
    pub(crate) elided: u64,
    pub(crate) stored: u64,
    pub(crate) dropped: u64,
    pub(crate) dropped_by: BTreeMap<String, u64>,
    pub(crate) refused: u64,
    pub(crate) refused_by: BTreeMap<String, u64>,
    pub(crate) duplicates: u64,
    pub(crate) commits: u64,
    pub(crate) commits_failed: u64,
    pub(crate) commit_seconds: CommitSeconds,
    /// In the store, over all mailboxes.
    pub(crate) waiting: Option<u64>,
}

/// How long commits take; the percentiles are of the last one to two minutes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct CommitSeconds {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

/// The keys of tokens, and public keys of devices.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Keys {
    pub(crate) signing_kid: Option<String>,
    pub(crate) believed: Vec<String>,
    /// `file`, `credential` or `memory`.
    pub(crate) from: String,
    pub(crate) age_seconds: Option<f64>,
    /// Outside issuers that have given no keys yet.
    pub(crate) silent_issuers: u64,
    /// One-time keys claimed: `item`, `fallback`, `nothing`.
    pub(crate) claims: BTreeMap<String, u64>,
    /// Devices that were low on one-time keys.
    pub(crate) low_devices: u64,
}

/// The certificate.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Tls {
    /// RFC 3339.
    pub(crate) certificate_expires_at: String,
    /// `file` or `credential`.
    pub(crate) from: String,
}

/// The configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Configuration {
    pub(crate) generation: u64,
    /// Whether it was good when it was last read.
    pub(crate) good: bool,
    /// When one was last followed (RFC 3339).
    pub(crate) read_at: String,
}

/// A job, in short.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) is_on: bool,
    /// Whether it has not ended well for more than three intervals.
    pub(crate) is_overdue: bool,
    pub(crate) is_running: bool,
    pub(crate) paused_until: Option<String>,
    /// In a row.
    pub(crate) failures: u32,
    pub(crate) last_outcome: Option<String>,
    pub(crate) last_success: Option<String>,
    pub(crate) next_at: Option<String>,
}

/// The supervisor's watchdog.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Watchdog {
    pub(crate) interval_ms: u64,
}

/// What the system says of the process.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Process {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) cpu_seconds: f64,
}
