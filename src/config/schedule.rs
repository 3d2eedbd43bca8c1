//! When something is due: a schedule as people write it, and the instants that it means.
//!
//! A tick is an instant, the same for everybody who reads the same words. Must not know the clock, and not what is
//! done at a tick.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::model::UnixMs;

/// A time zone by its IANA name.
pub type Zone = Tz;

/// Why a schedule cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not one.
    #[error("{text:?} is not a schedule: {why}")]
    Malformed {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such time zone.
    #[error("there is no time zone {0:?}; IANA names look like Europe/Berlin")]
    Zone(String),
}

/// Reads the IANA name of a time zone.
///
/// # Errors
///
/// [`Error::Zone`].
pub fn zone(text: &str) -> Result<Zone, Error> {
    text.parse().map_err(|_| Error::Zone(text.to_owned()))
}

/// When something is due.
///
/// Five fields (minute first), six (second first), `@hourly` and its like, or `every 15m`; before the fields, a
/// time zone of its own: `TZ=Europe/Berlin 17 3 * * *`.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    text: String,
    zone: Option<Zone>,
    when: When,
}

#[derive(Debug, Clone, PartialEq)]
enum When {
    /// By the clock on the wall.
    Cron(Box<Cron>),
    /// At the multiples of a time since 1970.
    Every(Duration),
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = |why: String| Error::Malformed {
            text: text.to_owned(),
            why,
        };
        let when = match text.strip_prefix("every ") {
            Some(period) => {
                let period =
                    humantime::parse_duration(period).map_err(|error| malformed(error.to_string()))?;
                When::Every(period.max(Duration::from_secs(1)))
            }
            None => {
                let parser = CronParser::builder()
                    .seconds(Seconds::Optional)
                    .year(Year::Disallowed)
                    .build();
                let cron = parser.parse(text).map_err(|error| malformed(error.to_string()))?;
                When::Cron(Box::new(cron))
            }
        };
        Ok(Self {
            text: text.to_owned(),
            zone: None,
            when,
        })
    }
}

impl Schedule {
    /// The time zone that it names itself.
    #[must_use]
    pub const fn own_zone(&self) -> Option<Zone> {
        self.zone
    }

    /// The same schedule in a time zone, unless it names one itself.
    #[must_use]
    pub fn in_zone(mut self, zone: Zone) -> Self {
        self.zone = self.zone.or(Some(zone));
        self
    }

    /// What was understood, as a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.when {
            When::Cron(cron) => cron.describe(),
            When::Every(period) => format!("Every {}.", humantime::format_duration(*period)),
        }
    }

    /// The first tick after an instant; `None` when there is none within eight years.
    #[must_use]
    pub fn next_after(&self, after: UnixMs) -> Option<UnixMs> {
        match &self.when {
            When::Every(period) => {
                let period = u64::try_from(period.as_millis()).ok()?.max(1);
                Some(UnixMs((after.0 / period + 1) * period))
            }
            When::Cron(cron) => {
                let utc = DateTime::<Utc>::from_timestamp_millis(i64::try_from(after.0).ok()?)?;
                let start = utc.with_timezone(&self.zone.unwrap_or(Tz::UTC));
                let next = cron.find_next_occurrence(&start, false).ok()?;
                u64::try_from(next.timestamp_millis()).ok().map(UnixMs)
            }
        }
    }

    /// The last tick up to an instant; `None` when there is none before it.
    #[must_use]
    pub fn previous_or_at(&self, at: UnixMs) -> Option<UnixMs> {
        match &self.when {
            When::Every(period) => {
                let period = u64::try_from(period.as_millis()).ok()?.max(1);
                Some(UnixMs(at.0 / period * period))
            }
            When::Cron(cron) => {
                let utc = DateTime::<Utc>::from_timestamp_millis(i64::try_from(at.0).ok()?)?;
                let start = utc.with_timezone(&self.zone.unwrap_or(Tz::UTC));
                let last = cron.find_previous_occurrence(&start, true).ok()?;
                u64::try_from(last.timestamp_millis()).ok().map(UnixMs)
            }
        }
    }
}
