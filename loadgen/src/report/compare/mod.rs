//! Two sets of runs of one scenario: what got better, what got worse, and what is noise.

mod change;
mod noise;
mod table;

pub use change::{Change, ChangeError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::judge::figure;
use crate::report::{Report, Verdict};
use crate::tally::{Count, Latency};
use crate::threshold::{Aggregate, Cost, Metric};

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Runs of the base.
    pub base_runs: Vec<String>,
    /// Runs of what is new.
    pub new_runs: Vec<String>,
    /// Whether all of them did the same. Otherwise figures differ because work does.
    pub same_scenario: bool,
    /// Metric by metric.
    pub rows: Vec<Row>,
    /// Changes that must not be, and are: one sentence each.
    pub failures: Vec<String>,
}

/// A metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// Its name: `e2e.p99`.
    pub metric: String,
    /// The base's median, in the unit of the metric (seconds, bytes, events, shares).
    pub base: f64,
    /// The new one's.
    pub new: f64,
    /// The base's median for people.
    pub base_shown: String,
    /// The new one's.
    pub new_shown: String,
    /// From base to new, in percent of base; none when base is 0.
    pub delta_percent: Option<f64>,
    /// Where the change is with a probability of 95 percent; none without several runs on both sides.
    pub interval_percent: Option<[f64; 2]>,
    /// What it means.
    pub verdict: Trend,
}

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// Better.
    Improved,
    /// Worse.
    Regressed,
    /// Not told from chance.
    WithinNoise,
}

/// Why runs cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// No runs on a side.
    #[error("there are no runs to compare")]
    Nothing,
    /// They did different things.
    #[error("{base} and {new} did different things: compare runs of one scenario")]
    OtherScenario {
        /// A run of the base.
        base: String,
        /// A run that did something else.
        new: String,
    },
    /// A run whose figures say nothing.
    #[error("{0} is invalid or was stopped: its figures say nothing")]
    Unusable(String),
}

/// How a comparison is made.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Changes that must not be.
    pub fail_on: Vec<Change>,
    /// Compares what should not be compared, and says so.
    pub force: bool,
}

/// Compares runs. The same runs give the same answer: chance is seeded.
///
/// # Errors
///
/// [`CompareError`]. With [`Rules::force`] only when there is nothing to compare.
pub fn compare(base: &[Report], new: &[Report], rules: &Rules) -> Result<Comparison, CompareError> {
    let first = base
        .first()
        .filter(|_| !new.is_empty())
        .ok_or(CompareError::Nothing)?;
    let mut all = base.iter().chain(new);
    let other = all.clone().find(|run| run.scenario_hash != first.scenario_hash);
    let unusable = all.find(|run| matches!(run.verdict, Verdict::Invalid | Verdict::Interrupted));
    match (other, unusable) {
        (Some(other), _) if !rules.force => {
            return Err(CompareError::OtherScenario {
                base: first.run_id.clone(),
                new: other.run_id.clone(),
            });
        }
        (_, Some(unusable)) if !rules.force => return Err(CompareError::Unusable(unusable.run_id.clone())),
        (Some(_) | None, Some(_) | None) => (),
    }
    let mut metrics = headline();
    metrics.extend(rules.fail_on.iter().map(|change| change.metric));
    let mut rows: Vec<Row> = Vec::new();
    for metric in metrics {
        let name = metric.to_string();
        if rows.iter().all(|row| row.metric != name) {
            rows.extend(row(metric, base, new));
        }
    }
    let failures = rules.fail_on.iter().filter_map(|change| change.failure(&rows));
    Ok(Comparison {
        schema: SCHEMA.to_owned(),
        base_runs: base.iter().map(|run| run.run_id.clone()).collect(),
        new_runs: new.iter().map(|run| run.run_id.clone()).collect(),
        same_scenario: other.is_none(),
        failures: failures.collect(),
        rows,
    })
}

/// What is compared without being asked for, as far as it was measured.
fn headline() -> Vec<Metric> {
    let percentile = |latency, number| Metric::Latency(latency, Aggregate::Percentile(number));
    let mut metrics = vec![
        percentile(Latency::E2e, 50.0),
        percentile(Latency::E2e, 99.0),
        percentile(Latency::E2e, 99.9),
    ];
    let others = [
        Latency::Service,
        Latency::Ok,
        Latency::Spread,
        Latency::Connect,
        Latency::Reconnect,
        Latency::Drain,
        Latency::Claim,
    ];
    metrics.extend(others.map(|latency| percentile(latency, 99.0)));
    metrics.push(Metric::Throughput);
    let costs = [
        Cost::ServerCpuPerMessage,
        Cost::ServerRss,
        Cost::ServerRssPerConnection,
        Cost::ServerWrittenPerMessage,
        Cost::ServerCommitsPerMessage,
    ];
    metrics.extend(costs.map(Metric::Cost));
    metrics
}

/// Nothing when it was not measured in every run, or never was more than nothing.
fn row(metric: Metric, base: &[Report], new: &[Report]) -> Option<Row> {
    let measured = |runs: &[Report]| {
        runs.iter()
            .map(|run| figure(metric, run))
            .collect::<Option<Vec<f64>>>()
    };
    let (bases, news) = (measured(base)?, measured(new)?);
    let (base, new) = (noise::median(&bases), noise::median(&news));
    let percent = |delta: f64| delta / base * 100.0;
    let delta_percent = (base != 0.0).then(|| percent(new - base));
    let interval = noise::interval(&bases, &news).filter(|_| base != 0.0);
    let is_change = match (interval, delta_percent) {
        (Some([low, high]), _) => low > 0.0 || high < 0.0,
        (None, Some(delta)) => delta.abs() > SINGLE_RUN_NOISE,
        (None, None) => new != base,
    };
    let verdict = match is_change {
        false => Trend::WithinNoise,
        true if (new > base) == is_better_high(metric) => Trend::Improved,
        true => Trend::Regressed,
    };
    let amount = metric.amount();
    Some(Row {
        metric: metric.to_string(),
        base,
        new,
        base_shown: amount.show(base),
        new_shown: amount.show(new),
        delta_percent,
        interval_percent: interval.map(|bounds| bounds.map(percent)),
        verdict,
    })
}

/// Whether more of it is better.
fn is_better_high(metric: Metric) -> bool {
    match metric {
        Metric::Throughput | Metric::Latency(_, Aggregate::Count) => true,
        Metric::Count(count) | Metric::PerSecond(count) => !matches!(
            count,
            Count::Refused | Count::Broken | Count::Foreign | Count::ClaimedTwice | Count::Fallback
        ),
        Metric::Cost(cost) => cost == Cost::ServerElided,
        Metric::Latency(..) | Metric::Fault(_) | Metric::Share(_) => false,
    }
}

/// The version of the format.
pub const SCHEMA: &str = "chatctl.bench.comparison/v1";
/// Percent by which a single run may differ from another by chance.
const SINGLE_RUN_NOISE: f64 = 5.0;

#[cfg(test)]
mod tests;
