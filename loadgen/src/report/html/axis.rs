//! Axes: where a value stands, and which values are written beside the line.

use crate::report::figures;
use crate::report::html::round::{decade, round_step, round_time, upto};

/// From values to places between 0 and 1.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    /// Values with a line, and what is written at it, if anything.
    pub(super) ticks: Vec<(f64, Option<String>)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    Even,
    Log,
}

impl Axis {
    /// From 0 up to a round number above all values; `shown` writes the numbers.
    pub(super) fn from_zero(most: f64, about: u32, shown: fn(f64) -> String) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let step = round_step(most / f64::from(about.max(1)));
        let steps = (most / step - 1e-9).ceil().max(1.0);
        let ticks = upto(steps)
            .map(|at| at * step)
            .map(|value| (value, Some(shown(value))));
        Self {
            scale: Scale::Even,
            from: 0.0,
            to: steps * step,
            ticks: ticks.collect(),
        }
    }

    /// Whole numbers from 0 up: what can only be counted has no tick at a half.
    pub(super) fn of_counts(most: f64, about: u32) -> Self {
        Self::from_zero(most.max(f64::from(about.max(1))), about, figures::number)
    }

    /// Bytes from 0 up, by steps that are round in KiB, MiB and so on.
    pub(super) fn of_bytes(most: f64, about: u32) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let unit = 1024f64.powf((most.log2() / 10.0).floor().clamp(0.0, 4.0));
        let mut axis = Self::from_zero(most / unit, about, figures::number);
        axis.to *= unit;
        for (value, text) in &mut axis.ticks {
            *value *= unit;
            *text = Some(figures::bytes(*value).replace(".00", "").replace(".0 ", " "));
        }
        axis
    }

    /// Latencies by their logarithm, between round numbers around all of them.
    pub(super) fn of_latencies(values: impl Iterator<Item = f64>) -> Self {
        let usual = |value: &f64| value.is_finite() && *value > 0.0;
        let (least, most) = values
            .filter(usual)
            .fold((f64::MAX, 0f64), |(least, most), value| {
                (least.min(value), most.max(value))
            });
        let (least, most) = if most > 0.0 { (least, most) } else { (1e-3, 1.0) };
        let below = STEPS_OF_TEN
            .map(|step| step * decade(least))
            .into_iter()
            .rfind(|step| *step <= least * 1.000_001);
        let above = STEPS_OF_TEN
            .map(|step| step * decade(most))
            .into_iter()
            .find(|step| *step >= most * 0.999_999);
        let from = below.unwrap_or(decade(least));
        let to = above.unwrap_or(decade(most) * 10.0).max(from * 10.0);
        let decades = (to / from).log10();
        let labelled: &[f64] = match decades {
            few if few < 2.4 => &[1.0, 2.0, 5.0],
            some if some < 3.4 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let lines: &[f64] = if labelled.len() > 1 {
            labelled
        } else {
            &[1.0, 2.0, 5.0]
        };
        let mut ticks = Vec::new();
        let (first, last) = (from.log10().floor(), to.log10().ceil());
        for power in upto(last - first).map(|at| 10f64.powf(first + at)) {
            for step in lines {
                let value = step * power;
                if value >= from * 0.999 && value <= to * 1.001 {
                    ticks.push((value, labelled.contains(step).then(|| round_time(value))));
                }
            }
        }
        Self {
            scale: Scale::Log,
            from,
            to,
            ticks,
        }
    }

    /// Shares of all on the way to all of them: 0 %, 90 %, 99 %, 99.9 %, each as far from the next. Values are
    /// `1 / (1 - share)`.
    pub(super) fn of_tails(most: f64) -> Self {
        let to = most.max(100.0);
        let nines = upto(to.log10().floor()).map(|nines| {
            let text = match nines {
                none if none < 0.5 => "0 %".to_owned(),
                nines => format!(
                    "{:.*} %",
                    (nines - 2.0).max(0.0) as usize,
                    100.0 - 10f64.powf(2.0 - nines)
                ),
            };
            (10f64.powf(nines), Some(text))
        });
        let ticks = nines.chain([(2.0, None), (4.0, None)]).collect();
        Self {
            scale: Scale::Log,
            from: 1.0,
            to,
            ticks,
        }
    }

    /// Seconds of a run.
    pub(super) fn of_time(from: f64, to: f64, about: u32) -> Self {
        let length = (to - from).max(1e-3);
        let least = length / f64::from(about.max(1));
        let step = STEPS_OF_TIME
            .into_iter()
            .find(|step| *step >= least)
            .unwrap_or_else(|| (least / 3600.0).ceil() * 3600.0);
        let first = (from / step - 1e-9).ceil();
        let count = ((to - first * step) / step + 1e-9).floor();
        let shown = |value: f64| match to {
            short if short <= 120.0 => format!("{} s", figures::number(value)),
            hours if hours >= 7200.0 => format!(
                "{:.0}:{:02.0} h",
                (value / 3600.0).floor(),
                (value % 3600.0 / 60.0).floor()
            ),
            _ => format!("{:.0}:{:02.0}", (value / 60.0).floor(), value % 60.0),
        };
        let ticks = upto(count)
            .map(|at| (first + at) * step)
            .map(|value| (value, Some(shown(value))));
        Self {
            scale: Scale::Even,
            from,
            to: from + length,
            ticks: ticks.collect(),
        }
    }

    /// Where a value stands: 0 at the beginning, 1 at the end, nothing outside.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Even => (value - self.from) / (self.to - self.from),
            Scale::Log => (value.max(f64::MIN_POSITIVE) / self.from).ln() / (self.to / self.from).ln(),
        };
        if place.is_nan() {
            0.0
        } else {
            place.clamp(0.0, 1.0)
        }
    }
}

const STEPS_OF_TEN: [f64; 4] = [1.0, 2.0, 5.0, 10.0];
const STEPS_OF_TIME: [f64; 16] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn written(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().filter_map(|(_, text)| text.clone()).collect()
    }

    #[test]
    fn ticks_are_round_numbers_around_the_values() {
        assert_eq!(
            written(&Axis::from_zero(2210.0, 4, figures::number)).join(" "),
            "0 1\u{202f}000 2\u{202f}000 3\u{202f}000"
        );
        assert_eq!(written(&Axis::of_counts(1.0, 4)).join(" "), "0 1 2 3 4");
        assert_eq!(
            written(&Axis::of_bytes(155e6, 4)).join(", "),
            "0 B, 50 MiB, 100 MiB, 150 MiB"
        );
        assert_eq!(
            written(&Axis::of_time(0.0, 54.0, 6)).join(" "),
            "0 s 10 s 20 s 30 s 40 s 50 s"
        );
        assert_eq!(
            written(&Axis::of_time(0.0, 300.0, 5)).join(" "),
            "0:00 1:00 2:00 3:00 4:00 5:00"
        );
        assert_eq!(
            written(&Axis::of_latencies([0.003, 0.07].into_iter())).join(", "),
            "2 ms, 5 ms, 10 ms, 20 ms, 50 ms, 100 ms"
        );
        assert_eq!(
            written(&Axis::of_tails(90_000.0)).join(" "),
            "0 % 90 % 99 % 99.9 % 99.99 %"
        );
    }

    #[test]
    fn places_lie_within_the_axis_whatever_the_value() {
        let axes = [
            Axis::from_zero(f64::NAN, 4, figures::number),
            Axis::of_latencies([].into_iter()),
            Axis::of_time(5.0, 5.0, 0),
            Axis::of_bytes(0.0, 4),
        ];
        for axis in axes {
            for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e300] {
                assert!((0.0..=1.0).contains(&axis.place(value)), "{axis:?} {value}");
            }
        }
        let axis = Axis::of_latencies([0.001, 0.1].into_iter());
        assert!((axis.place(0.01) - 0.5).abs() < 1e-9);
    }
}
