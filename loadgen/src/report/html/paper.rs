//! What a chart is drawn on: three widths, and where the plot lies.

use crate::report::html::axis::Axis;

/// A width that it is drawn for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paper {
    pub(super) class: &'static str,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) ticks: u32,
}

/// Where the plot lies on its paper.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Frame {
    /// The plot between its axes; letters above it name the phases.
    pub(super) fn on(paper: Paper, y: &Axis, right: Option<&Axis>, is_named: bool) -> Self {
        let room = |axis: &Axis| {
            let texts = axis.ticks.iter().filter_map(|(_, text)| text.as_ref());
            texts.map(|text| text.chars().count()).max().unwrap_or(0) as f64 * WIDEST + 10.0
        };
        let (left, right) = (room(y), right.map_or(14.0, room));
        let top = if is_named { 24.0 } else { 10.0 };
        Self {
            left,
            top,
            width: paper.width - left - right,
            height: paper.height - top - 28.0,
        }
    }

    /// Where a value of the x axis lies.
    pub(super) fn x(&self, axis: &Axis, value: f64) -> f64 {
        self.left + axis.place(value) * self.width
    }

    /// Where a value of a y axis lies.
    pub(super) fn y(&self, axis: &Axis, value: f64) -> f64 {
        self.top + (1.0 - axis.place(value)) * self.height
    }
}

/// Of a whole column.
pub(super) const WIDE: Paper = Paper {
    class: "wide",
    width: 1080.0,
    height: 300.0,
    ticks: 12,
};
/// Of half a column, of a tablet, of a printed page.
pub(super) const MIDDLE: Paper = Paper {
    class: "middle",
    width: 530.0,
    height: 250.0,
    ticks: 6,
};
/// Of a telephone.
pub(super) const NARROW: Paper = Paper {
    class: "narrow",
    width: 340.0,
    height: 230.0,
    ticks: 4,
};
/// As wide as a letter beside an axis in the widest of fonts.
const WIDEST: f64 = 7.6;
/// About as wide as a letter.
pub(super) const LETTER: f64 = 6.6;
