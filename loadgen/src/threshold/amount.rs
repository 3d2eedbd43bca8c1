//! Units of thresholds, and what figures are amounts of.

/// What a figure is an amount of. Figures are in seconds, bytes, shares of 1, events per second, events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Seconds.
    Time,
    /// Bytes.
    Bytes,
    /// Of 1.
    Share,
    /// Events per second.
    Rate,
    /// Events.
    Events,
}

/// A unit, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    None,
    Microseconds,
    Milliseconds,
    Seconds,
    Percent,
    Bytes,
    KiB,
    MiB,
    GiB,
    PerSecond,
}

impl Amount {
    pub(super) const fn units(self) -> &'static str {
        match self {
            Self::Time => "`us`, `ms` or `s`",
            Self::Bytes => "`B`, `KiB`, `MiB` or `GiB`",
            Self::Share => "`%`",
            Self::Rate => "`/s`",
            Self::Events => "no unit",
        }
    }

    /// A figure for people: `18.4ms`, `148.0MiB`, `0.10%`.
    #[must_use]
    pub fn show(self, figure: f64) -> String {
        let scaled = |units: &[(f64, &str)]| {
            let unit = units.iter().find(|(factor, _)| figure.abs() >= *factor);
            let (factor, name) = unit.or(units.last()).copied().unwrap_or((1.0, ""));
            format!("{:.1}{name}", figure / factor)
        };
        match self {
            Self::Time if figure == 0.0 => "0s".to_owned(),
            Self::Time => scaled(&[(1.0, "s"), (1e-3, "ms"), (1e-6, "us")]),
            Self::Bytes => scaled(&[
                (1_073_741_824.0, "GiB"),
                (1_048_576.0, "MiB"),
                (1024.0, "KiB"),
                (1.0, "B"),
            ]),
            Self::Share => format!("{:.2}%", figure * 100.0),
            Self::Rate => format!("{figure:.1}/s"),
            Self::Events if figure.fract() == 0.0 => format!("{figure:.0}"),
            Self::Events => format!("{figure:.2}"),
        }
    }
}

impl Unit {
    pub(super) const ALL: [Self; 10] = [
        Self::None,
        Self::Microseconds,
        Self::Milliseconds,
        Self::Seconds,
        Self::Percent,
        Self::Bytes,
        Self::KiB,
        Self::MiB,
        Self::GiB,
        Self::PerSecond,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Percent => "%",
            Self::Bytes => "B",
            Self::KiB => "KiB",
            Self::MiB => "MiB",
            Self::GiB => "GiB",
            Self::PerSecond => "/s",
        }
    }

    pub(super) const fn factor(self) -> f64 {
        match self {
            Self::None | Self::Seconds | Self::Bytes | Self::PerSecond => 1.0,
            Self::Microseconds => 1e-6,
            Self::Milliseconds => 1e-3,
            Self::Percent => 1e-2,
            Self::KiB => 1024.0,
            Self::MiB => 1_048_576.0,
            Self::GiB => 1_073_741_824.0,
        }
    }

    pub(super) const fn fits(self, amount: Amount) -> bool {
        matches!(
            (self, amount),
            (Self::None, Amount::Events)
                | (
                    Self::Microseconds | Self::Milliseconds | Self::Seconds,
                    Amount::Time
                )
                | (Self::Percent, Amount::Share)
                | (Self::Bytes | Self::KiB | Self::MiB | Self::GiB, Amount::Bytes)
                | (Self::PerSecond, Amount::Rate)
        )
    }
}
