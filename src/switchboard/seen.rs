//! Who was seen today, so that nobody who comes counts as idle.
//!
//! Owns which mailboxes were stamped in the store on this day of the relay's clock. Must not know how long a device
//! may be idle, or who removes it then.
//!
//! # Why
//!
//! A stamp is one small write for each device and day, made before the device is answered: whoever removes idle
//! devices decides in the store, after the stamp or before it. After it, the device stays. Before it, the stamp finds
//! the mailbox gone, and the device hears that it is not registered instead of being answered as if it were.
//!
//! Mail matters more than a stamp: a store that is away, full or slow lets the device in without one. It is tried
//! again at the device's next act, and by the server's housekeeping for as long as the device is here; and whoever
//! removes idle devices stamps those who are here first. A session that comes in without a stamp in the moment in
//! which its device is removed is told so like any other session: the hub knows it by then.

use std::collections::HashSet;
use std::time::Duration;

use chatctl_protocol::Address;
use parking_lot::Mutex;
use tokio::time::timeout;
use tracing::debug;

use crate::directory;
use crate::hub::Notices;
use crate::model::{Device, MailboxId, NumberHasher, UnixMs};
use crate::store;
use crate::switchboard::Switchboard;

/// The mailboxes that were stamped today. Bounded: when there are too many it begins anew, which costs writes.
#[derive(Debug, Default)]
pub(super) struct Today(Mutex<Stamped>);

#[derive(Debug, Default)]
struct Stamped {
    day: UnixMs,
    mailboxes: HashSet<MailboxId, NumberHasher>,
}

impl Today {
    fn has(&self, mailbox: MailboxId, day: UnixMs) -> bool {
        let stamped = self.0.lock();
        stamped.day == day && stamped.mailboxes.contains(&mailbox)
    }

    fn add(&self, mailboxes: impl Iterator<Item = MailboxId>, day: UnixMs) {
        let mut stamped = self.0.lock();
        if stamped.day != day || stamped.mailboxes.len() >= MAX_STAMPED {
            *stamped = Stamped {
                day,
                ..Stamped::default()
            };
        }
        stamped.mailboxes.extend(mailboxes);
    }
}

impl Switchboard {
    /// The device of an address that does something now, and so is seen.
    ///
    /// # Errors
    ///
    /// [`directory::Error::NotRegistered`] when there is no such device, or none any more; else as
    /// [`Directory::devices`](crate::directory::Directory::devices).
    pub async fn acting(&self, address: &Address) -> Result<Device, directory::Error> {
        for _ in 0..LISTS_TO_ASK {
            let device = self.device(address).await?;
            let device = device.ok_or(directory::Error::NotRegistered)?;
            if self.seen(device.mailbox).await {
                return Ok(device);
            }
            // The list was older than the removal, or than a new registration on another relay.
            self.directory.forget(&address.account);
        }
        Err(directory::Error::NotRegistered)
    }

    /// The device of a mailbox does something now. Its first act of a day waits for a write to the store, later ones
    /// cost a look into memory. `false` when the device is gone; a store that cannot tell says nothing about it.
    pub async fn seen(&self, mailbox: MailboxId) -> bool {
        let day = self.clock.now().day();
        if self.today.has(mailbox, day) || self.is_away() {
            return true;
        }
        match timeout(PATIENCE, self.stamp(&[mailbox], day)).await {
            Ok(Ok(gone)) => gone.is_empty(),
            Ok(Err(error)) => {
                debug!(%error, "a device is stamped later");
                true
            }
            Err(_) => {
                debug!("a device is stamped later: the store is slow");
                true
            }
        }
    }

    /// Stamps everybody who is here and was not stamped today, and ends the sessions of devices that are gone. For
    /// the server's housekeeping.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store cannot be written; some may be stamped.
    pub async fn stamp_present(&self) -> Result<(), store::Error> {
        let day = self.clock.now().day();
        let mut missing = self.hub.present();
        missing.retain(|mailbox| !self.today.has(*mailbox, day));
        for some in missing.chunks(STAMPS_AT_ONCE) {
            for gone in self.stamp(some, day).await? {
                self.hub.notify(gone, Notices::REMOVED);
            }
        }
        Ok(())
    }

    /// Which of them are gone.
    async fn stamp(&self, mailboxes: &[MailboxId], day: UnixMs) -> Result<Vec<MailboxId>, store::Error> {
        // A store that cannot take this may still take mail: whether it is away is for the mail to find out.
        let gone = self.store.seen(mailboxes, day).await?;
        let here = mailboxes.iter().filter(|mailbox| !gone.contains(mailbox));
        self.today.add(here.copied(), day);
        Ok(gone)
    }

    /// A device that was registered just now counts as seen, without a stamp.
    pub(super) fn registered_today(&self, mailbox: MailboxId) {
        let day = self.clock.now().day();
        self.today.add(std::iter::once(mailbox), day);
    }
}

/// Most mailboxes that are remembered: some tens of megabytes.
const MAX_STAMPED: usize = 1_000_000;

/// Mailboxes that are stamped in one go.
const STAMPS_AT_ONCE: usize = 1_000;

/// Longest time that a device waits for its stamp.
const PATIENCE: Duration = Duration::from_secs(2);

/// A list that is kept, and the one that the store has.
const LISTS_TO_ASK: usize = 2;
