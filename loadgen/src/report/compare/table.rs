//! Comparisons for people.

use std::fmt::Write as _;

use crate::report::compare::{Comparison, Row, Trend};

impl Comparison {
    /// A table of Markdown, for a comment on a pull request.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text =
            String::from("| metric | base | new | change | 95 % interval | |\n|---|--:|--:|--:|--:|---|\n");
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", cells(row).join(" | "));
        }
        self.notes(&mut text, "\n- ");
        text
    }

    /// The same for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let head = ["metric", "base", "new", "change", "95 % interval", ""].map(str::to_owned);
        let rows: Vec<[String; 6]> = std::iter::once(head).chain(self.rows.iter().map(cells)).collect();
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; 6] = std::array::from_fn(width);
        let mut text = String::new();
        for row in &rows {
            let mut line = format!("{:<1$}", row[0], widths[0]);
            for (cell, width) in row[1..5].iter().zip(&widths[1..5]) {
                let _ = write!(line, "  {cell:>width$}");
            }
            let _ = write!(line, "  {}", row[5]);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        self.notes(&mut text, "\n");
        text
    }

    fn notes(&self, text: &mut String, before: &str) {
        if !self.same_scenario {
            let _ = write!(
                text,
                "{before}The runs did different things: figures differ because work does."
            );
        }
        for failure in &self.failures {
            let _ = write!(text, "{before}{failure}");
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
}

fn cells(row: &Row) -> [String; 6] {
    let percent = |value: f64| format!("{value:+.1}%");
    let verdict = match row.verdict {
        Trend::Improved => "improved",
        Trend::Regressed => "REGRESSED",
        Trend::WithinNoise => "within noise",
    };
    [
        row.metric.clone(),
        row.base_shown.clone(),
        row.new_shown.clone(),
        row.delta_percent.map_or_else(|| "-".to_owned(), percent),
        row.interval_percent.map_or_else(
            || "-".to_owned(),
            |[low, high]| format!("{low:+.1}% to {high:+.1}%"),
        ),
        verdict.to_owned(),
    ]
}
