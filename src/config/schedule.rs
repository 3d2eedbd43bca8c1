//! When something is due: a schedule as people write it, and the instants that it means.
//!
//! A tick is an instant, the same for everybody who reads the same words in the same zone, from wherever they look.
//! Must not know the clock, and not what is done at a tick.
//!
//! # Why
//!
//! The cron library reads the words and knows the days. Its own search goes by the clock on the wall alone, so that
//! within an hour that comes twice it finds ticks that are over, and what never comes it seeks for three thousand
//! years. Here a wall's times are sought within stretches of one offset (`ticks`), for eight years.

mod clocks;
mod describe;
mod lint;
mod local;
mod parse;
mod systemd;
mod ticks;
mod wall;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono_tz::Tz;

use crate::config::schedule::wall::Pattern;
use crate::model::UnixMs;

pub use clocks::{ClockChange, Effect};
pub use lint::{Finding, Severity};
pub use local::{Local, local};
pub use systemd::NoCalendar;

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
    text.parse()
        .map_err(|_| Error::Zone(text.chars().take(LONGEST_SHOWN).collect()))
}

/// When something is due.
///
/// Five fields (minute first), six (second first), `@hourly` and its like, or `every 15m`; before them, a time zone
/// of its own: `TZ=Europe/Berlin 17 3 * * *`.
///
/// Where both a day of the month and a day of the week are given, either is enough, as POSIX has it; with a `+`
/// before the day of the week, both are needed. On days on which the clock changes, a schedule with one time of day
/// keeps its one tick: right after a gap that swallows its time, and at the first of two times. Any other schedule
/// goes by what the clock shows: what is in a gap does not come, what is shown twice comes twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    text: String,
    own_zone: Option<Zone>,
    zone: Zone,
    when: When,
}

#[derive(Debug, Clone, PartialEq)]
enum When {
    /// By the clock on the wall.
    Cron(Box<Pattern>),
    /// At the multiples of a time since 1970; whole milliseconds, a second at least.
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
        let (own_zone, when) = parse::parse(text)?;
        Ok(Self {
            text: text.to_owned(),
            own_zone,
            zone: own_zone.unwrap_or(Tz::UTC),
            when,
        })
    }
}

impl Schedule {
    /// The time zone that it names itself.
    #[must_use]
    pub const fn own_zone(&self) -> Option<Zone> {
        self.own_zone
    }

    /// The time zone that it is in; UTC unless told otherwise.
    #[must_use]
    pub const fn zone(&self) -> Zone {
        self.zone
    }

    /// The same schedule in a time zone, unless it names one itself.
    #[must_use]
    pub fn in_zone(mut self, zone: Zone) -> Self {
        self.zone = self.own_zone.unwrap_or(zone);
        self
    }

    /// The first tick after an instant; `None` when there is none within eight years.
    #[must_use]
    pub fn next_after(&self, after: UnixMs) -> Option<UnixMs> {
        match &self.when {
            When::Every(period) => {
                let period = millis(*period);
                let number = after.0.checked_div(period)?.checked_add(1)?;
                number.checked_mul(period).map(UnixMs)
            }
            When::Cron(pattern) => {
                let first = ticks::second(after)?.checked_add(1)?;
                ticks::at_or_after(pattern, self.zone, first).and_then(ticks::instant)
            }
        }
    }

    /// The last tick at or before an instant; `None` when there is none within eight years, or since 1970.
    #[must_use]
    pub fn previous_or_at(&self, at: UnixMs) -> Option<UnixMs> {
        match &self.when {
            When::Every(period) => {
                let period = millis(*period);
                at.0.checked_div(period).map(|number| UnixMs(number * period))
            }
            When::Cron(pattern) => {
                let last = ticks::second(at)?;
                ticks::at_or_before(pattern, self.zone, last).and_then(ticks::instant)
            }
        }
    }

    /// Ticks after one instant, up to and with another, the first so many of them; and whether there are more.
    #[must_use]
    pub fn ticks(&self, after: UnixMs, up_to: UnixMs, most: usize) -> (Vec<UnixMs>, bool) {
        let first = self.next_after(after);
        let mut ticks =
            std::iter::successors(first, |tick| self.next_after(*tick)).take_while(|tick| *tick <= up_to);
        let found = ticks.by_ref().take(most).collect();
        (found, ticks.next().is_some())
    }

    /// The longest time between two ticks that follow each other, by the clock on the wall, in the 400 days after an
    /// instant; for rarer ticks, between the next two. `None` when there are no two within eight years.
    #[must_use]
    pub fn interval(&self, near: UnixMs) -> Option<Duration> {
        match &self.when {
            When::Every(period) => Some(*period),
            When::Cron(pattern) => {
                let seconds = pattern.longest_wait(ticks::wall(self.zone, ticks::second(near)?))?;
                Some(Duration::from_secs(seconds))
            }
        }
    }
}

fn millis(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}

/// What is shown of words that are too long to be a schedule, or a zone.
const LONGEST_SHOWN: usize = 40;
