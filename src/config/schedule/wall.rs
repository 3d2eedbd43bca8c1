//! A pattern on the wall: which days, and which times of day, as a clock there shows them.
//!
//! A wall's time is the number of seconds since 1970 that it would be in UTC. Must not know time zones. Every
//! search is bounded.

use std::fmt;

use chrono::{DateTime, Datelike as _};
use croner::Cron;

/// How a schedule was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Five,
    Six,
    Nickname,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Five => "5 fields",
            Self::Six => "6 fields (seconds first)",
            Self::Nickname => "a name",
        })
    }
}

/// Days and times of day. There is at least one time of day.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    cron: Cron,
    pub(super) form: Form,
    /// Six of them, in capitals.
    pub(super) fields: Vec<String>,
    pub(super) hours: Set,
    pub(super) minutes: Set,
    pub(super) seconds: Set,
}

impl Pattern {
    /// What a pattern says; nothing if it has no time of day.
    pub(super) fn of(cron: Cron, form: Form, fields: Vec<String>) -> Option<Self> {
        let of = |below: u32, is_in: &dyn Fn(u32) -> bool| {
            let bits = (0..below).filter(|value| is_in(*value));
            Set(bits.fold(0, |set, value| set | 1 << value))
        };
        let pattern = &cron.pattern;
        let hours = of(24, &|hour| pattern.hour_match(hour).unwrap_or(false));
        let minutes = of(60, &|minute| pattern.minute_match(minute).unwrap_or(false));
        let seconds = of(60, &|second| pattern.second_match(second).unwrap_or(false));
        let is_possible = [hours, minutes, seconds].iter().all(|set| set.0 != 0);
        is_possible.then_some(Self {
            cron,
            form,
            fields,
            hours,
            minutes,
            seconds,
        })
    }

    /// What the library says of it.
    pub(super) fn sentence(&self) -> String {
        self.cron.describe()
    }

    /// The one time of day, where there is one.
    pub(super) fn only_time(&self) -> Option<i64> {
        let is_one = [self.hours, self.minutes, self.seconds]
            .iter()
            .all(|set| set.count() == 1);
        is_one.then(|| self.first_time())
    }

    /// Whether it has a tick on a day, counted since 1970.
    pub(super) fn is_on(&self, day: i64) -> bool {
        let Some(date) = day
            .checked_mul(DAY)
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        else {
            return false;
        };
        let pattern = &self.cron.pattern;
        pattern.month_match(date.month()).unwrap_or(false)
            && pattern
                .day_match(date.year(), date.month(), date.day())
                .unwrap_or(false)
    }

    /// The first time on the wall at or after another, within eight years.
    pub(super) fn at_or_after(&self, wall: i64) -> Option<i64> {
        let (today, time) = (wall.div_euclid(DAY), wall.rem_euclid(DAY));
        if let Some(time) = self.time_at_or_after(time)
            && self.is_on(today)
        {
            return Some(today * DAY + time);
        }
        let day = (today + 1..=today + HORIZON).find(|day| self.is_on(*day))?;
        Some(day * DAY + self.first_time())
    }

    /// The last time on the wall at or before another, within eight years.
    pub(super) fn at_or_before(&self, wall: i64) -> Option<i64> {
        let (today, time) = (wall.div_euclid(DAY), wall.rem_euclid(DAY));
        if let Some(time) = self.time_at_or_before(time)
            && self.is_on(today)
        {
            return Some(today * DAY + time);
        }
        let day = (today - HORIZON..today).rev().find(|day| self.is_on(*day))?;
        Some(day * DAY + self.last_time())
    }

    /// The longest time between two that follow each other, as [`super::Schedule::interval`] has it.
    pub(super) fn longest_wait(&self, wall: i64) -> Option<u64> {
        let today = wall.div_euclid(DAY);
        let mut days = (today..=today + 2 * HORIZON).filter(|day| self.is_on(*day));
        let mut last = days.next().filter(|day| *day <= today + HORIZON)?;
        let mut longest = 0;
        for day in days {
            if longest > 0 && day > today + LOOK_AHEAD {
                break;
            }
            longest = longest.max(day - last);
            last = day;
        }
        let night = (longest > 0).then(|| longest * DAY + self.first_time() - self.last_time())?;
        u64::try_from(night.max(self.longest_wait_within_a_day())).ok()
    }

    fn longest_wait_within_a_day(&self) -> i64 {
        let minutes = self.hours.iter().flat_map(|hour| {
            self.minutes
                .iter()
                .map(move |minute| i64::from(hour) * HOUR + i64::from(minute) * MINUTE)
        });
        let between_minutes = longest_step(minutes) - i64::from(self.seconds.last() - self.seconds.first());
        between_minutes.max(longest_step(self.seconds.iter().map(i64::from)))
    }

    fn first_time(&self) -> i64 {
        time(self.hours.first(), self.minutes.first(), self.seconds.first())
    }

    fn last_time(&self) -> i64 {
        time(self.hours.last(), self.minutes.last(), self.seconds.last())
    }

    fn time_at_or_after(&self, at: i64) -> Option<i64> {
        let (hour, minute, second) = parts(at);
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.at_or_after(second)
            {
                return Some(time(hour, minute, second));
            }
            if let Some(minute) = self.minutes.at_or_after(minute + 1) {
                return Some(time(hour, minute, self.seconds.first()));
            }
        }
        let hour = self.hours.at_or_after(hour + 1)?;
        Some(time(hour, self.minutes.first(), self.seconds.first()))
    }

    fn time_at_or_before(&self, at: i64) -> Option<i64> {
        let (hour, minute, second) = parts(at);
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.below(second + 1)
            {
                return Some(time(hour, minute, second));
            }
            if let Some(minute) = self.minutes.below(minute) {
                return Some(time(hour, minute, self.seconds.last()));
            }
        }
        let hour = self.hours.below(hour)?;
        Some(time(hour, self.minutes.last(), self.seconds.last()))
    }
}

/// Some of the numbers below 60. Never none in a [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Set(u64);

impl Set {
    pub(super) const fn count(self) -> u32 {
        self.0.count_ones()
    }

    pub(super) const fn first(self) -> u32 {
        self.0.trailing_zeros()
    }

    pub(super) const fn last(self) -> u32 {
        63_u32.saturating_sub(self.0.leading_zeros())
    }

    const fn has(self, value: u32) -> bool {
        self.0 >> value & 1 == 1
    }

    fn at_or_after(self, value: u32) -> Option<u32> {
        let rest = Self(self.0 & (u64::MAX << value));
        (rest.0 != 0).then(|| rest.first())
    }

    fn below(self, value: u32) -> Option<u32> {
        let rest = Self(self.0 & !(u64::MAX << value));
        (rest.0 != 0).then(|| rest.last())
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u32> {
        (0..60).filter(move |value| self.has(*value))
    }
}

fn longest_step(mut values: impl Iterator<Item = i64>) -> i64 {
    let Some(mut last) = values.next() else { return 0 };
    let mut longest = 0;
    for value in values {
        longest = longest.max(value - last);
        last = value;
    }
    longest
}

fn time(hour: u32, minute: u32, second: u32) -> i64 {
    i64::from(hour) * HOUR + i64::from(minute) * MINUTE + i64::from(second)
}

/// Hour, minute and second of a time of day.
pub(super) fn parts(time: i64) -> (u32, u32, u32) {
    let part = |value: i64| u32::try_from(value).unwrap_or_default();
    (part(time / HOUR), part(time / MINUTE % 60), part(time % MINUTE))
}

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

/// Seconds of a day on the wall.
pub(super) const DAY: i64 = 24 * HOUR;

/// Days that are searched: from one 29 February to the next, over a turn of the century.
const HORIZON: i64 = 2922;

/// Days within which the longest wait is sought.
const LOOK_AHEAD: i64 = 400;
