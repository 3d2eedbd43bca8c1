//! What a store promises about the devices of accounts.

use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::{AccountId, Address};

use crate::model::{Device, DeviceList, MailboxId, UnixMs};
use crate::store::Error;

/// A device that wants to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// What it drew when it was installed.
    pub registration_id: u32,
    /// Attributes as JSON text, opaque.
    pub attributes: Option<Arc<str>>,
    /// Most devices of an account.
    pub max_devices: u32,
    /// Now.
    pub now: UnixMs,
}

/// What a registration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// The device is new.
    Created(Device),
    /// The same installation again: attributes are updated, nothing else.
    Updated(Device),
    /// Another installation took the device id over. Mail, pools and gaps of the old mailbox went in the
    /// same write.
    Replaced {
        /// The new one.
        device: Device,
        /// The mailbox that is gone.
        old: MailboxId,
    },
    /// The account has as many devices as it may have; nothing changed.
    TooMany,
}

/// Devices of accounts.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    /// Registers or re-registers a device. The registration id decides which.
    async fn register(&self, address: &Address, registration: Registration) -> Result<Registered, Error>;

    /// Removes a device with its mail, keysets, pools, tombstones and gaps. Returns its mailbox, or `None` when
    /// there was no such device.
    ///
    /// The records of its sends are of no use to anybody, since the mailbox's number is never used again: a store
    /// forgets them at once or when their window ends, and may answer
    /// [`sent`](crate::store::MailStore::sent) for them until then.
    async fn remove_device(&self, address: &Address, now: UnixMs) -> Result<Option<MailboxId>, Error>;

    /// The account's devices.
    async fn devices(&self, account: &AccountId) -> Result<DeviceList, Error>;
}
