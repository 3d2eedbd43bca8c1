//! Columns of a series and what they become: lines and bars over time, a table, and words for the pointer.

use std::fmt::Write as _;

use crate::report::html::axis::Axis;
use crate::report::html::chart::{Across, Band, Chart, Hint};
use crate::report::html::figure::Table;
use crate::report::html::shape::{Colour, Mark, Shape};
use crate::report::{Series, figures};

/// Columns of a series.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    pub(super) series: &'a Series,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    name: &'static str,
    values: Vec<Option<f64>>,
    shown: fn(f64) -> String,
}

impl<'a> Columns<'a> {
    /// None yet.
    pub(super) const fn of(series: &'a Series) -> Self {
        Self {
            series,
            columns: Vec::new(),
        }
    }

    /// And a column that always has a value.
    pub(super) fn and(self, name: &'static str, values: &[f64], shown: fn(f64) -> String) -> Self {
        let values: Vec<_> = values.iter().copied().map(Some).collect();
        self.and_some(name, &values, shown)
    }

    /// And one that may have none.
    pub(super) fn and_some(
        mut self,
        name: &'static str,
        values: &[Option<f64>],
        shown: fn(f64) -> String,
    ) -> Self {
        self.columns.push(Column {
            name,
            values: values.to_vec(),
            shown,
        });
        self
    }

    /// A column's points, each in the middle of its interval.
    pub(super) fn points(&self, name: &str) -> Vec<(f64, Option<f64>)> {
        let column = self.columns.iter().find(|column| column.name == name);
        let values = column.map_or(&[][..], |column| &column.values);
        let half = self.series.interval_seconds / 2.0;
        self.series
            .at
            .iter()
            .map(|at| at + half)
            .zip(values.iter().copied())
            .collect()
    }

    /// A column as a line of its name.
    pub(super) fn line(&self, name: &str, colour: Colour) -> Mark {
        mark(name, colour, Shape::Line(self.points(name)))
    }

    /// A column as bars.
    pub(super) fn bars(&self, name: &str, colour: Colour) -> Mark {
        let half = self.series.interval_seconds / 2.0;
        let bar = |(at, value): (f64, Option<f64>)| (at - half, at + half, value.unwrap_or(0.0));
        mark(
            name,
            colour,
            Shape::Bars(self.points(name).into_iter().map(bar).collect()),
        )
    }

    /// The highest value of all columns.
    pub(super) fn highest(&self) -> f64 {
        self.columns
            .iter()
            .filter_map(Column::highest)
            .fold(0.0, f64::max)
    }

    /// A chart over time with words for the pointer, and nothing drawn yet.
    pub(super) fn chart(&self, id: &'static str, title: &'static str, what: &str) -> Chart {
        let highest = self
            .columns
            .iter()
            .filter_map(|column| Some(format!("{} {}", column.name, (column.shown)(column.highest()?))));
        let highest: Vec<_> = highest.collect();
        Chart {
            id,
            title,
            description: format!("{what}. At the most: {}.", highest.join(", ")),
            across: across(self.series),
            y: Axis::from_zero(self.highest(), 4, figures::number),
            right: None,
            bands: phases(self.series),
            marks: Vec::new(),
            hints: self.hints(),
            wide: false,
        }
    }

    /// All columns, a row for each interval.
    pub(super) fn table(&self) -> Table {
        let heads = ["at", "phase"]
            .into_iter()
            .chain(self.columns.iter().map(|column| column.name));
        let row = |(at, from): (usize, &f64)| {
            let start = [
                format!("{} s", figures::number(*from)),
                self.series.phase.get(at).cloned().unwrap_or_default(),
            ];
            start
                .into_iter()
                .chain(self.columns.iter().map(|column| column.shown(at)))
                .collect()
        };
        Table {
            heads: heads.map(str::to_owned).collect(),
            rows: self.series.at.iter().enumerate().map(row).collect(),
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let hint = |(at, from): (usize, &f64)| {
            let mut text = format!("{} s", figures::number(*from));
            for column in &self.columns {
                let _ = write!(text, "\n{}: {}", column.name, column.shown(at));
            }
            Hint {
                from: *from,
                to: from + self.series.interval_seconds,
                text,
            }
        };
        self.series.at.iter().enumerate().map(hint).collect()
    }
}

impl Column {
    fn shown(&self, at: usize) -> String {
        figures::maybe(self.values.get(at).copied().flatten(), self.shown)
    }

    fn highest(&self) -> Option<f64> {
        self.values.iter().copied().flatten().reduce(f64::max)
    }
}

/// Something drawn on the left axis.
pub(super) fn mark(name: &str, colour: Colour, shape: Shape) -> Mark {
    Mark {
        name: name.to_owned(),
        colour,
        right: false,
        shape,
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
