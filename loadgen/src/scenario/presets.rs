//! Scenarios that come with the tool: small enough to be over in well under a minute, and to fit a laptop.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::scenario::{Arrival, Clients, Crypto, Load, Payload, Phases, Scenario, Sizes, Stage, Topology};
use crate::units::{Rate, Size, Span};

/// A preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Connections.
    Conn,
    /// Two by two.
    Pairs,
    /// One to many.
    Fanout,
    /// Groups.
    Rooms,
    /// Mailboxes that fill, and are drained.
    Offline,
    /// Claims of one-time keys.
    Prekeys,
    /// Everybody comes back at once.
    Storm,
    /// Nobody says anything.
    Idle,
}

/// A word that is no preset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no preset `{word}`: did you mean `{nearest}`?")]
pub struct UnknownPreset {
    word: String,
    nearest: &'static str,
}

impl Preset {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 8] = [
        Self::Conn,
        Self::Pairs,
        Self::Fanout,
        Self::Rooms,
        Self::Offline,
        Self::Prekeys,
        Self::Storm,
        Self::Idle,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conn => "conn",
            Self::Pairs => "pairs",
            Self::Fanout => "fanout",
            Self::Rooms => "rooms",
            Self::Offline => "offline",
            Self::Prekeys => "prekeys",
            Self::Storm => "storm",
            Self::Idle => "idle",
        }
    }

    /// What it does, in a line.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Conn => "connects clients at a fixed rate: time to a session, memory of each connection",
            Self::Pairs => {
                "clients two by two, one of each pair writing: latency from end to end at a fixed rate"
            }
            Self::Fanout => "one writes to many: time to the first recipient, and to the last",
            Self::Rooms => "groups whose members write to everybody else, as people do",
            Self::Offline => {
                "fills mailboxes of clients that are away, then drains them: stored and drained per second"
            }
            Self::Prekeys => {
                "claims one-time keys of few devices at once: latency, and whether a key was given twice"
            }
            Self::Storm => "throws everybody out at once, again and again: time until all are back",
            Self::Idle => "connections that say nothing: memory and processor time of being there",
        }
    }

    /// Its scenario.
    #[must_use]
    pub fn scenario(self) -> Scenario {
        let scenario = Scenario {
            name: self.name().to_owned(),
            ..Scenario::default()
        };
        match self {
            Self::Conn => hold(scenario, clients(500, rate(250.0)), 5),
            Self::Pairs => Scenario {
                load: open(rate(1000.0), 20, Arrival::Constant),
                payload: encrypted(Sizes::Fixed(Size(256))),
                ..scenario
            },
            Self::Fanout => Scenario {
                clients: clients(102, None),
                topology: Topology::Fanout { recipients: 50 },
                load: open(rate(20.0), 20, Arrival::Constant),
                payload: encrypted(Sizes::Fixed(Size(256))),
                ..scenario
            },
            Self::Rooms => Scenario {
                clients: clients(96, None),
                topology: Topology::Rooms { size: 8 },
                load: open(rate(100.0), 20, Arrival::Poisson),
                payload: encrypted(Sizes::Chat),
                ..scenario
            },
            Self::Offline => Scenario {
                clients: clients(40, None),
                load: Load::Offline {
                    each: 500,
                    in_flight: 32,
                },
                phases: Phases {
                    drain: seconds(30),
                    ..still(scenario.clone()).phases
                },
                ..scenario
            },
            Self::Prekeys => Scenario {
                clients: clients(50, None),
                load: claims(),
                thresholds: vec!["keys_twice == 0".to_owned()],
                ..still(scenario)
            },
            Self::Storm => Scenario {
                clients: clients(300, None),
                load: Load::Storm {
                    times: 3,
                    pause: seconds(2),
                },
                ..still(scenario)
            },
            Self::Idle => hold(scenario, clients(500, None), 20),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(word: &str) -> Result<Self, UnknownPreset> {
        let alike = |preset: &Self| strsim::jaro_winkler(preset.name(), word);
        let known = Self::ALL.into_iter().find(|preset| preset.name() == word);
        known.ok_or_else(|| UnknownPreset {
            word: word.to_owned(),
            nearest: Self::ALL
                .into_iter()
                .max_by(|one, two| alike(one).total_cmp(&alike(two)))
                .map_or("pairs", Self::name),
        })
    }
}

/// Nothing warms up where nobody writes by a schedule.
fn still(scenario: Scenario) -> Scenario {
    Scenario {
        phases: Phases {
            warmup: seconds(0),
            ..scenario.phases
        },
        ..scenario
    }
}

/// Clients that say nothing for so many seconds.
fn hold(scenario: Scenario, clients: Clients, lasts: u64) -> Scenario {
    Scenario {
        clients,
        load: Load::Hold {
            duration: seconds(lasts),
        },
        ..still(scenario)
    }
}

fn clients(count: u32, connect_rate: Option<Rate>) -> Clients {
    Clients {
        count,
        connect_rate,
        ..Clients::default()
    }
}

fn open(rate: Option<Rate>, lasts: u64, arrival: Arrival) -> Load {
    let stage = |rate| Stage {
        from: None,
        rate,
        lasts: seconds(lasts),
    };
    Load::Open {
        stages: rate.map(stage).into_iter().collect(),
        arrival,
    }
}

/// More claims than there are one-time keys, so that the last ones get fallbacks.
fn claims() -> Load {
    match Rate::per_second(200.0) {
        Ok(rate) => Load::Claims {
            rate,
            duration: seconds(15),
            targets: 20,
            keys_each: 100,
        },
        Err(_) => Load::default(),
    }
}

fn encrypted(size: Sizes) -> Payload {
    Payload {
        size,
        crypto: Crypto::Session,
        ..Payload::default()
    }
}

/// Always there: the rates above are rates.
fn rate(per_second: f64) -> Option<Rate> {
    Rate::per_second(per_second).ok()
}

const fn seconds(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_sound_and_short() {
        for preset in Preset::ALL {
            let scenario = preset.scenario();
            assert_eq!(scenario.check(), [], "{preset}");
            assert_eq!(
                (scenario.name.as_str(), preset.name().parse()),
                (preset.name(), Ok(preset))
            );
            let load = match &scenario.load {
                Load::Open { stages, .. } => {
                    assert!(!stages.is_empty());
                    stages.iter().map(|stage| stage.lasts.0).sum()
                }
                Load::Closed { duration, .. } | Load::Claims { duration, .. } | Load::Hold { duration } => {
                    duration.0
                }
                Load::Offline { .. } => Duration::from_secs(10),
                Load::Storm { times, pause } => pause.0 * *times,
            };
            assert!(
                load + scenario.phases.warmup.0 < Duration::from_secs(30),
                "{preset}"
            );
            assert!(preset.about().len() < 100);
        }
        assert!(matches!(Preset::Prekeys.scenario().load, Load::Claims { .. }));
    }

    #[test]
    fn a_preset_that_is_mistyped_is_told_the_nearest() {
        let error = "room".parse::<Preset>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no preset `room`: did you mean `rooms`?"
        );
    }
}
