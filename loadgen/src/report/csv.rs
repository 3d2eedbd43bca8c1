//! The series of a run as a table for spreadsheets and scripts: a line for each interval, units in the heads.

use crate::report::{Report, Series};

/// The table. What was not measured is left empty.
#[must_use]
pub fn csv(report: &Report) -> String {
    let series = &report.series;
    let columns = columns(series);
    let mut text = String::from("at_seconds,phase");
    for (name, _) in &columns {
        text.push(',');
        text.push_str(name);
    }
    text.push('\n');
    for (row, at) in series.at.iter().enumerate() {
        text.push_str(&at.to_string());
        text.push(',');
        text.push_str(&word(series.phase.get(row).map_or("", String::as_str)));
        for (_, values) in &columns {
            text.push(',');
            if let Some(value) = values.at(row) {
                text.push_str(&value.to_string());
            }
        }
        text.push('\n');
    }
    text
}

/// A column, as the report has it.
enum Values<'a> {
    Always(&'a [f64]),
    Sometimes(&'a [Option<f64>]),
}

impl Values<'_> {
    fn at(&self, row: usize) -> Option<f64> {
        match self {
            Self::Always(values) => values.get(row).copied(),
            Self::Sometimes(values) => values.get(row).copied().flatten(),
        }
    }
}

fn columns(series: &Series) -> [(&'static str, Values<'_>); 17] {
    use Values::{Always, Sometimes};
    [
        ("due_per_second", Always(&series.due)),
        ("sent_per_second", Always(&series.sent)),
        ("accepted_per_second", Always(&series.accepted)),
        ("delivered_per_second", Always(&series.delivered)),
        ("connections", Always(&series.connections)),
        ("reconnects", Always(&series.reconnects)),
        ("errors", Always(&series.errors)),
        ("e2e_p50_seconds", Sometimes(&series.e2e_p50_seconds)),
        ("e2e_p90_seconds", Sometimes(&series.e2e_p90_seconds)),
        ("e2e_p99_seconds", Sometimes(&series.e2e_p99_seconds)),
        ("e2e_max_seconds", Sometimes(&series.e2e_max_seconds)),
        ("service_p50_seconds", Sometimes(&series.service_p50_seconds)),
        ("service_p99_seconds", Sometimes(&series.service_p99_seconds)),
        ("ok_p99_seconds", Sometimes(&series.ok_p99_seconds)),
        ("server_cpu", Sometimes(&series.server_cpu)),
        ("server_rss_bytes", Sometimes(&series.server_rss_bytes)),
        ("generator_cpu", Always(&series.generator_cpu)),
    ]
}

/// A word that may stand in a cell, quoted when it must be.
fn word(word: &str) -> String {
    match word.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", word.replace('"', "\"\"")),
        false => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    #[test]
    fn there_is_a_line_for_each_interval_with_a_cell_for_each_column() {
        let mut report = sample();
        report.series.phase[0] = "a \"phase\", quoted".to_owned();
        report.series.phase[1] = "connect".to_owned();
        let csv = csv(&report);
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(lines.len(), report.series.at.len() + 1);
        assert!(
            lines[1].starts_with("0,\"a \"\"phase\"\", quoted\",0,0,0,0,250,0,0,,,,,,,,"),
            "{}",
            lines[1]
        );
        let cells = lines[0].split(',').count();
        assert!(lines.iter().skip(2).all(|line| line.split(',').count() == cells));
    }
}
