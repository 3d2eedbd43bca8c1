//! Jobs, runs and leases as the commands show them: what a relay answers, or the same made from the store.

use std::collections::BTreeMap;

use chatctl_relay::http::admin::jobs::answers::{FindingsAnswer, HeldAnswer, JobAnswer, RunAnswer};
use chatctl_relay::jobs::Findings;
use chatctl_relay::jobs::board::Standing;
use chatctl_relay::model::UnixMs;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::figures::{dated, span, tame, thousands};

/// A job, and how it stands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Job {
    pub(super) name: String,
    /// What it does.
    pub(super) about: String,
    /// Whether it removes something that somebody might miss.
    pub(super) deletes: bool,
    /// Whether it is due by itself.
    pub(super) is_on: bool,
    /// When it is due, as it was written.
    pub(super) schedule: Option<String>,
    /// What was understood.
    pub(super) sentence: Option<String>,
    /// Time zone of the schedule.
    pub(super) zone: Option<String>,
    /// `skip` or `queue-one`.
    pub(super) overlap: String,
    /// `run-once` or `skip`.
    pub(super) missed: String,
    pub(super) jitter_ms: u64,
    pub(super) timeout_ms: u64,
    /// The next tick that is not in a pause (RFC 3339).
    pub(super) next_at: Option<String>,
    /// RFC 3339; the end of the year 9999 when there is no end.
    pub(super) paused_until: Option<String>,
    /// Who runs it, on whichever relay.
    pub(super) held: Option<Held>,
    /// The last tick of the schedule that was answered (RFC 3339).
    pub(super) last_tick: Option<String>,
    /// When a run last ended well (RFC 3339).
    pub(super) last_success: Option<String>,
    /// Runs since then that did not.
    pub(super) failures: u32,
    pub(super) last_run: Option<Run>,
    /// What a run on the relay that was asked has done so far.
    pub(super) under_way: Option<UnderWay>,
}

/// Who has a job's lease.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Held {
    pub(super) run: String,
    /// Host and process.
    pub(super) holder: String,
    pub(super) fence: u64,
    /// RFC 3339.
    pub(super) since: String,
    /// Milliseconds for which it is good without a renewal.
    pub(super) remaining_ms: u64,
}

/// A run, as it is remembered.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Run {
    pub(super) run: String,
    pub(super) job: String,
    /// When it was due (RFC 3339).
    pub(super) scheduled_for: String,
    /// It answers every tick later than this one, too (RFC 3339).
    pub(super) after: String,
    pub(super) attempt: u32,
    /// `schedule` or `hand`.
    pub(super) trigger: String,
    /// Host and process.
    pub(super) holder: String,
    /// RFC 3339.
    pub(super) began_at: String,
    /// RFC 3339; nothing while it runs or waits.
    pub(super) ended_at: Option<String>,
    pub(super) took_ms: Option<u64>,
    /// `ok`, `failed`, `timeout`, `stopped`, …
    pub(super) outcome: String,
    pub(super) affected: u64,
    pub(super) counts: BTreeMap<String, u64>,
    /// RFC 3339.
    pub(super) oldest: Option<String>,
    pub(super) retries: u32,
    pub(super) error: Option<String>,
}

/// What a run has done, or would do.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Found {
    pub(super) affected: u64,
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) bytes: u64,
    /// RFC 3339.
    pub(super) oldest: Option<String>,
    pub(super) retries: u32,
    pub(super) lines: Vec<String>,
}

/// A run on the relay that was asked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct UnderWay {
    pub(super) run: String,
    /// RFC 3339.
    pub(super) since: String,
    pub(super) findings: Found,
}

impl Job {
    /// The job of a store.
    pub(super) fn of(standing: Standing) -> Result<Self, Failure> {
        same(&JobAnswer::of(standing, None))
    }
}

impl Run {
    /// The run of a store.
    pub(super) fn of(run: chatctl_relay::store::Run) -> Result<Self, Failure> {
        same(&RunAnswer::of(run))
    }
}

impl Held {
    /// The lease of a store.
    pub(super) fn of(held: chatctl_relay::store::Held) -> Result<Self, Failure> {
        same(&HeldAnswer::of(held))
    }

    /// `relay-2:4711 since 2026-11-22T12:00:00Z (20s ago; lease until 2026-11-22T12:01:01Z)`.
    pub(super) fn sentence(&self, now: UnixMs) -> String {
        let holder = tame(&self.holder);
        let until = UnixMs(now.0.saturating_add(self.remaining_ms)).rfc3339();
        let lease = match self.remaining_ms {
            0 => "lease is over".to_owned(),
            _ => format!("lease until {until}"),
        };
        format!("{holder} since {} ({lease})", tame(&self.since))
    }

    /// Whether the holder renews it: what an operator goes by before breaking it.
    pub(super) fn liveness(&self, now: UnixMs) -> String {
        let holder = tame(&self.holder);
        let since = dated(&self.since, now);
        let left = match self.remaining_ms {
            0 => "the lease is over, the next one takes it".to_owned(),
            millis => {
                let left = span(std::time::Duration::from_secs(millis.div_ceil(1000)));
                format!("the lease is good for {left} without a renewal")
            }
        };
        format!("{holder} has it since {since}; {left}")
    }
}

impl Found {
    /// What a chore found.
    pub(super) fn of(findings: Findings) -> Result<Self, Failure> {
        same(&FindingsAnswer::of(findings))
    }

    /// The same in one line, while it grows.
    pub(super) fn progress(&self) -> String {
        let bytes = match self.bytes {
            0 => String::new(),
            bytes => format!(", {}", crate::figures::bytes(bytes)),
        };
        let retries = match self.retries {
            0 => String::new(),
            retries => format!(", {retries} retries"),
        };
        format!("{}{bytes}{retries}", thousands(self.affected))
    }
}

/// A relay's answer, or a part of it.
///
/// # Errors
///
/// [`Exit::Protocol`] when it is of another form.
pub(super) fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::new(Exit::Protocol, "the relay answers, but not as one does")
            .caused_by(&error)
            .hint("is it a relay of this version?")
    })
}

/// What a relay would answer. One form, whoever is asked.
fn same<T: DeserializeOwned>(answer: &impl Serialize) -> Result<T, Failure> {
    let value = serde_json::to_value(answer).and_then(serde_json::from_value);
    value.map_err(|error| Failure::from_error(Exit::Failure, &error))
}
