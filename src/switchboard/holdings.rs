//! What an account has on this relay, and a copy of everything, for those who look after it.

use chatctl_protocol::{AccountId, Suite};

use crate::model::Device;
use crate::store::backup::{BackupError, Snapshot};
use crate::store::{self, PoolCount};
use crate::switchboard::Switchboard;

/// What a device has.
#[derive(Debug)]
pub struct Holdings {
    /// As it was registered.
    pub device: Device,
    /// Whether it has a session on this relay.
    pub is_here: bool,
    /// Envelopes in the store.
    pub waiting: u64,
    /// Their payloads, in bytes.
    pub waiting_bytes: u64,
    /// What it has published.
    pub pools: Vec<(Suite, Vec<PoolCount>)>,
}

impl Switchboard {
    /// The version of an account's list of devices, and what each of them has, as the store says.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store cannot be read.
    pub async fn holdings(&self, account: &AccountId) -> Result<(u64, Vec<Holdings>), store::Error> {
        let list = self.store.devices(account).await?;
        let mut holdings = Vec::with_capacity(list.devices.len());
        for device in list.devices {
            let usage = self.store.usage(device.mailbox).await?;
            let mut pools = Vec::new();
            for suite in self.store.suites(device.mailbox).await? {
                let keyset = self.store.keyset(device.mailbox, &suite).await?;
                pools.extend(keyset.map(|keyset| (suite, keyset.counts)));
            }
            holdings.push(Holdings {
                is_here: self.hub.is_here(device.mailbox),
                waiting: usage.envelopes,
                waiting_bytes: usage.bytes,
                pools,
                device,
            });
        }
        Ok((list.version, holdings))
    }

    /// A copy of the store: what was accepted before is in it, unless it was delivered and acked.
    ///
    /// # Errors
    ///
    /// [`BackupError`] when there is none.
    pub async fn backup(&self) -> Result<Snapshot, BackupError> {
        self.store.backup(self.clock.now()).await
    }
}
