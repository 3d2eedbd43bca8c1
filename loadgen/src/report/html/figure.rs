//! A chart on the page: its heading, what it says in a sentence, its legend, the picture, and its numbers as a table.

use crate::report::html::chart::Chart;
use crate::report::html::markup::Markup;
use crate::report::html::shape::{Mark, Shape};

/// A chart with what stands around it.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) chart: Chart,
    /// What the reader should look for.
    pub(super) caption: &'static str,
    /// Units beside the axes: left, and right if there is one.
    pub(super) units: &'static str,
    pub(super) table: Table,
}

/// Numbers in rows.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) heads: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Figure {
    /// Appends it.
    pub(super) fn draw(&self, out: &mut Markup) {
        let class = if self.chart.wide { "figure whole" } else { "figure" };
        out.tag("figure", &[("class", class), ("id", self.chart.id)], |out| {
            out.tag("figcaption", &[], |out| {
                out.tag("h3", &[], |out| {
                    out.text(self.chart.title);
                    out.leaf("span", &[("class", "unit")], self.units);
                });
                out.leaf("p", &[], self.caption);
            });
            legend(&self.chart.marks, out);
            self.chart.draw(out);
            if !self.table.rows.is_empty() {
                out.tag("details", &[], |out| {
                    out.leaf("summary", &[], "Numbers");
                    self.table.draw(self.chart.title, out);
                });
            }
        });
    }
}

impl Table {
    /// A table with these heads.
    pub(super) fn new<const COLUMNS: usize>(heads: [&str; COLUMNS]) -> Self {
        Self {
            heads: heads.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    /// Appends it. Wide ones move inside their frame; the first column names the row.
    pub(super) fn draw(&self, label: &str, out: &mut Markup) {
        let attributes = [
            ("class", "table"),
            ("tabindex", "0"),
            ("role", "region"),
            ("aria-label", label),
        ];
        out.tag("div", &attributes, |out| {
            out.tag("table", &[], |out| {
                out.tag("thead", &[], |out| {
                    out.tag("tr", &[], |out| {
                        self.heads
                            .iter()
                            .for_each(|head| out.leaf("th", &[("scope", "col")], head));
                    });
                });
                out.tag("tbody", &[], |out| {
                    for row in &self.rows {
                        out.tag("tr", &[], |out| {
                            for (at, cell) in row.iter().enumerate() {
                                match at {
                                    0 => out.leaf("th", &[("scope", "row")], cell),
                                    _ => out.leaf("td", &[], cell),
                                }
                            }
                        });
                    }
                });
            });
        });
    }
}

fn legend(marks: &[Mark], out: &mut Markup) {
    let mut named: Vec<_> = marks.iter().filter(|mark| !mark.name.is_empty()).collect();
    if named.is_empty() {
        return;
    }
    // What is drawn last lies above the rest, because it matters most. Shades of a map go from few to many.
    if !named.iter().all(|mark| matches!(mark.shape, Shape::Cells(..))) {
        named.reverse();
    }
    out.tag("ul", &[("class", "legend")], |out| {
        for mark in named {
            out.tag("li", &[], |out| {
                let class = mark.class();
                out.tag(
                    "svg",
                    &[
                        ("class", "key"),
                        ("viewBox", "0 0 22 12"),
                        ("aria-hidden", "true"),
                    ],
                    |out| {
                        let path = match mark.shape {
                            Shape::Line(_) | Shape::Faint(_) | Shape::Dashed(_) => "M1 6H21",
                            Shape::Gap(_) | Shape::Bars(_) | Shape::Cells(..) => "M1 1h20v10h-20z",
                        };
                        out.empty("path", &[("class", &class), ("d", path)]);
                    },
                );
                out.text(&mark.name);
            });
        }
    });
}
