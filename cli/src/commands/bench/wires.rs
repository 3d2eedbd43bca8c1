//! The wire that a run goes over: the one place where kinds of servers become types.

use std::net::IpAddr;
use std::sync::Arc;

use chatctl_loadgen::clock::RunClock;
use chatctl_loadgen::outcome::Outcome;
use chatctl_loadgen::plan::Plan;
use chatctl_loadgen::progress::Progress;
use chatctl_loadgen::run::{Gate, RunError, Stage, run};
use chatctl_loadgen::scenario::Scenario;
use chatctl_loadgen::wire::chatctl::{RelayPlace, RelayWire};
use chatctl_loadgen::wire::mqtt::{self, Mqtt};
use chatctl_loadgen::wire::nats::{self, Nats};
use chatctl_loadgen::wire::ws_echo::{self, WsEcho};
use chatctl_loadgen::wire::xmpp::{self, Xmpp};
use chatctl_loadgen::wire::{Passes, Wire};
use tokio_util::sync::CancellationToken;

/// Where the clients go, by what they speak there.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// The relay.
    Relay(RelayPlace),
    /// The bare relay.
    WsEcho(ws_echo::Place),
    /// NATS.
    Nats(nats::Place),
    /// MQTT.
    Mqtt(mqtt::Place),
    /// XMPP.
    Xmpp(xmpp::Place),
}

/// What a run needs, wherever it goes: a [`Stage`] without its place.
pub(super) struct Cast {
    pub(super) plan: Plan,
    pub(super) passes: Arc<dyn Passes>,
    pub(super) run: u64,
    pub(super) clock: RunClock,
    pub(super) agent: (u32, u32),
    pub(super) workers: u32,
    pub(super) sources: Vec<IpAddr>,
    pub(super) gate: Option<Gate>,
    pub(super) progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
}

impl Place {
    /// Runs a scenario here. Blocks; as [`run`].
    ///
    /// # Errors
    ///
    /// As [`run`].
    pub(super) fn run(self, scenario: &Scenario, cast: Cast) -> Result<Outcome, RunError> {
        match self {
            Self::Relay(place) => run(scenario, cast.on::<RelayWire>(place)),
            Self::WsEcho(place) => run(scenario, cast.on::<WsEcho>(place)),
            Self::Nats(place) => run(scenario, cast.on::<Nats>(place)),
            Self::Mqtt(place) => run(scenario, cast.on::<Mqtt>(place)),
            Self::Xmpp(place) => run(scenario, cast.on::<Xmpp>(place)),
        }
    }
}

impl Cast {
    fn on<W: Wire>(self, place: W::Place) -> Stage<W> {
        Stage {
            place,
            plan: self.plan,
            passes: self.passes,
            run: self.run,
            clock: self.clock,
            agent: self.agent,
            workers: self.workers,
            sources: self.sources,
            gate: self.gate,
            progress: self.progress,
            stop: self.stop,
        }
    }
}
