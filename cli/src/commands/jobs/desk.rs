//! Where jobs are asked about: a relay that runs, or the store.

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::Limits;
use chatctl_relay::auth::Keyset;
use chatctl_relay::config::StoreConfig;
use chatctl_relay::config::jobs::JobsConfig;
use chatctl_relay::jobs::{Desk, Nobody, Terms};
use chatctl_relay::model::Clock;
use chatctl_relay::store::Store;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::relay::{Relay, RelayOptions};
use crate::store::{self, Fresh};

/// Which relay, or which store.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    #[command(flatten)]
    pub(super) relay: RelayOptions,

    #[command(flatten)]
    pub(super) store: StoreConfig,
}

/// Who answers.
pub(super) enum Door {
    /// A relay that runs.
    Relay(Relay),
    /// The store; nobody else has it, or it is made for many.
    Store(Arc<dyn Store>),
}

impl Where {
    /// The relay if one is found, else the store.
    ///
    /// # Errors
    ///
    /// Of a relay that is named and not there, of a store that does not open.
    pub(super) async fn open(&self) -> Result<Door, Failure> {
        if let Some(relay) = Relay::find(&self.relay, self.store.data_dir.as_deref()).await? {
            return Ok(Door::Relay(relay));
        }
        let opened = store::open(&self.store, Fresh::Refuse).await;
        opened.map(Door::Store).map_err(|failure| match failure.exit {
            Exit::TempFail => failure.hint(
                "a relay that runs has it: reach that with --admin-socket FILE (systemd: /run/chatctl/admin.sock), or --url URL --token-file FILE",
            ),
            _ => failure,
        })
    }
}

impl Door {
    /// The relay, for who reads.
    pub(super) fn through(&self) -> Option<String> {
        match self {
            Self::Relay(relay) => Some(relay.name()),
            Self::Store(_) => None,
        }
    }

    /// Lets go of the store.
    ///
    /// # Errors
    ///
    /// The store's own.
    pub(super) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Relay(_) => Ok(()),
            Self::Store(store) => store.close().await.map_err(|error| store::store_failure(&error)),
        }
    }
}

/// What a job without a relay goes by. A relay goes by its own settings.
#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    #[command(flatten)]
    pub(super) jobs: JobsConfig,

    /// Keyset file with the token keys (mode 0600), whose age is looked at
    #[arg(
        id = "auth.keys",
        long = "keys",
        env = "CHATCTL_AUTH__KEYS",
        value_name = "FILE"
    )]
    keys: Option<std::path::PathBuf>,

    /// Longest life that a token may have: so long a key is needed after it has signed
    #[arg(id = "auth.max_token_life", long = "max-token-life", env = "CHATCTL_AUTH__MAX_TOKEN_LIFE", value_name = "DURATION", default_value = "30d", value_parser = humantime::parse_duration)]
    max_token_life: Duration,

    /// Items left in a pool at which it counts as low
    #[arg(
        id = "directory.keys_low",
        long = "keys-low",
        env = "CHATCTL_DIRECTORY__KEYS_LOW",
        value_name = "COUNT",
        default_value_t = 25
    )]
    keys_low: u32,

    /// Bounds that clients see, as JSON; the window in which retries are recognised is one of them
    #[arg(id = "limits", long = "limits", env = "CHATCTL_LIMITS", value_name = "JSON", default_value = "{}", value_parser = limits)]
    limits: Limits,
}

impl Settings {
    /// What chores work with: the store, and nobody who would hear of it.
    ///
    /// # Errors
    ///
    /// Of a keyset that cannot be read.
    pub(super) fn desk(&self, store: Arc<dyn Store>) -> Result<Desk, Failure> {
        let keyset = self.keys.as_deref().map(Keyset::load).transpose()?;
        let keys: Vec<_> = keyset.iter().flat_map(Keyset::facts).collect();
        Ok(Desk {
            store,
            audience: Arc::new(Nobody),
            clock: Clock::system(),
            terms: Terms {
                idempotency: Duration::from_secs(self.limits.idempotency_seconds.into()),
                idle_devices: self.jobs.idle_devices,
                keep_history: self.jobs.keep_history,
                key_age: self.jobs.key_age,
                token_life: self.max_token_life,
                keys_low: self.keys_low,
            },
            keys: Arc::new(move || keys.clone()),
        })
    }
}

fn limits(text: &str) -> Result<Limits, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
