//! What people should know of a schedule that they wrote: what it does more often, more seldom, or at other times
//! than they may think.

use std::fmt;
use std::time::Duration;

use crate::config::schedule::wall::{Form, Pattern};
use crate::config::schedule::{ClockChange, Effect, Schedule, When};
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
}

fn every(period: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    if period < Duration::from_secs(60) {
        findings.push(Finding::Short(period));
    }
    let day = Duration::from_secs(24 * 3600);
    let (day, span) = (day.as_millis(), period.as_millis());
    let is_even = day.is_multiple_of(span) || span.is_multiple_of(day);
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
