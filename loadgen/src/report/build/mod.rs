//! From what a run found to a report. Computes, and decides; measures nothing.

mod latency;
mod series;
mod server;
mod verdict;

use std::collections::BTreeMap;

use crate::outcome::Outcome;
use crate::report::judge::{figure, judge};
use crate::report::{
    Environment, ErrorFigures, GeneratorFigures, LatencyFigures, LoadFigures, Report, SCHEMA, Verdict,
};
use crate::scenario::{Load, Scenario};
use crate::schedule::Schedule;
use crate::server::Glance;
use crate::tally::{Count, Latency};
use crate::threshold::{Amount, Metric, Threshold};

/// What a report is made from.
#[derive(Debug, Clone)]
pub struct Material<'a> {
    /// Names the run.
    pub run_id: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// What was done.
    pub scenario: &'a Scenario,
    /// Where.
    pub environment: Environment,
    /// Labels of the person who ran it.
    pub labels: BTreeMap<String, String>,
    /// What must hold: [`Threshold::with_always`].
    pub thresholds: &'a [Threshold],
    /// What was found.
    pub outcome: &'a Outcome,
    /// What the server used meanwhile.
    pub glances: &'a [Glance],
    /// The server's process, when it is on this host.
    pub server_pid: Option<u32>,
    /// The generator's resident memory at the most.
    pub rss_max_bytes: u64,
    /// Descriptors that it had open.
    pub open_files: u64,
    /// What `calibrate` found on this machine.
    pub ceiling_per_second: Option<f64>,
}

impl Report {
    /// The report of a run, verdict included.
    #[must_use]
    pub fn build(material: Material<'_>) -> Self {
        let outcome = material.outcome;
        let mut report = Self {
            schema: SCHEMA.to_owned(),
            run_id: material.run_id,
            started: material.started,
            verdict: Verdict::Pass,
            reasons: Vec::new(),
            ci: BTreeMap::new(),
            labels: material.labels,
            scenario: material.scenario.clone(),
            scenario_hash: material.scenario.hash(),
            environment: material.environment,
            load: load(material.scenario, outcome),
            latency: latencies(outcome),
            integrity: outcome.integrity,
            errors: errors(outcome),
            server: server::figures(outcome, material.glances, material.scenario, material.server_pid),
            generator: GeneratorFigures {
                cpu_seconds: outcome.cpu,
                cpu_seconds_per_message: per(outcome.cpu, outcome.measured.count(Count::Sent)),
                busiest_worker: outcome.busiest_worker,
                late_p99_seconds: quantile(outcome, Latency::Late, 0.99).unwrap_or_default(),
                rss_max_bytes: material.rss_max_bytes,
                open_files: material.open_files,
                ceiling_per_second: material.ceiling_per_second,
            },
            thresholds: Vec::new(),
            series: series::series(outcome, material.glances),
        };
        report.thresholds = material
            .thresholds
            .iter()
            .map(|threshold| judge(threshold, &report))
            .collect();
        (report.verdict, report.reasons) = verdict::verdict(&report, outcome.is_interrupted);
        report.ci = ci(&report);
        report
    }
}

impl Load {
    /// Its model, as reports call it.
    #[must_use]
    pub const fn model(&self) -> &'static str {
        match self {
            Self::Open { .. } | Self::Claims { .. } => "open",
            Self::Closed { .. } | Self::Offline { .. } => "closed",
            Self::Hold { .. } | Self::Storm { .. } => "none",
        }
    }
}

fn load(scenario: &Scenario, outcome: &Outcome) -> LoadFigures {
    let tally = &outcome.measured;
    let count = |count| tally.count(count);
    let per_second = |events| match outcome.seconds > 0.0 {
        true => events as f64 / outcome.seconds,
        false => 0.0,
    };
    LoadFigures {
        model: scenario.load.model().to_owned(),
        seconds: outcome.seconds,
        clients: scenario.clients.count,
        planned_per_second: planned(scenario),
        due: count(Count::Due),
        sent: count(Count::Sent),
        missed: outcome.missed,
        accepted: count(Count::Accepted),
        delivered: count(Count::Delivered),
        sent_per_second: per_second(count(Count::Sent)),
        accepted_per_second: per_second(count(Count::Accepted)),
        delivered_per_second: per_second(count(Count::Delivered)),
        delivered_bytes_per_second: per_second(count(Count::DeliveredBytes)),
        stored_per_second: rate(count(Count::Accepted), outcome.store_seconds),
        drained_per_second: rate(count(Count::Delivered), outcome.drain_seconds),
        counts: Count::ALL
            .into_iter()
            .map(|one| (one.name().to_owned(), count(one)))
            .collect(),
    }
}

/// Messages that are planned per second, each once for each device that gets it.
fn planned(scenario: &Scenario) -> Option<f64> {
    match &scenario.load {
        Load::Open { stages, arrival } => {
            let schedule = Schedule::new(stages, *arrival, std::time::Duration::ZERO, scenario.seed, (0, 1));
            let seconds = schedule.lasts().as_secs_f64();
            let topology = scenario.topology;
            let writer = topology.writers().next().unwrap_or_default();
            let devices =
                topology.readers(writer).count() as f64 * f64::from(scenario.clients.devices_per_account);
            (seconds > 0.0).then(|| schedule.planned() as f64 * devices / seconds)
        }
        Load::Claims { rate, .. } => Some(rate.get()),
        Load::Closed { .. } | Load::Offline { .. } | Load::Hold { .. } | Load::Storm { .. } => None,
    }
}

fn latencies(outcome: &Outcome) -> BTreeMap<String, LatencyFigures> {
    let measured = Latency::ALL.into_iter().filter_map(|latency| {
        let histogram = outcome.measured.latency(latency).filter(|one| !one.is_empty())?;
        Some((latency.name().to_owned(), latency::figures(histogram)))
    });
    measured.collect()
}

/// Of the whole run: what went wrong in the warm-up went wrong.
fn errors(outcome: &Outcome) -> Vec<ErrorFigures> {
    let mut errors: Vec<ErrorFigures> = outcome
        .whole
        .errors()
        .iter()
        .map(|(class, count)| ErrorFigures {
            class: class.clone(),
            count: *count,
        })
        .collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.count));
    errors
}

/// Figures for scripts, flat: a key for every one that was measured.
fn ci(report: &Report) -> BTreeMap<String, f64> {
    let mut ci = BTreeMap::new();
    for (name, latency) in &report.latency {
        for (aggregate, seconds) in [
            ("p50", latency.p50_seconds),
            ("p99", latency.p99_seconds),
            ("p999", latency.p999_seconds),
            ("max", latency.max_seconds),
        ] {
            ci.insert(format!("{name}_{aggregate}_ms"), seconds * 1e3);
        }
    }
    for metric in Metric::all().filter(|metric| !matches!(metric, Metric::Latency(..))) {
        let Some(value) = figure(metric, report) else {
            continue;
        };
        let unit = match metric.amount() {
            Amount::Time => "_seconds",
            Amount::Bytes => "_bytes",
            Amount::Rate => "_per_second",
            Amount::Share => "_share",
            Amount::Events => "",
        };
        let name = metric.to_string().replace(".rate", "").replace('.', "_");
        ci.insert(format!("{name}{unit}"), value);
    }
    ci.extend(
        report
            .load
            .stored_per_second
            .map(|rate| ("stored_per_second".to_owned(), rate)),
    );
    ci.extend(
        report
            .load
            .drained_per_second
            .map(|rate| ("drained_per_second".to_owned(), rate)),
    );
    ci
}

fn quantile(outcome: &Outcome, latency: Latency, quantile: f64) -> Option<f64> {
    let histogram = outcome.measured.latency(latency).filter(|one| !one.is_empty())?;
    Some(latency::seconds(histogram.value_at_quantile(quantile)))
}

/// Something for each of so many; none when there are none.
fn per(amount: f64, events: u64) -> Option<f64> {
    (events > 0).then(|| amount / events as f64)
}

fn rate(events: u64, seconds: Option<f64>) -> Option<f64> {
    seconds
        .filter(|seconds| *seconds > 0.0)
        .map(|seconds| events as f64 / seconds)
}

#[cfg(test)]
pub(crate) mod tests;
