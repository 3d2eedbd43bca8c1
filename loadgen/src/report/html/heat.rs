//! The heat map: how many messages took how long, interval by interval. It shows what percentiles cannot: two humps.

use crate::report::Series;
use crate::report::figures;
use crate::report::html::axis::Axis;
use crate::report::html::chart::{Chart, Hint};
use crate::report::html::columns::{across, phases};
use crate::report::html::figure::{Figure, Table};
use crate::report::html::shape::{Colour, Mark, Shape};

/// Latencies end to end over time; none when nothing arrived.
pub(super) fn heat(series: &Series) -> Option<Figure> {
    let rows = series.heat.iter().map(Vec::len).max().unwrap_or(0);
    let counts = |row: usize| {
        series
            .heat
            .iter()
            .filter_map(move |column| column.get(row).copied())
    };
    let used: Vec<usize> = (0..rows)
        .filter(|row| counts(*row).any(|count| count > 0))
        .collect();
    let (first, last) = (*used.first()?, *used.last()?);
    let most = series.heat.iter().flatten().copied().max().unwrap_or(1);
    let mut shades = vec![Vec::new(); usize::from(SHADES)];
    for (column, from) in series.heat.iter().zip(&series.at) {
        for (row, count) in column.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (low, high) = bounds(series, row);
            shades[usize::from(shade(*count, most)) - 1].push([
                *from,
                from + series.interval_seconds,
                low,
                high,
            ]);
        }
    }
    let marks = shades.into_iter().zip(1..).map(|(cells, shade)| Mark {
        name: legend(shade, most),
        colour: Colour::Blue,
        right: false,
        shape: Shape::Cells(shade, cells),
    });
    let (low, high) = (bounds(series, first).0, bounds(series, last).1);
    let chart = Chart {
        id: "heat",
        title: "Latency heat map",
        description: format!(
            "How many messages took how long in each interval, from {} to {}; at most {} in one cell.",
            figures::time(low),
            figures::time(high),
            figures::count(u64::from(most))
        ),
        across: across(series),
        y: Axis::of_latencies([low, high].into_iter()),
        right: None,
        bands: phases(series),
        marks: marks.filter(|mark| !mark.name.is_empty()).collect(),
        hints: hints(series),
        wide: true,
    };
    Some(Figure {
        chart,
        caption: "Every message end to end. The stronger the colour, the more of them; a second band is a second kind of message, a tower is a moment at which all waited.",
        units: "seconds, logarithmic; colour: messages in a cell",
        table: table(series, &used),
    })
}

/// A row's lower and upper bound. The last one has no end, and is drawn as high as the one before.
fn bounds(series: &Series, row: usize) -> (f64, f64) {
    let bounds = &series.heat_seconds;
    let step = match bounds.as_slice() {
        [first, second, ..] if *first > 0.0 => second / first,
        _ => 2.0,
    };
    let upper = |row: usize| {
        bounds
            .get(row)
            .copied()
            .or_else(|| bounds.last().map(|last| last * step))
    };
    let high = upper(row).unwrap_or(1.0);
    let low = row.checked_sub(1).and_then(upper).unwrap_or(high / step);
    (low, high)
}

/// From 1 to [`SHADES`], by the logarithm: single messages are seen beside thousands.
fn shade(count: u32, most: u32) -> u8 {
    let place = f64::from(count).ln() / f64::from(most.max(2)).ln();
    1 + (place * f64::from(SHADES - 1))
        .round()
        .clamp(0.0, f64::from(SHADES - 1)) as u8
}

fn legend(this: u8, most: u32) -> String {
    // The first count that has this shade.
    let factor = (f64::from(this) - 1.5) / f64::from(SHADES - 1);
    let from = (f64::from(most.max(2)).powf(factor)).ceil().max(1.0) as u32;
    let real = (from.saturating_sub(1)..=from.saturating_add(1))
        .find(|count| *count > 0 && shade(*count, most) == this);
    real.map(|from| match from {
        1 => "1".to_owned(),
        from => format!("≥ {}", figures::count(u64::from(from))),
    })
    .unwrap_or_default()
}

fn hints(series: &Series) -> Vec<Hint> {
    let columns = series.at.iter().zip(&series.heat);
    let hint = |(from, column): (&f64, &Vec<u32>)| {
        let total: u64 = column.iter().map(|count| u64::from(*count)).sum();
        let slowest = column
            .iter()
            .rposition(|count| *count > 0)
            .map(|row| bounds(series, row).1);
        let text = format!(
            "{} s\n{} messages\nslowest below {}",
            figures::number(*from),
            figures::count(total),
            figures::maybe(slowest, figures::time)
        );
        Hint {
            from: *from,
            to: from + series.interval_seconds,
            text,
        }
    };
    columns.map(hint).collect()
}

/// Sums over the run: the whole map would be a table that nobody reads.
fn table(series: &Series, used: &[usize]) -> Table {
    let mut table = Table::new(["took", "messages", "share"]);
    let sum = |row: usize| {
        series
            .heat
            .iter()
            .filter_map(|column| column.get(row))
            .map(|count| u64::from(*count))
            .sum::<u64>()
    };
    let total: u64 = used.iter().map(|row| sum(*row)).sum();
    for row in used {
        let (low, high) = bounds(series, *row);
        let last = series.heat.iter().all(|column| row + 1 >= column.len());
        let took = if last {
            format!("{} and more", figures::time(low))
        } else {
            format!("{} – {}", figures::time(low), figures::time(high))
        };
        table.rows.push(vec![
            took,
            figures::count(sum(*row)),
            figures::share(sum(*row) as f64 / total.max(1) as f64),
        ]);
    }
    table
}

const SHADES: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_is_seen_beside_thousands() {
        assert_eq!(
            [1, 2, 100, 9999, 10_000].map(|count| shade(count, 10_000)),
            [1, 1, 4, 7, 7]
        );
        assert_eq!(shade(1, 1), 1);
    }

    #[test]
    fn the_legend_says_where_a_shade_begins() {
        for shade_of in 1..=SHADES {
            let text = legend(shade_of, 900).replace("≥ ", "").replace('\u{202f}', "");
            assert_eq!(shade(text.parse().expect("a number"), 900), shade_of);
        }
    }
}
