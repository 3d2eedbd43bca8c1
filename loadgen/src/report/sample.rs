//! Reports for tests: one that was written by the first version, with a stall in its middle, and what became of it.

use std::path::Path;

use crate::report::Report;

/// The report in `fixtures/bench`.
pub(crate) fn sample() -> Report {
    serde_json::from_str(SAMPLE).expect("the first version of a report can be read")
}

/// The report with everything in it that there is.
pub(crate) fn fullest() -> Report {
    let mut report = sample();
    report.reasons = (0..9)
        .map(|at| format!("reason {at}: {}", "long ".repeat(60)))
        .collect();
    let errors = report.errors.clone();
    report.errors = (0..40)
        .flat_map(|at| errors.iter().map(move |error| (at, error.clone())))
        .map(|(at, mut error)| {
            error.class = format!("{}.{at}.{}", error.class, "x".repeat(at));
            error
        })
        .collect();
    let thresholds = report.thresholds.clone();
    report.thresholds = std::iter::repeat_n(thresholds, 6).flatten().collect();
    let some = report.latency["ok"].clone();
    for latency in crate::tally::Latency::ALL {
        report
            .latency
            .entry(latency.name().to_owned())
            .or_insert_with(|| some.clone());
    }
    "closed".clone_into(&mut report.load.model);
    report.load.stored_per_second = Some(12_000.0);
    report.load.drained_per_second = Some(48_000.0);
    report.load.counts.insert("foreign".to_owned(), 3);
    report.environment.agents = vec![
        crate::report::AgentFigures {
            address: "[2001:db8::1]:4000".to_owned(),
            clients: 500,
            clock_offset_seconds: -0.000_4,
            clock_uncertainty_seconds: 0.000_12,
        };
        12
    ];
    report.environment.cpu = "A processor with a very long name ".repeat(9);
    report.scenario.name = "A run with a very long name ".repeat(9);
    report
}

/// Compares with a text that stands beside this file; `CHATCTL_BLESS=1` writes it anew.
pub(crate) fn same_as_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/report/golden")
        .join(name);
    if std::env::var_os("CHATCTL_BLESS").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{} is not what was made:\n{text}", path.display());
}

const SAMPLE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fixtures/bench/report-v1.json"
));

#[test]
fn the_first_version_of_a_report_is_read_and_keeps_what_it_says() {
    let report = sample();
    assert_eq!(report.schema, crate::report::SCHEMA);
    let again: Report =
        serde_json::from_value(serde_json::to_value(&report).expect("JSON")).expect("a report");
    assert_eq!(report, again);
}
