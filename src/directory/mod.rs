//! Devices and their published keys (skeleton).

use std::sync::Arc;

use chatctl_protocol::{AccountId, Address};

use crate::hub::Hub;
use crate::model::{Clock, DeviceList, MailboxId};
use crate::store::{self, Registered, Registration, Store};

/// Why the directory could not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Devices and keys of every account.
#[derive(Debug)]
pub struct Directory {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    clock: Clock,
}

impl Directory {
    /// A directory over a store.
    pub fn new(
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        _config: &crate::config::Config,
        clock: Clock,
        _metrics: Arc<crate::metrics::Metrics>,
    ) -> Self {
        Self { store, hub, clock }
    }

    /// The account's devices.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn devices(&self, account: &AccountId) -> Result<Arc<DeviceList>, Error> {
        Ok(Arc::new(self.store.devices(account).await?))
    }

    /// Registers.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn register(&self, address: &Address, registration: Registration) -> Result<Registered, Error> {
        let _ = &self.hub;
        Ok(self.store.register(address, registration).await?)
    }

    /// Removes.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn remove(&self, address: &Address) -> Result<Option<MailboxId>, Error> {
        Ok(self.store.remove_device(address, self.clock.now()).await?)
    }
}

/// What the owner of keys should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyNotice {
    /// A pool runs low.
    Low {
        /// Family.
        suite: chatctl_protocol::Suite,
        /// Pool.
        pool: chatctl_protocol::PoolName,
        /// Items left.
        remaining: u32,
    },
    /// A fallback was handed out.
    FallbackUsed {
        /// Family.
        suite: chatctl_protocol::Suite,
        /// Pool.
        pool: chatctl_protocol::PoolName,
    },
}

impl Directory {
    /// Notices.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn key_notices(&self, _mailbox: MailboxId) -> Result<Vec<KeyNotice>, Error> {
        Ok(Vec::new())
    }
}
