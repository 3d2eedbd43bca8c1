//! How far a run is: counters that a screen reads ten times a second, and that cost the clients nothing.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Devices are registered, keys made.
    Setup,
    /// Everybody connects.
    Connect,
    /// Load that is not measured.
    Warmup,
    /// Load that is.
    Load,
    /// What is under way arrives.
    Drain,
    /// It is over.
    Done,
}

impl Phase {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Connect => "connect",
            Self::Warmup => "warmup",
            Self::Load => "load",
            Self::Drain => "drain",
            Self::Done => "done",
        }
    }
}

/// Counters. Workers add to them once for every batch, never once for every message.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    /// Devices that are set up.
    pub prepared: AtomicU64,
    /// Sessions that live.
    pub connections: AtomicU64,
    /// Messages that left.
    pub sent: AtomicU64,
    /// Messages that are safe.
    pub accepted: AtomicU64,
    /// Messages that arrived.
    pub delivered: AtomicU64,
    /// Errors.
    pub errors: AtomicU64,
}

impl Progress {
    /// The phase that the run is in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Setup,
            1 => Phase::Connect,
            2 => Phase::Warmup,
            3 => Phase::Load,
            4 => Phase::Drain,
            _ => Phase::Done,
        }
    }

    /// Says that the run is in another phase now.
    pub fn enter(&self, phase: Phase) {
        let number = match phase {
            Phase::Setup => 0,
            Phase::Connect => 1,
            Phase::Warmup => 2,
            Phase::Load => 3,
            Phase::Drain => 4,
            Phase::Done => 5,
        };
        self.phase.store(number, Ordering::Relaxed);
    }
}
