//! Times as operators write and read them: RFC 3339 in UTC.

use std::time::{Duration, UNIX_EPOCH};

use crate::model::UnixMs;

/// To the second; later than the year 9999 cannot be written.
#[must_use]
pub fn rfc3339(time: UnixMs) -> String {
    let seconds = (time.0 / 1000).min(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// `None` for what is no RFC 3339 or lies before 1970.
#[must_use]
pub fn parse(text: &str) -> Option<UnixMs> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok().map(UnixMs)
}
