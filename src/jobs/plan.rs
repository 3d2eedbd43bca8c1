//! What the settings make of each job: when it is due and how it runs.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use crate::config::jobs::{JobName, JobsConfig, OnMissed};
use crate::config::schedule::Schedule;
use crate::model::{Overlap, UnixMs};

/// How a job is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Which job.
    pub job: JobName,
    /// When; `None` when it is off.
    pub schedule: Option<Schedule>,
    /// While it runs.
    pub overlap: Overlap,
    /// While nobody was there.
    pub missed: OnMissed,
    /// Longest delay after a tick, the same at every tick for one relay and job.
    pub jitter: Duration,
    /// Longest run.
    pub timeout: Duration,
}

impl Plan {
    /// The plan of a job by the settings.
    #[must_use]
    pub fn of(job: JobName, config: &JobsConfig) -> Self {
        let setting = config.of(job);
        let schedule = match setting {
            Some(setting) if setting.off => None,
            Some(setting) if setting.schedule.is_some() => setting.schedule.clone(),
            Some(_) | None => job.default_schedule().parse().ok(),
        };
        Self {
            job,
            schedule: schedule.map(|schedule| schedule.in_zone(config.time_zone)),
            overlap: setting.and_then(|setting| setting.overlap).unwrap_or_default(),
            missed: setting
                .and_then(|setting| setting.missed)
                .unwrap_or(OnMissed::RunOnce),
            jitter: setting.and_then(|setting| setting.jitter).unwrap_or(JITTER),
            timeout: setting.and_then(|setting| setting.timeout).unwrap_or(TIMEOUT),
        }
    }

    /// The plans of all jobs.
    #[must_use]
    pub fn all(config: &JobsConfig) -> Vec<Self> {
        JobName::ALL
            .into_iter()
            .map(|job| Self::of(job, config))
            .collect()
    }

    /// Time between two ticks, as of now.
    #[must_use]
    pub fn interval(&self, now: UnixMs) -> Option<Duration> {
        self.schedule.as_ref()?.interval(now)
    }

    /// How long somebody waits after each tick: always the same, and never more than a quarter of the interval.
    #[must_use]
    pub fn delay(&self, holder: &str, now: UnixMs) -> Duration {
        let quarter = self.interval(now).unwrap_or_default() / 4;
        part(self.jitter.min(quarter), &(holder, self.job))
    }
}

/// Some part of a time, in whole milliseconds: another one for each seed.
pub(super) fn part(of: Duration, seed: &impl Hash) -> Duration {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let whole = u64::try_from(of.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(hasher.finish() % whole.saturating_add(1).max(1))
}

/// Longest delay after a tick, unless told otherwise.
const JITTER: Duration = Duration::from_secs(5);

/// Longest run, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(600);
