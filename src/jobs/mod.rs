//! Scheduled jobs: what is cleaned up, when, by whom, and what came of it.
//!
//! Owns the plans (from the settings), the runner around the tick, and the chores themselves. The store owns that
//! a tick is answered once and that one run of a job is at it (`store::jobs`). Must not know sessions, sockets or
//! HTTP: who hears of what a chore did is an [`Audience`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatctl_protocol::Address;

use crate::auth::KeyFacts;
use crate::config::Config;
use crate::config::jobs::JobName;
use crate::model::{Clock, MailboxId, UnixMs};
use crate::store::{ExpiredEnvelope, LowPool, Store, Work};

pub mod board;
pub mod chores;
mod doubt;
mod gauges;
pub mod hand;
pub mod plan;
mod pulse;
pub mod residents;
mod rounds;
mod run;
pub mod runner;
#[cfg(test)]
mod tests;

/// Who has to hear of what a chore does: a relay with its devices, or nobody where a tool works on the store alone.
#[async_trait]
pub trait Audience: Send + Sync + std::fmt::Debug {
    /// Mail is about to be expired: what was acked and is not deleted yet is deleted now, so that it is no loss.
    async fn before_expiry(&self) -> Result<(), crate::store::Error> {
        Ok(())
    }

    /// These envelopes are gone, and their recipients should hear of the gap.
    fn expired(&self, _removed: &[ExpiredEnvelope]) {}

    /// A device is gone with everything it had.
    async fn removed(&self, _address: &Address, _mailbox: MailboxId) {}

    /// The owner of a pool should refill it.
    fn keys_low(&self, _pool: &LowPool) {}

    /// All devices were looked at, and so many of them are low on keys.
    fn devices_low(&self, _devices: u64) {}

    /// Devices that are connected now, so that none of them counts as idle.
    fn present(&self) -> Vec<MailboxId> {
        Vec::new()
    }
}

/// The audience of a tool that works on the store alone.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Audience for Nobody {}

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The window in which a retried send is recognised.
    pub idempotency: Duration,
    /// Time after which a device that was not seen is removed; zero for never.
    pub idle_devices: Duration,
    /// How long runs are remembered.
    pub keep_history: Duration,
    /// Age at which the key that signs should be rotated.
    pub key_age: Duration,
    /// Longest life of a token: so long a key that signs no more is needed.
    pub token_life: Duration,
    /// Items left in a pool at which it counts as low.
    pub keys_low: u32,
}

impl Terms {
    /// As the settings have them.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            idempotency: Duration::from_secs(config.limits.idempotency_seconds.into()),
            idle_devices: config.jobs.idle_devices,
            keep_history: config.jobs.keep_history,
            key_age: config.jobs.key_age,
            token_life: config.auth.max_token_life,
            keys_low: config.directory.keys_low,
        }
    }
}

/// The keys whose age is watched, as they are now.
pub type Keys = Arc<dyn Fn() -> Vec<KeyFacts> + Send + Sync>;

/// What every chore works with.
#[derive(Clone)]
pub struct Desk {
    /// Where state lives.
    pub store: Arc<dyn Store>,
    /// Who hears of it.
    pub audience: Arc<dyn Audience>,
    /// Wall clock.
    pub clock: Clock,
    /// How long things are kept.
    pub terms: Terms,
    /// The keys for tokens.
    pub keys: Keys,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

/// Whether a chore has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more.
    More,
    /// It is done.
    Done,
}

/// What a look found, or a run did, in words for who asked by hand. May name accounts: it is never stored or logged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Numbers.
    pub work: Work,
    /// Payload bytes that would be freed, where it is known.
    pub bytes: u64,
    /// One line for each thing found; at most a thousand.
    pub lines: Vec<String>,
}

/// A job's work, in steps. Made anew for each run; what it has to remember between steps it keeps in itself.
#[async_trait]
pub trait Chore: Send {
    /// One bounded step: well below a tenth of a second on a healthy store. Adds to `findings` what it did.
    /// What it did is durable when it returns; a run may end after any step, and a later one goes on.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error`]; the step may be tried again.
    async fn step(&mut self, desk: &Desk, findings: &mut Findings) -> Result<Step, crate::store::Error>;
}

/// The chore of a job.
#[must_use]
pub fn chore(job: JobName) -> Box<dyn Chore> {
    chores::of(job)
}

/// A time before another one, saturating.
#[must_use]
pub fn before(now: UnixMs, by: Duration) -> UnixMs {
    UnixMs(
        now.0
            .saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)),
    )
}
