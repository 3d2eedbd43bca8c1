//! Words for amounts, as they stand in flags and scenario files: `2000/s`, `64KiB`, `30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Events per second. Written `2000/s`, `50k/s` or `120/min`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Rate(f64);

/// Bytes. Written `256B`, `64KiB`, `1MiB` or a bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Size(pub u64);

/// A time. Written `30s`, `500ms`, `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Span(pub Duration);

/// An amount that cannot be read, and what it could have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not {what}")]
pub struct UnitError {
    word: String,
    what: &'static str,
}

impl UnitError {
    /// A word that is not what was wanted: `a rate such as ..`.
    pub(crate) fn new(word: &str, what: &'static str) -> Self {
        unit_error(word, what)
    }
}

impl Rate {
    /// So many per second.
    ///
    /// # Errors
    ///
    /// When it is not a positive number that can be scheduled: above 0, at most 10,000,000.
    pub fn per_second(rate: f64) -> Result<Self, UnitError> {
        match rate.is_finite() && rate > 0.0 && rate <= 1e7 {
            true => Ok(Self(rate)),
            false => Err(unit_error(&rate.to_string(), RATE)),
        }
    }

    /// Events per second.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(word: &str) -> Result<Self, UnitError> {
        let bad = || unit_error(word, RATE);
        let (number, per) = word.trim().split_once('/').ok_or_else(bad)?;
        let seconds = match per.trim() {
            "s" | "sec" => 1.0,
            "min" | "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        let (digits, factor) = match number.trim() {
            thousands if thousands.ends_with('k') => (thousands.trim_end_matches('k'), 1e3),
            millions if millions.ends_with('M') => (millions.trim_end_matches('M'), 1e6),
            plain => (plain, 1.0),
        };
        let number: f64 = digits.replace('_', "").parse().map_err(|_| bad())?;
        Self::per_second(number * factor / seconds).map_err(|_| bad())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not rounded: a scenario that is written and read again is the same one.
        write!(f, "{}/s", self.0)
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(word: &str) -> Result<Self, UnitError> {
        let bad = || unit_error(word, SIZE);
        let word = word.trim();
        let digits = word.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        let factor = match word[digits.len()..].trim() {
            "" | "B" => 1,
            "KiB" | "K" => 1 << 10,
            "MiB" | "M" => 1 << 20,
            "GiB" | "G" => 1 << 30,
            "kB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return Err(bad()),
        };
        let number: u64 = digits.replace('_', "").parse().map_err(|_| bad())?;
        number.checked_mul(factor).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let (unit, name) = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
            .into_iter()
            .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
            .unwrap_or((1, "B"));
        write!(f, "{}{name}", bytes / unit)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(word: &str) -> Result<Self, UnitError> {
        humantime::parse_duration(word.trim())
            .map(Self)
            .map_err(|_| unit_error(word, "a time such as `30s` or `500ms`"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = UnitError;

            fn try_from(word: String) -> Result<Self, UnitError> {
                word.parse()
            }
        }

        impl From<$type> for String {
            fn from(amount: $type) -> Self {
                amount.to_string()
            }
        }
    )*};
}

as_text!(Rate, Size, Span);

fn unit_error(word: &str, what: &'static str) -> UnitError {
    UnitError {
        word: word.to_owned(),
        what,
    }
}

const RATE: &str = "a rate such as `2000/s` or `120/min`";
const SIZE: &str = "a size such as `256B` or `64KiB`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them_and_written_as_they_are_read() {
        assert_eq!("2000/s".parse(), Rate::per_second(2000.0));
        assert_eq!("50k/s".parse(), Rate::per_second(50_000.0));
        assert_eq!("120/min".parse(), Rate::per_second(2.0));
        assert_eq!("64KiB".parse(), Ok(Size(65_536)));
        assert_eq!("1500".parse(), Ok(Size(1500)));
        assert_eq!("1m30s".parse(), Ok(Span(Duration::from_secs(90))));
        for word in ["0.1/s", "2000/s"] {
            assert_eq!(word.parse::<Rate>().unwrap().to_string(), word);
        }
        for word in ["64KiB", "1500B", "3MiB"] {
            assert_eq!(word.parse::<Size>().unwrap().to_string(), word);
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for word in ["", "2000", "-1/s", "0/s", "inf/s", "1/day", "/s"] {
            assert!(word.parse::<Rate>().is_err(), "{word}");
        }
        for word in [
            "",
            "B",
            "1TB",
            "1.5KiB",
            "99999999999999999999",
            "18446744073709551615KiB",
        ] {
            assert!(word.parse::<Size>().is_err(), "{word}");
        }
        assert!("soon".parse::<Span>().is_err());
    }
}
