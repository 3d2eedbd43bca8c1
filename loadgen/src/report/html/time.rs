//! The charts over the time of a run: throughput, latency, connections, errors, processors, memory.

use crate::report::Series;
use crate::report::figures;
use crate::report::html::axis::Axis;
use crate::report::html::chart::{Across, Band, Chart, Hint};
use crate::report::html::figure::{Figure, Table};
use crate::report::html::shape::{Colour, Mark, Shape};

/// A run and, when it is compared, the base.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runs<'a> {
    pub(super) this: &'a Series,
    pub(super) base: Option<&'a Series>,
}

/// A column of a series: its name and how a value is written.
type Column<'a> = (&'a str, Vec<Option<f64>>, fn(f64) -> String);

/// Planned, sent, accepted, delivered.
pub(super) fn throughput(runs: Runs<'_>) -> Figure {
    let series = runs.this;
    let columns: Vec<Column<'_>> = vec![
        ("planned", some(&series.due), figures::rate),
        ("sent", some(&series.sent), figures::rate),
        ("accepted", some(&series.accepted), figures::rate),
        ("delivered", some(&series.delivered), figures::rate),
    ];
    let mut marks = vec![
        mark("sent", Colour::Orange, line(series, &columns[1].1)),
        mark("accepted", Colour::Green, line(series, &columns[2].1)),
        mark("delivered", Colour::Blue, line(series, &columns[3].1)),
        mark(
            "planned",
            Colour::Grey,
            Shape::Dashed(points(series, &columns[0].1)),
        ),
    ];
    if let Some(base) = runs.base {
        marks.push(mark(
            "delivered, base",
            Colour::Purple,
            Shape::Dashed(points(base, &some(&base.delivered))),
        ));
    }
    let y = Axis::from_zero(highest(&marks), 4, figures::number);
    let what = "Messages per second that were planned, sent, accepted and delivered";
    Figure {
        chart: Chart {
            wide: true,
            ..chart(series, "throughput", "Throughput", (what, &columns), y, marks)
        },
        caption: "Where the lines part, somebody waited: the generator, the server, or the recipients.",
        units: "messages per second",
        table: table(series, &columns),
    }
}

/// Percentiles from due, with the gap to those from sent.
pub(super) fn latency(runs: Runs<'_>) -> Figure {
    let series = runs.this;
    let columns: Vec<Column<'_>> = vec![
        ("e2e p50", series.e2e_p50_seconds.clone(), figures::time),
        ("e2e p90", series.e2e_p90_seconds.clone(), figures::time),
        ("e2e p99", series.e2e_p99_seconds.clone(), figures::time),
        ("e2e max", series.e2e_max_seconds.clone(), figures::time),
        ("service p50", series.service_p50_seconds.clone(), figures::time),
        ("service p99", series.service_p99_seconds.clone(), figures::time),
        ("OK p99", series.ok_p99_seconds.clone(), figures::time),
    ];
    let hidden = middles(series).zip(&columns[5].1).zip(&columns[2].1);
    let hidden = hidden
        .map(|((at, service), e2e)| (at, service.zip(*e2e).map(|(low, high)| (low.min(high), high))))
        .collect();
    let mut marks = vec![
        mark(
            "what a closed model would hide",
            Colour::Orange,
            Shape::Gap(hidden),
        ),
        mark(
            "e2e max",
            Colour::Grey,
            Shape::Faint(points(series, &columns[3].1)),
        ),
        mark("e2e p50", Colour::Green, line(series, &columns[0].1)),
        mark("e2e p90", Colour::Purple, line(series, &columns[1].1)),
        mark("service p99", Colour::Orange, line(series, &columns[5].1)),
        mark("e2e p99", Colour::Blue, line(series, &columns[2].1)),
    ];
    if let Some(base) = runs.base {
        marks.push(mark(
            "e2e p99, base",
            Colour::Red,
            Shape::Dashed(points(base, &base.e2e_p99_seconds)),
        ));
    }
    let y = Axis::of_latencies(values(&marks));
    let what = "Percentiles of latency in each interval, on a logarithmic axis";
    Figure {
        chart: Chart {
            wide: true,
            ..chart(series, "latency", "Latency over time", (what, &columns), y, marks)
        },
        caption: "End to end from the moment a message was due; service from the moment it left. Between them lies what the sender had to wait for.",
        units: "seconds, logarithmic",
        table: table(series, &columns),
    }
}

/// Sessions, and how many of them came again.
pub(super) fn connections(series: &Series) -> Figure {
    let columns: Vec<Column<'_>> = vec![
        ("connections", some(&series.connections), figures::number),
        ("reconnects", some(&series.reconnects), figures::number),
    ];
    let reconnects = Mark {
        right: true,
        ..mark(
            "reconnects (right)",
            Colour::Orange,
            bars(series, &series.reconnects),
        )
    };
    let marks = vec![
        reconnects,
        mark("connections", Colour::Blue, line(series, &columns[0].1)),
    ];
    let y = Axis::of_counts(series.connections.iter().copied().fold(0.0, f64::max), 4);
    let right = Axis::of_counts(series.reconnects.iter().copied().fold(0.0, f64::max) * 2.0, 4);
    let what = "Connections at the end of each interval, and reconnects in it";
    Figure {
        chart: Chart {
            right: Some(right),
            ..chart(series, "connections", "Connections", (what, &columns), y, marks)
        },
        caption: "Sessions that live, and sessions that broke and came again.",
        units: "sessions",
        table: table(series, &columns),
    }
}

/// Errors of all classes.
pub(super) fn errors(series: &Series, classes: Table) -> Figure {
    let columns: Vec<Column<'_>> = vec![("errors", some(&series.errors), figures::number)];
    let marks = vec![mark("errors", Colour::Red, bars(series, &series.errors))];
    let y = Axis::of_counts(series.errors.iter().copied().fold(0.0, f64::max), 4);
    Figure {
        chart: chart(
            series,
            "errors",
            "Errors",
            ("Errors in each interval", &columns),
            y,
            marks,
        ),
        caption: "Everything that failed, of all classes; the table tells them apart.",
        units: "in each interval",
        table: classes,
    }
}

/// Processors.
pub(super) fn processors(series: &Series) -> Figure {
    let generator = some(&series.generator_cpu);
    let columns: Vec<Column<'_>> = vec![
        ("server", series.server_cpu.clone(), figures::share),
        ("generator", generator, figures::share),
    ];
    let marks = vec![
        mark("generator", Colour::Orange, line(series, &columns[1].1)),
        mark("server", Colour::Blue, line(series, &columns[0].1)),
    ];
    let y = Axis::from_zero(highest(&marks), 4, figures::share);
    let what = "Processor time of server and generator, as a share of one core";
    Figure {
        chart: chart(series, "processors", "Processor time", (what, &columns), y, marks),
        caption: "When the generator is near its limit, the figures are about the generator.",
        units: "share of one core",
        table: table(series, &columns),
    }
}

/// Memory of the server.
pub(super) fn memory(series: &Series) -> Figure {
    let columns: Vec<Column<'_>> = vec![("resident", series.server_rss_bytes.clone(), figures::bytes)];
    let marks = vec![mark("resident", Colour::Blue, line(series, &columns[0].1))];
    let y = Axis::of_bytes(highest(&marks), 4);
    Figure {
        chart: chart(
            series,
            "memory",
            "Memory of the server",
            ("Resident memory of the server", &columns),
            y,
            marks,
        ),
        caption: "Resident memory: what connections cost, and whether it comes back.",
        units: "resident",
        table: table(series, &columns),
    }
}

fn chart(
    series: &Series,
    id: &'static str,
    title: &'static str,
    (what, columns): (&str, &[Column<'_>]),
    y: Axis,
    marks: Vec<Mark>,
) -> Chart {
    let highest = columns.iter().filter_map(|(name, values, shown)| {
        let most = values.iter().copied().flatten().reduce(f64::max)?;
        Some(format!("{name} {}", shown(most)))
    });
    let highest: Vec<_> = highest.collect();
    Chart {
        id,
        title,
        description: format!("{what}. At the most: {}.", highest.join(", ")),
        across: across(series),
        y,
        right: None,
        bands: phases(series),
        marks,
        hints: hints(series, columns),
        wide: false,
    }
}

/// The whole of the run.
pub(super) fn across(series: &Series) -> Across {
    let from = series.at.first().copied().unwrap_or(0.0);
    Across::Seconds(
        from,
        series
            .at
            .last()
            .map_or(from + 1.0, |last| last + series.interval_seconds),
    )
}

/// Phases one after the other; the one that is measured is left white.
pub(super) fn phases(series: &Series) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    for (name, from) in series.phase.iter().zip(&series.at) {
        let to = from + series.interval_seconds;
        match bands.last_mut().filter(|band| band.name == *name) {
            Some(band) => band.to = to,
            None => bands.push(Band {
                from: *from,
                to,
                name: name.clone(),
                shaded: name != "load",
            }),
        }
    }
    bands
}

fn hints(series: &Series, columns: &[Column<'_>]) -> Vec<Hint> {
    let hint = |(at, from): (usize, &f64)| {
        let mut text = format!("{} s", figures::number(*from));
        for (name, values, shown) in columns {
            text.push_str(&format!(
                "\n{name}: {}",
                figures::maybe(values.get(at).copied().flatten(), *shown)
            ));
        }
        Hint {
            from: *from,
            to: from + series.interval_seconds,
            text,
        }
    };
    series.at.iter().enumerate().map(hint).collect()
}

fn table(series: &Series, columns: &[Column<'_>]) -> Table {
    let heads = ["at", "phase"]
        .into_iter()
        .chain(columns.iter().map(|(name, ..)| *name))
        .map(str::to_owned)
        .collect();
    let row = |(at, from): (usize, &f64)| {
        let start = [
            format!("{} s", figures::number(*from)),
            series.phase.get(at).cloned().unwrap_or_default(),
        ];
        let cells = columns
            .iter()
            .map(|(_, values, shown)| figures::maybe(values.get(at).copied().flatten(), *shown));
        start.into_iter().chain(cells).collect()
    };
    Table {
        heads,
        rows: series.at.iter().enumerate().map(row).collect(),
    }
}

fn mark(name: &str, colour: Colour, shape: Shape) -> Mark {
    Mark {
        name: name.to_owned(),
        colour,
        right: false,
        shape,
    }
}

fn some(values: &[f64]) -> Vec<Option<f64>> {
    values.iter().copied().map(Some).collect()
}

fn middles(series: &Series) -> impl Iterator<Item = f64> {
    series.at.iter().map(|at| at + series.interval_seconds / 2.0)
}

fn points(series: &Series, values: &[Option<f64>]) -> Vec<(f64, Option<f64>)> {
    middles(series).zip(values.iter().copied()).collect()
}

fn line(series: &Series, values: &[Option<f64>]) -> Shape {
    Shape::Line(points(series, values))
}

fn bars(series: &Series, values: &[f64]) -> Shape {
    Shape::Bars(
        series
            .at
            .iter()
            .zip(values)
            .map(|(at, value)| (*at, at + series.interval_seconds, *value))
            .collect(),
    )
}

fn values(marks: &[Mark]) -> impl Iterator<Item = f64> {
    marks
        .iter()
        .flat_map(|mark| match &mark.shape {
            Shape::Line(points) | Shape::Faint(points) | Shape::Dashed(points) => points.as_slice(),
            Shape::Gap(_) | Shape::Bars(_) | Shape::Cells(..) => &[],
        })
        .filter_map(|(_, value)| *value)
}

fn highest(marks: &[Mark]) -> f64 {
    values(marks).fold(0.0, f64::max)
}
