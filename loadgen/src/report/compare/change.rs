//! Changes that must not be: `e2e.p99>+10%`, `throughput<-5%`.

use std::fmt;
use std::str::FromStr;

use crate::report::compare::{Row, Trend};
use crate::threshold::{Metric, ThresholdError};

/// A change that must not be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Of what.
    pub metric: Metric,
    is_growth: bool,
    percent: f64,
}

/// Why a change cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It has another form.
    #[error("`{0}` is not a change such as `e2e.p99>+10%` or `throughput<-5%`")]
    Shape(String),
    /// Of a metric that there is none of.
    #[error(transparent)]
    Metric(#[from] ThresholdError),
}

impl Change {
    /// Reads several, with commas between them.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] of the first that cannot be read.
    pub fn list(words: &str) -> Result<Vec<Self>, ChangeError> {
        words.split(',').map(str::parse).collect()
    }

    /// A sentence, when it has happened. What was not measured may have changed.
    pub(super) fn failure(&self, rows: &[Row]) -> Option<String> {
        let name = self.metric.to_string();
        let Some(row) = rows.iter().find(|row| row.metric == name) else {
            return Some(format!("{self}: it was not measured in every run"));
        };
        let shown = format!("from {} to {}", row.base_shown, row.new_shown);
        let Some(delta) = row.delta_percent else {
            // From nothing, everything is beyond every percentage.
            return (self.is_growth && row.new > row.base).then(|| format!("{self}: {shown}"));
        };
        let is_beyond = match self.is_growth {
            true => delta > self.percent,
            false => delta < self.percent,
        };
        let is_noise = row.verdict == Trend::WithinNoise && row.interval_percent.is_some();
        (is_beyond && !is_noise).then(|| format!("{self}: {delta:+.1}% ({shown})"))
    }
}

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(word: &str) -> Result<Self, ChangeError> {
        let word = word.trim();
        let shape = || ChangeError::Shape(word.to_owned());
        let (metric, rest) = word.split_at(word.find(['<', '>']).ok_or_else(shape)?);
        let percent = rest[1..].trim().strip_suffix('%').ok_or_else(shape)?;
        let percent: f64 = percent.parse().map_err(|_| shape())?;
        if !percent.is_finite() {
            return Err(shape());
        }
        Ok(Self {
            metric: metric.trim().parse()?,
            is_growth: rest.starts_with('>'),
            percent,
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_growth { '>' } else { '<' };
        write!(f, "{}{sign}{:+}%", self.metric, self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_written_as_they_are_read() {
        let words = "e2e.p99>+10%, throughput<-5%,lost>0%";
        let read: Vec<_> = Change::list(words)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(read, ["e2e.p99>+10%", "throughput<-5%", "lost>+0%"]);
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let refused = |word: &str| word.parse::<Change>().unwrap_err().to_string();
        assert_eq!(
            refused("e2e.p99>10"),
            "`e2e.p99>10` is not a change such as `e2e.p99>+10%` or `throughput<-5%`"
        );
        assert_eq!(
            refused("e2.p99>10%"),
            "there is no metric `e2.p99`: did you mean `e2e.p99`?"
        );
        for word in ["", "e2e.p99", "e2e.p99=5%", "e2e.p99>x%", "e2e.p99>inf%"] {
            assert!(word.parse::<Change>().is_err(), "{word}");
        }
        assert!(Change::list("e2e.p99>+10%,").is_err());
    }
}
