//! Times as operators write them: RFC 3339 in UTC.

use crate::model::UnixMs;

/// `None` for what is no RFC 3339 or lies before 1970.
#[must_use]
pub fn parse(text: &str) -> Option<UnixMs> {
    humantime::parse_rfc3339(text).ok().and_then(UnixMs::of)
}
