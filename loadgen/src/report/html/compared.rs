//! Two runs beside each other, figure by figure.

use crate::report::figures::{self, maybe, rate, time};
use crate::report::html::figure::Table;
use crate::report::html::markup::Markup;
use crate::report::{LatencyFigures, Report, ServerFigures};

/// The figures of two runs and how they changed.
pub(super) fn compared(report: &Report, base: &Report, out: &mut Markup) {
    let mut table = Table::new(["", "base", "this", "change"]);
    for (name, figure, shown) in COMPARED {
        let (before, after) = (figure(base), figure(report));
        if before.is_some() || after.is_some() {
            let change = before
                .zip(after)
                .map(|(before, after)| figures::change(before, after));
            let change = change.unwrap_or_else(|| figures::NOTHING.to_owned());
            table.rows.push(vec![
                name.to_owned(),
                maybe(before, shown),
                maybe(after, shown),
                change,
            ]);
        }
    }
    out.tag("section", &[("id", "compared")], |out| {
        out.tag("h2", &[], |out| {
            out.text("Compared");
            out.leaf(
                "span",
                &[("class", "unit")],
                &format!("with {} of {}", base.run_id, base.started),
            );
        });
        if base.scenario_hash != report.scenario_hash {
            out.leaf(
                "p",
                &[("class", "note")],
                "The scenarios are not the same: differences may be the scenario's.",
            );
        }
        table.draw("Compared", out);
    });
}

/// A figure: its name, where it stands, how it is written.
type Figure = (&'static str, fn(&Report) -> Option<f64>, fn(f64) -> String);

const COMPARED: [Figure; 8] = [
    ("delivered", |run| Some(run.load.delivered_per_second), rate),
    (
        "e2e p50",
        |run| latency(run, "e2e", |figures| figures.p50_seconds),
        time,
    ),
    (
        "e2e p99",
        |run| latency(run, "e2e", |figures| figures.p99_seconds),
        time,
    ),
    (
        "e2e p99.9",
        |run| latency(run, "e2e", |figures| figures.p999_seconds),
        time,
    ),
    (
        "service p99",
        |run| latency(run, "service", |figures| figures.p99_seconds),
        time,
    ),
    (
        "ok p99",
        |run| latency(run, "ok", |figures| figures.p99_seconds),
        time,
    ),
    (
        "CPU per message",
        |run| server(run, |figures| figures.cpu_seconds_per_message),
        time,
    ),
    (
        "RSS per connection",
        |run| server(run, |figures| figures.rss_bytes_per_connection),
        figures::bytes,
    ),
];

fn latency(run: &Report, name: &str, which: fn(&LatencyFigures) -> f64) -> Option<f64> {
    run.latency.get(name).map(which)
}

fn server(run: &Report, which: fn(&ServerFigures) -> Option<f64>) -> Option<f64> {
    run.server.as_ref().and_then(which)
}
