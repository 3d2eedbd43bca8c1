//! What came of a run.
//!
//! # Why
//!
//! A generator that could not keep up has measured itself: such a run is invalid, whatever its figures say. One whose
//! server could not keep up is not: the server failed. The two are told apart by whether the generator was late or
//! busy while messages piled up.

use crate::report::{LatencyFigures, Report, Verdict};
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
    let slowest = headline(report).map_or(f64::INFINITY, |latency| latency.p99_seconds);
    let is_late = late > LATE_SECONDS;
    if is_late && late > LATE_SHARE * slowest {
        reasons.push(format!(
            "the generator was late with messages (p99 {}), which is much of a p99 of {}: use a lower rate, more \
             workers, or another machine for it",
            Amount::Time.show(late),
            Amount::Time.show(slowest)
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
    if let (Some((planned, took)), true) = (overrun(report), is_busy || is_late) {
        reasons.push(format!(
            "messages that were due within {} took {} to leave, because the generator could not keep up",
            Amount::Time.show(planned),
            Amount::Time.show(took)
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
    if let Some((planned, took)) = overrun(report) {
        reasons.push(format!(
            "messages that were due within {} took {} to leave, because the server took no more",
            Amount::Time.show(planned),
            Amount::Time.show(took)
        ));
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
    let late = report.generator.late_p99_seconds;
    if !is_open(report) {
        let is_full = report.generator.busiest_worker > FULL;
        let notice = "the generator used all of a processor: the server may do more";
        return is_full.then(|| notice.to_owned()).into_iter().collect();
    }
    let shows = headline(report).is_some_and(|latency| late > SHOWS * latency.p50_seconds);
    let notice = || {
        format!(
            "messages left up to {} late (p99); it is in the latency",
            Amount::Time.show(late)
        )
    };
    shows.then(notice).into_iter().collect()
}

/// The latency that a run is about.
fn headline(report: &Report) -> Option<&LatencyFigures> {
    ["e2e", "claim"]
        .into_iter()
        .find_map(|name| report.latency.get(name))
}

fn is_open(report: &Report) -> bool {
    report.load.model == "open"
}

/// The seconds that were planned, and those that it took, when that is much more.
fn overrun(report: &Report) -> Option<(f64, f64)> {
    let Load::Open { stages, .. } = &report.scenario.load else {
        return None;
    };
    let planned: f64 = stages.iter().map(|stage| stage.lasts.0.as_secs_f64()).sum();
    let took = report.load.seconds;
    (took - planned > MUCH_SECONDS.max(MUCH_SHARE * planned)).then_some((planned, took))
}

fn has_missed(report: &Report) -> bool {
    report.load.missed as f64 > MISSED_SHARE * report.load.due as f64
}

/// Of the p99 of the latency: what is more says little about the server.
const LATE_SHARE: f64 = 0.25;
/// What is less may be the system's own doing, where others use the machine, too.
const LATE_SECONDS: f64 = 5e-3;
/// Of the median of the latency: what is more is told.
const SHOWS: f64 = 0.5;
/// Longer than planned. What is less may be a pause at the very end.
const MUCH_SECONDS: f64 = 0.5;
const MUCH_SHARE: f64 = 0.1;
/// Of a processor: beyond it, queues form inside the generator.
const BUSY: f64 = 0.85;
/// Of a processor: there is no more of it.
const FULL: f64 = 0.95;
/// Of what was due.
const MISSED_SHARE: f64 = 1e-3;
