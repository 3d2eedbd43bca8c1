//! Stories of reports.

use super::*;
use crate::outcome::{Integrity, Moment, heat_rows};
use crate::progress::Phase;
use crate::scenario::Preset;
use crate::tally::Tally;

const MS: u64 = 1_000_000;

/// A run of ten seconds with 1000 messages a second between 100 clients, each 1 to 5 ms long.
fn outcome() -> Outcome {
    let mut measured = Tally::default();
    for number in 0..10_000 {
        let took = MS + number % 5 * MS;
        measured.record(Latency::E2e, took);
        measured.record(Latency::Service, took);
        measured.record(Latency::Late, 100_000);
    }
    for count in [Count::Due, Count::Sent, Count::Accepted, Count::Delivered] {
        measured.add(count, 10_000);
    }
    measured.add(Count::DeliveredBytes, 2_560_000);
    measured.add(Count::Connected, 100);
    Outcome {
        whole: measured.clone(),
        measured,
        integrity: Integrity {
            streams: 50,
            ..Integrity::default()
        },
        seconds: 10.0,
        began: 2.0,
        moments: (0..12).map(moment).collect(),
        interval: 1.0,
        cpu: 3.0,
        busiest_worker: 0.3,
        ..Outcome::default()
    }
}

fn moment(at: u64) -> Moment {
    let mut counts = Tally::default();
    if at >= 2 {
        counts.add(Count::Delivered, 1000);
    }
    counts.add(Count::Connected, u64::from(at == 0) * 100);
    Moment {
        at: at as f64,
        phase: [Phase::Connect, Phase::Warmup, Phase::Load][at.min(2) as usize],
        counts,
        e2e: (at >= 2).then_some([3 * MS, 5 * MS, 5 * MS, 5 * MS]),
        service: None,
        ok: None,
        heat: vec![0; heat_rows().len() + 1],
        connections: 100,
        cpu: 0.3,
    }
}

/// A server that uses half a processor and 100 KiB for each connection, seen every second from second -1 on.
fn glances() -> Vec<Glance> {
    let glance = |at: f64| Glance {
        at,
        cpu: Some(5.0 + at * 0.5),
        rss: Some(if at < 0.5 { 10_000_000 } else { 20_240_000 }),
        written: Some((at * 100_000.0) as u64 + 1_000_000),
        commits: Some((at * 50.0) as u64 + 1000),
        accepted: Some((at * 1000.0) as u64 + 5000),
        elided: Some((at * 900.0) as u64 + 5000),
    };
    (0..14).map(|second| glance(f64::from(second))).collect()
}

fn material<'a>(scenario: &'a Scenario, thresholds: &'a [Threshold], outcome: &'a Outcome) -> Material<'a> {
    Material {
        run_id: "run".to_owned(),
        started: "2026-11-22T11:40:02Z".to_owned(),
        scenario,
        environment: Environment::default(),
        labels: BTreeMap::new(),
        thresholds,
        outcome,
        glances: &[],
        server_pid: None,
        rss_max_bytes: 1,
        open_files: 2,
        ceiling_per_second: None,
    }
}

/// A report of a run of the preset that was changed, with thresholds of its own.
pub(crate) fn report(preset: Preset, own: &[&str], change: impl FnOnce(&mut Outcome)) -> Report {
    let scenario = preset.scenario();
    let own: Vec<String> = own.iter().map(|word| (*word).to_owned()).collect();
    let thresholds = Threshold::with_always(&own).unwrap();
    let mut outcome = outcome();
    change(&mut outcome);
    let glances = glances();
    Report::build(Material {
        glances: &glances,
        server_pid: Some(7),
        ..material(&scenario, &thresholds, &outcome)
    })
}

#[track_caller]
fn comes_to(report: &Report, verdict: Verdict, reasons: &[&str]) {
    let found: Vec<&str> = report.reasons.iter().map(String::as_str).collect();
    assert_eq!((report.verdict, found.as_slice()), (verdict, reasons));
}

#[test]
fn a_run_that_kept_its_promises_passes_with_all_its_figures() {
    let report = report(
        Preset::Pairs,
        &["e2e.p99 < 6ms", "throughput >= 1000/s", "e2e.p97.5 < 6ms"],
        |_| (),
    );
    comes_to(&report, Verdict::Pass, &[]);
    assert_eq!(
        (report.load.planned_per_second, report.load.delivered_per_second),
        (Some(1000.0), 1000.0)
    );
    let server = report.server.as_ref().unwrap();
    assert_eq!(
        server,
        &crate::report::ServerFigures {
            pid: Some(7),
            cpu_seconds: 5.0,
            cpu_seconds_per_message: Some(0.0005),
            rss_max_bytes: 20_240_000,
            rss_before_bytes: 10_000_000,
            rss_bytes_per_connection: Some(102_400.0),
            written_bytes: Some(1_000_000),
            written_bytes_per_message: Some(100.0),
            commits: Some(500),
            commits_per_message: Some(0.05),
            elided_share: Some(0.9),
        }
    );
    let shown: Vec<_> = report
        .thresholds
        .iter()
        .map(|one| (one.expression.as_str(), one.shown.as_str()))
        .collect();
    assert_eq!(shown[0], ("lost == 0", "0"));
    assert_eq!(
        shown[6..],
        [("throughput >= 1000/s", "1000.0/s"), ("e2e.p97.5 < 6ms", "5.0ms")]
    );
    let ci = |name: &str| report.ci.get(name).map(|value| (value * 1e6).round() / 1e6);
    assert_eq!(
        (ci("throughput_per_second"), ci("lost"), ci("errors_share")),
        (Some(1000.0), Some(0.0), Some(0.0))
    );
    assert_eq!(
        (ci("e2e_p50_ms").map(f64::round), ci("server_cpu_share")),
        (Some(3.0), Some(0.5))
    );
    assert_eq!(report.scenario_hash, Preset::Pairs.scenario().hash());
}

#[test]
fn a_series_has_the_server_beside_the_clients() {
    let series = report(Preset::Pairs, &[], |_| ()).series;
    assert_eq!(series.delivered[1..4], [0.0, 1000.0, 1000.0]);
    assert_eq!(series.server_cpu, vec![Some(0.5); 12]);
    assert_eq!(series.server_rss_bytes[0..2], [Some(20_240_000.0); 2]);
    assert_eq!(
        (series.reconnects[0], series.e2e_p99_seconds[2]),
        (0.0, Some(0.005))
    );
    assert_eq!(series.heat_seconds.len() + 1, series.heat[0].len());
}

#[test]
fn a_run_that_lost_a_message_fails() {
    let report = report(Preset::Pairs, &["ok.p99 < 1s"], |outcome| {
        outcome.integrity.lost = 1
    });
    comes_to(
        &report,
        Verdict::Fail,
        &[
            "lost == 0 does not hold: 1",
            "ok.p99 < 1s does not hold: not measured",
        ],
    );
}

#[test]
fn a_run_in_which_nothing_arrived_fails_although_nothing_is_lost() {
    let report = report(Preset::Pairs, &[], |outcome| {
        outcome.measured = Tally::default();
        outcome.measured.add(Count::Due, 10);
    });
    comes_to(&report, Verdict::Fail, &["no message arrived"]);
}

#[test]
fn a_generator_that_was_late_makes_a_run_invalid() {
    let report = report(Preset::Pairs, &[], |outcome| {
        (0..1000).for_each(|_| outcome.measured.record(Latency::Late, 6 * MS));
    });
    assert_eq!((report.verdict, report.reasons.len()), (Verdict::Invalid, 1));
    assert!(
        report.reasons[0].starts_with("the generator was late with messages (p99 6.0ms)"),
        "{:?}",
        report.reasons
    );
}

#[test]
fn a_lateness_that_does_not_show_is_none() {
    let late = |late: u64, took: u64| {
        report(Preset::Pairs, &[], |outcome| {
            (0..1000).for_each(|_| outcome.measured.record(Latency::Late, late));
            (0..100_000).for_each(|_| outcome.measured.record(Latency::E2e, took));
        })
    };
    let verdicts = [(6 * MS, 100 * MS), (6 * MS, 20 * MS)].map(|(left, took)| late(left, took).verdict);
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Invalid]);
    comes_to(
        &late(2 * MS, MS),
        Verdict::Pass,
        &["messages left up to 2.0ms late (p99); it is in the latency"],
    );
    comes_to(&late(MS / 10, MS), Verdict::Pass, &[]);
}

#[test]
fn a_rate_that_was_not_reached_is_somebodys_fault() {
    let longer = |busy: f64| {
        report(Preset::Pairs, &[], |outcome| {
            outcome.seconds = 30.0;
            outcome.busiest_worker = busy;
        })
    };
    comes_to(
        &longer(0.2),
        Verdict::Fail,
        &["messages that were due within 20.0s took 30.0s to leave, because the server took no more"],
    );
    assert_eq!(longer(0.9).verdict, Verdict::Invalid);
}

#[test]
fn messages_that_never_left_are_the_busy_ones_fault() {
    let missed = |busy: f64, missed: u64| {
        report(Preset::Pairs, &[], |outcome| {
            outcome.missed = missed;
            outcome.busiest_worker = busy;
        })
    };
    assert_eq!(missed(0.9, 20).verdict, Verdict::Invalid);
    assert_eq!(missed(0.9, 0).verdict, Verdict::Pass);
    assert_eq!(missed(0.2, 10).verdict, Verdict::Pass);
    comes_to(
        &missed(0.2, 11),
        Verdict::Fail,
        &["11 messages never left, because the server did not take them"],
    );
}

#[test]
fn a_closed_model_may_use_all_of_a_processor_and_says_so() {
    let report = report(Preset::Offline, &[], |outcome| {
        outcome.busiest_worker = 0.99;
        outcome.missed = 5000;
        outcome.store_seconds = Some(2.0);
        outcome.drain_seconds = Some(4.0);
    });
    comes_to(
        &report,
        Verdict::Pass,
        &["the generator used all of a processor: the server may do more"],
    );
    let load = &report.load;
    assert_eq!(
        (load.stored_per_second, load.drained_per_second),
        (Some(5000.0), Some(2500.0))
    );
    assert_eq!((load.model.as_str(), load.planned_per_second), ("closed", None));
}

#[test]
fn a_run_that_was_stopped_is_neither_good_nor_bad() {
    let report = report(Preset::Pairs, &[], |outcome| {
        outcome.is_interrupted = true;
        outcome.integrity.lost = 1;
    });
    comes_to(
        &report,
        Verdict::Interrupted,
        &["the run was stopped before its end"],
    );
    assert!(!report.thresholds[0].holds);
}

#[test]
fn a_message_to_many_is_planned_once_for_each() {
    assert_eq!(planned(&Preset::Fanout.scenario()), Some(1000.0));
    assert_eq!(planned(&Preset::Rooms.scenario()), Some(700.0));
    assert_eq!(planned(&Preset::Idle.scenario()), None);
}

#[test]
fn nothing_seen_of_the_server_is_no_server() {
    let (scenario, outcome) = (Preset::Pairs.scenario(), outcome());
    let threshold = ["server.rss < 1GiB".parse().unwrap()];
    let report = Report::build(material(&scenario, &threshold, &outcome));
    assert_eq!(report.server, None);
    comes_to(
        &report,
        Verdict::Fail,
        &["server.rss < 1GiB does not hold: not measured"],
    );
}

#[test]
fn a_report_is_the_same_after_it_was_written_and_read() {
    let report = report(Preset::Rooms, &[], |_| ());
    let again: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(again, report);
}
