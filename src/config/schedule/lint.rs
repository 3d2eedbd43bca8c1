//! What people should know of a schedule that they wrote: what it does more often, more seldom, or at other times
//! than they may think.

use std::fmt;
use std::time::Duration;

use chrono_tz::Tz;

use crate::config::schedule::local::date_and_minute;
use crate::config::schedule::wall::{DAY, Form, Pattern, parts};
use crate::config::schedule::{Schedule, When, ticks};
use crate::model::UnixMs;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It may well not be what was meant.
    Warning,
    /// It is so, and good to know.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Something to know of a schedule. Its text is one sentence, or two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// More than once a minute, by its fields.
    Often {
        /// How many times in an hour in which it comes at all.
        an_hour: u32,
        /// The first and the last of them, as `xx:01:00`.
        from: String,
        /// The last.
        to: String,
        /// What was probably meant: words, and how to write it.
        instead: Option<(String, String)>,
    },
    /// Every minute of one hour.
    EveryMinute {
        /// Which hour.
        hour: u32,
        /// How to write once a day.
        instead: String,
    },
    /// Never within eight years.
    Never,
    /// A day of the month and a day of the week, of which one is enough.
    EitherDay,
    /// More than once a minute, and said so.
    Short(Duration),
    /// At other times on each day.
    Drifts(Duration),
    /// A day on which the clock changes its ticks.
    Clock(ClockChange),
}

/// A change of the clock on the wall, and what it does to a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockChange {
    /// When it is changed.
    pub at: UnixMs,
    /// The day of it, there.
    pub date: String,
    /// Where what the clock does not show begins, or what it shows twice: `02:00`.
    pub from: String,
    /// Where that ends: `03:00`.
    pub to: String,
    /// Whether the clock is set back, so that it shows those times twice.
    pub is_twice: bool,
    /// What that does to the ticks.
    pub effect: Effect,
}

/// What a change of the clock does to a schedule's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Unaffected,
    /// The one tick comes right after the gap.
    PutOff,
    /// The one tick comes at the first of two times.
    Once,
    /// So many do not come.
    Lost(u32),
    /// So many come twice.
    Twice(u32),
}

impl ClockChange {
    /// Whether ticks do not come, or come twice.
    #[must_use]
    pub const fn matters(&self) -> bool {
        matches!(self.effect, Effect::Lost(_) | Effect::Twice(_))
    }
}

impl fmt::Display for ClockChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, from, to, .. } = self;
        match self.is_twice {
            true => write!(f, "{date} has {from}–{to} twice in this zone (")?,
            false => write!(f, "{date} has no {from}–{to} in this zone (")?,
        }
        match self.effect {
            Effect::Unaffected => f.write_str("not affected)"),
            Effect::PutOff => write!(f, "the tick comes at {to})"),
            Effect::Once => f.write_str("the tick comes once, at the first)"),
            Effect::Lost(1) => f.write_str("one tick does not come)"),
            Effect::Lost(count) => write!(f, "{count} ticks do not come)"),
            Effect::Twice(1) => f.write_str("one tick comes twice)"),
            Effect::Twice(count) => write!(f, "{count} ticks come twice)"),
        }
    }
}

impl Finding {
    /// How much it matters.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Often { .. } | Self::EveryMinute { .. } | Self::Never | Self::EitherDay => {
                Severity::Warning
            }
            Self::Clock(change) if change.matters() => Severity::Warning,
            Self::Clock(_) | Self::Short(_) | Self::Drifts(_) => Severity::Note,
        }
    }

    /// Its name for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Often { .. } | Self::Short(_) => "often",
            Self::EveryMinute { .. } => "every-minute",
            Self::Never => "never",
            Self::EitherDay => "either-day",
            Self::Drifts(_) => "drifts",
            Self::Clock(_) => "clock-change",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Often {
                an_hour,
                from,
                to,
                instead,
            } => {
                write!(f, "fires {an_hour} times an hour, at {from} … {to}.")?;
                match instead {
                    Some((words, text)) => write!(f, " For \"{words}\" write \"{text}\"."),
                    None => Ok(()),
                }
            }
            Self::EveryMinute { hour, instead } => write!(
                f,
                "fires 60 times, at {hour:02}:00 … {hour:02}:59. For \"every day at {hour:02}:00\" write \"{instead}\"."
            ),
            Self::Never => {
                f.write_str("does not fire within eight years. Is there such a day in such a month?")
            }
            Self::EitherDay => f.write_str(
                "fires on the days of the month and on the days of the week: either is enough. \
                 If both are needed, write a + before the day of the week.",
            ),
            Self::Short(period) => {
                let times = 3600.0 / period.as_secs_f64();
                write!(f, "fires {times:.0} times an hour.")
            }
            Self::Drifts(period) => write!(
                f,
                "a day cannot be divided into parts of {}: it fires at other times on each day.",
                humantime::format_duration(*period)
            ),
            Self::Clock(change) => change.fmt(f),
        }
    }
}

impl Schedule {
    /// What people should know of it; clock changes for a year from an instant.
    #[must_use]
    pub fn lint(&self, from: UnixMs) -> Vec<Finding> {
        match &self.when {
            When::Every(period) => every(*period),
            When::Cron(pattern) => {
                let mut findings: Vec<_> = [often(pattern), every_minute(pattern), either_day(pattern)]
                    .into_iter()
                    .flatten()
                    .collect();
                if self.next_after(from).is_none() {
                    findings.push(Finding::Never);
                }
                let changes = self.clock_changes(from).into_iter();
                findings.extend(
                    changes
                        .filter(|change| change.effect != Effect::Unaffected)
                        .map(Finding::Clock),
                );
                findings
            }
        }
    }

    /// How often the clock on its wall is changed in a year from an instant, and what that does to the ticks.
    #[must_use]
    pub fn clock_changes(&self, from: UnixMs) -> Vec<ClockChange> {
        let Some(from) = ticks::second(from) else {
            return Vec::new();
        };
        let up_to = from + 365 * DAY;
        let first = ticks::change_after(self.zone, from, up_to);
        std::iter::successors(first, |change| ticks::change_after(self.zone, *change, up_to))
            .filter_map(|at| clock_change(&self.when, self.zone, at))
            .collect()
    }
}

fn every(period: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    if period < Duration::from_secs(60) {
        findings.push(Finding::Short(period));
    }
    let day = Duration::from_secs(24 * 3600);
    let is_even = day.as_millis() % period.as_millis() == 0 || period.as_millis() % day.as_millis() == 0;
    if !is_even {
        findings.push(Finding::Drifts(period));
    }
    findings
}

fn often(pattern: &Pattern) -> Option<Finding> {
    if pattern.seconds.count() < 2 {
        return None;
    }
    let at = |minute: u32, second: u32| format!("xx:{minute:02}:{second:02}");
    let (minutes, seconds) = (pattern.minutes, pattern.seconds);
    Some(Finding::Often {
        an_hour: minutes.count() * seconds.count(),
        from: at(minutes.first(), seconds.first()),
        to: at(minutes.last(), seconds.last()),
        instead: instead(pattern),
    })
}

/// Six fields that begin with `*` are mostly five and one too many.
fn instead(pattern: &Pattern) -> Option<(String, String)> {
    let [second, minute, rest @ ..] = pattern.fields.as_slice() else {
        return None;
    };
    if pattern.form != Form::Six || second != "*" {
        return None;
    }
    let hour = minute.parse::<u32>().ok().filter(|hour| *hour < 24);
    match hour {
        Some(hour) if rest.iter().all(|field| field == "*") => Some((
            format!("every day at {hour:02}:00"),
            format!("0 {hour} {}", rest.get(1..)?.join(" ")),
        )),
        Some(_) | None => Some((
            "once in each of these minutes".to_owned(),
            format!("{minute} {}", rest.join(" ")),
        )),
    }
}

fn every_minute(pattern: &Pattern) -> Option<Finding> {
    let [_, minute, hour, rest @ ..] = pattern.fields.as_slice() else {
        return None;
    };
    let is_meant = pattern.form != Form::Five || minute != "*";
    let only: u32 = hour.parse().ok()?;
    (!is_meant).then(|| Finding::EveryMinute {
        hour: only,
        instead: format!("0 {hour} {}", rest.join(" ")),
    })
}

fn either_day(pattern: &Pattern) -> Option<Finding> {
    let [.., day, _, weekday] = pattern.fields.as_slice() else {
        return None;
    };
    let is_open = |field: &str| ["*", "?"].contains(&field);
    let are_both = !is_open(day) && !is_open(weekday) && !weekday.starts_with('+');
    are_both.then_some(Finding::EitherDay)
}

/// The change of the clock at a second.
fn clock_change(when: &When, zone: Tz, at: i64) -> Option<ClockChange> {
    let (old, new) = (at + ticks::offset(zone, at - 1), at + ticks::offset(zone, at));
    let (first, last) = (old.min(new), old.max(new));
    let is_twice = new < old;
    let effect = match when {
        When::Every(_) => Effect::Unaffected,
        When::Cron(pattern) => effect(pattern, first, last, is_twice),
    };
    let (date, from) = date_and_minute(first);
    Some(ClockChange {
        at: ticks::instant(at)?,
        date,
        from,
        to: date_and_minute(last).1,
        is_twice,
        effect,
    })
}

fn effect(pattern: &Pattern, first: i64, last: i64, is_twice: bool) -> Effect {
    let next = |wall: i64| pattern.at_or_after(wall).filter(|wall| *wall < last);
    let times = std::iter::successors(next(first), |wall| next(wall + 1));
    let count = u32::try_from(times.count()).unwrap_or(u32::MAX);
    // What runs in every hour runs on through a change.
    let runs_through = pattern.hours.count() == 24 && parts(last - first).0 > 0;
    match (count, pattern.only_time().is_some(), is_twice) {
        (0, ..) => Effect::Unaffected,
        _ if runs_through => Effect::Unaffected,
        (_, true, true) => Effect::Once,
        (_, true, false) => Effect::PutOff,
        (count, false, true) => Effect::Twice(count),
        (count, false, false) => Effect::Lost(count),
    }
}
