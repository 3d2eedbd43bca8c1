//! Which kind of server is measured: the relay, or a peer that it is compared with.
//!
//! Owns what is said of peers on the command line, and what of a scenario none of them can do. Knows nothing of
//! their protocols, and starts none of them.

use std::sync::Arc;

use chatctl_client::Http;
use chatctl_loadgen::scenario::{Crypto, Load, Scenario};
use chatctl_loadgen::wire::chatctl::RelayPlace;
use chatctl_loadgen::wire::direct::NamesForTokens;
use chatctl_loadgen::wire::{AddressError, Passes, mqtt, nats, ws_echo, xmpp};

use super::passes::Nameless;
use crate::exit::Exit;
use crate::failure::Failure;

/// What kind of server.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Whom {
    /// What is at --url; a preset that would encrypt through the relay's directory sends random bytes to the others
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Kind::Chatctl)]
    target: Kind,

    /// How sure messages are with nats (default: core) or mqtt (default: qos1)
    #[arg(long, value_name = "MODE", value_enum)]
    peer_mode: Option<Mode>,

    /// Domain of the accounts, with xmpp (default: localhost)
    #[arg(long, value_name = "NAME")]
    peer_domain: Option<String>,
}

/// As it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// The relay
    Chatctl,
    /// A relay over bare WebSockets, without accounts, store and acks
    WsEcho,
    /// A relay that speaks this one's frames, without accounts and store: it answers, and keeps no promise
    WsFrames,
    /// NATS, or its JetStream
    Nats,
    /// MQTT 3.1.1
    Mqtt,
    /// XMPP over WebSocket
    Xmpp,
}

/// As it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// NATS: publish and subscribe, nothing is kept
    Core,
    /// NATS: a stream in a file
    Jetstream,
    /// MQTT: at most once, nothing is kept
    Qos0,
    /// MQTT: at least once
    Qos1,
}

/// A server that is not the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    /// The bare relay.
    WsEcho,
    /// The bare relay that speaks frames.
    WsFrames,
    /// NATS.
    Nats(nats::Mode),
    /// MQTT.
    Mqtt(mqtt::Mode),
    /// XMPP, with the domain of its accounts.
    Xmpp(String),
}

/// Where the clients go, by what they speak there.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// The relay.
    Relay(RelayPlace),
    /// The bare relay.
    WsEcho(ws_echo::Place),
    /// The bare relay that speaks frames.
    WsFrames(RelayPlace),
    /// NATS.
    Nats(nats::Place),
    /// MQTT.
    Mqtt(mqtt::Place),
    /// XMPP.
    Xmpp(xmpp::Place),
}

impl Whom {
    /// The peer that is meant; none for the relay.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] for what is not of this peer.
    pub(super) fn peer(&self) -> Result<Option<Peer>, Failure> {
        if let (Some(_), Kind::Chatctl | Kind::WsEcho | Kind::WsFrames | Kind::Nats | Kind::Mqtt) =
            (&self.peer_domain, self.target)
        {
            return Err(Failure::new(Exit::Usage, "--peer-domain is for --target xmpp"));
        }
        match (self.target, self.peer_mode) {
            (Kind::Chatctl, None) => Ok(None),
            (Kind::WsEcho, None) => Ok(Some(Peer::WsEcho)),
            (Kind::WsFrames, None) => Ok(Some(Peer::WsFrames)),
            (Kind::Nats, None | Some(Mode::Core)) => Ok(Some(Peer::Nats(nats::Mode::Core))),
            (Kind::Nats, Some(Mode::Jetstream)) => Ok(Some(Peer::Nats(nats::Mode::JetStream))),
            (Kind::Mqtt, Some(Mode::Qos0)) => Ok(Some(Peer::Mqtt(mqtt::Mode::AtMostOnce))),
            (Kind::Mqtt, None | Some(Mode::Qos1)) => Ok(Some(Peer::Mqtt(mqtt::Mode::AtLeastOnce))),
            (Kind::Xmpp, None) => {
                let domain = self.peer_domain.clone();
                Ok(Some(Peer::Xmpp(domain.unwrap_or_else(|| "localhost".to_owned()))))
            }
            (Kind::Nats, Some(Mode::Qos0 | Mode::Qos1)) => Err(mode("nats is core or jetstream")),
            (Kind::Mqtt, Some(Mode::Core | Mode::Jetstream)) => Err(mode("mqtt is qos0 or qos1")),
            (Kind::Chatctl | Kind::WsEcho | Kind::WsFrames | Kind::Xmpp, Some(_)) => {
                Err(mode("only nats and mqtt have modes"))
            }
        }
    }

    /// Whether it is the relay.
    pub(super) fn is_relay(&self) -> bool {
        self.target == Kind::Chatctl
    }
}

impl Peer {
    /// What it is called in reports.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::WsEcho => "ws-echo",
            Self::WsFrames => "ws-frames",
            Self::Nats(nats::Mode::Core) => "nats-core",
            Self::Nats(nats::Mode::JetStream) => "nats-jetstream",
            Self::Mqtt(mqtt::Mode::AtMostOnce) => "mqtt-qos0",
            Self::Mqtt(mqtt::Mode::AtLeastOnce) => "mqtt-qos1",
            Self::Xmpp(_) => "xmpp",
        }
    }

    /// An address as it may have one.
    pub(super) const fn example(&self) -> &'static str {
        match self {
            Self::WsEcho | Self::WsFrames => "ws://127.0.0.1:8080",
            Self::Nats(_) => "nats://127.0.0.1:4222",
            Self::Mqtt(_) => "mqtt://127.0.0.1:1883",
            Self::Xmpp(_) => "ws://127.0.0.1:5280/xmpp-websocket",
        }
    }

    /// The port where an address of this scheme names none; none for a scheme that it does not have.
    pub(super) fn port(&self, scheme: &str) -> Option<u16> {
        match (self, scheme) {
            (_, "ws") => Some(80),
            (Self::Nats(_), "nats") => Some(4222),
            (Self::Mqtt(_), "mqtt") => Some(1883),
            (Self::WsEcho | Self::WsFrames | Self::Nats(_) | Self::Mqtt(_) | Self::Xmpp(_), _) => None,
        }
    }

    /// The tokens of its clients.
    pub(super) fn passes(&self) -> Arc<dyn Passes> {
        match self {
            Self::WsFrames => Arc::new(NamesForTokens),
            Self::WsEcho | Self::Nats(_) | Self::Mqtt(_) | Self::Xmpp(_) => Arc::new(Nameless),
        }
    }

    /// Finds what it cannot do.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`].
    pub(super) fn takes(&self, scenario: &Scenario) -> Result<(), Failure> {
        let cannot = |what: &str, hint: &str| {
            Err(Failure::new(Exit::Usage, format!("{} {what}", self.name())).hint(hint))
        };
        if matches!(scenario.load, Load::Claims { .. }) {
            return cannot(
                "has no directory of keys to claim from",
                "only --target chatctl has one",
            );
        }
        if scenario.payload.crypto == Crypto::Session {
            return cannot(
                "has no directory of keys to make sessions through",
                "--crypto staged makes them without one; --crypto none sends random bytes",
            );
        }
        if scenario.clients.devices_per_account > 1 {
            return cannot("knows one device of each account", "--devices-per-account 1");
        }
        match (self, &scenario.load) {
            (Self::WsEcho | Self::WsFrames, Load::Offline { .. }) => cannot(
                "keeps no mail for who is away",
                "--target chatctl or xmpp, --peer-mode jetstream or qos1",
            ),
            (Self::Nats(nats::Mode::Core), Load::Offline { .. }) => {
                cannot("keeps no mail for who is away", "--peer-mode jetstream")
            }
            (Self::Mqtt(mqtt::Mode::AtMostOnce), Load::Offline { .. }) => {
                cannot("keeps no mail for who is away", "--peer-mode qos1")
            }
            (Self::WsEcho | Self::WsFrames | Self::Nats(_) | Self::Mqtt(_) | Self::Xmpp(_), _) => Ok(()),
        }
    }

    /// The one at an address.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] for what is no address of it.
    pub(super) fn at(&self, url: &str) -> Result<Place, Failure> {
        let place: Result<Place, AddressError> = match self {
            Self::WsFrames => return frames(url),
            Self::WsEcho => ws_echo::Place::new(url, ws_echo::Kind::Relay).map(Place::WsEcho),
            Self::Nats(mode) => nats::Place::new(url, *mode).map(Place::Nats),
            Self::Mqtt(mode) => mqtt::Place::new(url, *mode).map(Place::Mqtt),
            Self::Xmpp(domain) => xmpp::Place::new(url, domain).map(Place::Xmpp),
        };
        place.map_err(|error| Failure::from_error(Exit::Usage, &error))
    }
}

/// Its only door is the socket; the other one is for what the relay's wire does not do here.
fn frames(url: &str) -> Result<Place, Failure> {
    let http = Http::new(&url.replacen("ws:", "http:", 1));
    let http = http.map_err(|error| Failure::from_error(Exit::Usage, &error))?;
    Ok(Place::WsFrames(RelayPlace::new(url, http)))
}

fn mode(why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("--peer-mode: {why}"))
}
