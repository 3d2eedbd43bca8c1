//! Settings of the scheduled jobs: which there are, when each is due, and how long things are kept.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::config::schedule::{self, Schedule};
use crate::model::Overlap;

/// A job. The set is closed: what cleans up is part of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobName {
    /// Drops mail whose time is over; its recipients get a gap.
    ExpireMail,
    /// Forgets idempotency records past their window.
    PruneRecords,
    /// Forgets revocations of tokens that are over by themselves.
    PruneRevocations,
    /// Forgets that one-time keys were handed out, after 90 days.
    PruneTombstones,
    /// Removes devices that were not seen for long, with their keys and mail.
    RemoveIdleDevices,
    /// Removes what is left of devices and installations that are gone.
    SweepDeparted,
    /// Finds devices whose one-time keys run low, and tells those that are connected.
    ReportLowKeys,
    /// Says when the keys for tokens should be rotated.
    RemindKeyRotation,
    /// Gives space back to the file system.
    CompactStore,
    /// Forgets old runs of jobs.
    TrimHistory,
}

impl JobName {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::ExpireMail,
        Self::PruneRecords,
        Self::PruneRevocations,
        Self::PruneTombstones,
        Self::RemoveIdleDevices,
        Self::SweepDeparted,
        Self::ReportLowKeys,
        Self::RemindKeyRotation,
        Self::CompactStore,
        Self::TrimHistory,
    ];

    /// Its name in commands, settings, metrics and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExpireMail => "expire-mail",
            Self::PruneRecords => "prune-records",
            Self::PruneRevocations => "prune-revocations",
            Self::PruneTombstones => "prune-tombstones",
            Self::RemoveIdleDevices => "remove-idle-devices",
            Self::SweepDeparted => "sweep-departed",
            Self::ReportLowKeys => "report-low-keys",
            Self::RemindKeyRotation => "remind-key-rotation",
            Self::CompactStore => "compact-store",
            Self::TrimHistory => "trim-history",
        }
    }

    /// What it does, in one line.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::ExpireMail => "drop mail whose time is over; recipients are told of the gap",
            Self::PruneRecords => "forget sends past the idempotency window",
            Self::PruneRevocations => "forget revocations of tokens that are over by themselves",
            Self::PruneTombstones => "forget which one-time keys were handed out 90 days ago",
            Self::RemoveIdleDevices => "remove devices not seen for long, with their keys and mail",
            Self::SweepDeparted => "remove what is left of removed devices and old installations",
            Self::ReportLowKeys => "find devices low on one-time keys, and tell those connected",
            Self::RemindKeyRotation => "say when the keys for tokens should be rotated",
            Self::CompactStore => "give unused space back to the file system",
            Self::TrimHistory => "forget old runs of jobs",
        }
    }

    /// When it is due unless told otherwise. Spread over the hour, so that not everything comes at once.
    #[must_use]
    pub const fn default_schedule(self) -> &'static str {
        match self {
            Self::ExpireMail => "every 1m",
            Self::PruneRecords => "*/10 * * * *",
            Self::PruneRevocations => "17 * * * *",
            Self::PruneTombstones => "27 3 * * *",
            Self::RemoveIdleDevices => "37 3 * * *",
            Self::SweepDeparted => "*/15 * * * *",
            Self::ReportLowKeys => "7 * * * *",
            Self::RemindKeyRotation => "0 9 * * *",
            Self::CompactStore => "47 * * * *",
            Self::TrimHistory => "57 4 * * *",
        }
    }

    /// Whether it removes something that somebody might miss: by hand it only looks unless it is told to apply.
    #[must_use]
    pub const fn deletes(self) -> bool {
        match self {
            Self::ExpireMail
            | Self::PruneRecords
            | Self::PruneRevocations
            | Self::PruneTombstones
            | Self::RemoveIdleDevices
            | Self::SweepDeparted
            | Self::TrimHistory => true,
            Self::ReportLowKeys | Self::RemindKeyRotation | Self::CompactStore => false,
        }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not the name of a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no job {0:?}; there are: {names}", names = JobName::ALL.map(JobName::as_str).join(", "))]
pub struct NoSuchJob(pub String);

impl FromStr for JobName {
    type Err = NoSuchJob;

    fn from_str(text: &str) -> Result<Self, NoSuchJob> {
        let found = Self::ALL.into_iter().find(|job| job.as_str() == text);
        found.ok_or_else(|| NoSuchJob(text.to_owned()))
    }
}

/// What happens to ticks that came while nobody was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissed {
    /// One run makes up for all of them.
    RunOnce,
    /// They are noted as missed.
    Skip,
}

/// What the settings say of one job; `None` leaves the default.
///
/// As text: `JOB=SCHEDULE[; overlap=skip|queue-one][; missed=run-once|skip][; jitter=DURATION][; timeout=DURATION]`,
/// where the schedule may be empty or `off`.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSetting {
    /// Which job.
    pub job: JobName,
    /// Whether it runs by itself.
    pub off: bool,
    /// When it is due.
    pub schedule: Option<Schedule>,
    /// While it runs.
    pub overlap: Option<Overlap>,
    /// While nobody was there.
    pub missed: Option<OnMissed>,
    /// Longest random delay.
    pub jitter: Option<Duration>,
    /// Longest run.
    pub timeout: Option<Duration>,
    text: String,
}

impl fmt::Display for JobSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is wrong with a job's setting.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum JobSettingError {
    /// It has no `=`.
    #[error("{0:?} is not JOB=SCHEDULE, as in expire-mail='every 30s'")]
    NoSchedule(String),
    /// There is no such job.
    #[error(transparent)]
    NoSuchJob(#[from] NoSuchJob),
    /// The schedule cannot be understood.
    #[error(transparent)]
    Schedule(#[from] schedule::Error),
    /// An option cannot be understood.
    #[error("{0:?} is not overlap=skip|queue-one, missed=run-once|skip, jitter=DURATION or timeout=DURATION")]
    Option(String),
}

impl FromStr for JobSetting {
    type Err = JobSettingError;

    fn from_str(text: &str) -> Result<Self, JobSettingError> {
        let (job, rest) = text
            .split_once('=')
            .ok_or_else(|| JobSettingError::NoSchedule(text.to_owned()))?;
        let mut parts = rest.split(';').map(str::trim);
        let schedule = parts.next().unwrap_or_default();
        let mut setting = Self {
            job: job.trim().parse()?,
            off: schedule == "off",
            schedule: None,
            overlap: None,
            missed: None,
            jitter: None,
            timeout: None,
            text: text.to_owned(),
        };
        if !schedule.is_empty() && !setting.off {
            setting.schedule = Some(schedule.parse()?);
        }
        for part in parts.filter(|part| !part.is_empty()) {
            setting
                .option(part)
                .ok_or_else(|| JobSettingError::Option(part.to_owned()))?;
        }
        Ok(setting)
    }
}

impl JobSetting {
    fn option(&mut self, part: &str) -> Option<()> {
        let (name, value) = part.split_once('=')?;
        let duration = || humantime::parse_duration(value.trim()).ok();
        match (name.trim(), value.trim()) {
            ("overlap", "skip") => self.overlap = Some(Overlap::Skip),
            ("overlap", "queue-one") => self.overlap = Some(Overlap::QueueOne),
            ("missed", "run-once") => self.missed = Some(OnMissed::RunOnce),
            ("missed", "skip") => self.missed = Some(OnMissed::Skip),
            ("jitter", _) => self.jitter = Some(duration()?),
            ("timeout", _) => self.timeout = Some(duration().filter(|timeout| !timeout.is_zero())?),
            _ => return None,
        }
        Some(())
    }
}

/// What is cleaned up, when, and after how long.
#[derive(Debug, Clone, clap::Args)]
pub struct JobsConfig {
    /// Run no jobs by schedule here: something else does, such as systemd's timers (`chatctl jobs units`)
    #[arg(id = "jobs.external", long = "no-jobs", env = "CHATCTL_JOBS__EXTERNAL", action = clap::ArgAction::SetTrue)]
    pub external: bool,

    /// When a job is due, and how it runs: `JOB=SCHEDULE`, or `JOB=off`; then, each after a `;`, `overlap=skip|queue-one`,
    /// `missed=run-once|skip`, `jitter=DURATION`, `timeout=DURATION` (repeatable; in the variable separated by `|`)
    #[arg(
        id = "jobs.set",
        long = "job",
        env = "CHATCTL_JOBS__SET",
        value_name = "JOB=SCHEDULE",
        value_delimiter = '|'
    )]
    pub set: Vec<JobSetting>,

    /// Time zone of schedules that name none (IANA name)
    #[arg(id = "jobs.time_zone", long = "time-zone", env = "CHATCTL_JOBS__TIME_ZONE", value_name = "ZONE", default_value = "UTC", value_parser = schedule::zone)]
    pub time_zone: schedule::Zone,

    /// Time without a visit after which a device is removed, with its keys and mail (at least 7d; 0s keeps all)
    #[arg(id = "jobs.idle_devices", long = "idle-devices", env = "CHATCTL_JOBS__IDLE_DEVICES", value_name = "DURATION", default_value = "180d", value_parser = idle)]
    pub idle_devices: Duration,

    /// Age at which the key that signs tokens should be rotated
    #[arg(id = "jobs.key_age", long = "key-age", env = "CHATCTL_JOBS__KEY_AGE", value_name = "DURATION", default_value = "90d", value_parser = humantime::parse_duration)]
    pub key_age: Duration,

    /// How long runs of jobs are remembered, the last thousand of each job at most
    #[arg(id = "jobs.keep_history", long = "keep-history", env = "CHATCTL_JOBS__KEEP_HISTORY", value_name = "DURATION", default_value = "90d", value_parser = humantime::parse_duration)]
    pub keep_history: Duration,
}

impl JobsConfig {
    /// What the settings say of a job: the last word counts.
    #[must_use]
    pub fn of(&self, job: JobName) -> Option<&JobSetting> {
        self.set.iter().rfind(|setting| setting.job == job)
    }
}

fn idle(text: &str) -> Result<Duration, String> {
    let limit = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if !limit.is_zero() && limit < SHORTEST_IDLE {
        return Err("must be at least 7d, or 0s to keep all".to_owned());
    }
    Ok(limit)
}

/// When a device was seen is known to the day.
const SHORTEST_IDLE: Duration = Duration::from_secs(7 * 24 * 3600);
