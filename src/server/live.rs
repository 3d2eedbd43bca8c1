//! What can change while the relay runs, and how each part hears of it.
//!
//! Owns that a change reaches every part that keeps a copy. Which settings may change is in
//! [`crate::config::live`]; where new ones come from is the caller's business.

use std::sync::Arc;

use crate::auth::{Policy, Verifier};
use crate::config::Config;
use crate::config::live::Current;
use crate::http::Doors;
use crate::http::sessions::Sessions;
use crate::metrics::Metrics;
use crate::model::Clock;
use crate::switchboard::Switchboard;
use crate::tls::{Certificate, Facts, Tls};

/// A handle on a running relay's settings. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live {
    current: Current,
    verifier: Arc<Verifier>,
    switchboard: Arc<Switchboard>,
    sessions: Sessions,
    metrics: Arc<Metrics>,
    clock: Clock,
    tls: Tls,
}

impl Live {
    pub(super) fn of(doors: &Doors) -> Self {
        Self {
            current: doors.live.clone(),
            verifier: Arc::clone(&doors.verifier),
            switchboard: Arc::clone(&doors.switchboard),
            sessions: doors.sessions.clone(),
            metrics: Arc::clone(&doors.metrics),
            clock: doors.clock.clone(),
            tls: doors.tls.clone(),
        }
    }

    /// The settings that the relay follows now.
    #[must_use]
    pub fn now(&self) -> Arc<Config> {
        self.current.now()
    }

    /// Follows what is live in newer settings, and whose tokens are good; without a policy, tokens are
    /// judged as before. No session ends: rates and budgets begin anew where they changed, and a session
    /// that is open keeps the patience it was opened with.
    pub fn follow(&self, newer: &Config, policy: Option<Policy>) {
        if let Some(policy) = policy {
            self.verifier.follow(policy);
        }
        let (before, now) = self.current.follow(newer);
        self.sessions
            .follow(now.server.max_sessions, now.server.drain_window);
        let rates = |config: &Config| (config.mail.send_rate, config.mail.send_burst);
        if rates(&before) != rates(&now) {
            self.switchboard.follow(&now.mail);
        }
        let directory = self.switchboard.directory();
        directory.follow(&now.directory);
        let budgets = |config: &Config| {
            let config = &config.directory;
            (
                config.claim_pair_burst,
                config.claim_target_hourly,
                config.claim_caller_minute,
            )
        };
        if budgets(&before) != budgets(&now) {
            directory.ration(&now.directory);
        }
        self.metrics.config_good.set(1);
        self.metrics.config_read_at.set(super::seconds(&self.clock));
    }

    /// Gives new connections this certificate; without one, they are plain. Those that are open stay as they are.
    pub fn secure(&self, certificate: Option<Certificate>) {
        self.tls.follow(certificate);
    }

    /// What is known of the certificate that new connections are given.
    #[must_use]
    pub fn certificate(&self) -> Option<Facts> {
        self.tls.facts()
    }

    /// Notes that newer settings were not good, and that the old ones are kept.
    pub fn keep(&self) {
        self.metrics.config_good.set(0);
    }
}
