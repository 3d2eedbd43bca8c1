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

mod accept;
mod batch;
mod ledger;
mod minter;
mod receipts;
mod recents;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatctl_protocol::{Address, Code, EnvelopeId, Limits};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::committer::ledger::Ledger;
use crate::committer::minter::Minter;
use crate::committer::recents::Recents;
use crate::committer::tail::{Acked, Page, Tail, Times};
use crate::metrics::Metrics;
use crate::model::{Clock, Envelope, MailboxId, UnixMs};
use crate::store::{self, Deletion, Room, SendKey, SendRecord, Span, Store};

pub use crate::committer::receipts::{EnvelopeIds, Outcome, Receipts, Ticket};

/// How the committer paces and bounds itself.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Shortest time from a send to its commit, the same for every one.
    pub interval: Duration,
    /// Bytes of the tail; half of them may be uncommitted.
    pub tail_bytes: usize,
    /// Bounds of mailboxes.
    pub limits: Limits,
}

/// A send that passed every check of policy.
#[derive(Debug)]
pub struct Mail {
    /// Its name.
    pub key: SendKey,
    /// Tells a retry from another message.
    pub digest: [u8; 8],
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
    clock: Clock,
    metrics: Arc<Metrics>,
    pace: Pace,
    /// Bytes that may still become uncommitted.
    room: Semaphore,
    /// Acks that may still wait for their delete.
    ack_room: Semaphore,
    /// There is something to commit.
    work: Notify,
}

/// Everything that is decided under the one lock.
#[derive(Debug)]
struct Books {
    tail: Tail,
    minter: Minter,
    recents: Recents,
    pending: VecDeque<Pending>,
    /// When the last batch was taken.
    committed_at: Instant,
    deletions: Vec<Deletion>,
    deletions_since: Option<Instant>,
    /// Everything up to here is on its way to the disk, or there.
    committing: EnvelopeId,
    /// The store had no room; sends are refused until then.
    full_until: Option<Instant>,
    /// The store has stopped.
    stopped: bool,
}

/// A send that waits for its commit.
#[derive(Debug)]
struct Pending {
    since: Instant,
    record: SendRecord,
    envelopes: SmallVec<[Arc<Envelope>; 1]>,
    charge: u32,
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
        let floor = minter.last();
        let books = Books {
            tail: Tail::new(floor, pace.tail_bytes),
            minter,
            recents: Recents::default(),
            pending: VecDeque::new(),
            committed_at: Instant::now(),
            deletions: Vec::new(),
            deletions_since: None,
            committing: floor,
            full_until: None,
            stopped: false,
        };
        let committer = Self {
            books: Mutex::new(books),
            store,
            clock,
            metrics,
            room: Semaphore::new(pace.tail_bytes / 2),
            ack_room: Semaphore::new(MAX_WAITING_ACKS),
            pace,
            work: Notify::new(),
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
        let usage = self.store.usage(mailbox).await?;
        let mut books = self.books.lock();
        let committing = books.committing;
        let is_idle = books.pending.is_empty();
        let slots = books.tail.slots(mailbox);
        let is_settled = is_idle && slots.is_settled(committing);
        let ledger = slots.ledger.get_or_insert_with(|| Ledger::from(usage.clone()));
        if is_settled {
            *ledger = Ledger::from(usage);
        }
        Ok(ledger.envelopes())
    }

    /// The highest id minted so far.
    #[must_use]
    pub fn last_id(&self) -> EnvelopeId {
        self.books.lock().minter.last()
    }

    /// The mailbox's envelopes after the cursor, oldest first, and the cursor to go on from. From the
    /// tail if it holds what comes next, else from the store; empty when there is no more. Never one
    /// that was acked, nor one whose time is over.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store could not be read.
    pub async fn page(
        &self,
        mailbox: MailboxId,
        after: EnvelopeId,
        room: Room,
    ) -> Result<(Vec<Arc<Envelope>>, EnvelopeId), store::Error> {
        self.read(mailbox, after, room, |now| self.times(now)).await
    }

    /// As [`Self::page`], for a reader who takes nothing: ephemeral envelopes are left to the session
    /// that they wait for.
    ///
    /// # Errors
    ///
    /// As [`Self::page`].
    pub async fn look(
        &self,
        mailbox: MailboxId,
        after: EnvelopeId,
        room: Room,
    ) -> Result<Vec<Arc<Envelope>>, store::Error> {
        let all_over = |now| Times {
            now,
            ephemeral_before: UnixMs(u64::MAX),
        };
        Ok(self.read(mailbox, after, room, all_over).await?.0)
    }

    async fn read(
        &self,
        mailbox: MailboxId,
        mut after: EnvelopeId,
        room: Room,
        times: impl Fn(UnixMs) -> Times,
    ) -> Result<(Vec<Arc<Envelope>>, EnvelopeId), store::Error> {
        loop {
            let now = self.clock.now();
            let (floor, gone) = {
                let mut books = self.books.lock();
                match books.tail.page(mailbox, after, room, times(now)) {
                    Page::Here(page) => {
                        let cursor = page.last().map_or(after, |envelope| envelope.id);
                        return Ok((page, cursor));
                    }
                    Page::Below(floor) => (floor, books.gone_after(mailbox, after)),
                }
            };
            let span = Span {
                after,
                up_to: floor,
                now,
            };
            let mut page = self.store.read(mailbox, span, room).await?;
            // Both: an ack may have come since, and a delete may have been committed since.
            let later = self.books.lock().gone_after(mailbox, after);
            after = page.last().map_or(floor, |envelope| envelope.id);
            let is_gone = |id: &EnvelopeId| gone.binary_search(id).is_ok() || later.binary_search(id).is_ok();
            page.retain(|envelope| !is_gone(&envelope.id));
            if !page.is_empty() {
                return Ok((page, after));
            }
        }
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

    /// Forgets acked envelopes: before their commit for good, else with one of the next commits.
    /// Waits while too many acks wait for theirs.
    pub async fn ack(&self, mailbox: MailboxId, acks: &[Receipt]) {
        for acks in acks.chunks(ACKS_AT_ONCE as usize) {
            let Ok(mut permit) = self.ack_room.acquire_many(acks.len() as u32).await else {
                return;
            };
            let stored = self.forget_acked(mailbox, acks);
            // Each delete holds its place until a commit has taken it.
            if let Some(held) = permit.split(stored) {
                held.forget();
            }
            self.metrics.envelopes_acked.inc_by(acks.len() as u64);
        }
    }

    /// Returns how many of them the store has to delete.
    fn forget_acked(&self, mailbox: MailboxId, acks: &[Receipt]) -> usize {
        let now = self.clock.now();
        let mut stored = 0;
        let mut books = self.books.lock();
        let committing = books.committing;
        for ack in acks {
            match books.tail.ack(mailbox, ack.id, committing) {
                Acked::Elided => {
                    self.metrics.envelopes_elided.inc();
                }
                Acked::Before => continue,
                Acked::Stored => {
                    books.deletions.push(Deletion { mailbox, id: ack.id });
                    stored += 1;
                }
            }
            if ack.expires_at > now
                && let Some(ledger) = &mut books.tail.slots(mailbox).ledger
            {
                ledger.remove(ack.sender, ack.bytes);
            }
        }
        if stored > 0 && books.deletions_since.is_none() {
            books.deletions_since = Some(Instant::now());
            self.work.notify_one();
        }
        stored
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

/// What an ack needs to know about an envelope that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Which.
    pub id: EnvelopeId,
    /// Who sent it.
    pub sender: MailboxId,
    /// Its payload's size.
    pub bytes: u64,
    /// When its time is over; from then on the expiry counts it out.
    pub expires_at: UnixMs,
}

impl From<&Envelope> for Receipt {
    fn from(envelope: &Envelope) -> Self {
        Self {
            id: envelope.id,
            sender: envelope.sender,
            bytes: envelope.payload.len() as u64,
            expires_at: envelope.expires_at,
        }
    }
}

/// Whom to ring for a send, and up to which id.
pub type Rings = SmallVec<[(MailboxId, EnvelopeId); 1]>;

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

/// Acks that may wait for their delete, over all sessions.
const MAX_WAITING_ACKS: usize = 65_536;

/// Acks that are taken in one go.
const ACKS_AT_ONCE: u32 = 256;
