//! What people write, read: forms, zones, and a reason for what is no schedule.
//!
//! Must not know the clock on the wall. The fields themselves are the cron library's to read; what it lets pass
//! although nobody means it is refused before.

use std::time::Duration;

use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::config::schedule::wall::{Form, Pattern};
use crate::config::schedule::{Error, LONGEST_SHOWN, When, zone};

/// What a text means.
///
/// # Errors
///
/// [`Error`], with a reason.
pub(super) fn parse(text: &str) -> Result<(Option<Tz>, When), Error> {
    let malformed = |why: String| Error::Malformed {
        text: match text.len() > LONGEST {
            true => text.chars().take(LONGEST_SHOWN).chain(['…']).collect(),
            false => text.to_owned(),
        },
        why,
    };
    if text.len() > LONGEST {
        return Err(malformed(format!("it is longer than {LONGEST} bytes")));
    }
    // Schedules are shown in lines of logs and files: one is one line.
    let is_strange = |letter: &char| !letter.is_ascii() || letter.is_ascii_control() && *letter != '\t';
    if let Some(strange) = text.chars().find(is_strange) {
        return Err(malformed(format!("{strange:?} stands in no schedule")));
    }
    let words = text.trim();
    let prefixed = words
        .strip_prefix("CRON_TZ=")
        .or_else(|| words.strip_prefix("TZ="));
    let (own, words) = match prefixed {
        Some(rest) => {
            let (name, words) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            (Some(zone(name)?), words.trim())
        }
        None => (None, words),
    };
    let when = match words.split_once(char::is_whitespace) {
        Some(("every", period)) => every(period.trim()).map(When::Every),
        Some(_) | None => fields(words).map(|pattern| When::Cron(Box::new(pattern))),
    };
    when.map(|when| (own, when)).map_err(malformed)
}

fn every(period: &str) -> Result<Duration, String> {
    let period = humantime::parse_duration(period).map_err(|error| error.to_string())?;
    if period < Duration::from_secs(1) {
        return Err("more often than once a second is too often".to_owned());
    }
    if period > LONGEST_PERIOD {
        return Err("the period is longer than ten years".to_owned());
    }
    if period.subsec_nanos() % 1_000_000 != 0 {
        return Err("the period is no whole number of milliseconds".to_owned());
    }
    Ok(period)
}

fn fields(words: &str) -> Result<Pattern, String> {
    if words.is_empty() {
        return Err("it is empty; five fields are minute, hour, day, month, day of the week".to_owned());
    }
    let (form, words) = match words.strip_prefix('@') {
        Some(name) => (Form::Nickname, nickname(name)?.to_owned()),
        None => (Form::Five, words.to_ascii_uppercase()),
    };
    let mut fields: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let form = match (fields.len(), form) {
        (5, form) => {
            fields.insert(0, "0".to_owned());
            form
        }
        (6, _) => Form::Six,
        (7, _) => return Err("it has seven fields; a year cannot be given".to_owned()),
        (count, _) => {
            let plural = if count == 1 { "" } else { "s" };
            return Err(format!(
                "it has {count} field{plural}; five are minute, hour, day, month, day of the week, and six have a second in front"
            ));
        }
    };
    for (index, (field, name)) in fields.iter().zip(NAMES).enumerate() {
        let fault = oddity(index, field).or_else(|| alone(index, field).err());
        if let Some(why) = fault {
            return Err(format!("the {name} {field:?}: {why}"));
        }
    }
    let cron = cron(&fields.join(" "))?;
    Pattern::of(cron, form, fields).ok_or_else(|| "it names no time of day".to_owned())
}

fn nickname(name: &str) -> Result<&'static str, String> {
    let found = NICKNAMES
        .iter()
        .find(|(nickname, _)| name.eq_ignore_ascii_case(nickname));
    match found {
        Some((_, fields)) => Ok(fields),
        None => {
            let names = NICKNAMES.map(|(nickname, _)| format!("@{nickname}"));
            Err(format!(
                "there is no @{name}; there are {}, and `every 15m`",
                names.join(", ")
            ))
        }
    }
}

/// What the library reads as something that nobody means: words glued together, empty places in a list.
fn oddity(index: usize, field: &str) -> Option<String> {
    for item in field.split(',') {
        if item.is_empty() {
            return Some("a place in the list is empty".to_owned());
        }
        for word in item.split(|letter: char| !letter.is_ascii_alphabetic()) {
            let is_known = match index {
                _ if word.is_empty() => true,
                3 => ["L", "W"].contains(&word),
                4 => MONTHS.contains(&word),
                5 => word == "L" || WEEKDAYS.contains(&word) || is_last(word),
                _ => false,
            };
            if !is_known {
                return Some(format!("{word:?} has no meaning here"));
            }
        }
        // `JAN1` and `1JAN` would be read as 11.
        let is_glued = item.as_bytes().windows(2).any(|pair| {
            let is_word = index >= 4 && (pair[0] != b'L' && pair[1] != b'L');
            is_word
                && pair[0].is_ascii_digit() != pair[1].is_ascii_digit()
                && pair.iter().all(u8::is_ascii_alphanumeric)
        });
        if is_glued {
            return Some("a number and a name are one word".to_owned());
        }
    }
    None
}

/// `FRIL`, the last Friday.
fn is_last(word: &str) -> bool {
    word.strip_suffix('L').is_some_and(|day| WEEKDAYS.contains(&day))
}

/// Whether a field means something by itself, so that the one that does not can be named.
fn alone(index: usize, field: &str) -> Result<(), String> {
    let mut fields = ["0", "0", "0", "*", "*", "*"].map(str::to_owned);
    if let Some(place) = fields.get_mut(index) {
        field.clone_into(place);
    }
    cron(&fields.join(" ")).map(drop)
}

/// What the library makes of six fields.
///
/// # Errors
///
/// Its reason.
pub(super) fn cron(fields: &str) -> Result<Cron, String> {
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Disallowed)
        .build();
    parser.parse(fields).map_err(|error| {
        let words = error.to_string();
        let reason = words.rsplit(": ").next().unwrap_or_default();
        reason.trim_end_matches('.').to_lowercase()
    })
}

/// Longest text that is looked at.
const LONGEST: usize = 256;

/// Longest period: 3653 days.
const LONGEST_PERIOD: Duration = Duration::from_secs(3653 * 24 * 3600);

const NAMES: [&str; 6] = ["second", "minute", "hour", "day", "month", "day of the week"];

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];

const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const NICKNAMES: [(&str, &str); 7] = [
    ("hourly", "0 * * * *"),
    ("daily", "0 0 * * *"),
    ("midnight", "0 0 * * *"),
    ("weekly", "0 0 * * 0"),
    ("monthly", "0 0 1 * *"),
    ("yearly", "0 0 1 1 *"),
    ("annually", "0 0 1 1 *"),
];
