//! The histograms of a run as an HdrHistogram log, for the tools that read those: an interval for each latency, with
//! its name as the tag. Values are nanoseconds, and the log's maxima milliseconds.

use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::report::Report;
use crate::report::histogram::histogram;

/// A histogram that cannot be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HlogError {
    /// The report's histogram is broken.
    #[error("the histogram of {0} cannot be read")]
    Unreadable(String),
    /// It, or its name, has no place in a log.
    #[error("the histogram of {0} cannot be written")]
    Unwritable(String),
}

/// The log.
///
/// # Errors
///
/// [`HlogError`] when the report holds a histogram that is none.
pub fn hlog(report: &Report) -> Result<String, HlogError> {
    let mut text = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("[Histogram log format version 1.3]")
        .with_max_value_divisor(NANOS_IN_MILLISECOND);
    // Times in the log count from the run's beginning.
    if let Ok(started) = humantime::parse_rfc3339_weak(&report.started) {
        builder.with_start_time(started).with_base_time(started);
    }
    let unwritable = |name: &str| HlogError::Unwritable(name.to_owned());
    let mut log = builder
        .begin_log_with(&mut text, &mut serializer)
        .map_err(|_| unwritable("the run"))?;
    let (begins, lasts) = measured(report);
    for (name, figures) in &report.latency {
        let whole = histogram(figures).ok_or_else(|| HlogError::Unreadable(name.clone()))?;
        let tag = Tag::new(name).ok_or_else(|| unwritable(name))?;
        log.write_histogram(&whole, begins, lasts, Some(tag))
            .map_err(|_| unwritable(name))?;
    }
    String::from_utf8(text).map_err(|_| unwritable("the run"))
}

/// When the measured part began, and how long it was.
fn measured(report: &Report) -> (Duration, Duration) {
    let series = &report.series;
    let first = series.phase.iter().position(|phase| phase == "load");
    let begins = first
        .and_then(|first| series.at.get(first))
        .copied()
        .unwrap_or(0.0);
    let duration = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    (duration(begins), duration(report.load.seconds))
}

const NANOS_IN_MILLISECOND: f64 = 1e6;

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::report::sample::sample;

    #[test]
    fn what_is_logged_is_what_was_measured() {
        let report = sample();
        let log = hlog(&report).expect("a log");
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(log.as_bytes()) {
            match entry.expect("an entry") {
                LogEntry::Interval(interval) => {
                    let packed =
                        base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram());
                    let whole: Histogram<u64> = Deserializer::new()
                        .deserialize(&mut packed.expect("base64").as_slice())
                        .expect("a histogram");
                    assert_eq!(
                        (
                            interval.start_timestamp().as_secs(),
                            interval.duration().as_secs()
                        ),
                        (7, 45)
                    );
                    found.push((interval.tag().expect("a tag").as_str().to_owned(), whole.len()));
                }
                LogEntry::StartTime(start) => assert_eq!(start.as_secs(), 1_795_347_602),
                LogEntry::BaseTime(_) => {}
            }
        }
        let measured: Vec<_> = report
            .latency
            .iter()
            .map(|(name, figures)| (name.clone(), figures.count))
            .collect();
        assert_eq!(found, measured);
    }

    #[test]
    fn what_cannot_be_logged_is_named() {
        let mut report = sample();
        report.latency.get_mut("ok").expect("ok").hdr_v2 = "AAAA".to_owned();
        assert_eq!(hlog(&report), Err(HlogError::Unreadable("ok".to_owned())));
        let mut report = sample();
        let figures = report.latency["ok"].clone();
        report.latency.insert("a, b".to_owned(), figures);
        assert_eq!(hlog(&report), Err(HlogError::Unwritable("a, b".to_owned())));
    }
}
