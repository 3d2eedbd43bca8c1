//! An instant as a clock on the wall shows it.

use std::fmt;

use chrono::{DateTime, Offset as _, TimeZone as _};
use chrono_tz::{OffsetName as _, Tz};

use crate::config::schedule::ticks;
use crate::model::UnixMs;

/// What a clock on the wall shows. `2026-11-23 03:17:00 CET` as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// `2026-11-23`.
    pub date: String,
    /// `03:17:00`.
    pub time: String,
    /// What people there call the time: `CET`, or `+1030` where it has no name.
    pub name: String,
    /// Seconds by which it is ahead of UTC.
    offset: i32,
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.date, self.time, self.name)
    }
}

impl Local {
    /// RFC 3339, with the offset from UTC to the minute.
    #[must_use]
    pub fn rfc3339(&self) -> String {
        let minutes = self.offset.unsigned_abs() / 60;
        let sign = if self.offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (minutes / 60, minutes % 60);
        format!("{}T{}{sign}{hours:02}:{minutes:02}", self.date, self.time)
    }
}

/// What a clock on the wall shows at an instant, in a zone.
#[must_use]
pub fn local(zone: Tz, at: UnixMs) -> Local {
    let second = ticks::second(at).unwrap_or_default();
    let utc = DateTime::from_timestamp(second, 0).unwrap_or_default();
    let offset = zone.offset_from_utc_datetime(&utc.naive_utc());
    let wall = utc.with_timezone(&zone).naive_local();
    Local {
        date: wall.date().to_string(),
        time: wall.time().to_string(),
        name: offset
            .abbreviation()
            .map_or_else(|| offset.fix().to_string(), str::to_owned),
        offset: offset.fix().local_minus_utc(),
    }
}

/// Date, hour and minute of a time on the wall.
pub(super) fn date_and_minute(wall: i64) -> (String, String) {
    let wall = DateTime::from_timestamp(wall, 0).unwrap_or_default().naive_utc();
    let time = wall.time().to_string();
    (
        wall.date().to_string(),
        time.get(..5).unwrap_or_default().to_owned(),
    )
}
