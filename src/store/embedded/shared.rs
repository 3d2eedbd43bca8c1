//! What the writer and the readers share in memory: the indices, the store's health, its directory.
//!
//! The indices show committed state only: the writer collects a [`Change`] for each row it touches and
//! applies them after the commit. Must not know SQL.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chatctl_protocol::EnvelopeId;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::model::{MailboxId, NumberHasher};
use crate::store::embedded::expiry::Harvest;
use crate::store::embedded::files::Directory;
use crate::store::embedded::index::{Entry, MailIndex};
use crate::store::embedded::leases::{Lease, Leases};
use crate::store::embedded::records::{RecordIndex, Remembered};
use crate::store::{Deletion, Error};

/// Memory next to the database.
#[derive(Debug)]
pub(super) struct Shared {
    /// Which mail there is.
    pub(super) mail: RwLock<MailIndex>,
    /// Which sends are remembered.
    pub(super) records: RwLock<RecordIndex>,
    /// Mailboxes that have a device.
    pub(super) devices: RwLock<HashSet<MailboxId, NumberHasher>>,
    /// What expiry deletes next.
    pub(super) harvest: Mutex<Harvest>,
    /// Who runs which job.
    pub(super) leases: Mutex<Leases>,
    /// Where the next step over mailboxes without a device begins.
    pub(super) swept_to: Mutex<MailboxId>,
    /// Bytes that stay free for everything but new mail and new keys.
    pub(super) disk_reserve: AtomicU64,
    /// New mail was refused because the disk is short, and none was taken since: rows go at once.
    pub(super) is_short: AtomicBool,
    /// Somebody takes a backup, or reads the one that was taken.
    pub(super) copying: AtomicBool,
    /// A backup reads the store as it was: the log has to keep what came since.
    pub(super) reading_past: AtomicBool,
    /// What every verb answers, once the store has stopped.
    pub(super) stopped: watch::Sender<Option<Error>>,
    /// Where it all is.
    pub(super) directory: Directory,
    /// Tests put an error here for the next transaction.
    #[cfg(test)]
    pub(super) sabotage: Mutex<Option<Error>>,
}

/// A row that changed, as the indices need to know it.
#[derive(Debug)]
pub(super) enum Change {
    Put(MailboxId, Entry),
    /// With its row.
    Deleted(Deletion),
    /// Its row stays for now; with its payload's bytes.
    Acked(Deletion, u32),
    Arrived(MailboxId),
    Purged(MailboxId),
    Remembered(Remembered),
    Forgotten(Remembered),
    Leased(Arc<str>, Option<Lease>),
}

/// What the running transaction has changed.
#[derive(Debug, Default)]
pub(super) struct Group {
    changes: Vec<Change>,
    records: HashMap<u64, u64, NumberHasher>,
    leases: HashMap<Arc<str>, Option<Lease>>,
    acked: HashSet<EnvelopeId, NumberHasher>,
    /// Mailboxes that came or went.
    places: HashMap<MailboxId, bool, NumberHasher>,
    has_put: bool,
    remembered: usize,
    forgotten: usize,
    bytes: u64,
}

impl Shared {
    pub(super) fn new(
        directory: Directory,
        disk_reserve: u64,
        (mail, records): (MailIndex, RecordIndex),
        devices: HashSet<MailboxId, NumberHasher>,
    ) -> Self {
        Self {
            mail: RwLock::new(mail),
            records: RwLock::new(records),
            devices: RwLock::new(devices),
            harvest: Mutex::default(),
            leases: Mutex::default(),
            swept_to: Mutex::new(MailboxId(0)),
            disk_reserve: AtomicU64::new(disk_reserve),
            is_short: AtomicBool::new(false),
            copying: AtomicBool::new(false),
            reading_past: AtomicBool::new(false),
            stopped: watch::Sender::new(None),
            directory,
            #[cfg(test)]
            sabotage: Mutex::new(None),
        }
    }

    /// Stops the store for good; every verb answers `error` from now on. The first error stays.
    pub(super) fn stop(&self, error: &Error) {
        self.stopped.send_if_modified(|stopped| {
            if stopped.is_some() {
                return false;
            }
            *stopped = Some(error.clone());
            true
        });
    }

    /// What the store has stopped with, once it has.
    pub(super) fn healthy(&self) -> Result<(), Error> {
        match &*self.stopped.borrow() {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// Bytes that stay free for everything but new mail and new keys.
    pub(super) fn reserve(&self) -> u64 {
        self.disk_reserve.load(Ordering::Relaxed)
    }

    /// Shows readers what was committed.
    pub(super) fn apply(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut mail = self.mail.write();
        let mut records = self.records.write();
        for change in changes {
            match change {
                Change::Put(mailbox, entry) => mail.put(mailbox, entry),
                Change::Deleted(deletion) | Change::Acked(deletion, _) => mail.delete(deletion),
                Change::Purged(mailbox) => {
                    mail.purge(mailbox);
                    self.devices.write().remove(&mailbox);
                }
                Change::Arrived(mailbox) => drop(self.devices.write().insert(mailbox)),
                Change::Remembered(record) => records.insert(record),
                Change::Forgotten(record) => records.remove(record),
                Change::Leased(job, lease) => self.leases.lock().set(job, lease),
            }
        }
    }
}

impl Group {
    /// Notes a change, to be shown after the commit.
    pub(super) fn note(&mut self, change: Change) {
        match &change {
            Change::Remembered(record) => {
                self.remembered += 1;
                self.records.insert(record.hash, record.first);
            }
            Change::Forgotten(record) => {
                self.forgotten += 1;
                self.records.remove(&record.hash);
            }
            Change::Leased(job, lease) => drop(self.leases.insert(Arc::clone(job), lease.clone())),
            Change::Acked(deletion, _) => drop(self.acked.insert(deletion.id)),
            Change::Arrived(mailbox) => drop(self.places.insert(*mailbox, true)),
            Change::Purged(mailbox) => drop(self.places.insert(*mailbox, false)),
            Change::Put(..) => self.has_put = true,
            Change::Deleted(_) => {}
        }
        self.changes.push(change);
    }

    /// Changes so far, oldest first.
    pub(super) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The record that this transaction remembered under a hash.
    pub(super) fn record(&self, hash: u64) -> Option<u64> {
        self.records.get(&hash).copied()
    }

    /// How many records more than before are remembered, and how many are not any more.
    pub(super) const fn records(&self) -> (usize, usize) {
        (self.remembered, self.forgotten)
    }

    /// Whether this transaction has put any mail.
    pub(super) const fn has_put(&self) -> bool {
        self.has_put
    }

    /// Whether this transaction has taken an ack of an envelope.
    pub(super) fn is_acked(&self, id: EnvelopeId) -> bool {
        self.acked.contains(&id)
    }

    /// Envelopes that this transaction has taken acks of, in the order of their ids.
    pub(super) fn acked(&self) -> Vec<EnvelopeId> {
        let mut acked: Vec<_> = self.acked.iter().copied().collect();
        acked.sort_unstable();
        acked
    }

    /// Whether a mailbox has a device as this transaction has left it, if it came or went in it.
    pub(super) fn is_here(&self, mailbox: MailboxId) -> Option<bool> {
        self.places.get(&mailbox).copied()
    }

    /// The lease of a job as this transaction has left it, if it has touched it.
    pub(super) fn lease(&self, job: &str) -> Option<Option<Lease>> {
        self.leases.get(job).cloned()
    }

    /// Counts bytes of mail and keys, and returns how many there are so far.
    pub(super) fn add_bytes(&mut self, bytes: u64) -> u64 {
        self.bytes += bytes;
        self.bytes
    }

    /// A place to come back to.
    pub(super) fn mark(&self) -> usize {
        self.changes.len()
    }

    /// Forgets what was noted since the mark.
    pub(super) fn undo_to(&mut self, mark: usize) {
        self.changes.truncate(mark);
        let changes = std::mem::take(&mut self.changes);
        *self = Self {
            bytes: self.bytes,
            ..Self::default()
        };
        for change in changes {
            self.note(change);
        }
    }

    pub(super) fn into_changes(self) -> Vec<Change> {
        self.changes
    }
}
