//! Times, as people and machines both read them.

use std::time::Duration;

use chatctl_relay::model::UnixMs;

/// RFC 3339 in UTC, to the second.
pub(crate) fn rfc3339(time: UnixMs) -> String {
    time.rfc3339()
}

/// `in 5m`, or `5m ago`.
pub(crate) fn relative(time: UnixMs, now: UnixMs) -> String {
    let span = humantime::format_duration(Duration::from_secs((time.0 / 1000).abs_diff(now.0 / 1000)));
    if time >= now {
        format!("in {span}")
    } else {
        format!("{span} ago")
    }
}

/// Parses RFC 3339, with or without the `T` and the `Z`.
///
/// # Errors
///
/// The parser's words.
pub(crate) fn parse(text: &str) -> Result<UnixMs, String> {
    let time = humantime::parse_rfc3339_weak(text).map_err(|error| error.to_string())?;
    UnixMs::of(time).ok_or_else(|| "must be after 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip_and_are_told_relative_to_now() {
        let time = parse("2026-11-22T12:00:00Z").unwrap();
        assert_eq!(
            (time, rfc3339(time)),
            (UnixMs(1_795_348_800_000), "2026-11-22T12:00:00Z".into())
        );
        assert_eq!(parse("2026-11-22 12:00:00"), Ok(time));
        assert!(parse("1969-01-01T00:00:00Z").is_err());
        assert_eq!(relative(time.plus_seconds(90), time), "in 1m 30s");
        assert_eq!(relative(time.plus_seconds(90), UnixMs(time.0 + 900)), "in 1m 30s");
        assert_eq!(relative(time, time.plus_seconds(90)), "1m 30s ago");
    }
}
