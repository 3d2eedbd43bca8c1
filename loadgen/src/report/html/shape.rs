//! What is drawn in a chart: lines, bars, gaps and cells as paths of SVG. Must not know axes, only where a value stands.

use std::fmt::Write as _;

use crate::report::html::markup::Markup;

/// Something drawn, and its place in the legend.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) colour: Colour,
    pub(super) right: bool,
    pub(super) shape: Shape,
}

/// What is drawn.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// Breaks where there is no value.
    Line(Vec<(f64, Option<f64>)>),
    /// A thin line that is not the point.
    Faint(Vec<(f64, Option<f64>)>),
    /// Planned, or of another run.
    Dashed(Vec<(f64, Option<f64>)>),
    /// Between two lines: x, lower, upper.
    Gap(Vec<(f64, Option<(f64, f64)>)>),
    /// From, to, height.
    Bars(Vec<(f64, f64, f64)>),
    /// Of a heat map: x from and to, y from and to. One shade, told by its number from 1.
    Cells(u8, Vec<[f64; 4]>),
}

/// Colours that are told apart by everybody; the style sheet says which they are in light and in dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Blue,
    Orange,
    Green,
    Purple,
    Red,
    Grey,
}

impl Colour {
    /// Its class in the style sheet.
    const fn class(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Orange => "orange",
            Self::Green => "green",
            Self::Purple => "purple",
            Self::Red => "red",
            Self::Grey => "grey",
        }
    }
}

impl Mark {
    /// Its classes in the style sheet.
    pub(super) fn class(&self) -> String {
        match &self.shape {
            Shape::Cells(shade, _) => format!("cells shade{shade}"),
            Shape::Line(_) | Shape::Faint(_) | Shape::Dashed(_) | Shape::Gap(_) | Shape::Bars(_) => {
                format!("{} {}", self.shape.class(), self.colour.class())
            }
        }
    }

    /// The values of a line.
    pub(super) fn values(&self) -> impl Iterator<Item = f64> {
        let points = match &self.shape {
            Shape::Line(points) | Shape::Faint(points) | Shape::Dashed(points) => points.as_slice(),
            Shape::Gap(_) | Shape::Bars(_) | Shape::Cells(..) => &[],
        };
        points.iter().filter_map(|(_, value)| *value)
    }
}

impl Shape {
    /// Its class in the style sheet.
    const fn class(&self) -> &'static str {
        match self {
            Self::Line(_) => "line",
            Self::Faint(_) => "line faint",
            Self::Dashed(_) => "line dashed",
            Self::Gap(_) => "gap",
            Self::Bars(_) => "bars",
            Self::Cells(..) => "cells",
        }
    }
}

/// Draws it.
pub(super) fn draw_mark(mark: &Mark, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64, out: &mut Markup) {
    let path = match &mark.shape {
        Shape::Line(points) | Shape::Faint(points) | Shape::Dashed(points) => line(points, x, y),
        Shape::Gap(points) => gap(points, x, y),
        Shape::Bars(bars) => boxes(
            bars.iter()
                .map(|(from, to, height)| [x(*from) + 0.5, x(*to) - 0.5, y(0.0), y(*height)]),
        ),
        Shape::Cells(_, cells) => boxes(
            cells
                .iter()
                .map(|[from, to, low, high]| [x(*from), x(*to), y(*low), y(*high)]),
        ),
    };
    if !path.is_empty() {
        out.empty("path", &[("class", &mark.class()), ("d", &path)]);
    }
}

fn line(points: &[(f64, Option<f64>)], x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut drawing = false;
    for (at, value) in points {
        if let Some(value) = value {
            let _ = write!(
                path,
                "{}{} {}",
                if drawing { 'L' } else { 'M' },
                short(x(*at)),
                short(y(*value))
            );
        }
        drawing = value.is_some();
    }
    path
}

fn gap(points: &[(f64, Option<(f64, f64)>)], x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let mut path = String::new();
    for run in points.split(|(_, gap)| gap.is_none()).filter(|run| run.len() > 1) {
        let edge = |upper: bool| {
            run.iter()
                .filter_map(move |(at, gap)| gap.map(|(low, high)| (*at, if upper { high } else { low })))
        };
        let back: Vec<_> = edge(false).collect();
        for (nth, (at, value)) in edge(true).chain(back.into_iter().rev()).enumerate() {
            let _ = write!(
                path,
                "{}{} {}",
                if nth == 0 { 'M' } else { 'L' },
                short(x(at)),
                short(y(value))
            );
        }
        path.push('Z');
    }
    path
}

fn boxes(boxes: impl Iterator<Item = [f64; 4]>) -> String {
    let mut path = String::new();
    for [left, right, bottom, top] in boxes.filter(|[_, _, bottom, top]| bottom - top > 0.0) {
        let (width, height) = (short((right - left).max(0.5)), short(bottom - top));
        let _ = write!(path, "M{} {}h{width}v{height}h-{width}z", short(left), short(top));
    }
    path
}

/// A tenth of a unit is more than anyone sees.
pub(super) fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}
