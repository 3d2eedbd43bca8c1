//! What a coordinator and an agent say to each other: JSON in text messages of a WebSocket, each side one at a time.
//!
//! A token for each simulated device is handed over, so that an agent needs no keyset; the connection is the operator's
//! own network, or goes through a tunnel.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::outcome::Outcome;
use crate::progress::Phase;
use crate::scenario::Scenario;

/// What a coordinator says.
#[derive(Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Order {
    /// What does your clock say?
    Clock,
    /// Make ready for a run; connect, and say so.
    Prepare(Box<Task>),
    /// Tokens for the next devices of the plan, in its order.
    Tokens {
        /// Tokens.
        tokens: Vec<String>,
    },
    /// The load begins.
    Go {
        /// The moment, on the run's clock.
        at: Nanos,
    },
    /// End early, and say what you have.
    Stop,
}

/// An agent's share of a run.
#[derive(Serialize, Deserialize)]
pub(super) struct Task {
    /// The version of these words.
    pub(super) version: u32,
    /// What to do.
    pub(super) scenario: Scenario,
    /// The run's number.
    pub(super) run: u64,
    /// Zero of the run's clock, on the agent's.
    pub(super) zero: Nanos,
    /// Clients of this share; a token for each of them follows.
    pub(super) clients: u32,
    /// Which agent this is, and of how many.
    pub(super) share: (u32, u32),
    /// The relay.
    pub(super) url: String,
    /// Threads to use.
    pub(super) workers: Option<u32>,
    /// Where clients connect from.
    pub(super) sources: Vec<IpAddr>,
}

/// What an agent says.
#[derive(Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Answer {
    /// The clock says this.
    Clock {
        /// Nanoseconds.
        now: Nanos,
    },
    /// Everybody is connected.
    Ready,
    /// How far it is; every second.
    Progress {
        /// Its phase.
        phase: Phase,
        /// Devices that are set up.
        prepared: u64,
        /// Sessions.
        connections: u64,
        /// Messages that left.
        sent: u64,
        /// Messages that are safe.
        accepted: u64,
        /// Messages that arrived.
        delivered: u64,
        /// Errors.
        errors: u64,
    },
    /// It is over.
    Outcome(Box<Outcome>),
    /// It cannot be done.
    Failed {
        /// Why, in a sentence.
        why: String,
    },
}

/// The version of these words; both sides must have the same.
pub(super) const VERSION: u32 = 1;

/// What one message may have: an outcome of many intervals, or a few thousand tokens.
pub(super) const MOST_BYTES: usize = 64 << 20;
