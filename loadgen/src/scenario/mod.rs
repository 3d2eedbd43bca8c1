//! What a run is to do, as a file or a preset says it: who takes part, who writes to whom, how often, how much, what
//! goes wrong on purpose, and what must hold.
//!
//! A scenario names no target and holds no secret: the same one runs anywhere.

mod check;
mod digest;
mod error;
mod presets;
mod read;
mod sizes;
mod topology;

pub use check::Complaint;
pub use error::ScenarioError;
pub use presets::Preset;
pub use sizes::{Drawer, Sizes, least};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Rate, Size, Span};

/// A scenario. `toml` files hold exactly these tables; what is left out has its default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// What it is called in reports.
    #[serde(default = "named_run")]
    pub name: String,
    /// Drives every random choice; the same seed makes the same schedule, sizes and partners.
    #[serde(default = "seed")]
    pub seed: u64,
    /// Who takes part.
    #[serde(default)]
    pub clients: Clients,
    /// Who writes to whom.
    #[serde(default)]
    pub topology: Topology,
    /// What they do, and how often.
    #[serde(default)]
    pub load: Load,
    /// Before, after and around it.
    #[serde(default)]
    pub phases: Phases,
    /// What messages carry.
    #[serde(default)]
    pub payload: Payload,
    /// What goes wrong on purpose.
    #[serde(default)]
    pub faults: Faults,
    /// What must hold, as `metric.aggregate op value`; loss, duplicates, changed order and damage are always among it.
    #[serde(default)]
    pub thresholds: Vec<String>,
}

/// Who takes part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Clients {
    /// Devices that are simulated.
    pub count: u32,
    /// Devices of each account.
    pub devices_per_account: u32,
    /// How fast they connect; all at once when it is left out.
    pub connect_rate: Option<Rate>,
}

/// Who writes to whom. A stream is what one client writes to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Topology {
    /// Two by two, one of them writing.
    #[default]
    Pairs,
    /// Two by two, both writing: ratchets turn.
    Dialogues,
    /// One writes to so many others; the message is the same for all of them.
    Fanout {
        /// Recipients of each sender.
        recipients: u32,
    },
    /// So many write to one.
    Fanin {
        /// Senders to each recipient.
        senders: u32,
    },
    /// Rooms of so many; a message goes to everybody else in the room.
    Rooms {
        /// Members of each room.
        size: u32,
    },
}

/// What clients do while it is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "model", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Load {
    /// Messages by a schedule that does not wait for the server.
    Open {
        /// Messages of all senders together (a message to a room is one).
        stages: Vec<Stage>,
        /// How they are spread over the time.
        #[serde(default)]
        arrival: Arrival,
    },
    /// Each sender writes its next message once an earlier one is over.
    Closed {
        /// Messages that a sender has out at most.
        in_flight: u32,
        /// When a message is over.
        #[serde(default)]
        until: Until,
        /// For how long.
        duration: Span,
    },
    /// So many messages into each recipient's mailbox while nobody is there, as fast as they are accepted; then
    /// everybody comes, and drains.
    Offline {
        /// Messages for each recipient.
        each: u32,
        /// Messages that a sender has out at most.
        in_flight: u32,
    },
    /// Claims of one-time keys by a schedule.
    Claims {
        /// Claims of all clients together.
        rate: Rate,
        /// For how long.
        duration: Span,
        /// Devices whose keys are claimed; few of them make contention.
        targets: u32,
        /// One-time keys that each of them publishes before.
        keys_each: u32,
    },
    /// Nothing but being there.
    Hold {
        /// For how long.
        duration: Span,
    },
    /// Everybody is thrown out at once, and comes back, so many times.
    Storm {
        /// How often.
        times: u32,
        /// How long they stay in between.
        pause: Span,
    },
}

/// A part of an open load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The rate at its beginning, when it is to grow or shrink evenly to `rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Rate>,
    /// Its rate.
    pub rate: Rate,
    /// For how long.
    #[serde(rename = "for")]
    pub lasts: Span,
}

/// How due messages are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    /// Evenly.
    #[default]
    Constant,
    /// Independently of each other, as from very many people.
    Poisson,
}

/// When a message of a closed load is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// The server said that it is safe.
    #[default]
    Ok,
    /// It has arrived: a game of ping-pong, with `in_flight = 1`.
    Delivered,
}

/// Before, after and around the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Phases {
    /// Load that is not measured, at the first stage's rate, once everybody is connected.
    pub warmup: Span,
    /// How long to wait for what is under way at the end.
    pub drain: Span,
    /// How long to wait for everybody to be connected.
    pub connect: Span,
}

/// What messages carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Payload {
    /// How many bytes a payload has, label included: what the server carries.
    pub size: Sizes,
    /// Nothing is larger.
    pub max: Size,
    /// How bodies are made.
    pub crypto: Crypto,
}

/// How bodies are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Crypto {
    /// Double Ratchet sessions (Olm) that are made through the server's own key directory.
    Session,
    /// Sessions made in the generator, without the directory: the same ciphertext for less time before the run.
    Staged,
    /// Random bytes.
    #[default]
    None,
}

/// What goes wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Clients whose connection breaks, as a share of all per minute, in percent.
    pub reconnect_percent_per_minute: f64,
    /// Clients that read a tenth of a second late, in percent of all.
    pub slow_consumers_percent: f64,
}

impl Default for Scenario {
    /// What an empty file says.
    fn default() -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            name: named_run(),
            seed: seed(),
            clients: Clients::default(),
            topology: Topology::default(),
            load: Load::default(),
            phases: Phases::default(),
            payload: Payload::default(),
            faults: Faults::default(),
            thresholds: Vec::new(),
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            count: 100,
            devices_per_account: 1,
            connect_rate: None,
        }
    }
}

impl Default for Phases {
    fn default() -> Self {
        let seconds = |seconds| Span(std::time::Duration::from_secs(seconds));
        Self {
            warmup: seconds(2),
            drain: seconds(10),
            connect: seconds(60),
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self {
            size: Sizes::Fixed(Size(256)),
            max: Size(64 * 1024),
            crypto: Crypto::None,
        }
    }
}

/// The version of the format.
pub const SCHEMA: &str = "chatctl.bench.scenario/v1";

fn named_run() -> String {
    "run".to_owned()
}

const fn seed() -> u64 {
    42
}

impl Default for Load {
    fn default() -> Self {
        let seconds = |seconds| Span(std::time::Duration::from_secs(seconds));
        Self::Closed {
            in_flight: 1,
            until: Until::Ok,
            duration: seconds(10),
        }
    }
}
