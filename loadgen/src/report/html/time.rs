//! The charts over the time of a run: throughput, latency, connections, errors, processors, memory.

use crate::report::html::axis::Axis;
use crate::report::html::chart::Chart;
use crate::report::html::columns::{Columns, mark};
use crate::report::html::figure::{Figure, Table};
use crate::report::html::shape::{Colour, Mark, Shape};
use crate::report::{Series, figures};

/// A run and, when it is compared, the base.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runs<'a> {
    pub(super) this: &'a Series,
    pub(super) base: Option<&'a Series>,
}

/// Planned, sent, accepted, delivered.
pub(super) fn throughput(runs: Runs<'_>) -> Figure {
    let series = runs.this;
    let columns = Columns::of(series)
        .and("planned", &series.due, figures::rate)
        .and("sent", &series.sent, figures::rate)
        .and("accepted", &series.accepted, figures::rate)
        .and("delivered", &series.delivered, figures::rate);
    let mut marks = vec![
        columns.line("sent", Colour::Orange),
        columns.line("accepted", Colour::Green),
        columns.line("delivered", Colour::Blue),
        mark("planned", Colour::Grey, Shape::Dashed(columns.points("planned"))),
    ];
    let mut most = columns.highest();
    if let Some(base) = runs.base {
        let columns = Columns::of(base).and("delivered", &base.delivered, figures::rate);
        most = most.max(columns.highest());
        marks.push(mark(
            "delivered, base",
            Colour::Purple,
            Shape::Dashed(columns.points("delivered")),
        ));
    }
    let what = "Messages per second that were planned, sent, accepted and delivered";
    let chart = columns.chart("throughput", "Throughput", what);
    Figure {
        chart: Chart {
            wide: true,
            y: Axis::from_zero(most, 4, figures::number),
            marks,
            ..chart
        },
        caption: "Where the lines part, somebody waited: the generator, the server, or the recipients.",
        units: "messages per second",
        table: columns.table(),
    }
}

/// Percentiles from due, with the gap to those from sent.
pub(super) fn latency(runs: Runs<'_>) -> Figure {
    let series = runs.this;
    let columns = Columns::of(series)
        .and_some("e2e p50", &series.e2e_p50_seconds, figures::time)
        .and_some("e2e p90", &series.e2e_p90_seconds, figures::time)
        .and_some("e2e p99", &series.e2e_p99_seconds, figures::time)
        .and_some("e2e max", &series.e2e_max_seconds, figures::time)
        .and_some("service p50", &series.service_p50_seconds, figures::time)
        .and_some("service p99", &series.service_p99_seconds, figures::time)
        .and_some("ok p99", &series.ok_p99_seconds, figures::time);
    let mut marks = vec![
        mark("what a closed model would hide", Colour::Orange, hidden(&columns)),
        mark("e2e max", Colour::Grey, Shape::Faint(columns.points("e2e max"))),
        columns.line("e2e p50", Colour::Green),
        columns.line("e2e p90", Colour::Purple),
        columns.line("service p99", Colour::Orange),
        columns.line("e2e p99", Colour::Blue),
    ];
    if let Some(base) = runs.base {
        let base = Columns::of(base).and_some("e2e p99", &base.e2e_p99_seconds, figures::time);
        marks.push(mark(
            "e2e p99, base",
            Colour::Red,
            Shape::Dashed(base.points("e2e p99")),
        ));
    }
    let chart = columns.chart(
        "latency",
        "Latency over time",
        "Percentiles of latency in each interval, on a logarithmic axis",
    );
    Figure {
        chart: Chart {
            wide: true,
            y: Axis::of_latencies(marks.iter().flat_map(Mark::values)),
            marks,
            ..chart
        },
        caption: "End to end from the moment a message was due; service from the moment it left. Between them lies what the sender had to wait for.",
        units: "seconds, logarithmic",
        table: columns.table(),
    }
}

/// Sessions, and how many of them came again.
pub(super) fn connections(series: &Series) -> Figure {
    let columns = Columns::of(series)
        .and("connections", &series.connections, figures::number)
        .and("reconnects", &series.reconnects, figures::number);
    let reconnects = columns.bars("reconnects", Colour::Orange);
    let marks = vec![
        Mark {
            name: "reconnects (right)".to_owned(),
            right: true,
            ..reconnects
        },
        columns.line("connections", Colour::Blue),
    ];
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let chart = columns.chart(
        "connections",
        "Connections",
        "Connections at the end of each interval, and reconnects in it",
    );
    Figure {
        chart: Chart {
            y: Axis::of_counts(most(&series.connections), 4),
            // Half as high: bars that reach the line would seem to belong to it.
            right: Some(Axis::of_counts(most(&series.reconnects) * 2.0, 4)),
            marks,
            ..chart
        },
        caption: "Sessions that live, and sessions that broke and came again.",
        units: "sessions",
        table: columns.table(),
    }
}

/// Errors of all classes.
pub(super) fn errors(series: &Series, classes: Table) -> Figure {
    let columns = Columns::of(series).and("errors", &series.errors, figures::number);
    let chart = columns.chart("errors", "Errors", "Errors in each interval");
    Figure {
        chart: Chart {
            y: Axis::of_counts(columns.highest(), 4),
            marks: vec![columns.bars("errors", Colour::Red)],
            ..chart
        },
        caption: "Everything that failed, of all classes; the table tells them apart.",
        units: "in each interval",
        table: classes,
    }
}

/// Processors.
pub(super) fn processors(series: &Series) -> Figure {
    let columns = Columns::of(series)
        .and_some("server", &series.server_cpu, figures::share)
        .and("generator", &series.generator_cpu, figures::share);
    let marks = vec![
        columns.line("generator", Colour::Orange),
        columns.line("server", Colour::Blue),
    ];
    let chart = columns.chart(
        "processors",
        "Processor time",
        "Processor time of server and generator, as a share of one core",
    );
    Figure {
        chart: Chart {
            y: Axis::from_zero(columns.highest(), 4, figures::share),
            marks,
            ..chart
        },
        caption: "When the generator is near its limit, the figures are about the generator.",
        units: "share of one core",
        table: columns.table(),
    }
}

/// Memory of the server.
pub(super) fn memory(series: &Series) -> Figure {
    let columns = Columns::of(series).and_some("resident", &series.server_rss_bytes, figures::bytes);
    let chart = columns.chart("memory", "Memory of the server", "Resident memory of the server");
    Figure {
        chart: Chart {
            y: Axis::of_bytes(columns.highest(), 4),
            marks: vec![columns.line("resident", Colour::Blue)],
            ..chart
        },
        caption: "Resident memory: what connections cost, and whether it comes back.",
        units: "resident",
        table: columns.table(),
    }
}

/// Between service and end to end: what is not seen by those who wait for the server.
fn hidden(columns: &Columns<'_>) -> Shape {
    let both = columns
        .points("service p99")
        .into_iter()
        .zip(columns.points("e2e p99"));
    Shape::Gap(
        both.map(|((at, low), (_, high))| (at, low.zip(high).map(|(low, high)| (low.min(high), high))))
            .collect(),
    )
}
