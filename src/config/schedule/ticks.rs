//! From the wall to instants: ticks, sought within stretches of one offset from UTC.
//!
//! Instants are seconds since 1970 here. Must not know how schedules are written.

use chrono::{DateTime, LocalResult, Offset as _, TimeZone as _};
use chrono_tz::Tz;

use crate::config::schedule::wall::{DAY, Pattern};
use crate::model::UnixMs;

/// The second in which an instant is; nothing after the year 9999.
pub(super) fn second(at: UnixMs) -> Option<i64> {
    i64::try_from(at.0 / 1000).ok().filter(|second| *second <= LAST)
}

/// The instant at which a second begins; nothing before 1970.
pub(super) fn instant(second: i64) -> Option<UnixMs> {
    u64::try_from(second).ok()?.checked_mul(1000).map(UnixMs)
}

/// What the clock on the wall shows.
pub(super) fn wall(zone: Tz, second: i64) -> i64 {
    second + offset(zone, second)
}

/// Seconds by which a zone is ahead of UTC.
pub(super) fn offset(zone: Tz, second: i64) -> i64 {
    let utc = DateTime::from_timestamp(second, 0)
        .unwrap_or_default()
        .naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

/// The first second after `from`, up to and with `up_to`, that has another offset than the one before it.
///
/// Looks at multiples of six hours; clocks that change twice within those do not exist.
pub(super) fn change_after(zone: Tz, from: i64, up_to: i64) -> Option<i64> {
    let before = offset(zone, from);
    let mut same = from;
    while same < up_to {
        let next = ((same.div_euclid(STEP) + 1) * STEP).min(up_to);
        if offset(zone, next) != before {
            return Some(first(same, next, |second| offset(zone, second) != before));
        }
        same = next;
    }
    None
}

/// The last second up to and with `at`, after `down_to`, that has another offset than the one before it.
fn change_before(zone: Tz, at: i64, down_to: i64) -> Option<i64> {
    let after = offset(zone, at);
    let mut same = at;
    while same > down_to {
        let next = ((same - 1).div_euclid(STEP) * STEP).max(down_to);
        if offset(zone, next) != after {
            return Some(first(next, same, |second| offset(zone, second) == after));
        }
        same = next;
    }
    None
}

/// The first second of which something holds, between one of which it does not and one of which it does.
fn first(mut no: i64, mut yes: i64, holds: impl Fn(i64) -> bool) -> i64 {
    while yes - no > 1 {
        let middle = no + (yes - no) / 2;
        if holds(middle) { yes = middle } else { no = middle }
    }
    yes
}

/// The first tick at or after a second.
pub(super) fn at_or_after(pattern: &Pattern, zone: Tz, from: i64) -> Option<i64> {
    if let Some(time) = pattern.only_time() {
        // A day before: a tick may have been put off until after a gap.
        let mut day = wall(zone, from).div_euclid(DAY) - 1;
        loop {
            day = pattern.at_or_after(day * DAY)?.div_euclid(DAY);
            let tick = moved(zone, day * DAY + time);
            if tick >= from {
                return Some(tick);
            }
            day += 1;
        }
    }
    let mut from = from;
    loop {
        let offset = offset(zone, from);
        let tick = pattern.at_or_after(from + offset)? - offset;
        match change_after(zone, from, tick) {
            Some(change) => from = change,
            None => return Some(tick),
        }
    }
}

/// The last tick at or before a second.
pub(super) fn at_or_before(pattern: &Pattern, zone: Tz, at: i64) -> Option<i64> {
    if let Some(time) = pattern.only_time() {
        // A day after: in an hour that comes twice, the wall may show yesterday again.
        let mut day = wall(zone, at).div_euclid(DAY) + 1;
        loop {
            day = pattern.at_or_before(day * DAY + DAY - 1)?.div_euclid(DAY);
            let tick = moved(zone, day * DAY + time);
            if tick <= at {
                return Some(tick);
            }
            day -= 1;
        }
    }
    let mut at = at;
    loop {
        let offset = offset(zone, at);
        let tick = pattern.at_or_before(at + offset)? - offset;
        match change_before(zone, at, tick) {
            Some(change) => at = change - 1,
            None => return Some(tick),
        }
    }
}

/// When the wall shows a time: the first time that it does, or right after the gap in which it is.
fn moved(zone: Tz, wall: i64) -> i64 {
    let naive = DateTime::from_timestamp(wall, 0).unwrap_or_default().naive_utc();
    match zone.from_local_datetime(&naive) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp(),
        LocalResult::None => {
            // The gap is where the offset of the day before no longer holds.
            let before = wall - offset(zone, wall - 2 * DAY);
            change_after(zone, wall - 2 * DAY, before).unwrap_or(before)
        }
    }
}

/// Six hours.
const STEP: i64 = 6 * 3600;

/// The end of the year 9999.
const LAST: i64 = 253_402_300_799;
