//! Figures as people read them: `18.4ms`, `60 000`, `148 MiB`. Every screen and page writes them with these.
//!
//! Digits are grouped by a narrow space that does not break; three digits count.

/// A time: `305µs`, `18.4ms`, `1.21s`, `2m 05s`.
#[must_use]
pub fn time(seconds: f64) -> String {
    if !seconds.is_finite() {
        return NOTHING.to_owned();
    }
    let size = seconds.abs();
    // Rounding must not make 1000ms of 999.9ms, so the bounds lie half a digit lower.
    match size {
        _ if size == 0.0 => "0s".to_owned(),
        _ if size < 0.999_5e-6 => format!("{}ns", three(seconds * 1e9)),
        _ if size < 0.999_5e-3 => format!("{}µs", three(seconds * 1e6)),
        _ if size < 0.999_5 => format!("{}ms", three(seconds * 1e3)),
        _ if size < 99.95 => format!("{}s", three(seconds)),
        _ if size < 5999.5 => {
            let whole = seconds.round();
            format!("{:.0}m {:02.0}s", (whole / 60.0).floor(), whole % 60.0)
        }
        _ => {
            let minutes = (seconds / 60.0).round();
            format!("{}h {:02.0}m", grouped((minutes / 60.0).floor()), minutes % 60.0)
        }
    }
}

/// A number of things: `60 000`.
#[must_use]
pub fn count(number: u64) -> String {
    group(&number.to_string())
}

/// So many per second: `2 000/s`, `12.5/s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    format!("{}/s", number(per_second))
}

/// A number that need not be whole: `2 000`, `12.5`, `0.04`.
#[must_use]
pub fn number(number: f64) -> String {
    match number {
        _ if !number.is_finite() => NOTHING.to_owned(),
        _ if number.abs() >= 99.95 => grouped(number),
        _ if number == number.trunc() => format!("{number:.0}"),
        _ => three(number),
    }
}

/// Bytes: `148 MiB`, `96.0 KiB`, `412 B`.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    if !bytes.is_finite() {
        return NOTHING.to_owned();
    }
    let mut amount = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount.abs() < 999.5 {
            return match unit {
                "B" => format!("{amount:.0} B"),
                unit => format!("{} {unit}", three(amount)),
            };
        }
        amount /= 1024.0;
    }
    format!("{} TiB", number(amount))
}

/// A share of a whole: `61 %`, `0.12 %`.
#[must_use]
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if !percent.is_finite() => NOTHING.to_owned(),
        _ if percent == 0.0 => "0 %".to_owned(),
        _ if percent < 10.0 => format!("{} %", three(percent)),
        // What is nearly all is not all.
        _ if percent > 99.0 && percent < 100.0 => format!("{:.2} %", percent.min(99.99)),
        _ => format!("{} %", grouped(percent)),
    }
}

/// How much more or less something is than before: `+12.4 %`, `−3.10 %`.
#[must_use]
pub fn change(before: f64, after: f64) -> String {
    if before == after {
        return "±0 %".to_owned();
    }
    let percent = (after / before - 1.0) * 100.0;
    match percent {
        _ if !percent.is_finite() => NOTHING.to_owned(),
        _ if percent.abs() < 0.05 => "±0 %".to_owned(),
        _ if percent < 0.0 => format!("−{} %", number(-percent)),
        _ => format!("+{} %", number(percent)),
    }
}

/// A figure that may not be there.
#[must_use]
pub fn maybe(figure: Option<f64>, shown: fn(f64) -> String) -> String {
    figure.map_or_else(|| NOTHING.to_owned(), shown)
}

/// Three digits that count, never with an exponent.
fn three(number: f64) -> String {
    match number.abs() {
        size if size >= 99.95 => grouped(number),
        size if size >= 9.995 => format!("{number:.1}"),
        size if size >= 0.095 || size == 0.0 => format!("{number:.2}"),
        size if size >= 0.0095 => format!("{number:.3}"),
        _ => format!("{number:.4}"),
    }
}

fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let sign = if number < 0.0 && digits != "0" { "−" } else { "" };
    format!("{sign}{}", group(&digits))
}

fn group(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(THIN);
        }
        grouped.push(digit);
    }
    grouped
}

/// Stands where nothing was measured.
pub const NOTHING: &str = "–";
/// Narrow, and does not break.
const THIN: char = '\u{202f}';

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace(THIN, " ")
    }

    #[test]
    fn times_have_three_digits_and_a_unit_that_fits() {
        let seconds = [
            0.0, 4.2e-8, 3.05e-4, 0.0184, 0.9994, 0.99996, 1.214, 59.96, 125.0, 7260.0,
        ];
        let shown = [
            "0s", "42.0ns", "305µs", "18.4ms", "999ms", "1.00s", "1.21s", "60.0s", "2m 05s", "2h 01m",
        ];
        assert_eq!(seconds.map(time), shown.map(str::to_owned));
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!(
            [7, 1000, 60_000, 1_234_567].map(count).map(|text| plain(&text)),
            ["7", "1 000", "60 000", "1 234 567"]
        );
        assert_eq!(
            [2000.0, 12.5, 0.04, 3.0].map(rate).map(|text| plain(&text)),
            ["2 000/s", "12.5/s", "0.040/s", "3/s"]
        );
    }

    #[test]
    fn bytes_and_shares_are_written_with_their_unit_apart() {
        assert_eq!(
            [412.0, 98_304.0, 155_189_248.0, 1020.0].map(bytes),
            ["412 B", "96.0 KiB", "148 MiB", "1.00 KiB"]
        );
        assert_eq!(
            [0.0, 0.0012, 0.61, 0.9996, 1.0, 1.84].map(share),
            ["0 %", "0.12 %", "61 %", "99.96 %", "100 %", "184 %"]
        );
        assert_eq!(
            [(100.0, 112.4), (100.0, 96.9), (5.0, 5.0)].map(|(a, b)| change(a, b)),
            ["+12.4 %", "−3.10 %", "±0 %"]
        );
    }

    #[test]
    fn what_is_no_number_is_a_dash() {
        assert_eq!(
            [time, rate, number, bytes, share].map(|shown| shown(f64::NAN).replace("/s", "")),
            [NOTHING; 5]
        );
        assert_eq!(change(0.0, 1.0), NOTHING);
        assert_eq!(maybe(None, time), NOTHING);
    }
}
