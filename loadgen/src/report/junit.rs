//! A report as JUnit XML, for the pages of CI: a test case for each threshold, and one for the run itself.

use crate::report::html::markup::escape;
use crate::report::{Judged, Report, Verdict};

/// The XML. A run that is invalid or was interrupted is an error; thresholds that seem to hold are skipped then.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut cases = vec![run(report)];
    cases.extend(
        report
            .thresholds
            .iter()
            .map(|threshold| of_threshold(report, threshold)),
    );
    let with = |word: &str| cases.iter().filter(|case| case.starts_with(word)).count();
    let (failures, errors, skipped) = (with("<failure"), with("<error"), with("<skipped"));
    let sums = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"",
        cases.len()
    );
    let (name, seconds) = (
        attribute(&report.scenario.name),
        format!("{:.3}", report.load.seconds),
    );
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml.push_str(&format!(
        "<testsuites name=\"chatctl bench\" {sums} time=\"{seconds}\">\n"
    ));
    let started = attribute(&report.started);
    xml.push_str(&format!(
        "  <testsuite name=\"{name}\" {sums} time=\"{seconds}\" timestamp=\"{started}\">\n"
    ));
    properties(report, &mut xml);
    let names = std::iter::once("run").chain(
        report
            .thresholds
            .iter()
            .map(|threshold| threshold.expression.as_str()),
    );
    for (case, inside) in names.zip(&cases) {
        let case = attribute(case);
        // The run took its time once.
        let seconds = if case == "run" { seconds.as_str() } else { "0" };
        xml.push_str(&format!(
            "    <testcase classname=\"bench.{name}\" name=\"{case}\" time=\"{seconds}\""
        ));
        match inside.is_empty() {
            true => xml.push_str("/>\n"),
            false => xml.push_str(&format!(">{inside}</testcase>\n")),
        }
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn run(report: &Report) -> String {
    let reasons = || attribute(&report.reasons.join("; "));
    match report.verdict {
        Verdict::Pass | Verdict::Fail => String::new(),
        Verdict::Invalid => format!("<error type=\"invalid\" message=\"{}\"/>", reasons()),
        Verdict::Interrupted => format!("<error type=\"interrupted\" message=\"{}\"/>", reasons()),
    }
}

fn of_threshold(report: &Report, threshold: &Judged) -> String {
    let found = attribute(&threshold.shown);
    match (threshold.holds, report.verdict) {
        (false, _) => format!("<failure type=\"threshold\" message=\"found {found}\"/>"),
        (true, Verdict::Pass | Verdict::Fail) => format!("<system-out>found {found}</system-out>"),
        (true, Verdict::Invalid) => "<skipped message=\"the run is invalid\"/>".to_owned(),
        (true, Verdict::Interrupted) => "<skipped message=\"the run was interrupted\"/>".to_owned(),
    }
}

fn properties(report: &Report, xml: &mut String) {
    xml.push_str("    <properties>\n");
    let ci = report
        .ci
        .iter()
        .map(|(name, figure)| (name.clone(), figure.to_string()));
    let labels = report
        .labels
        .iter()
        .map(|(name, value)| (format!("label.{name}"), value.clone()));
    let own = [
        ("run_id", &report.run_id),
        ("scenario_hash", &report.scenario_hash),
    ];
    for (name, value) in own
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .chain(ci)
        .chain(labels)
    {
        xml.push_str(&format!(
            "      <property name=\"{}\" value=\"{}\"/>\n",
            attribute(&name),
            attribute(&value)
        ));
    }
    xml.push_str("    </properties>\n");
}

fn attribute(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    escape(&mut escaped, text);
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{same_as_golden, sample};

    #[test]
    fn the_xml_of_a_run() {
        same_as_golden("junit.xml", &junit(&sample()));
    }

    #[test]
    fn a_run_that_says_nothing_is_an_error() {
        for (verdict, kind) in [
            (Verdict::Invalid, "invalid"),
            (Verdict::Interrupted, "interrupted"),
        ] {
            let mut report = sample();
            report.verdict = verdict;
            report.reasons = vec!["the generator was \"late\" <by far>".to_owned()];
            let broken = report
                .thresholds
                .iter()
                .filter(|threshold| !threshold.holds)
                .count();
            let xml = junit(&report);
            let error = format!(
                "<error type=\"{kind}\" message=\"the generator was &quot;late&quot; &lt;by far&gt;\"/>"
            );
            assert!(xml.contains(&error), "{xml}");
            assert!(
                xml.contains(&format!(
                    "failures=\"{broken}\" errors=\"1\" skipped=\"{}\"",
                    report.thresholds.len() - broken
                )),
                "{xml}"
            );
        }
    }
}
