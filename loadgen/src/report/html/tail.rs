//! The chart of percentiles: how long the unlucky wait, with each nine as far from the next.

use crate::report::figures;
use crate::report::histogram::histogram;
use crate::report::html::axis::Axis;
use crate::report::html::chart::{Across, Chart, Hint};
use crate::report::html::figure::{Figure, Table};
use crate::report::html::shape::{Colour, Mark, Shape};
use crate::report::{LatencyFigures, Report};

/// `1 / (1 - share)` and the latency there.
type Tail = Vec<(f64, Option<f64>)>;

/// End to end, service and OK, and the base's end to end.
pub(super) fn tails(report: &Report, base: Option<&Report>) -> Figure {
    let mut tails: Vec<(String, Colour, bool, Tail)> = Vec::new();
    for (name, colour) in SHOWN {
        if let Some(tail) = report.latency.get(name).and_then(tail) {
            tails.push((name.to_owned(), colour, false, tail));
        }
    }
    if let Some(tail) = base.and_then(|base| base.latency.get("e2e")).and_then(tail) {
        tails.push(("e2e, base".to_owned(), Colour::Purple, true, tail));
    }
    let most = tails
        .iter()
        .filter_map(|(.., tail)| tail.last())
        .map(|(at, _)| *at)
        .fold(100.0, f64::max);
    let y = Axis::of_latencies(
        tails
            .iter()
            .flat_map(|(.., tail)| tail)
            .filter_map(|(_, value)| *value),
    );
    let table = table(report, base);
    let marks = tails.iter().map(|(name, colour, dashed, tail)| {
        let shape = if *dashed {
            Shape::Dashed(tail.clone())
        } else {
            Shape::Line(tail.clone())
        };
        Mark {
            name: name.clone(),
            colour: *colour,
            right: false,
            shape,
        }
    });
    Figure {
        chart: Chart {
            id: "percentiles",
            title: "Latency by percentile",
            description: "How long the slowest tenth, hundredth, thousandth and so on of all messages took, from histograms of every message.".to_owned(),
            across: Across::Tails(most),
            y,
            right: None,
            bands: Vec::new(),
            hints: hints(&table, most),
            marks: marks.collect(),
            wide: true,
        },
        caption: "From every single message of the measured part, none estimated. To the right stand ever fewer and ever slower ones.",
        units: "seconds, logarithmic; share of messages that were faster",
        table,
    }
}

/// What the table says, where the shares are.
fn hints(table: &Table, most: f64) -> Vec<Hint> {
    let hint = |(row, around): (&Vec<String>, &[f64])| Hint {
        from: 1.0 / (1.0 - around[0]),
        to: (1.0 / (1.0 - around[1])).min(most),
        text: row
            .iter()
            .zip(&table.heads)
            .map(|(cell, head)| format!("{head}: {cell}"))
            .collect::<Vec<_>>()
            .join("\n"),
    };
    table.rows.iter().zip(SHARES.windows(2)).map(hint).collect()
}

fn tail(figures: &LatencyFigures) -> Option<Tail> {
    let histogram = histogram(figures).filter(|histogram| !histogram.is_empty())?;
    let nines = (histogram.len() as f64).log10();
    let points = (0..=POINTS).map(|at| {
        let tail = 10f64.powf(nines * f64::from(at) / f64::from(POINTS));
        let value = histogram.value_at_quantile(1.0 - 1.0 / tail);
        (tail, Some(value as f64 / 1e9))
    });
    Some(points.collect())
}

fn table(report: &Report, base: Option<&Report>) -> Table {
    let mut columns: Vec<(String, hdrhistogram::Histogram<u64>)> = Vec::new();
    for (name, _) in SHOWN {
        columns.extend(
            report
                .latency
                .get(name)
                .and_then(histogram)
                .map(|whole| (name.to_owned(), whole)),
        );
    }
    let of_base = base.and_then(|base| base.latency.get("e2e")).and_then(histogram);
    columns.extend(of_base.map(|whole| ("e2e, base".to_owned(), whole)));
    let heads = std::iter::once("faster".to_owned()).chain(columns.iter().map(|(name, _)| name.clone()));
    let most = columns.iter().map(|(_, whole)| whole.len()).max().unwrap_or(0);
    // A thousandth of a hundred messages is nobody.
    let told = SHARES
        .into_iter()
        .filter(|share| *share == 0.0 || (1.0 - share) * most as f64 >= 0.999);
    let rows = told.map(|share| {
        let values = columns
            .iter()
            .map(|(_, whole)| figures::time(whole.value_at_quantile(share) as f64 / 1e9));
        std::iter::once(format!("{} %", (share * 1e7).round() / 1e5))
            .chain(values)
            .collect()
    });
    Table {
        heads: heads.collect(),
        rows: rows.collect(),
    }
}

const SHOWN: [(&str, Colour); 3] = [
    ("ok", Colour::Green),
    ("service", Colour::Orange),
    ("e2e", Colour::Blue),
];
const SHARES: [f64; 13] = [
    0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 0.999_99, 0.999_999,
];
const POINTS: u32 = 160;
