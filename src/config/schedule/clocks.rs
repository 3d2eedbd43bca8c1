//! Days on which a clock on the wall is changed, and what that does to a schedule.

use std::fmt;

use chrono_tz::Tz;

use crate::config::schedule::local::date_and_minute;
use crate::config::schedule::wall::{DAY, Pattern, parts};
use crate::config::schedule::{Schedule, When, ticks};
use crate::model::UnixMs;

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

impl Schedule {
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
