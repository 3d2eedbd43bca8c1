//! Figures of a report by the names of metrics, and whether thresholds hold. Needs nothing but the report, so that one
//! can be judged again later.

use crate::report::histogram::histogram;
use crate::report::{Judged, LatencyFigures, Report};
use crate::tally::Count;
use crate::threshold::{Aggregate, Cost, Fault, Metric, Threshold};

/// Whether a threshold holds. What was not measured does not hold.
#[must_use]
pub fn judge(threshold: &Threshold, report: &Report) -> Judged {
    let actual = figure(threshold.metric, report);
    let amount = threshold.metric.amount();
    Judged {
        expression: threshold.to_string(),
        actual,
        shown: actual.map_or_else(|| "not measured".to_owned(), |actual| amount.show(actual)),
        holds: threshold.holds(actual),
    }
}

/// A metric's figure in seconds, bytes, shares, events or events per second; none when it was not measured.
#[must_use]
pub fn figure(metric: Metric, report: &Report) -> Option<f64> {
    match metric {
        Metric::Latency(latency, aggregate) => report
            .latency
            .get(latency.name())
            .and_then(|figures| aggregated(figures, aggregate)),
        Metric::Count(count) => counted(report, count),
        Metric::PerSecond(count) => {
            let seconds = report.load.seconds;
            counted(report, count)
                .filter(|_| seconds > 0.0)
                .map(|events| events / seconds)
        }
        Metric::Fault(fault) => Some(faults(report, fault)),
        Metric::Share(fault) => share(report, fault),
        Metric::Throughput => (report.load.seconds > 0.0).then_some(report.load.delivered_per_second),
        Metric::Cost(cost) => spent(report, cost),
    }
}

fn aggregated(figures: &LatencyFigures, aggregate: Aggregate) -> Option<f64> {
    match aggregate {
        Aggregate::Mean => Some(figures.mean_seconds),
        Aggregate::Min => Some(figures.min_seconds),
        Aggregate::Max => Some(figures.max_seconds),
        Aggregate::Count => Some(figures.count as f64),
        Aggregate::Percentile(number) => {
            let known = [
                (50.0, figures.p50_seconds),
                (75.0, figures.p75_seconds),
                (90.0, figures.p90_seconds),
                (95.0, figures.p95_seconds),
                (99.0, figures.p99_seconds),
                (99.9, figures.p999_seconds),
                (99.99, figures.p9999_seconds),
            ];
            let known = known.into_iter().find(|(known, _)| *known == number);
            known
                .map(|(_, seconds)| seconds)
                .or_else(|| unpacked(figures, number))
        }
    }
}

/// Any percentile, from the whole histogram.
fn unpacked(figures: &LatencyFigures, percentile: f64) -> Option<f64> {
    let histogram = histogram(figures)?;
    Some(histogram.value_at_quantile(percentile / 100.0) as f64 / 1e9)
}

fn counted(report: &Report, count: Count) -> Option<f64> {
    report.load.counts.get(count.name()).map(|events| *events as f64)
}

fn faults(report: &Report, fault: Fault) -> f64 {
    let integrity = &report.integrity;
    let events = match fault {
        Fault::Lost => integrity.lost,
        Fault::Unanswered => integrity.unanswered,
        Fault::Duplicated => integrity.duplicated,
        Fault::Redelivered => integrity.redelivered,
        Fault::Reordered => integrity.reordered,
        Fault::Corrupt => integrity.corrupt,
        Fault::Undecryptable => integrity.undecryptable,
        Fault::KeysTwice => integrity.keys_twice,
        Fault::Missed => report.load.missed,
        Fault::Errors => report.errors.iter().map(|error| error.count).sum(),
    };
    events as f64
}

/// Of what it could have happened to. Nothing of nothing is no share.
fn share(report: &Report, fault: Fault) -> Option<f64> {
    let count = |count| counted(report, count).unwrap_or_default();
    let of = match fault {
        Fault::Errors => count(Count::Sent) + count(Count::Connected) + count(Count::Claimed),
        Fault::KeysTwice => count(Count::Claimed),
        Fault::Missed => count(Count::Due),
        Fault::Lost
        | Fault::Unanswered
        | Fault::Duplicated
        | Fault::Redelivered
        | Fault::Reordered
        | Fault::Corrupt
        | Fault::Undecryptable => count(Count::Sent),
    };
    (of > 0.0).then(|| faults(report, fault) / of)
}

fn spent(report: &Report, cost: Cost) -> Option<f64> {
    let (server, generator) = (report.server.as_ref(), &report.generator);
    let seconds = report.load.seconds;
    match cost {
        Cost::ServerCpu => server
            .filter(|_| seconds > 0.0)
            .map(|server| server.cpu_seconds / seconds),
        Cost::ServerCpuPerMessage => server?.cpu_seconds_per_message,
        Cost::ServerRss => server
            .map(|server| server.rss_max_bytes as f64)
            .filter(|bytes| *bytes > 0.0),
        Cost::ServerRssPerConnection => server?.rss_bytes_per_connection,
        Cost::ServerWrittenPerMessage => server?.written_bytes_per_message,
        Cost::ServerCommitsPerMessage => server?.commits_per_message,
        Cost::ServerElided => server?.elided_share,
        Cost::GeneratorCpu => Some(generator.busiest_worker),
        Cost::GeneratorCpuPerMessage => generator.cpu_seconds_per_message,
    }
}
