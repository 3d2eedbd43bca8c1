//! Who has which devices, and the keys that those devices publish.
//!
//! Owns the rules of the prekey directory: what may be uploaded, who may claim how much, who hears of
//! it. The store keeps the promise that an item is handed out once; this room decides whether the
//! queue is asked at all.
//!
//! Must not know mail, sockets, tokens or status codes.
//!
//! # Why
//!
//! A claim uses up something that belongs to somebody else, so it is rationed twice: past the soft
//! budgets (a pair of devices, a target) the fallback is served and the queue is left alone, past the
//! hard one (a caller) the claim is refused. An answer never tells a fallback from a one-time item, or
//! it would tell outsiders how a device is doing; only the owner is told, and only by a bell.
//!
//! Signatures are checked as lint: a broken client hears of it at upload instead of as messages that
//! cannot be read later. It proves nothing to users, since a relay could replace the identity as well.

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::PoolName;
use parking_lot::RwLock;

use crate::config::{Config, DirectoryConfig};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::model::Clock;
use crate::store::{self, Store};

mod accept;
mod budget;
mod claim;
mod devices;
#[cfg(test)]
mod fake;
mod keys;
mod lint;
mod notices;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod stories;

pub use self::accept::{KeyUpload, MAX_POOLS, NewItem, NewPool};
pub use self::claim::{ClaimAnswer, ClaimRequest, ClaimedAccount, ClaimedDevice, MAX_DEVICES, Missing};
pub use self::devices::Kept;
pub use self::keys::{MAX_LOG_ENTRIES, Published};
pub use self::lint::{LintError, check as check_signatures};
pub use self::notices::{KeyNotice, is_watched};

use self::budget::Budgets;
use self::devices::DeviceLists;
use self::keys::Turns;
use self::notices::Told;

/// Why the directory could not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The device that asks has not registered, or was removed.
    #[error("the device is not registered")]
    NotRegistered,
    /// The account has no devices; whether it ever had any is not told.
    #[error("the account has no devices")]
    UnknownAccount,
    /// There is no such pool.
    #[error("the keyset has no such pool")]
    NoSuchPool,
    /// A part of the request breaks its rule.
    #[error("{what} must be {rule}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// The rule in words.
        rule: &'static str,
    },
    /// A part of the request is over its bound.
    #[error("{what}: at most {max}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        max: usize,
    },
    /// An item id is taken by other bytes.
    #[error("item {item} of pool {pool} has other bytes already")]
    ItemIdTaken {
        /// Where.
        pool: PoolName,
        /// Which.
        item: Arc<str>,
    },
    /// The first upload of a keyset came without an identity.
    #[error("the first upload of a keyset needs an identity")]
    NoIdentity,
    /// A signature does not fit.
    #[error(transparent)]
    Lint(#[from] LintError),
    /// The caller has claimed as much as it may for now.
    #[error("the caller is over its claim budget")]
    OverBudget {
        /// When the same claim may pass.
        retry_after: Duration,
    },
    /// The relay is going down, and the work was not done.
    #[error("the relay is stopping")]
    Stopping,
}

/// What the directory takes from the settings.
#[derive(Debug, Clone, Copy)]
struct Rules {
    key_lint: bool,
    keys_low: u32,
    max_items: u32,
}

/// Devices and keys of every account.
#[derive(Debug)]
pub struct Directory {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    clock: Clock,
    metrics: Arc<Metrics>,
    rules: RwLock<Rules>,
    lists: DeviceLists,
    budgets: RwLock<Arc<Budgets>>,
    turns: Turns,
    told: Told,
}

impl Directory {
    /// A directory over a store.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        config: &Config,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            lists: DeviceLists::new(store.is_shared()),
            store,
            hub,
            clock,
            metrics,
            rules: RwLock::new(Rules {
                key_lint: config.directory.key_lint,
                keys_low: config.directory.keys_low,
                max_items: config.limits.max_one_time_keys,
            }),
            budgets: RwLock::new(Arc::new(Budgets::new(&config.directory))),
            turns: Turns::default(),
            told: Told::new(),
        }
    }

    /// Serves as these settings say from now on.
    pub fn follow(&self, config: &DirectoryConfig) {
        let mut rules = self.rules.write();
        rules.key_lint = config.key_lint;
        rules.keys_low = config.keys_low;
    }

    /// Rations claims as these settings say from now on. What was claimed before is forgiven.
    pub fn ration(&self, config: &DirectoryConfig) {
        *self.budgets.write() = Arc::new(Budgets::new(config));
    }

    fn rules(&self) -> Rules {
        *self.rules.read()
    }

    fn budgets(&self) -> Arc<Budgets> {
        Arc::clone(&self.budgets.read())
    }
}
