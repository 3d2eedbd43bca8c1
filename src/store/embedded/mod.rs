//! The embedded store: one SQLite file, one thread that writes, a few that read.
//!
//! Owns the directory, the threads and the indices in memory, and keeps the promises of the traits.
//! Must not know sessions, limits or the wall clock.
//!
//! # Why
//!
//! It is the file format that operators trust, open, check and back up with tools that exist
//! everywhere. With mail as a log in the order of time (see `schema`) and an fsync shared by all that
//! wait (see `writer`), it is not what limits a relay. `synchronous=FULL`: with NORMAL, power losses
//! took back what a sender had been told was safe.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use async_trait::async_trait;
use chatctl_protocol::{AccountId, Address, EnvelopeId, PoolName, Suite};

use crate::model::{DeviceList, Envelope, MailboxId, UnixMs};
use crate::store::{
    Batch, Claim, Claimed, Committed, DeviceStore, Error, Expired, Extent, Gap, KeyLogEntry, KeyStore,
    Keyset, MailStore, Registered, Registration, Room, SendKey, SendRecord, SessionStore, Span, Start,
    Upload, Uploaded, Usage,
};
use copier::Copier;
use expiry::Harvest;
use files::Directory;
use index::MailIndex;
use reader::Readers;
use records::RecordIndex;
use regions::Regions;
use shared::Shared;
use writer::Writer;

mod accounts;
mod acked;
pub mod backup;
mod checkpoint;
mod chores;
mod clock;
mod compaction;
mod copier;
mod departed;
mod devices;
mod expiry;
mod fault;
mod files;
#[cfg(test)]
mod fixture_tests;
mod index;
mod inspect;
#[cfg(test)]
mod job_tests;
mod jobs;
mod keys;
mod leases;
mod low;
mod mail;
mod pools;
mod reader;
mod records;
mod regions;
mod revocations;
mod room;
mod runs;
mod schema;
mod shared;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

pub use crate::store::embedded::upkeep::Premises;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes that stay free on the disk: below, new mail and new keys are refused with [`Error::Full`],
    /// while acks, claims and everything else go on. At least 2 MiB, whatever it says.
    pub disk_reserve: u64,
    /// Most idempotency records; beyond, the oldest are forgotten before their window ends. 48 bytes
    /// of memory each, or a little more.
    pub idempotency_records: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            disk_reserve: 256 * 1024 * 1024,
            idempotency_records: 1_000_000,
        }
    }
}

/// When SQLite calls fsync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Synchronous {
    /// At each commit.
    Full,
    /// At checkpoints.
    Normal,
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error("{} is in use by another process", .0.display())]
    Held(PathBuf),
    /// A newer version of chatctl wrote it.
    #[error(
        "the store has schema {found}, and this version knows schemas up to {known}: use a newer chatctl"
    )]
    Newer {
        /// What the file says.
        found: i32,
        /// What this version knows.
        known: i32,
    },
    /// An older version of chatctl wrote it, and it is only read here.
    #[error("the store has schema {found}, and this version needs schema {wanted}")]
    Older {
        /// What the file says.
        found: i32,
        /// What this version needs.
        wanted: i32,
    },
    /// The file is a backup, whose one-time keys may have been handed out since.
    #[error("the file is a backup, and no store")]
    Backup,
    /// The file is a database of something else.
    #[error("the file is not a chatctl store")]
    NotAStore,
    /// The file system cannot share memory between connections, which the write-ahead log needs.
    #[error("the file system does not support a write-ahead log")]
    NoWal,
    /// The operating system refused.
    #[error("the store's directory cannot be used")]
    Io(#[from] io::Error),
    /// SQLite refused.
    #[error("the store's database cannot be used")]
    Database(#[from] rusqlite::Error),
    /// What is stored cannot be read.
    #[error(transparent)]
    Rows(Error),
}

/// Connections that read.
const READERS: usize = 3;

/// The store in a directory of its own. Dropping it without [`MailStore::close`] loses nothing.
#[derive(Debug)]
pub struct Embedded {
    // In this order: the last connection to close is the writer's, and the lock goes after it.
    readers: Readers,
    writer: Writer,
    shared: Arc<Shared>,
    start: Start,
}

impl Embedded {
    /// Opens the store in a directory, or makes one there. Reads every undelivered envelope's id once;
    /// it blocks meanwhile: a second or two for a million of them.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(directory: &Path, options: &Options) -> Result<Arc<Self>, OpenError> {
        Self::open_with(directory, options, Synchronous::Full)
    }

    /// For the tests' negative control alone: commits return before they are durable.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    #[doc(hidden)]
    pub fn open_not_durable(directory: &Path, options: &Options) -> Result<Arc<Self>, OpenError> {
        Self::open_with(directory, options, Synchronous::Normal)
    }

    fn open_with(
        directory: &Path,
        options: &Options,
        synchronous: Synchronous,
    ) -> Result<Arc<Self>, OpenError> {
        let directory = Directory::hold(directory)?;
        let conn = schema::writer(&directory.database(), synchronous)?;
        let mut mail = MailIndex::default();
        let mut records = RecordIndex::new(options.idempotency_records);
        let mut regions = Regions::default();
        let beside = schema::reader(&directory.database())?;
        let (stored, answered) = thread::scope(|scope| {
            let records = &mut records;
            let answered = scope.spawn(move || records::rebuild(&beside, records));
            let stored = mail::rebuild(&conn, &mut mail, &mut regions);
            (stored, answered.join())
        });
        let stored = stored.map_err(OpenError::Rows)?;
        let answered = answered.unwrap_or_else(|_| Err(Error::Unavailable("a thread panicked".into())));
        let answered = answered.map_err(OpenError::Rows)?;
        let devices = devices::all(&conn)?;
        let meta = |name: &str| {
            let value = conn.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
                row.get::<_, i64>(0)
            });
            value.map(i64::cast_unsigned)
        };
        let start = Start {
            id_floor: EnvelopeId::from_u64(meta("id_ceiling")?)
                .max(stored)
                .max(answered),
            node: 0,
            epoch: meta("epoch")?,
        };
        let readers = (0..READERS).map(|_| schema::reader(&directory.database()));
        let readers = Readers::start(readers.collect::<Result<_, _>>()?)?;
        let shared = Arc::new(Shared::new(
            directory,
            options.disk_reserve,
            (mail, records),
            devices,
        ));
        let copier = Copier::start(schema::checkpointer(&shared.directory.database(), synchronous)?)?;
        let writer = Writer::start(conn, copier, Arc::clone(&shared), regions)?;
        Ok(Arc::new(Self {
            readers,
            writer,
            shared,
            start,
        }))
    }

    /// Whether an I/O error has stopped the store for good.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        matches!(self.shared.healthy(), Err(Error::Poisoned(_)))
    }

    /// Waits until an I/O error has stopped the store for good; the error. Cancel safe.
    pub async fn poisoned(&self) -> Error {
        let mut stopped = self.shared.stopped.subscribe();
        let stopped = stopped.wait_for(|stopped| matches!(stopped, Some(Error::Poisoned(_))));
        match stopped.await.as_deref() {
            Ok(Some(error)) => error.clone(),
            // The sender lives in self: the channel does not close while somebody waits here.
            Ok(None) | Err(_) => writer::stopped(),
        }
    }

    /// Sets how many bytes stay free on the disk from now on.
    pub fn set_disk_reserve(&self, bytes: u64) {
        self.shared.disk_reserve.store(bytes, Ordering::Relaxed);
    }
}

#[async_trait]
impl MailStore for Embedded {
    async fn start(&self) -> Result<Start, Error> {
        self.shared.healthy()?;
        Ok(self.start)
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        self.commit_kept(&Arc::new(batch)).await
    }

    async fn commit_kept(&self, batch: &Arc<Batch>) -> Result<Committed, Error> {
        let batch = Arc::clone(batch);
        self.writer.run(move |tx| mail::commit(tx, &batch)).await
    }

    async fn read(&self, mailbox: MailboxId, span: Span, room: Room) -> Result<Vec<Arc<Envelope>>, Error> {
        let mut span = span;
        let mut room = room;
        let mut page = Vec::new();
        loop {
            self.shared.healthy()?;
            let first = page.is_empty();
            let plan = self.shared.mail.read().plan(mailbox, &span, room, first);
            let Some(last) = plan.last().copied() else {
                return Ok(page);
            };
            let planned = plan.len();
            let found = self
                .readers
                .run(move |conn| mail::fetch(conn, mailbox, &plan))
                .await?;
            let whole = found.len() == planned;
            room.envelopes -= found.len().min(room.envelopes);
            room.bytes = found
                .iter()
                .fold(room.bytes, |room, e| room.saturating_sub(e.payload.len()));
            page.extend(found);
            if whole {
                return Ok(page);
            }
            // Some were acked between the plan and the read: a short page would look like the end.
            span.after = last;
        }
    }

    async fn usage(&self, mailbox: MailboxId) -> Result<Usage, Error> {
        self.shared.healthy()?;
        Ok(self.shared.mail.read().usage(mailbox))
    }

    async fn sent(&self, key: &SendKey) -> Result<Option<SendRecord>, Error> {
        self.shared.healthy()?;
        let found = self.shared.records.read().find(key);
        let Some(first) = found else { return Ok(None) };
        let record = self.readers.run(move |conn| records::load(conn, first)).await?;
        Ok(record.filter(|record| record.key == *key))
    }

    fn may_know(&self, key: &SendKey) -> bool {
        self.shared.records.read().find(key).is_some()
    }

    async fn expire(&self, now: UnixMs, budget: usize) -> Result<Expired, Error> {
        self.shared.healthy()?;
        let gathered = !self.shared.harvest.lock().is_empty();
        if !gathered {
            let shared = Arc::clone(&self.shared);
            let harvest = self
                .readers
                .run(move |_| Ok(Harvest::gather(&shared.mail, now)))
                .await?;
            *self.shared.harvest.lock() = harvest;
        }
        self.writer.run(move |tx| expiry::step(tx, now, budget)).await
    }

    async fn gaps(&self, mailbox: MailboxId) -> Result<Vec<Gap>, Error> {
        self.shared.healthy()?;
        self.readers.run(move |conn| mail::gaps(conn, mailbox)).await
    }

    async fn gaps_told(&self, mailbox: MailboxId, told: &[Gap]) -> Result<(), Error> {
        let told = told.to_vec();
        self.writer
            .run(move |tx| mail::gaps_told(tx, mailbox, &told))
            .await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.shared.healthy()
    }

    async fn extent(&self) -> Result<Extent, Error> {
        self.shared.healthy()?;
        let envelopes = self.shared.mail.read().envelopes();
        let sizes = self.shared.directory.sizes().ok();
        Ok(Extent {
            envelopes: Some(envelopes),
            bytes: sizes.map(|sizes| sizes.database + sizes.log),
            log_bytes: sizes.map(|sizes| sizes.log),
            free_bytes: sizes.map(|sizes| sizes.free),
            reserve_bytes: Some(self.shared.reserve()),
        })
    }

    async fn close(&self) -> Result<(), Error> {
        self.readers.close().await?;
        self.writer.close().await
    }
}

impl SessionStore for Embedded {}

#[async_trait]
impl DeviceStore for Embedded {
    async fn register(&self, address: &Address, registration: Registration) -> Result<Registered, Error> {
        let address = address.clone();
        self.writer
            .run(move |tx| devices::register(tx, &address, &registration))
            .await
    }

    async fn remove_device(&self, address: &Address, _now: UnixMs) -> Result<Option<MailboxId>, Error> {
        let address = address.clone();
        self.writer.run(move |tx| devices::remove(tx, &address)).await
    }

    async fn devices(&self, account: &AccountId) -> Result<DeviceList, Error> {
        self.shared.healthy()?;
        let account = account.clone();
        self.readers.run(move |conn| devices::list(conn, &account)).await
    }
}

#[async_trait]
impl KeyStore for Embedded {
    async fn upload(&self, upload: Upload) -> Result<Uploaded, Error> {
        self.writer.run(move |tx| keys::upload(tx, &upload)).await
    }

    async fn keyset(&self, mailbox: MailboxId, suite: &Suite) -> Result<Option<Keyset>, Error> {
        self.shared.healthy()?;
        let suite = suite.clone();
        self.readers
            .run(move |conn| keys::keyset(conn, mailbox, &suite))
            .await
    }

    async fn suites(&self, mailbox: MailboxId) -> Result<Vec<Suite>, Error> {
        self.shared.healthy()?;
        self.readers.run(move |conn| keys::suites(conn, mailbox)).await
    }

    async fn drop_queue(&self, mailbox: MailboxId, suite: &Suite, pool: &PoolName) -> Result<bool, Error> {
        let (suite, pool) = (suite.clone(), pool.clone());
        self.writer
            .run(move |tx| keys::drop_queue(tx, mailbox, &suite, &pool))
            .await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        self.writer.run(move |tx| keys::claim(tx, &claim)).await
    }

    async fn key_log(
        &self,
        account: &AccountId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<KeyLogEntry>, Error> {
        self.shared.healthy()?;
        let account = account.clone();
        self.readers
            .run(move |conn| keys::log(conn, &account, after, limit))
            .await
    }
}
