//! The doors of the relay (skeleton).

use std::sync::Arc;

use crate::auth::Verifier;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::Clock;
use crate::switchboard::Switchboard;

use self::health::Readiness;

pub mod answers;
pub mod body;
pub mod bytes64;
pub mod devices;
pub mod health;
pub mod info;
pub mod keys;
pub mod messages;
pub mod problem;
pub mod token;
pub mod ws;

/// What every door needs.
#[derive(Debug, Clone)]
pub struct Doors {
    /// Mail, devices, keys.
    pub switchboard: Arc<Switchboard>,
    /// Checks tokens.
    pub verifier: Arc<Verifier>,
    /// Settings.
    pub config: Arc<Config>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Wall clock.
    pub clock: Clock,
    /// Whether new work is welcome.
    pub readiness: Arc<Readiness>,
}
