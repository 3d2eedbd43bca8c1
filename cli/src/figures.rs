//! Numbers, sizes and spans of time, as people read them in a table.

use std::time::Duration;

use chatctl_relay::model::UnixMs;

use crate::when;

/// `1,204`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `3.4 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    // In tenths: no float is needed for one digit behind the point.
    let mut tenths = u128::from(number) * 10;
    let mut unit = "B";
    for larger in units {
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = larger;
    }
    match unit {
        "B" => format!("{number} B"),
        unit => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// The two largest units: `3m 20s`, `2h 5m`, `12d`; below a minute tenths of a second or milliseconds.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{}ms", span.as_millis()),
        1..60 if span.subsec_millis() >= 100 => format!("{seconds}.{}s", span.subsec_millis() / 100),
        _ => whole(seconds),
    }
}

/// `in 3m 20s`, `2h 5m ago`, `now`.
pub(crate) fn relative(time: UnixMs, now: UnixMs) -> String {
    let seconds = (time.0 / 1000).abs_diff(now.0 / 1000);
    match (seconds, time > now) {
        (0, _) => "now".to_owned(),
        (seconds, true) => format!("in {}", whole(seconds)),
        (seconds, false) => format!("{} ago", whole(seconds)),
    }
}

/// RFC 3339 with the span behind it: `2026-11-22T12:01:00Z (in 20s)`. What is no time is left as it is.
pub(crate) fn dated(time: &str, now: UnixMs) -> String {
    match when::parse(time) {
        Ok(at) => format!("{time} ({})", relative(at, now)),
        Err(_) => tame(time),
    }
}

/// What somebody else may have written, without what a terminal would act on.
pub(crate) fn tame(text: &str) -> String {
    let escape = |char: char| match char.is_control() {
        true => char.escape_default().to_string(),
        false => char.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Lines of cells under each other, two spaces apart; the last cell of a line is as wide as it is.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let padded: Vec<_> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn whole(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(number, _)| *number > 0).unwrap_or(3);
    let shown = parts.iter().skip(first).take(2);
    let words: Vec<_> = shown
        .enumerate()
        .filter(|(at, (number, _))| *at == 0 || *number > 0)
        .map(|(_, (number, unit))| format!("{number}{unit}"))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_have_one_digit_behind_the_point() {
        let numbers = [0, 999, 1_000, 1_204, 1_234_567].map(thousands);
        assert_eq!(numbers, ["0", "999", "1,000", "1,204", "1,234,567"]);
        let sizes = [0, 1023, 1024, 3_565_158, 5 << 30].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "3.4 MiB", "5.0 GiB"]);
        assert!(bytes(u64::MAX).ends_with(" EiB"));
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let spans = [0, 810, 1_200, 59_000, 200_000, 7_500_000, 90_061_000, 864_000_000];
        assert_eq!(
            spans.map(|millis| span(Duration::from_millis(millis))),
            ["0ms", "810ms", "1.2s", "59s", "3m 20s", "2h 5m", "1d 1h", "10d"]
        );
    }

    #[test]
    fn times_are_told_with_their_distance() {
        let now = UnixMs(1_795_348_800_000);
        assert_eq!(relative(now, UnixMs(now.0 + 900)), "now");
        assert_eq!(relative(now.plus_seconds(200), now), "in 3m 20s");
        assert_eq!(relative(now, now.plus_seconds(7_500)), "2h 5m ago");
        assert_eq!(
            dated("2026-11-22T12:00:20Z", now),
            "2026-11-22T12:00:20Z (in 20s)"
        );
        assert_eq!(dated("\u{1b}[2J", now), "\\u{1b}[2J");
    }

    #[test]
    fn cells_stand_under_each_other() {
        let rows = [["a", "long", "x"], ["longer", "b", ""]];
        let rows: Vec<_> = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(table(&rows), "a       long  x\nlonger  b\n");
    }
}
