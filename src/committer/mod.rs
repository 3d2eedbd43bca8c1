//! Accepting mail and making it safe: the tail, and the one writer that commits it in groups.
//!
//! Owns what is between a sender's frame and the disk: ids, quotas, retries under way, acks that wait
//! for their delete. Must not know sessions, device names or who is connected; ringing is the
//! switchboard's.
//!
//! # Why
//!
//! A recipient reads from the tail before the disk has the envelope, and an envelope that is acked
//! before its commit never touches the disk. The sender's answer still waits for the batch, the same
//! for every envelope, so that its timing does not tell who is online. Uncommitted bytes are bounded:
//! when they are used up, `accept` waits, and that is the relay's only back-pressure.
//!
//! Most messages are new, for mailboxes that are known, and acked before their commit. That way is
//! synchronous: one lock for each of accept, page and ack, one look into a map, and one allocation, the envelope.

mod accept;
mod acks;
mod batch;
mod digest;
mod ledger;
mod leeway;
mod minter;
mod order;
mod reading;
mod receipts;
mod recents;
mod slots;
mod tail;
#[cfg(test)]
mod tests;
mod times;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chatctl_protocol::{Address, Code, EnvelopeId, Limits};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::committer::ledger::Ledger;
use crate::committer::leeway::Leeway;
use crate::committer::minter::Minter;
use crate::committer::recents::{Names, Recents};
use crate::committer::tail::{Tail, Times};
use crate::committer::times::Times as Stopwatch;
use crate::metrics::Metrics;
use crate::model::{Clock, Envelope, MailboxId, UnixMs};
use crate::store::{self, Deletion, Lease, SendKey, Store};

pub use crate::committer::acks::Receipt;
pub use crate::committer::digest::Digest;
pub use crate::committer::receipts::{EnvelopeIds, Outcome, Receipts, Ticket};
pub use crate::committer::tail::Stretch;
pub use crate::committer::times::CommitTimes;

/// How the committer paces and bounds itself.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Shortest time from a send to its commit, the same for every one. A busy relay may wait up to four times
    /// as long while that spares the disk.
    pub interval: Duration,
    /// Bytes of the tail; half of them may be uncommitted.
    pub tail_bytes: usize,
    /// Bounds of mailboxes.
    pub limits: Limits,
}

/// How much a committer has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Bytes on the tail, what is durable already included: it is there for readers until others need its place.
    pub tail_bytes: u64,
    /// Bytes that the tail may have.
    pub tail_most: u64,
    /// Bytes that wait for their commit.
    pub uncommitted_bytes: u64,
    /// Bytes that may wait; beyond, senders do.
    pub uncommitted_most: u64,
    /// How long commits take.
    pub commits: CommitTimes,
}

/// A send that passed every check of policy.
#[derive(Debug)]
pub struct Mail {
    /// Its name.
    pub key: SendKey,
    /// Tells a retry from another message.
    pub digest: Digest,
    /// Who sends.
    pub from: Arc<Address>,
    /// The sender's clock.
    pub sent_at: i64,
    /// When it may be dropped.
    pub expires_at: UnixMs,
    /// A wake-up hint.
    pub urgent: bool,
    /// Never stored.
    pub ephemeral: bool,
    /// One for each device; at least one.
    pub parts: SmallVec<[Part; 1]>,
}

/// The part of a send for one device.
#[derive(Debug)]
pub struct Part {
    /// Whose.
    pub mailbox: MailboxId,
    /// The app's message type.
    pub kind: u32,
    /// Ciphertext.
    pub payload: Bytes,
    /// Whether the device is connected: an ephemeral part for one that is not goes nowhere.
    pub is_here: bool,
}

/// Accepts, keeps and commits mail.
#[derive(Debug)]
pub struct Committer {
    books: Mutex<Books>,
    store: Arc<dyn Store>,
    /// Whether other relays write to it as well.
    is_shared: bool,
    /// How names of sends are hashed, before the lock.
    names: Names,
    /// Every send before this position of the recents is settled: if the store has it, it says so.
    settled_to: AtomicU64,
    clock: Clock,
    metrics: Arc<Metrics>,
    pace: Pace,
    /// Bytes that may still become uncommitted.
    room: Semaphore,
    /// Acks that may still wait for their delete.
    ack_room: Semaphore,
    /// There is something to commit.
    work: Notify,
    /// This relay's number in its ids.
    node: u16,
    /// Readers look into the store before they pass this id: a sender has come from another relay, and what
    /// it sent there is to be delivered before what it sends here.
    barrier: AtomicU64,
    /// How long commits take.
    stopwatch: Stopwatch,
}

/// Everything that is decided under the one lock.
#[derive(Debug)]
struct Books {
    tail: Tail,
    minter: Minter,
    recents: Recents,
    pending: VecDeque<Pending>,
    leeway: Leeway,
    /// Envelopes that the metrics do not count yet.
    accepted: u64,
    /// When the last batch was taken.
    committed_at: Instant,
    deletions: Vec<Deletion>,
    deletions_since: Option<Instant>,
    /// Everything up to here is on its way to the disk, or there.
    committing: EnvelopeId,
    /// The store had no room; sends are refused until then.
    full_until: Option<Instant>,
    /// The store does not answer; sends are refused until it does.
    away: bool,
    /// The store has said that this process must stop.
    over: Option<store::Error>,
    /// The store has stopped.
    stopped: bool,
}

/// A send that waits for its commit.
#[derive(Debug)]
struct Pending {
    since: Instant,
    /// Among the recents.
    position: u64,
    /// Of its envelopes, in the tail's order.
    places: Range<u64>,
    /// Its last id.
    last: EnvelopeId,
    charge: u32,
    ticket: Ticket,
}

impl Committer {
    /// A committer over a store. Ids begin above all that the store has seen.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store cannot say where ids begin.
    pub async fn new(
        store: Arc<dyn Store>,
        pace: Pace,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, store::Error> {
        let start = store.start().await?;
        let minter = Minter::new(start.id_floor, start.node);
        let (floor, now) = (minter.last(), Instant::now());
        let books = Books {
            tail: Tail::new(floor, pace.tail_bytes),
            minter,
            recents: Recents::default(),
            pending: VecDeque::new(),
            leeway: Leeway::new(pace.interval, now),
            accepted: 0,
            committed_at: now,
            deletions: Vec::new(),
            deletions_since: None,
            committing: floor,
            full_until: None,
            away: false,
            over: None,
            stopped: false,
        };
        let committer = Self {
            settled_to: AtomicU64::new(books.recents.first()),
            books: Mutex::new(books),
            is_shared: store.is_shared(),
            names: Names::default(),
            store,
            clock,
            metrics,
            room: Semaphore::new(pace.tail_bytes / 2),
            ack_room: Semaphore::new(MAX_WAITING_ACKS),
            pace,
            work: Notify::new(),
            node: start.node,
            barrier: AtomicU64::new(0),
            stopwatch: Stopwatch::new(),
        };
        // Now rather than in the way of the first send; if it fails, that send asks again.
        if let Err(error) = committer.raise_ceiling(committer.clock.now()).await {
            tracing::warn!(%error, "the id ceiling is not raised yet");
        }
        Ok(committer)
    }

    /// Counts the mailbox anew if nothing of it is under way, and says how many envelopes wait.
    /// Counts drift only after failures; each session that signs on sets them right.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store cannot say.
    pub async fn recount(&self, mailbox: MailboxId) -> Result<u64, store::Error> {
        // Before the count: what becomes durable meanwhile may be missing in it.
        let durable = self.books.lock().tail.durable();
        let usage = self.ask(self.store.usage(mailbox)).await?;
        let mut books = self.books.lock();
        let is_idle = books.pending.is_empty();
        let slots = books.tail.slots(mailbox);
        let is_settled = is_idle && slots.is_settled(durable);
        if is_settled || slots.ledger.is_none() {
            slots.ledger = Some(Ledger::from(usage));
            slots.counted_at = Some(Instant::now());
        }
        Ok(slots.ledger.as_ref().map_or(0, Ledger::envelopes))
    }

    /// A device has signed on. What it sends from now on is later than what it was answered elsewhere, and
    /// what it acked elsewhere is not delivered here.
    pub fn signed_on(&self, mailbox: MailboxId, lease: Lease) {
        let mut books = self.books.lock();
        // And in its order: the store has the mail of all relays.
        books.tail.leave_to_store(mailbox);
        if lease.moved || lease.newest > books.minter.last() {
            let between = books.minter.pass(lease.newest);
            if lease.moved {
                self.barrier.fetch_max(between.as_u64(), Ordering::Release);
            }
        }
    }

    /// Whether the store did not answer when it was last asked. Sends are refused meanwhile; the task that
    /// commits asks again.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.books.lock().away
    }

    /// This relay's number in its ids.
    #[must_use]
    pub const fn node(&self) -> u16 {
        self.node
    }

    /// How full the tail is. Cheap; the lock is held for a line.
    #[must_use]
    pub fn workload(&self) -> Workload {
        let tail_bytes = self.books.lock().tail.bytes();
        let most = self.pace.tail_bytes / 2;
        Workload {
            tail_bytes: tail_bytes as u64,
            tail_most: self.pace.tail_bytes as u64,
            uncommitted_bytes: most.saturating_sub(self.room.available_permits()) as u64,
            uncommitted_most: most as u64,
            commits: self.stopwatch.read(),
        }
    }

    /// The highest id minted so far.
    #[must_use]
    pub fn last_id(&self) -> EnvelopeId {
        self.books.lock().minter.last()
    }

    /// Deliveries of a page's envelopes before this one, in the page's order.
    #[must_use]
    pub fn attempts(&self, mailbox: MailboxId, page: &[Arc<Envelope>]) -> Vec<u32> {
        let books = self.books.lock();
        let slots = books.tail.known(mailbox);
        page.iter()
            .map(|envelope| slots.map_or(0, |slots| slots.attempts(envelope.id)))
            .collect()
    }

    /// A session ended while these were delivered and not acked.
    pub fn unacked(&self, mailbox: MailboxId, ids: impl Iterator<Item = EnvelopeId>) {
        self.books.lock().tail.slots(mailbox).unacked(ids);
    }

    /// The mailbox is no more.
    pub fn forget(&self, mailbox: MailboxId) {
        self.books.lock().tail.forget(mailbox);
    }

    /// The store has removed these because their time was over.
    pub fn expired(&self, removed: &[store::ExpiredEnvelope]) {
        let mut books = self.books.lock();
        for envelope in removed {
            let slots = books.tail.slots(envelope.mailbox);
            slots.expired(envelope.id);
            if let Some(ledger) = &mut slots.ledger {
                ledger.remove(envelope.sender, envelope.bytes);
            }
        }
    }

    fn times(&self, now: UnixMs) -> Times {
        let stay = u64::from(self.pace.limits.ephemeral_ttl_ms);
        Times {
            now,
            ephemeral_before: UnixMs(now.0.saturating_sub(stay)),
        }
    }
}

/// Whom to ring for a send, and up to which id.
pub type Rings = SmallVec<[(MailboxId, EnvelopeId); 1]>;

/// What an accepted send wants of who is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Calls {
    /// New mail is on the tail.
    Ring(Rings),
    /// An earlier try is in the store after all: those who have passed it should look again.
    Look(SmallVec<[MailboxId; 1]>),
}

impl Books {
    fn gone_after(&self, mailbox: MailboxId, cursor: EnvelopeId) -> Vec<EnvelopeId> {
        self.tail
            .known(mailbox)
            .map(|slots| slots.gone_after(cursor))
            .unwrap_or_default()
    }
}

/// The code of a store's error, for a sender.
fn code_of(error: &store::Error) -> Code {
    match error {
        store::Error::Full => Code::StorageFull,
        store::Error::Unavailable(_) | store::Error::Poisoned(_) => Code::Unavailable,
        store::Error::Corrupt(_) => Code::Internal,
    }
}

/// How long the store is asked again before those who wait are told that it does not answer. One request
/// that is under way then still takes its time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Acks that may wait for their delete, over all sessions.
const MAX_WAITING_ACKS: usize = 65_536;
