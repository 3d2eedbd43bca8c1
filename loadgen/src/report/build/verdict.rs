//! What came of a run.
//!
//! # Why
//!
//! A generator that could not keep up has measured itself: such a run is invalid, whatever its figures say. One whose
//! server could not keep up is not: the server failed. The two are told apart by whether the generator was late or
//! busy while messages piled up.

use crate::report::{Report, Verdict};
use crate::scenario::Load;
use crate::threshold::Amount;

pub(super) fn verdict(report: &Report, is_interrupted: bool) -> (Verdict, Vec<String>) {
    if is_interrupted {
        return (
            Verdict::Interrupted,
            vec!["the run was stopped before its end".to_owned()],
        );
    }
    let invalid = bottleneck(report);
    if !invalid.is_empty() {
        return (Verdict::Invalid, invalid);
    }
    let failed = failed(report);
    match failed.is_empty() {
        true => (Verdict::Pass, notices(report)),
        false => (Verdict::Fail, failed),
    }
}

/// Why the generator was the bottleneck, in a model in which it must not be.
fn bottleneck(report: &Report) -> Vec<String> {
    let mut reasons = Vec::new();
    if !is_open(report) {
        return reasons;
    }
    let generator = &report.generator;
    let late = generator.late_p99_seconds;
    let headline = ["e2e", "claim"]
        .into_iter()
        .find_map(|name| report.latency.get(name));
    let typical = headline.map_or(f64::INFINITY, |latency| latency.p50_seconds);
    let is_late = late > LATE_SECONDS;
    if is_late && late > LATE_SHARE * typical {
        reasons.push(format!(
            "the generator was late with messages (p99 {}), which shows in latencies of {}: use a lower rate, more \
             workers, or another machine for it",
            Amount::Time.show(late),
            Amount::Time.show(typical)
        ));
    }
    let missed = report.load.missed;
    let is_busy = generator.busiest_worker > BUSY;
    if is_busy && (is_late || missed > 0) {
        reasons.push(format!(
            "the generator's busiest thread used {} of a processor while messages were late: use a lower rate or more \
             workers",
            Amount::Share.show(generator.busiest_worker)
        ));
    }
    if has_missed(report) && (is_busy || is_late) {
        reasons.push(format!(
            "{missed} messages never left, because the generator could not keep up"
        ));
    }
    reasons
}

fn failed(report: &Report) -> Vec<String> {
    let does_not_hold = report.thresholds.iter().filter(|judged| !judged.holds);
    let mut reasons: Vec<String> = does_not_hold
        .map(|judged| format!("{} does not hold: {}", judged.expression, judged.shown))
        .collect();
    let (load, scenario) = (&report.load, &report.scenario.load);
    if scenario.writes() && load.delivered == 0 {
        reasons.push("no message arrived".to_owned());
    }
    if matches!(scenario, Load::Claims { .. })
        && load.counts.get("claimed").is_none_or(|claimed| *claimed == 0)
    {
        reasons.push("no claim was answered".to_owned());
    }
    if is_open(report) && has_missed(report) {
        reasons.push(format!(
            "{} messages never left, because the server did not take them",
            load.missed
        ));
    }
    reasons
}

/// What a reader should know although all is well.
fn notices(report: &Report) -> Vec<String> {
    let is_full = !is_open(report) && report.generator.busiest_worker > FULL;
    let notice = "the generator used all of a processor: the server may do more";
    is_full.then(|| notice.to_owned()).into_iter().collect()
}

fn is_open(report: &Report) -> bool {
    report.load.model == "open"
}

fn has_missed(report: &Report) -> bool {
    report.load.missed as f64 > MISSED_SHARE * report.load.due as f64
}

/// Of the typical latency. What is less does not show in it.
const LATE_SHARE: f64 = 0.1;
/// What is less may be the system's own timer.
const LATE_SECONDS: f64 = 1e-3;
/// Of a processor: beyond it, queues form inside the generator.
const BUSY: f64 = 0.85;
/// Of a processor: there is no more of it.
const FULL: f64 = 0.95;
/// Of what was due.
const MISSED_SHARE: f64 = 1e-3;
