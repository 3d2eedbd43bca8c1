//! What a store promises about mail and its idempotency records.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::{ClientMsgId, EnvelopeId};

use crate::metrics::Metrics;
use crate::model::{Envelope, MailboxId, UnixMs};
use crate::store::Error;

/// Names a send for ever: who sent, and what the sender called it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SendKey {
    /// The sender's mailbox, so that a new installation has names of its own.
    pub sender: MailboxId,
    /// The sender's name for the message.
    pub client_msg_id: ClientMsgId,
}

/// What is remembered of a send, so that a retry adds nothing. Kept for the idempotency window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendRecord {
    /// Its name.
    pub key: SendKey,
    /// Tells a retry from another message under the same name.
    pub digest: [u8; 8],
    /// What the send was answered, in the order of its devices. At least one; ascending.
    pub envelope_ids: Vec<EnvelopeId>,
    /// When it was accepted.
    pub accepted_at: UnixMs,
}

/// One send on its way to the disk: its record, and those of its envelopes that still need a place.
#[derive(Debug, Clone)]
pub struct Posting {
    /// What is remembered.
    pub record: SendRecord,
    /// Envelopes to store: no ephemeral ones, none that was acked already. May be empty.
    pub envelopes: Vec<Arc<Envelope>>,
}

/// An envelope to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Deletion {
    /// Whose.
    pub mailbox: MailboxId,
    /// Which.
    pub id: EnvelopeId,
}

/// One durable write of mail.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Sends, in the order of their ids.
    pub postings: Vec<Posting>,
    /// Acked envelopes. An id of another mailbox, or one that is not there, is no error.
    pub deletions: Vec<Deletion>,
    /// No id of this node at or above this one is minted before a later batch raises it. `None` leaves it
    /// as it is.
    pub id_ceiling: Option<EnvelopeId>,
}

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Indices of postings that were refused whole, because a mailbox of theirs is gone. Ascending.
    pub refused: Vec<usize>,
}

/// Which of a mailbox's envelopes are meant: `after < id <= up_to`, and `expires_at > now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The last id that is not meant.
    pub after: EnvelopeId,
    /// The last id that is.
    pub up_to: EnvelopeId,
    /// What is over by now is not meant.
    pub now: UnixMs,
}

/// How much of a mailbox a read may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// At most so many envelopes.
    pub envelopes: usize,
    /// At most so many payload bytes; the first envelope comes whatever its size.
    pub bytes: usize,
}

/// What a mailbox holds, as committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Envelopes.
    pub envelopes: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Envelopes and payload bytes by sender, in the order of the senders.
    pub senders: Vec<(MailboxId, u64, u64)>,
}

/// Why mail is gone before it was acked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GapReason {
    /// It waited longer than it was allowed to.
    Ttl,
    /// The mailbox was cut to its quota.
    Quota,
    /// The store was restored from an older copy.
    Restore,
}

impl GapReason {
    /// Its number, as stores write it down.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Ttl => 1,
            Self::Quota => 2,
            Self::Restore => 3,
        }
    }

    /// The reason of a number.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when there is none.
    pub fn of_code(code: i64) -> Result<Self, Error> {
        match code {
            1 => Ok(Self::Ttl),
            2 => Ok(Self::Quota),
            3 => Ok(Self::Restore),
            other => Err(Error::Corrupt(format!("gap reason {other}").into())),
        }
    }
}

/// Loss that the recipient has not been told of yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// Envelopes lost.
    pub dropped: u64,
}

/// What one step of expiry did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// Envelopes that were removed, with their payload sizes and senders, for the ledgers above.
    pub removed: Vec<ExpiredEnvelope>,
    /// Whether the whole store has been looked at since the last step that said so.
    pub done: bool,
}

/// One envelope that was removed because its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpiredEnvelope {
    /// Whose.
    pub mailbox: MailboxId,
    /// Which.
    pub id: EnvelopeId,
    /// Who sent it.
    pub sender: MailboxId,
    /// Its payload's size.
    pub bytes: u64,
}

/// What the relay needs to know before it mints an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Every id of this node at or below may have been used, and every stored id is at or below: the
    /// node's ceiling, and the highest id stored. May have another node's bits.
    pub id_floor: EnvelopeId,
    /// This process' number in its ids, below 1024. Nobody else mints ids with it while this process does.
    pub node: u16,
    /// The mailbox epoch of the whole store; changes at a restore.
    pub epoch: u64,
}

/// How much there is of all mail, and of the store as a whole; what is not known is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Envelopes that wait, over all mailboxes.
    pub envelopes: Option<u64>,
    /// Bytes that the store takes, indexes and logs included.
    pub bytes: Option<u64>,
    /// Bytes of the log of writes among them.
    pub log_bytes: Option<u64>,
    /// Bytes that are free where it is kept.
    pub free_bytes: Option<u64>,
    /// Free bytes below which it takes no new mail.
    pub reserve_bytes: Option<u64>,
}

/// Mail and its idempotency records.
#[async_trait]
pub trait MailStore: Send + Sync + fmt::Debug {
    /// Where ids begin. On a store that relays share, the first call takes a number for this process.
    async fn start(&self) -> Result<Start, Error>;

    /// Writes a batch: all of it, durable on return, except refused postings.
    ///
    /// A ceiling is refused with [`Error::Poisoned`], and the batch with it, once another process has taken
    /// this one's number: it must mint no more.
    ///
    /// Committing a posting again (after [`Error::Unavailable`]) changes nothing. An envelope stored
    /// and deleted in one batch is gone.
    async fn commit(&self, batch: Batch) -> Result<Committed, Error>;

    /// As [`Self::commit`], of a batch that the caller keeps, to write it again if need be.
    async fn commit_kept(&self, batch: &Arc<Batch>) -> Result<Committed, Error> {
        self.commit(Batch::clone(batch)).await
    }

    /// The mailbox's envelopes of the span in ascending order, as many as there is room for. Empty for
    /// a mailbox that is gone.
    async fn read(&self, mailbox: MailboxId, span: Span, room: Room) -> Result<Vec<Arc<Envelope>>, Error>;

    /// What the mailbox holds, expired envelopes that were not removed yet included.
    async fn usage(&self, mailbox: MailboxId) -> Result<Usage, Error>;

    /// The record of a send that was committed inside the idempotency window, if there was one.
    async fn sent(&self, key: &SendKey) -> Result<Option<SendRecord>, Error>;

    /// False only if there surely is no record of this send: none was committed before the call. Quick, and asks nobody:
    /// whoever would have to ask says that there may be one.
    fn may_know(&self, _key: &SendKey) -> bool {
        true
    }

    /// Removes envelopes with `expires_at <= now`, at most `budget` of them, and records each as a
    /// [`Gap`] of its mailbox. Resumes where the last step stopped; a step is short.
    async fn expire(&self, now: UnixMs, budget: usize) -> Result<Expired, Error>;

    /// Losses that the mailbox's owner has not been told of.
    async fn gaps(&self, mailbox: MailboxId) -> Result<Vec<Gap>, Error>;

    /// The owner has been told of these: takes `dropped` off each reason's count.
    async fn gaps_told(&self, mailbox: MailboxId, told: &[Gap]) -> Result<(), Error>;

    /// Counts its requests here from now on, if it makes any over a network. The first call is the one that counts.
    fn counted_by(&self, _metrics: &Arc<Metrics>) {}

    /// Whether the store could be read and written now. Cheap, and changes nothing.
    async fn ping(&self) -> Result<(), Error>;

    /// How much there is. Cheap whatever the store holds: about as much as it says of itself, and no mail is read.
    async fn extent(&self) -> Result<Extent, Error> {
        Ok(Extent::default())
    }

    /// Writes everything down and lets go of the files. Later verbs answer [`Error::Unavailable`].
    async fn close(&self) -> Result<(), Error>;
}
