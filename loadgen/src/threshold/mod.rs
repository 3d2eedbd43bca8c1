//! What must hold: `metric.aggregate op value unit`, read before the run, so that a typo costs nothing.
//!
//! Says what a threshold asks for and whether a figure meets it. Must not know where figures come from.

mod amount;
mod metric;

pub use amount::Amount;
pub use metric::{Aggregate, Cost, Fault, Metric};

use std::fmt;
use std::str::FromStr;

use amount::Unit;

/// A threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// What is looked at.
    pub metric: Metric,
    op: Op,
    number: f64,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Below,
    AtMost,
    Above,
    AtLeast,
    Is,
    IsNot,
}

/// Why a threshold cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// No comparison in it.
    #[error("`{0}` is not a threshold such as `e2e.p99 < 50ms` or `lost == 0`")]
    Shape(String),
    /// A metric that there is none of.
    #[error("there is no metric `{word}`: did you mean `{nearest}`?")]
    Metric {
        /// As written.
        word: String,
        /// What it may have been.
        nearest: String,
    },
    /// An aggregate that the metric has not.
    #[error("`{metric}` has no `{aggregate}`: it has {has}")]
    Aggregate {
        /// The metric.
        metric: String,
        /// As written.
        aggregate: String,
        /// What it has.
        has: &'static str,
    },
    /// No number.
    #[error("`{0}` is not a number with a unit such as `50ms`")]
    Number(String),
    /// A unit that the metric is not measured in.
    #[error("`{metric}` is written with {fits}, not with {unit}")]
    Unit {
        /// The metric.
        metric: String,
        /// What was written.
        unit: String,
        /// What fits.
        fits: &'static str,
    },
}

impl Threshold {
    /// What must hold in every run: nothing is lost, doubled, out of order, changed, or cannot be decrypted.
    #[must_use]
    pub fn always() -> [Self; 5] {
        [
            Fault::Lost,
            Fault::Duplicated,
            Fault::Reordered,
            Fault::Corrupt,
            Fault::Undecryptable,
        ]
        .map(|fault| Self {
            metric: Metric::Fault(fault),
            op: Op::Is,
            number: 0.0,
            unit: Unit::None,
        })
    }

    /// What must hold in every run, but for metrics that somebody has decided upon, and then what they decided.
    ///
    /// # Errors
    ///
    /// [`ThresholdError`] of the first that cannot be read.
    pub fn with_always(words: &[String]) -> Result<Vec<Self>, ThresholdError> {
        let own = words
            .iter()
            .map(|word| word.parse())
            .collect::<Result<Vec<Self>, _>>()?;
        let is_decided = |metric| own.iter().any(|one| one.metric == metric);
        let mut all: Vec<Self> = Self::always()
            .into_iter()
            .filter(|one| !is_decided(one.metric))
            .collect();
        all.extend(&own);
        Ok(all)
    }

    /// Whether a figure meets it. What was not measured does not.
    #[must_use]
    pub fn holds(&self, actual: Option<f64>) -> bool {
        let value = self.number * self.unit.factor();
        actual.is_some_and(|actual| match self.op {
            Op::Below => actual < value,
            Op::AtMost => actual <= value,
            Op::Above => actual > value,
            Op::AtLeast => actual >= value,
            Op::Is => actual == value,
            Op::IsNot => actual != value && !actual.is_nan(),
        })
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(word: &str) -> Result<Self, ThresholdError> {
        let shape = || ThresholdError::Shape(word.to_owned());
        let at = word.find(['<', '>', '=', '!']).ok_or_else(shape)?;
        let (metric, rest) = word.split_at(at);
        let (op, sign) = Op::SIGNS
            .into_iter()
            .find(|(_, sign)| rest.starts_with(sign))
            .ok_or_else(shape)?;
        let metric: Metric = metric.trim().parse()?;
        let amount = rest[sign.len()..].trim();
        let is_digit = |letter: char| letter.is_ascii_digit() || "._-".contains(letter);
        let (digits, unit) = amount.split_at(amount.find(|letter| !is_digit(letter)).unwrap_or(amount.len()));
        let number: f64 = digits
            .replace('_', "")
            .parse()
            .map_err(|_| ThresholdError::Number(amount.to_owned()))?;
        let unit_word = unit.trim();
        let unit = Unit::ALL.into_iter().find(|unit| unit.name() == unit_word);
        match unit.filter(|unit| unit.fits(metric.amount()) || (*unit == Unit::None && number == 0.0)) {
            Some(unit) => Ok(Self {
                metric,
                op,
                number,
                unit,
            }),
            None => Err(ThresholdError::Unit {
                metric: metric.to_string(),
                unit: match unit_word {
                    "" => "no unit".to_owned(),
                    other => format!("`{other}`"),
                },
                fits: metric.amount().units(),
            }),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}{}",
            self.metric,
            self.op.sign(),
            self.number,
            self.unit.name()
        )
    }
}

impl Op {
    /// Longer ones first.
    const SIGNS: [(Self, &str); 6] = [
        (Self::AtMost, "<="),
        (Self::AtLeast, ">="),
        (Self::Is, "=="),
        (Self::IsNot, "!="),
        (Self::Below, "<"),
        (Self::Above, ">"),
    ];

    const fn sign(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Is => "==",
            Self::IsNot => "!=",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(word: &str) -> Threshold {
        word.parse().unwrap_or_else(|error| panic!("{word}: {error}"))
    }

    fn refused(word: &str) -> String {
        word.parse::<Threshold>().unwrap_err().to_string()
    }

    #[test]
    fn thresholds_are_written_as_they_are_read() {
        for word in [
            "e2e.p99 < 50ms",
            "e2e.p99.9 <= 1.5s",
            "late.p50 < 300us",
            "connect.mean < 1s",
            "drain.count >= 10",
            "lost == 0",
            "errors.rate < 0.1%",
            "delivered.rate > 1900/s",
            "sent != 7",
            "throughput >= 2000/s",
            "server.cpu_per_message < 30us",
            "server.rss < 512MiB",
            "server.rss_per_connection < 20KiB",
            "generator.cpu < 85%",
        ] {
            assert_eq!(read(word).to_string(), word);
            assert_eq!(read(&word.replace(' ', "")), read(word));
        }
        assert_eq!(read("sent.count > 5").to_string(), "sent > 5");
        assert_eq!(
            read("redelivered.count == 1_000").to_string(),
            "redelivered == 1000"
        );
        assert_eq!(read("e2e.min > 0").to_string(), "e2e.min > 0");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_may_be() {
        let refusals = [
            (
                "e2e.p99",
                "`e2e.p99` is not a threshold such as `e2e.p99 < 50ms` or `lost == 0`",
            ),
            (
                "e2e.p99 = 5ms",
                "`e2e.p99 = 5ms` is not a threshold such as `e2e.p99 < 50ms` or `lost == 0`",
            ),
            (
                "e2.p95 < 5ms",
                "there is no metric `e2.p95`: did you mean `e2e.p95`?",
            ),
            ("lots == 0", "there is no metric `lots`: did you mean `lost`?"),
            ("dup == 0", "there is no metric `dup`: did you mean `duplicated`?"),
            (
                "server.rs < 5MiB",
                "there is no metric `server.rs`: did you mean `server.rss`?",
            ),
            (
                "server.rss_per_conn < 5MiB",
                "there is no metric `server.rss_per_conn`: did you mean `server.rss_per_connection`?",
            ),
            (
                "lost.p99 == 0",
                "`lost` has no `p99`: it has `rate`, or stands alone",
            ),
            (
                "e2e.p99 < 50",
                "`e2e.p99` is written with `us`, `ms` or `s`, not with no unit",
            ),
            (
                "e2e.p99 < 50MiB",
                "`e2e.p99` is written with `us`, `ms` or `s`, not with `MiB`",
            ),
            ("lost == 0ms", "`lost` is written with no unit, not with `ms`"),
            (
                "delivered.rate > 5%",
                "`delivered.rate` is written with `/s`, not with `%`",
            ),
            ("e2e.p99 < ms", "`ms` is not a number with a unit such as `50ms`"),
        ];
        for (word, why) in refusals {
            assert_eq!(refused(word), why);
        }
        assert!(refused("e2e.p999 < 1s").starts_with("`e2e` has no `p999`: it has `p50`"));
        assert!(refused("e2e < 1s").starts_with("`e2e` has no ``"));
        assert!(refused("e2e.pNaN < 1s").starts_with("`e2e` has no `pNaN`"));
    }

    #[test]
    fn nothing_measured_never_holds() {
        for word in ["lost == 0", "lost != 0", "e2e.p99 > 0", "e2e.p99 <= 5s"] {
            assert!(!read(word).holds(None), "{word}");
            assert!(!read(word).holds(Some(f64::NAN)), "{word}");
        }
        assert!(read("e2e.p99 < 50ms").holds(Some(0.0499)));
        assert!(!read("e2e.p99 < 50ms").holds(Some(0.05)));
        assert!(read("server.rss <= 1KiB").holds(Some(1024.0)));
    }

    #[test]
    fn what_always_must_hold_yields_to_what_somebody_decided() {
        let words = ["redelivered == 0", "lost < 3"].map(str::to_owned);
        let all = Threshold::with_always(&words).unwrap();
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        let expected = [
            "duplicated == 0",
            "reordered == 0",
            "corrupt == 0",
            "undecryptable == 0",
            "redelivered == 0",
            "lost < 3",
        ];
        assert_eq!(all, expected);
        assert!(Threshold::with_always(&["lots == 0".to_owned()]).is_err());
    }

    #[test]
    fn figures_are_shown_with_their_units() {
        let shown = [
            Amount::Time.show(0.0184),
            Amount::Time.show(2.0),
            Amount::Time.show(0.000_000_4),
            Amount::Bytes.show(155_189_248.0),
            Amount::Bytes.show(12.0),
            Amount::Share.show(0.001),
            Amount::Rate.show(1999.96),
            Amount::Events.show(3.0),
            Amount::Events.show(0.25),
        ];
        let expected = [
            "18.4ms", "2.0s", "0.4us", "148.0MiB", "12.0B", "0.10%", "2000.0/s", "3", "0.25",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn every_metric_is_read_back() {
        for metric in Metric::all() {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_or_refused(word in "\\PC{0,30}", metric in "[a-z0-9.]{0,12}", rest in "[<>=!]{0,2}[0-9.%a-zA-Z/ ]{0,8}") {
            let _ = word.parse::<Threshold>();
            let _ = format!("{metric}{rest}").parse::<Threshold>();
        }

        #[test]
        fn a_threshold_compares_as_numbers_do(limit in 0u32..1000, actual in 0u32..1000) {
            for (sign, expected) in [
                ("<", actual < limit), ("<=", actual <= limit), (">", actual > limit),
                (">=", actual >= limit), ("==", actual == limit), ("!=", actual != limit),
            ] {
                prop_assert_eq!(read(&format!("sent {sign} {limit}")).holds(Some(actual.into())), expected);
            }
        }
    }
}
