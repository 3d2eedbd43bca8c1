//! Stories of comparisons.

use super::*;
use crate::report::build::tests::report;
use crate::scenario::Preset;

/// A run whose messages took so many milliseconds longer, or of which so many were lost.
fn run(slower: u64, lost: u64) -> Report {
    report(Preset::Pairs, &[], |outcome| {
        (0..10_000).for_each(|_| outcome.measured.record(Latency::E2e, (5 + slower) * 1_000_000));
        outcome.integrity.lost = lost;
    })
}

fn rules(fail_on: &str) -> Rules {
    Rules {
        fail_on: Change::list(fail_on).unwrap(),
        force: false,
    }
}

fn row_of<'a>(comparison: &'a Comparison, metric: &str) -> &'a Row {
    comparison.rows.iter().find(|row| row.metric == metric).unwrap()
}

#[test]
fn a_run_that_became_slower_is_told_and_fails_what_it_must_not() {
    let rules = rules("e2e.p99>+10%,throughput<-5%,lost>0%");
    let found = compare(&[run(0, 0)], &[run(5, 3)], &rules).unwrap();
    assert_eq!(
        found.failures,
        [
            "e2e.p99>+10%: +100.0% (from 5.0ms to 10.0ms)",
            "lost>+0%: from 0 to 3"
        ]
    );
    let p99 = row_of(&found, "e2e.p99");
    assert_eq!((p99.verdict, p99.interval_percent), (Trend::Regressed, None));
    assert_eq!(row_of(&found, "throughput").verdict, Trend::WithinNoise);
    let back = compare(&[run(5, 3)], &[run(0, 0)], &rules).unwrap();
    assert_eq!(
        (row_of(&back, "e2e.p99").verdict, back.failures),
        (Trend::Improved, vec![])
    );
}

#[test]
fn what_runs_differ_by_among_themselves_is_noise() {
    let base = [run(0, 0), run(4, 0), run(8, 0), run(2, 0), run(6, 0)];
    let new = [run(1, 0), run(5, 0), run(9, 0), run(3, 0), run(7, 0)];
    let found = compare(&base, &new, &rules("e2e.p99>+1%")).unwrap();
    let p99 = row_of(&found, "e2e.p99");
    let [low, high] = p99.interval_percent.unwrap();
    assert!(
        low < 0.0 && high > 0.0 && p99.delta_percent.unwrap() > 10.0,
        "{p99:?}"
    );
    assert_eq!((p99.verdict, found.failures), (Trend::WithinNoise, vec![]));
    let slow = [run(30, 0), run(34, 0), run(31, 0)];
    let found = compare(&base, &slow, &rules("e2e.p99>+1%")).unwrap();
    assert_eq!(
        (row_of(&found, "e2e.p99").verdict, found.failures.len()),
        (Trend::Regressed, 1)
    );
}

#[test]
fn what_cannot_be_compared_is_refused_unless_it_must_be() {
    let other = report(Preset::Rooms, &[], |_| ());
    let invalid = report(Preset::Pairs, &[], |outcome| outcome.is_interrupted = true);
    let refused = |base: &[Report], new: &[Report]| compare(base, new, &Rules::default()).unwrap_err();
    assert!(matches!(
        refused(&[run(0, 0)], std::slice::from_ref(&other)),
        CompareError::OtherScenario { .. }
    ));
    assert_eq!(
        refused(&[run(0, 0)], &[invalid]),
        CompareError::Unusable("run".to_owned())
    );
    assert_eq!(refused(&[], &[run(0, 0)]), CompareError::Nothing);
    let force = Rules {
        force: true,
        ..Rules::default()
    };
    assert!(!compare(&[run(0, 0)], &[other], &force).unwrap().same_scenario);
}

#[test]
fn what_was_not_measured_may_have_changed() {
    let found = compare(&[run(0, 0)], &[run(0, 0)], &rules("claim.p99>+10%")).unwrap();
    assert_eq!(
        found.failures,
        ["claim.p99>+10%: it was not measured in every run"]
    );
}

#[test]
fn tables_are_for_people() {
    let mut found = compare(&[run(0, 0)], &[run(5, 0)], &rules("e2e.p99>+10%")).unwrap();
    found
        .rows
        .retain(|row| ["e2e.p99", "throughput"].contains(&row.metric.as_str()));
    assert_eq!(
        found.markdown(),
        "| metric | base | new | change | 95 % interval | |\n\
         |---|--:|--:|--:|--:|---|\n\
         | e2e.p99 | 5.0ms | 10.0ms | +100.0% | - | REGRESSED |\n\
         | throughput | 1000.0/s | 1000.0/s | +0.0% | - | within noise |\n\
         \n- e2e.p99>+10%: +100.0% (from 5.0ms to 10.0ms)\n"
    );
    let text = found.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1],
        "e2e.p99        5.0ms    10.0ms  +100.0%              -  REGRESSED"
    );
}
