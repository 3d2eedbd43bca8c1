//! The audience of a relay: its hub, its committer, its directory.

use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::Address;

use crate::committer::Committer;
use crate::directory::Directory;
use crate::hub::{Hub, Notices};
use crate::jobs::Audience;
use crate::metrics::{Count as _, Metrics};
use crate::model::MailboxId;
use crate::store::{Error, ExpiredEnvelope, LowPool};

/// Everybody on a relay who has to hear of what a chore did.
#[derive(Debug)]
pub struct Residents {
    /// Who is here.
    pub hub: Arc<Hub>,
    /// Mail.
    pub committer: Arc<Committer>,
    /// Devices and keys.
    pub directory: Arc<Directory>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

#[async_trait]
impl Audience for Residents {
    async fn before_expiry(&self) -> Result<(), Error> {
        self.committer.delete_acked().await
    }

    fn expired(&self, removed: &[ExpiredEnvelope]) {
        self.committer.expired(removed);
        for envelope in removed {
            self.metrics.envelopes_dropped.count("ttl");
            self.hub.notify(envelope.mailbox, Notices::GAP);
        }
    }

    async fn removed(&self, address: &Address, mailbox: MailboxId) {
        self.directory.removed(address, mailbox).await;
        self.committer.forget(mailbox);
    }

    fn keys_low(&self, pool: &LowPool) {
        self.directory.remind(pool);
    }

    fn devices_low(&self, devices: u64) {
        let devices = i64::try_from(devices).unwrap_or(i64::MAX);
        self.metrics.devices_low_on_keys.set(devices);
    }

    fn present(&self) -> Vec<MailboxId> {
        self.hub.present()
    }
}
