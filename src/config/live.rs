//! Which settings a running relay follows when its configuration is read anew. All others need a restart.
//!
//! The one list: reloading goes by it, and so does what people are told.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::config::Config;

/// A setting that a running relay follows.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// Its key.
    pub key: &'static str,
    take: fn(&mut Config, &Config),
}

macro_rules! live {
    ($($group:ident.$field:ident),+ $(,)?) => {
        &[$(Live {
            key: concat!(stringify!($group), ".", stringify!($field)),
            take: |to, from| to.$group.$field.clone_from(&from.$group.$field),
        },)+]
    };
}

/// Every one of them. The command line adds its own, which are about the log.
pub const LIVE: &[Live] = live![
    server.max_sessions,
    server.slow_consumer,
    server.drain_window,
    server.tls_certificate,
    server.tls_key,
    server.trusted_proxies,
    server.connect_rate,
    auth.keys,
    auth.issuer,
    auth.audience,
    auth.max_token_life,
    auth.trust,
    mail.send_rate,
    mail.send_burst,
    directory.keys_low,
    directory.keys_low_jitter,
    directory.key_lint,
    directory.claim_pair_burst,
    directory.claim_target_hourly,
    directory.claim_caller_minute,
    jobs.external,
    jobs.set,
    jobs.time_zone,
    jobs.idle_devices,
    jobs.key_age,
    jobs.keep_history,
];

impl Config {
    /// These settings, with what is live taken from newer ones.
    #[must_use]
    pub fn with_live_of(&self, newer: &Self) -> Self {
        let mut config = self.clone();
        for live in LIVE {
            (live.take)(&mut config, newer);
        }
        config
    }
}

/// The settings that a relay follows now. Cheap to clone; all clones see the same.
#[derive(Debug, Clone)]
pub struct Current(Arc<RwLock<Followed>>);

/// The settings, and how many there were.
#[derive(Debug)]
struct Followed {
    config: Arc<Config>,
    generation: u64,
}

impl Current {
    /// What a relay starts with.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Arc::new(RwLock::new(Followed {
            config: Arc::new(config),
            generation: 1,
        })))
    }

    /// How many configurations were followed; the one at the start is 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.read().generation
    }

    /// As they are at this moment.
    #[must_use]
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().config)
    }

    /// Takes what is live from newer settings, and returns what was before and what is now.
    pub fn follow(&self, newer: &Config) -> (Arc<Config>, Arc<Config>) {
        let mut current = self.0.write();
        let before = Arc::clone(&current.config);
        current.config = Arc::new(before.with_live_of(newer));
        current.generation += 1;
        (before, Arc::clone(&current.config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_live_comes_from_the_newer_settings_and_the_rest_stays() {
        let old = Config::default();
        let mut new = old.clone();
        new.mail.send_rate = 7;
        new.auth.issuer = "another".into();
        new.mail.tail_bytes = 1;
        new.limits.window = 1;
        let both = old.with_live_of(&new);
        assert_eq!((both.mail.send_rate, &*both.auth.issuer), (7, "another"));
        assert_eq!(both.mail.tail_bytes, old.mail.tail_bytes);
        assert_eq!(both.limits, old.limits);
    }

    #[test]
    fn every_live_key_is_an_argument() {
        let command = <Config as clap::Args>::augment_args(clap::Command::new("chatctl"));
        for live in LIVE {
            let is_there = command.get_arguments().any(|arg| arg.get_id() == live.key);
            assert!(is_there, "{}", live.key);
        }
    }
}
