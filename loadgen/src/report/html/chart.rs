//! A chart as SVG: axes, bands, lines, bars, and what is said where the pointer rests. Drawn for three widths, so that
//! letters are as large on a telephone as on a wide screen; the style sheet shows one of them.

use std::fmt::Write as _;

use crate::report::html::axis::Axis;
use crate::report::html::markup::Markup;
use crate::report::html::paper::{Frame, LETTER, MIDDLE, NARROW, Paper, WIDE};
use crate::report::html::shape::{Mark, draw_mark, short};

/// A chart.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    /// Names it within the page.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What it shows, in words, for those who cannot see it.
    pub(super) description: String,
    pub(super) across: Across,
    pub(super) y: Axis,
    /// For those lines and bars that have it.
    pub(super) right: Option<Axis>,
    pub(super) bands: Vec<Band>,
    pub(super) marks: Vec<Mark>,
    pub(super) hints: Vec<Hint>,
    pub(super) wide: bool,
}

/// What the x axis is. It is made anew for each width: fewer ticks where there is less room.
#[derive(Debug, Clone, Copy)]
pub(super) enum Across {
    /// Of the run, from and to.
    Seconds(f64, f64),
    /// Shares of all, up to this `1 / (1 - share)`.
    Tails(f64),
}

/// A part of the x axis with a name: a phase.
#[derive(Debug, Clone)]
pub(super) struct Band {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) name: String,
    pub(super) shaded: bool,
}

/// What is said where the pointer rests.
#[derive(Debug, Clone)]
pub(super) struct Hint {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) text: String,
}

impl Chart {
    /// The pictures: one is shown.
    pub(super) fn draw(&self, out: &mut Markup) {
        if self.wide {
            self.draw_on(WIDE, out);
        }
        self.draw_on(MIDDLE, out);
        self.draw_on(NARROW, out);
    }

    fn draw_on(&self, paper: Paper, out: &mut Markup) {
        let x = match self.across {
            Across::Seconds(from, to) => Axis::of_time(from, to, paper.ticks),
            Across::Tails(most) => Axis::of_tails(most),
        };
        let frame = Frame::on(paper, &self.y, self.right.as_ref(), !self.bands.is_empty());
        let name = |part: &str| format!("{}-{}-{part}", self.id, paper.class);
        let (title, described) = (name("title"), name("desc"));
        let attributes = [
            ("class", &*format!("chart {}", paper.class)),
            ("viewBox", &*format!("0 0 {} {}", paper.width, paper.height)),
            ("role", "img"),
            ("aria-labelledby", &*format!("{title} {described}")),
        ];
        out.tag("svg", &attributes, |out| {
            out.leaf("title", &[("id", &title)], self.title);
            out.leaf("desc", &[("id", &described)], &self.description);
            self.draw_bands(&frame, &x, out);
            self.draw_axes(&frame, &x, out);
            for mark in &self.marks {
                let y = if mark.right {
                    self.right.as_ref().unwrap_or(&self.y)
                } else {
                    &self.y
                };
                draw_mark(mark, &|at| frame.x(&x, at), &|value| frame.y(y, value), out);
            }
            if paper.class != NARROW.class {
                self.draw_hints(&frame, &x, out);
            }
        });
    }

    fn draw_bands(&self, frame: &Frame, x: &Axis, out: &mut Markup) {
        for band in &self.bands {
            let (from, to) = (frame.x(x, band.from), frame.x(x, band.to));
            if band.shaded {
                let [left, top, width, height] = [from, frame.top, to - from, frame.height].map(short);
                out.empty(
                    "rect",
                    &[
                        ("class", "band"),
                        ("x", &left),
                        ("y", &top),
                        ("width", &width),
                        ("height", &height),
                    ],
                );
            }
            if band.from > self.bands.first().map_or(0.0, |first| first.from) {
                let edge = format!("M{} {}v{}", short(from), short(frame.top), short(frame.height));
                out.empty("path", &[("class", "grid"), ("d", &edge)]);
            }
            if to - from > band.name.chars().count() as f64 * LETTER {
                out.leaf(
                    "text",
                    &[
                        ("class", "phase"),
                        ("x", &short((from + to) / 2.0)),
                        ("y", &short(frame.top - 8.0)),
                    ],
                    &band.name,
                );
            }
        }
    }

    fn draw_axes(&self, frame: &Frame, x: &Axis, out: &mut Markup) {
        let (right, bottom) = (frame.left + frame.width, frame.top + frame.height);
        let mut lines = String::new();
        for (value, text) in &self.y.ticks {
            let y = frame.y(&self.y, *value);
            let _ = write!(lines, "M{} {}H{}", short(frame.left), short(y), short(right));
            if let Some(text) = text {
                out.leaf(
                    "text",
                    &[
                        ("class", "y"),
                        ("x", &short(frame.left - 8.0)),
                        ("y", &short(y + 4.0)),
                    ],
                    text,
                );
            }
        }
        out.empty("path", &[("class", "grid"), ("d", &lines)]);
        for (value, text) in self.right.iter().flat_map(|axis| &axis.ticks) {
            let y = self.right.as_ref().map_or(bottom, |axis| frame.y(axis, *value));
            let text = text.as_deref().unwrap_or_default();
            out.leaf(
                "text",
                &[
                    ("class", "right"),
                    ("x", &short(right + 8.0)),
                    ("y", &short(y + 4.0)),
                ],
                text,
            );
        }
        let mut ticks = format!("M{} {}H{}", short(frame.left), short(bottom), short(right));
        for (value, text) in &x.ticks {
            let at = frame.x(x, *value);
            let _ = write!(ticks, "M{} {}v4", short(at), short(bottom));
            if let Some(text) = text {
                // The last one must not hang over the edge.
                let half = text.chars().count() as f64 * LETTER / 2.0;
                let middle = at.min(right + 12.0 - half);
                out.leaf(
                    "text",
                    &[
                        ("class", "x"),
                        ("x", &short(middle)),
                        ("y", &short(bottom + 19.0)),
                    ],
                    text,
                );
            }
        }
        out.empty("path", &[("class", "axis"), ("d", &ticks)]);
    }

    fn draw_hints(&self, frame: &Frame, x: &Axis, out: &mut Markup) {
        for hint in &self.hints {
            let (from, to) = (frame.x(x, hint.from), frame.x(x, hint.to));
            let [left, top, width, height] = [from, frame.top, to - from, frame.height].map(short);
            let attributes = [
                ("class", "hint"),
                ("x", &*left),
                ("y", &*top),
                ("width", &*width),
                ("height", &*height),
            ];
            out.tag("rect", &attributes, |out| out.leaf("title", &[], &hint.text));
        }
    }
}
