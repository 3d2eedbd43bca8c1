//! The audience of a relay: its hub, its committer, its directory.

use std::sync::Arc;

use async_trait::async_trait;

use crate::committer::Committer;
use crate::directory::Directory;
use crate::hub::{Hub, Notices};
use crate::jobs::Audience;
use crate::metrics::{Count as _, Metrics};
use crate::store::{Error, ExpiredEnvelope};

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
}
