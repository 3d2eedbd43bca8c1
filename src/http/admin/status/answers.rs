//! The document of a status. Durations are seconds, sizes bytes; counters are since the start of the process.

use std::collections::BTreeMap;
use std::time::Duration;

use chatctl_protocol::{CloseCode, Code};
use serde::Serialize;
use utoipa::ToSchema;

use super::Listener;
use super::glance::Glance;
use super::jobs::JobLamp;
use crate::auth::KeyState;
use crate::http::Doors;
use crate::http::descriptors::Descriptors;
use crate::http::openapi::values;
use crate::metrics::{ByReason, Counted as _, process};
use crate::model::UnixMs;
use crate::tls::{Facts, Source};

/// How a relay is.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatusAnswer {
    /// Of chatctl.
    #[schema(example = "0.1.0")]
    pub version: &'static str,
    /// Its process.
    #[schema(value_type = values::Count)]
    pub pid: u32,
    /// When it was started (RFC 3339).
    #[schema(value_type = values::Time)]
    pub started_at: String,
    /// How long it has been up, by a clock that nobody sets: what rates are computed with.
    #[schema(minimum = 0.0)]
    pub up_seconds: f64,
    /// What its clock shows (RFC 3339).
    #[schema(value_type = values::Time)]
    pub now: String,
    /// Its number among the relays of its store; nothing where there are no others.
    #[schema(value_type = Option<values::Count>)]
    pub node: Option<u16>,
    /// Whether new clients are welcome.
    pub ready: bool,
    /// Why they are not.
    pub not_ready: Option<String>,
    /// Whether it is about to stop.
    pub draining: bool,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Sessions of devices.
    pub sessions: SessionsAnswer,
    /// The store.
    pub store: StoreAnswer,
    /// Mail.
    pub mail: MailAnswer,
    /// The keys of tokens, and public keys of devices.
    pub keys: TokenKeysAnswer,
    /// The certificate; nothing where no TLS is spoken.
    pub tls: Option<TlsAnswer>,
    /// The configuration.
    pub config: ConfigAnswer,
    /// Scheduled jobs; nothing when the store does not say.
    pub jobs: Option<Vec<JobLamp>>,
    /// Whether this relay runs them by schedule.
    pub jobs_by_schedule: bool,
    /// Requests over a budget or rate, by which.
    #[schema(value_type = BTreeMap<String, values::Count>)]
    pub rate_limited: BTreeMap<&'static str, u64>,
    /// HTTP answers, by problem code, or `ok`.
    #[schema(value_type = BTreeMap<String, values::Count>)]
    pub http: BTreeMap<&'static str, u64>,
    /// The supervisor's watchdog; nothing where there is none.
    pub watchdog: Option<WatchdogAnswer>,
    /// What the system says of the process.
    pub process: ProcessAnswer,
}

/// Sessions of devices.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionsAnswer {
    /// Open now.
    #[schema(value_type = values::Count)]
    pub open: u64,
    /// That there may be.
    #[schema(value_type = values::Count)]
    pub most: u64,
    /// Opened so far.
    #[schema(value_type = values::Count)]
    pub opened: u64,
    /// Closed so far.
    #[schema(value_type = values::Count)]
    pub closed: u64,
    /// The same, by the name of the close code.
    #[schema(value_type = BTreeMap<String, values::Count>)]
    pub closed_by: BTreeMap<&'static str, u64>,
    /// Files and sockets of the process.
    pub descriptors: DescriptorsAnswer,
}

/// Files and sockets of the process.
#[derive(Debug, Serialize, ToSchema)]
pub struct DescriptorsAnswer {
    /// That it may have open; nothing where there is no limit.
    #[schema(value_type = Option<values::Count>)]
    pub soft: Option<u64>,
    /// To which that may be raised.
    #[schema(value_type = Option<values::Count>)]
    pub hard: Option<u64>,
    /// That it has open.
    #[schema(value_type = Option<values::Count>)]
    pub open: Option<u64>,
}

/// The store.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoreAnswer {
    /// `embedded` or `mongodb`.
    #[schema(pattern = "^(embedded|mongodb)$")]
    pub kind: &'static str,
    /// Whether it answers.
    pub answers: bool,
    /// What it takes, indexes and logs included.
    #[schema(value_type = Option<values::Count>)]
    pub bytes: Option<u64>,
    /// What is free on its disk.
    #[schema(value_type = Option<values::Count>)]
    pub free_bytes: Option<u64>,
}

/// Mail.
#[derive(Debug, Serialize, ToSchema)]
pub struct MailAnswer {
    /// On the tail, what is durable already included: it stays until others need its place.
    #[schema(value_type = values::Count)]
    pub tail_bytes: u64,
    /// That the tail may have.
    #[schema(value_type = values::Count)]
    pub tail_most: u64,
    /// That wait for their commit.
    #[schema(value_type = values::Count)]
    pub uncommitted_bytes: u64,
    /// That may wait; beyond, senders do.
    #[schema(value_type = values::Count)]
    pub uncommitted_most: u64,
    /// Envelopes accepted.
    #[schema(value_type = values::Count)]
    pub accepted: u64,
    /// Envelopes handed to sessions, redeliveries included.
    #[schema(value_type = values::Count)]
    pub delivered: u64,
    /// Envelopes acked.
    #[schema(value_type = values::Count)]
    pub acked: u64,
    /// Of those, envelopes that never touched the disk.
    #[schema(value_type = values::Count)]
    pub elided: u64,
    /// Envelopes written to the store.
    #[schema(value_type = values::Count)]
    pub stored: u64,
    /// Envelopes dropped before an ack.
    #[schema(value_type = values::Count)]
    pub dropped: u64,
    /// The same, by reason.
    #[schema(value_type = BTreeMap<String, values::Count>)]
    pub dropped_by: BTreeMap<&'static str, u64>,
    /// Sends refused.
    #[schema(value_type = values::Count)]
    pub refused: u64,
    /// The same, by code.
    #[schema(value_type = BTreeMap<String, values::Count>)]
    pub refused_by: BTreeMap<&'static str, u64>,
    /// Sends answered as duplicates.
    #[schema(value_type = values::Count)]
    pub duplicates: u64,
    /// Commits.
    #[schema(value_type = values::Count)]
    pub commits: u64,
    /// Commits that failed.
    #[schema(value_type = values::Count)]
    pub commits_failed: u64,
    /// How long commits take, failed ones included.
    pub commit_seconds: CommitSeconds,
    /// Envelopes that wait in the store, over all mailboxes; nothing when it does not say.
    #[schema(value_type = Option<values::Count>)]
    pub waiting: Option<u64>,
}

/// How long commits take.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommitSeconds {
    /// How many there were.
    #[schema(value_type = values::Count)]
    pub count: u64,
    /// All together.
    #[schema(minimum = 0.0)]
    pub sum: f64,
    /// Half of those of the last one to two minutes were no longer; nothing when there were none.
    #[schema(minimum = 0.0)]
    pub p50: Option<f64>,
    /// 99 of a hundred were no longer.
    #[schema(minimum = 0.0)]
    pub p99: Option<f64>,
}

/// The keys of tokens, and public keys of devices.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenKeysAnswer {
    /// The key that signs.
    pub signing_kid: Option<String>,
    /// The relay's own keys whose tokens are good.
    pub believed: Vec<String>,
    /// Where they are from: `file`, `credential` (a reload does not read it anew) or `memory`.
    #[schema(pattern = "^(file|credential|memory)$")]
    pub from: &'static str,
    /// How long the key that signs has done so, if the file says it.
    #[schema(minimum = 0.0)]
    pub age_seconds: Option<f64>,
    /// Outside issuers that have given no keys yet.
    #[schema(value_type = values::Count)]
    pub silent_issuers: u64,
    /// One-time keys claimed, by what was given: `item`, `fallback` or `nothing`.
    #[schema(value_type = BTreeMap<String, values::Count>)]
    pub claims: BTreeMap<&'static str, u64>,
    /// Devices that were low on one-time keys when this relay last looked.
    #[schema(value_type = values::Count)]
    pub low_devices: u64,
}

/// The certificate.
#[derive(Debug, Serialize, ToSchema)]
pub struct TlsAnswer {
    /// Until when it is good (RFC 3339).
    #[schema(value_type = values::Time)]
    pub certificate_expires_at: String,
    /// Where it is from: `file` or `credential` (a reload does not read it anew).
    #[schema(pattern = "^(file|credential)$")]
    pub from: &'static str,
}

/// The configuration.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConfigAnswer {
    /// How many were followed; the one at the start is 1.
    #[schema(value_type = values::Count)]
    pub generation: u64,
    /// Whether it was good when it was last read; if not, the one before is kept.
    pub good: bool,
    /// When one was last followed (RFC 3339).
    #[schema(value_type = values::Time)]
    pub read_at: String,
}

/// The supervisor's watchdog.
#[derive(Debug, Serialize, ToSchema)]
pub struct WatchdogAnswer {
    /// How often it wants to hear of the relay, in milliseconds.
    #[schema(value_type = values::Count)]
    pub interval_ms: u64,
}

/// What the system says of the process.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProcessAnswer {
    /// Memory that it really has.
    #[schema(value_type = Option<values::Count>)]
    pub resident_bytes: Option<u64>,
    /// Seconds of a processor that it has used.
    #[schema(minimum = 0.0)]
    pub cpu_seconds: f64,
}

impl StatusAnswer {
    /// As of now, with what was asked lately.
    pub(super) fn of(doors: &Doors, glance: &Glance) -> Self {
        let (board, now) = (&doors.board, doors.clock.now());
        let not_ready = not_ready(doors, glance);
        let config = doors.live.now();
        let limited = ["send", "claim_pair", "claim_target", "claim_caller", "address"];
        let answers = std::iter::once("ok").chain(Code::ALL.map(Code::as_str));
        let lamps = |standings: &Vec<_>| standings.iter().map(|job| JobLamp::of(job, now)).collect();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started_at: board.started_at.rfc3339(),
            up_seconds: board.up().as_secs_f64(),
            now: now.rfc3339(),
            node: doors.switchboard.node(),
            ready: not_ready.is_none(),
            not_ready,
            draining: doors.readiness.is_draining(),
            listeners: board.listeners.clone(),
            sessions: SessionsAnswer::of(doors, glance),
            store: StoreAnswer::of(doors, glance),
            mail: MailAnswer::of(doors, glance),
            keys: TokenKeysAnswer::of(doors, config.auth.keys.as_deref(), now),
            tls: doors.tls.facts().map(TlsAnswer::of),
            config: ConfigAnswer::of(doors),
            jobs: glance.jobs.as_ref().map(lamps),
            jobs_by_schedule: !config.jobs.external,
            rate_limited: by(&doors.metrics.rate_limited, limited),
            http: by(&doors.metrics.http_answers, answers),
            watchdog: board.watchdog.get().map(|interval| WatchdogAnswer {
                interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            }),
            process: ProcessAnswer {
                resident_bytes: process::resident_bytes(),
                cpu_seconds: process::cpu_seconds(),
            },
        }
    }
}

/// Why new clients are not welcome, as `/readyz` would say it.
fn not_ready(doors: &Doors, glance: &Glance) -> Option<String> {
    match doors.readiness.check() {
        Err(problem) => Some(problem.detail.unwrap_or(problem.title)),
        Ok(()) if !glance.answers => Some("The store does not answer.".to_owned()),
        Ok(()) => None,
    }
}

/// What was counted for each of these reasons, zeros left out.
fn by(counted: &ByReason, reasons: impl IntoIterator<Item = &'static str>) -> BTreeMap<&'static str, u64> {
    let counts = reasons
        .into_iter()
        .map(|reason| (reason, counted.counted(reason)));
    counts.filter(|(_, count)| *count > 0).collect()
}

fn unsigned(gauge: i64) -> u64 {
    u64::try_from(gauge).unwrap_or(0)
}

impl SessionsAnswer {
    fn of(doors: &Doors, glance: &Glance) -> Self {
        let closed_by = by(
            &doors.metrics.sessions_closed,
            CloseCode::ALL.map(CloseCode::name),
        );
        let Descriptors { soft, hard } = doors.sessions.descriptors();
        Self {
            open: unsigned(doors.metrics.sessions.get()),
            most: doors.sessions.most() as u64,
            opened: doors.metrics.sessions_opened.get(),
            closed: closed_by.values().sum(),
            closed_by,
            descriptors: DescriptorsAnswer {
                soft,
                hard,
                open: glance.descriptors,
            },
        }
    }
}

impl StoreAnswer {
    fn of(doors: &Doors, glance: &Glance) -> Self {
        Self {
            kind: match doors.switchboard.is_shared() {
                true => "mongodb",
                false => "embedded",
            },
            answers: glance.answers,
            bytes: glance.extent.bytes,
            free_bytes: glance.extent.free_bytes,
        }
    }
}

impl MailAnswer {
    fn of(doors: &Doors, glance: &Glance) -> Self {
        let (metrics, load) = (&doors.metrics, doors.switchboard.workload());
        let dropped_by = by(&metrics.envelopes_dropped, ["ttl", "quota", "restore"]);
        let refused_by = by(&metrics.sends_refused, Code::ALL.map(Code::as_str));
        let seconds = |span: Duration| span.as_secs_f64();
        Self {
            tail_bytes: load.tail_bytes,
            tail_most: load.tail_most,
            uncommitted_bytes: load.uncommitted_bytes,
            uncommitted_most: load.uncommitted_most,
            accepted: metrics.envelopes_accepted.get(),
            delivered: metrics.envelopes_delivered.get(),
            acked: metrics.envelopes_acked.get(),
            elided: metrics.envelopes_elided.get(),
            stored: metrics.envelopes_stored.get(),
            dropped: dropped_by.values().sum(),
            dropped_by,
            refused: refused_by.values().sum(),
            refused_by,
            duplicates: metrics.sends_duplicate.get(),
            commits: metrics.commits.get(),
            commits_failed: metrics.commits_failed.get(),
            commit_seconds: CommitSeconds {
                count: load.commits.count,
                sum: load.commits.sum.as_secs_f64(),
                p50: load.commits.p50.map(seconds),
                p99: load.commits.p99.map(seconds),
            },
            waiting: glance.extent.envelopes,
        }
    }
}

impl TokenKeysAnswer {
    fn of(doors: &Doors, file: Option<&std::path::Path>, now: UnixMs) -> Self {
        let facts = doors.verifier.key_facts();
        let signing = facts
            .iter()
            .find(|key| key.state == KeyState::Active && key.has_private_part);
        let age = |since: UnixMs| Duration::from_millis(now.0.saturating_sub(since.0)).as_secs_f64();
        let believed = facts.iter().filter(|key| key.state.verifies());
        Self {
            signing_kid: signing.map(|key| key.kid.clone()),
            believed: believed.map(|key| key.kid.clone()).collect(),
            from: from(file),
            age_seconds: signing.and_then(|key| key.since.or(key.created_at)).map(age),
            silent_issuers: doors.verifier.silent_issuers().len() as u64,
            claims: by(&doors.metrics.claims, ["item", "fallback", "nothing"]),
            low_devices: unsigned(doors.metrics.devices_low_on_keys.get()),
        }
    }
}

/// Where something is from that may be in a file: the supervisor's folder of credentials is never read anew.
fn from(file: Option<&std::path::Path>) -> &'static str {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    match (file, credentials) {
        (None, _) => "memory",
        (Some(file), Some(folder)) if file.starts_with(&folder) => "credential",
        (Some(_), _) => "file",
    }
}

impl TlsAnswer {
    fn of(facts: Facts) -> Self {
        Self {
            certificate_expires_at: facts.not_after.rfc3339(),
            from: match facts.source {
                Source::File => "file",
                Source::Credential => "credential",
            },
        }
    }
}

impl ConfigAnswer {
    fn of(doors: &Doors) -> Self {
        let read_at = unsigned(doors.metrics.config_read_at.get());
        Self {
            generation: doors.live.generation(),
            good: doors.metrics.config_good.get() != 0,
            read_at: UnixMs(read_at * 1000).rfc3339(),
        }
    }
}
