//! The store of a serious deployment: MongoDB, a replica set of one member or more.
//!
//! Owns the client and its collections, and keeps the promises of the traits. Must not know sessions,
//! limits or the wall clock; nothing that a restart needs is kept on the node.
//!
//! # Why
//!
//! A batch of mail is one transaction: its inserts and deletes travel as one entry of the oplog and wait
//! for the majority once, and it is there whole or not at all. So is a claim, with its tombstone.
//! Every write waits for a majority of journals; every read is of what a majority has, and no older
//! than what this process has written or seen (a causal session), so that a member that still takes
//! itself for the primary makes a read fail rather than answer with an old mailbox.
//!
//! The records of a commit are one document that names them by hashes. Measured at 256 and 2,048 sends in one
//! commit, on one machine: 36 and 62 thousand per second so; 33 and 64 with separate writes, which are not
//! atomic and wait for the majority twice (at one send: 2.95 ms instead of 1.99); 28 and 37 with a document
//! for each record. Batches with their deletes: 16 and 27 thousand.
//!
//! Every verb ends within [`Options::timeout`], with [`Error::Unavailable`] if it must: the outcome is
//! then unknown, and the same call made again is the same call.

use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::{AccountId, Address, PoolName, Suite};
use mongodb::bson::doc;
use tokio::sync::{Mutex, OnceCell};

use crate::metrics::Metrics;
use crate::model::{DeviceList, Envelope, MailboxId, UnixMs};
use crate::store::{
    BackupStore, Batch, Claim, Claimed, Committed, DeviceStore, Error, Expired, Extent, Gap, KeyLogEntry,
    KeyStore, Keyset, Lease, MailStore, Registered, Registration, Room, SendKey, SendRecord, SessionStore,
    Span, Start, Upload, Uploaded, Usage,
};

pub use crate::store::mongodb::connect::{OpenError, Options, Uri};
pub use crate::store::mongodb::facts::Facts;
pub use crate::store::mongodb::legacy::{LegacyDocument, LegacyUser, LegacyUsers};
pub use crate::store::mongodb::upkeep::Premises;

use chores::Walk;
use connection::Connection;
use jobs::Doubts;
use lookups::Lookups;
use nodes::Seat;
use turns::Turns;

mod abandoned;
mod accounts;
mod bundles;
mod chores;
mod claims;
mod commits;
mod connect;
mod connection;
mod departures;
mod devices;
mod diff;
mod documents;
mod enrolment;
mod error;
mod expiry;
mod facts;
mod gaps;
mod history;
mod inspect;
mod jobs;
mod keys;
mod keysets;
mod layout;
mod lease;
mod legacy;
mod lookups;
mod mail;
mod meta;
mod nodes;
mod pools;
mod records;
mod registrations;
mod revocations;
mod sessions;
mod transaction;
mod turns;
mod upkeep;
mod uploads;

/// The store in a database of its own. Dropping it loses nothing.
#[derive(Debug)]
pub struct MongoDb {
    db: Connection,
    lookups: Lookups,
    /// This process' number, once it was needed: tools that mint nothing take none.
    seat: OnceCell<Seat>,
    turns: Turns,
    /// Whose turn it is to revoke.
    revoking: Mutex<()>,
    doubts: Doubts,
    /// How far the search for what nobody noted has come.
    orphans: Mutex<Walk>,
}

impl MongoDb {
    /// Opens the store in a database that was set up for this version.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(uri: &Uri, options: &Options) -> Result<Arc<Self>, OpenError> {
        let db = connect::reach(uri, options).await?;
        connect::check_layout(&db).await?;
        Ok(Arc::new(Self {
            db,
            lookups: Lookups::default(),
            seat: OnceCell::new(),
            turns: Turns::default(),
            revoking: Mutex::default(),
            doubts: Doubts::default(),
            orphans: Mutex::default(),
        }))
    }

    /// Opens the store, and sets the database up before if that was never done: for demos and tests.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open_fresh(uri: &Uri, options: &Options) -> Result<Arc<Self>, OpenError> {
        let db = connect::reach(uri, options).await?;
        match connect::check_layout(&db).await {
            Err(OpenError::NeverApplied(_)) => {
                upkeep::first_time(&db).await?;
                connect::check_layout(&db).await?;
            }
            checked => checked?,
        }
        Ok(Arc::new(Self {
            db,
            lookups: Lookups::default(),
            seat: OnceCell::new(),
            turns: Turns::default(),
            revoking: Mutex::default(),
            doubts: Doubts::default(),
            orphans: Mutex::default(),
        }))
    }

    async fn seat(&self) -> Result<Seat, Error> {
        self.seat.get_or_try_init(|| Seat::take(&self.db)).await.copied()
    }

    /// Drops the whole database, for tests.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    #[doc(hidden)]
    pub async fn drop_database(&self) -> Result<(), Error> {
        self.db
            .database
            .drop()
            .await
            .map_err(|error| error::meaning(&error))
    }
}

impl MongoDb {
    /// Empties a mailbox that has just gone.
    async fn empty(&self, mailbox: MailboxId) {
        // It is gone whatever happens here; it is swept again later.
        if let Err(error) = departures::purge(&self.db, mailbox).await {
            tracing::debug!(%error, "a mailbox that is gone is emptied later");
        }
    }
}

#[async_trait]
impl MailStore for MongoDb {
    async fn start(&self) -> Result<Start, Error> {
        let seat = self.seat().await?;
        let ceiling = seat.ceiling(&self.db).await?;
        // After the number: what its last owner stored is below its ceiling or in here.
        let newest = records::newest(&self.db).await?;
        let epoch = async {
            let epoch = meta::number(&self.db, "epoch").await;
            epoch.map_err(|error| error::meaning(&error))
        };
        let epoch = self.db.within(epoch).await?;
        Ok(Start {
            id_floor: ceiling.max(newest),
            node: seat.number,
            epoch: epoch.unwrap_or_default().cast_unsigned(),
        })
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        let seat = match batch.id_ceiling {
            Some(_) => Some(self.seat().await?),
            None => None,
        };
        commits::commit(&self.db, &batch, seat).await
    }

    async fn read(&self, mailbox: MailboxId, span: Span, room: Room) -> Result<Vec<Arc<Envelope>>, Error> {
        mail::read(&self.db, mailbox, span, room).await
    }

    async fn usage(&self, mailbox: MailboxId) -> Result<Usage, Error> {
        mail::usage(&self.db, mailbox).await
    }

    async fn sent(&self, key: &SendKey) -> Result<Option<SendRecord>, Error> {
        self.lookups.find(&self.db, key).await
    }

    async fn expire(&self, now: UnixMs, budget: usize) -> Result<Expired, Error> {
        expiry::expire(&self.db, now, budget).await
    }

    async fn gaps(&self, mailbox: MailboxId) -> Result<Vec<Gap>, Error> {
        gaps::gaps(&self.db, mailbox).await
    }

    async fn gaps_told(&self, mailbox: MailboxId, told: &[Gap]) -> Result<(), Error> {
        gaps::told(&self.db, mailbox, told).await
    }

    fn counted_by(&self, metrics: &Arc<Metrics>) {
        self.db.counted_by(metrics);
    }

    async fn ping(&self) -> Result<(), Error> {
        self.db
            .within(async {
                let mut session = self.db.session().await?;
                let pinged = self
                    .db
                    .database
                    .run_command(doc! { "ping": 1 })
                    .session(&mut session);
                pinged.await.map_err(|error| error::meaning(&error))?;
                Ok(())
            })
            .await
    }

    async fn extent(&self) -> Result<Extent, Error> {
        mail::extent(&self.db).await
    }

    async fn close(&self) -> Result<(), Error> {
        self.db.close().await;
        Ok(())
    }
}

impl BackupStore for MongoDb {}

#[async_trait]
impl SessionStore for MongoDb {
    fn is_shared(&self) -> bool {
        true
    }

    async fn sign_on(&self, mailbox: MailboxId, now: UnixMs) -> Result<Lease, Error> {
        let node = self.seat().await?.number;
        sessions::sign_on(&self.db, mailbox, node, now).await
    }

    async fn displaced(&self, held: &[(MailboxId, u64)]) -> Result<Vec<MailboxId>, Error> {
        sessions::displaced(&self.db, held).await
    }
}

#[async_trait]
impl DeviceStore for MongoDb {
    async fn register(&self, address: &Address, registration: Registration) -> Result<Registered, Error> {
        let registered = registrations::register(&self.db, address, &registration).await?;
        if let Registered::Replaced { old, .. } = &registered {
            self.empty(*old).await;
        }
        Ok(registered)
    }

    async fn remove_device(&self, address: &Address, now: UnixMs) -> Result<Option<MailboxId>, Error> {
        let removed = registrations::remove(&self.db, address, now).await?;
        if let Some(mailbox) = removed {
            self.empty(mailbox).await;
        }
        Ok(removed)
    }

    async fn devices(&self, account: &AccountId) -> Result<DeviceList, Error> {
        devices::list(&self.db, account).await
    }
}

#[async_trait]
impl KeyStore for MongoDb {
    async fn upload(&self, upload: Upload) -> Result<Uploaded, Error> {
        self.in_turn([upload.mailbox], uploads::upload(&self.db, &upload))
            .await
    }

    async fn keyset(&self, mailbox: MailboxId, suite: &Suite) -> Result<Option<Keyset>, Error> {
        keys::keyset(&self.db, mailbox, suite).await
    }

    async fn suites(&self, mailbox: MailboxId) -> Result<Vec<Suite>, Error> {
        keys::suites(&self.db, mailbox).await
    }

    async fn drop_queue(&self, mailbox: MailboxId, suite: &Suite, pool: &PoolName) -> Result<bool, Error> {
        self.in_turn([mailbox], keys::drop_queue(&self.db, mailbox, suite, pool))
            .await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        let mailboxes: Vec<MailboxId> = claim.targets.iter().map(|target| target.mailbox).collect();
        self.in_turn(mailboxes, claims::claim(&self.db, &claim)).await
    }

    async fn key_log(
        &self,
        account: &AccountId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<KeyLogEntry>, Error> {
        keys::log(&self.db, account, after, limit).await
    }
}

impl MongoDb {
    /// Does something when it is the turn of some mailboxes, both within the deadline.
    async fn in_turn<T>(
        &self,
        mailboxes: impl IntoIterator<Item = MailboxId> + Send,
        verb: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let in_turn = async {
            let _turns = self.turns.of(mailboxes).await;
            verb.await
        };
        self.db.within(in_turn).await
    }
}
