//! The switchboard (skeleton).

use std::sync::Arc;

use chatctl_protocol::Address;

use crate::directory::{self, Directory};
use crate::model::MailboxId;
use crate::store::{Registered, Registration};

/// The only holder of store, hub and mail.
#[derive(Debug)]
pub struct Switchboard {
    directory: Arc<Directory>,
}

impl Switchboard {
    /// Devices and keys.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Registers a device; mail of a replaced installation goes too.
    ///
    /// # Errors
    ///
    /// As [`Directory::register`].
    pub async fn register(
        &self,
        address: &Address,
        registration: Registration,
    ) -> Result<Registered, directory::Error> {
        self.directory.register(address, registration).await
    }

    /// Removes a device with everything it has.
    ///
    /// # Errors
    ///
    /// As [`Directory::remove`].
    pub async fn remove_device(&self, address: &Address) -> Result<Option<MailboxId>, directory::Error> {
        self.directory.remove(address).await
    }
}
