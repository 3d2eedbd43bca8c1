//! Numbers that are round for people.

use crate::report::figures;

/// 1, 2, 2.5 or 5 with noughts, not below `least`.
pub(super) fn round_step(least: f64) -> f64 {
    let decade = decade(least);
    [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .map(|step| step * decade)
        .find(|step| *step >= least * 0.999_999)
        .unwrap_or(10.0 * decade)
}

/// The power of ten that is not above a value.
pub(super) fn decade(value: f64) -> f64 {
    10f64.powf(value.log10().floor())
}

/// 0, 1, 2 and so on; never too many.
pub(super) fn upto(last: f64) -> impl Iterator<Item = f64> {
    (0..=(last.clamp(0.0, MOST_TICKS) as u32)).map(f64::from)
}

/// `10 ms`: no digits after a round number.
pub(super) fn round_time(seconds: f64) -> String {
    let text = figures::time(seconds * 1.000_000_1);
    let number = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = &text[number.len()..];
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number} {unit}")
}

const MOST_TICKS: f64 = 64.0;
