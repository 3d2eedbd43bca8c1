//! A schedule in the calendar grammar of systemd (`systemd.time(7)`), where it can be said there exactly.
//!
//! In an hour that the clock leaves out or shows twice, systemd has its own ways.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;

use crate::config::schedule::wall::{Pattern, Set, parts};
use crate::config::schedule::{Schedule, When, parse};

/// Why a schedule cannot be said in systemd's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCalendar {
    /// L, W or #.
    #[error("systemd's calendar has no word for the day {0:?}")]
    Day(String),
    /// A period whose ticks are not at the same times on each day.
    #[error("systemd's calendar cannot say every {0}: a day cannot be divided into such parts")]
    Period(String),
    /// Too many lines.
    #[error("systemd's calendar would need {0} lines for it")]
    Lines(usize),
}

impl Schedule {
    /// The values of `OnCalendar=` that together mean the same.
    ///
    /// # Errors
    ///
    /// [`NoCalendar`].
    pub fn on_calendar(&self) -> Result<Vec<String>, NoCalendar> {
        match &self.when {
            When::Every(period) => every(*period),
            When::Cron(pattern) => cron(pattern, self.zone),
        }
    }
}

fn every(period: Duration) -> Result<Vec<String>, NoCalendar> {
    let refused = || NoCalendar::Period(humantime::format_duration(period).to_string());
    let seconds = period.as_secs();
    if period.subsec_nanos() != 0 {
        return Err(refused());
    }
    // 1 January 1970 was a Thursday.
    if seconds == 7 * DAY {
        return Ok(vec!["Thu *-*-* 00:00:00 UTC".to_owned()]);
    }
    if seconds == 0 || !DAY.is_multiple_of(seconds) {
        return Err(refused());
    }
    let step = |part: u64| format!("00/{part}");
    let time = match seconds {
        1 => "*:*:*".to_owned(),
        60 => "*:*:00".to_owned(),
        3600 => "*:00:00".to_owned(),
        seconds if 60 % seconds == 0 => format!("*:*:{}", step(seconds)),
        seconds if seconds % 60 == 0 && 3600 % seconds == 0 => format!("*:{}:00", step(seconds / 60)),
        seconds => return listed(seconds),
    };
    Ok(vec![format!("*-*-* {time} UTC")])
}

/// Every time of the day, by minute and second.
fn listed(step: u64) -> Result<Vec<String>, NoCalendar> {
    let mut hours: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    for time in (0..DAY).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let (hour, minute, second) = parts(i64::try_from(time).unwrap_or_default());
        hours.entry((minute, second)).or_default().push(hour);
    }
    if hours.len() > MOST_LINES {
        return Err(NoCalendar::Lines(hours.len()));
    }
    let line = |((minute, second), hours): ((u32, u32), Vec<u32>)| {
        format!("*-*-* {}:{minute:02}:{second:02} UTC", two_digits(hours))
    };
    Ok(hours.into_iter().map(line).collect())
}

fn cron(pattern: &Pattern, zone: Tz) -> Result<Vec<String>, NoCalendar> {
    let [_, _, _, day, month, weekday] = pattern.fields.as_slice() else {
        return Ok(Vec::new());
    };
    if let Some(special) = [day, weekday]
        .into_iter()
        .find(|field| field.contains(['L', 'W', '#']) && !is_named(field))
    {
        return Err(NoCalendar::Day(special.clone()));
    }
    let (are_both_needed, weekday) = match weekday.strip_prefix('+') {
        Some(weekday) => (true, weekday),
        None => (false, weekday.as_str()),
    };
    let is_open = |field: &str| ["*", "?"].contains(&field);
    let months = match month.as_str() {
        "*" => "*".to_owned(),
        month => two_digits((1..=12).filter(|number| is_in(&format!("0 0 0 1 {month} *"), *number, 1))),
    };
    let days = match is_open(day) {
        true => "*".to_owned(),
        // January has 31.
        false => two_digits((1..=31).filter(|number| is_in(&format!("0 0 0 {day} * *"), 1, *number))),
    };
    // The first Sunday of 2024 was 7 January.
    let is_on = |number: u32| is_in(&format!("0 0 0 * * {weekday}"), 1, 7 + number);
    let weekdays: Vec<_> = (0..7).filter(|number| is_on(*number)).collect();
    let names: Vec<_> = (0..)
        .zip(WEEKDAYS)
        .filter(|(number, _)| weekdays.contains(number))
        .map(|(_, name)| name)
        .collect();
    let weekdays = match names.len() {
        7 => String::new(),
        _ => format!("{} ", names.join(",")),
    };
    let time = format!(
        "{}:{}:{}",
        set(pattern.hours, 24),
        set(pattern.minutes, 60),
        set(pattern.seconds, 60)
    );
    let line = |weekdays: &str, days: &str| format!("{weekdays}*-{months}-{days} {time} {zone}");
    Ok(match (is_open(day), is_open(weekday)) {
        (false, false) if !are_both_needed => vec![line("", &days), line(&weekdays, "*")],
        (..) => vec![line(&weekdays, &days)],
    })
}

/// Whether the letters in a field are names of days and nothing else: WED has a W.
fn is_named(field: &str) -> bool {
    let mut words = field.split(|letter: char| !letter.is_ascii_alphabetic());
    !field.contains('#') && words.all(|word| word.is_empty() || word.len() == 3)
}

/// Whether six fields are on a day of 2024.
fn is_in(fields: &str, month: u32, day: u32) -> bool {
    parse::cron(fields).is_ok_and(|cron| {
        cron.pattern.month_match(month).unwrap_or(false)
            && cron.pattern.day_match(2024, month, day).unwrap_or(false)
    })
}

fn set(set: Set, all: u32) -> String {
    match set.count() == all {
        true => "*".to_owned(),
        false => two_digits(set.iter()),
    }
}

fn two_digits(values: impl IntoIterator<Item = u32>) -> String {
    let values: Vec<_> = values.into_iter().map(|value| format!("{value:02}")).collect();
    values.join(",")
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Lines of `OnCalendar=` that somebody may still want to read.
const MOST_LINES: usize = 12;

const DAY: u64 = 24 * 3600;
