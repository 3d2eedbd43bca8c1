//! A device's mailbox as its session reads it: one path, online or away.
//!
//! Owns the cursor and the window: what was delivered and is not acked. Must not know sockets, frames
//! or the store; the committer answers from the tail or from the store, whichever holds what is next.

use std::collections::BTreeMap;
use std::sync::Arc;

use chatctl_protocol::EnvelopeId;

use crate::committer::{Committer, Receipt, Stretch};
use crate::model::{Envelope, MailboxId};
use crate::store::{self, Room};

/// How much a session may hold unacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Envelopes.
    pub envelopes: usize,
    /// Payload bytes; a single envelope passes whatever its size, and so does an ephemeral one.
    pub bytes: usize,
}

/// An envelope on its way to its device.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What to deliver.
    pub envelope: Arc<Envelope>,
    /// 1 at the first delivery.
    pub attempt: u32,
}

/// One session's view of a mailbox. Dropping it counts what was not acked as an attempt.
#[derive(Debug)]
pub struct Mailbox {
    committer: Arc<Committer>,
    id: MailboxId,
    cursor: EnvelopeId,
    window: Window,
    unacked: BTreeMap<EnvelopeId, Delivered>,
    unacked_bytes: usize,
    /// Size of the envelope that comes next and did not fit; 0 when that is not known.
    next_bytes: usize,
    look: Look,
}

/// Looking into the store for what no cursor brings: mail that another relay has accepted, or a commit that
/// was given up and came through.
#[derive(Debug)]
struct Look {
    is_wanted: bool,
    /// The last barrier behind which was looked.
    barrier: EnvelopeId,
    /// Acked mail that is not deleted yet is in the way.
    is_stuck: bool,
}

/// What one step of reading brought.
enum Step {
    Mail(Vec<Delivery>),
    /// What comes next does not fit.
    NoRoom,
    /// Only what was delivered before.
    Nothing,
    /// There is no more.
    End,
}

/// What is remembered of an envelope until its ack.
#[derive(Debug, Clone, Copy)]
struct Delivered {
    receipt: Receipt,
    /// Ephemeral ones are in nobody's store.
    ephemeral: bool,
}

impl Mailbox {
    /// The mailbox from its oldest envelope on.
    #[must_use]
    pub fn open(committer: Arc<Committer>, id: MailboxId, window: Window) -> Self {
        Self {
            look: Look {
                is_wanted: committer.is_shared(),
                barrier: EnvelopeId::ZERO,
                is_stuck: false,
            },
            committer,
            id,
            cursor: EnvelopeId::ZERO,
            window,
            unacked: BTreeMap::new(),
            unacked_bytes: 0,
            next_bytes: 0,
        }
    }

    /// The next envelopes that fit the window, and moves the cursor over them. Empty when
    /// there are none, or no room: then [`Self::has_room`] says so. Those of one sender come in the order in
    /// which they were accepted, wherever that was. Not cancel safe: what a dropped call had read comes again only on
    /// the next session.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store could not be read; the cursor stays.
    pub async fn next(&mut self) -> Result<Vec<Delivery>, store::Error> {
        self.look.is_stuck = false;
        while self.has_room() {
            // A sender that has come from another relay may have left mail there: first what this relay
            // accepted before it came, then that mail, then what it sends here.
            let barrier = self.committer.barrier();
            let up_to = match self.look.barrier < barrier {
                true => barrier,
                false => EnvelopeId::MAX,
            };
            match self.read_on(up_to).await? {
                Step::Mail(page) => return Ok(page),
                Step::NoRoom => break,
                Step::Nothing => continue,
                Step::End => {}
            }
            if up_to == EnvelopeId::MAX && !self.look.is_wanted {
                break;
            }
            // Only now: a sender that has left this relay sent what is read by now before what is found.
            match self.look_through(up_to).await? {
                Step::Mail(page) => return Ok(page),
                Step::NoRoom => break,
                Step::Nothing => {
                    self.look.is_stuck = true;
                    self.committer.delete_soon();
                    break;
                }
                Step::End if up_to == EnvelopeId::MAX => self.look.is_wanted = false,
                Step::End => self.look.barrier = barrier,
            }
        }
        Ok(Vec::new())
    }

    /// Has the next read look into the store from the beginning, past what was delivered here and what was
    /// acked: mail with an id below the cursor is found too.
    pub const fn look_again(&mut self) {
        self.look.is_wanted = true;
    }

    /// Whether the last read found nothing only since acked mail that is not deleted yet is in the way.
    #[must_use]
    pub const fn is_stuck(&self) -> bool {
        self.look.is_stuck
    }

    /// What comes next by the cursor, up to an id.
    async fn read_on(&mut self, up_to: EnvelopeId) -> Result<Step, store::Error> {
        let room = self.room();
        let stretch = Stretch {
            after: self.cursor,
            up_to,
        };
        let (mut page, cursor) = self.committer.page(self.id, stretch, room).await?;
        self.next_bytes = 0;
        if page.is_empty() {
            return Ok(Step::End);
        }
        // A look may have been quicker.
        page.retain(|envelope| !self.unacked.contains_key(&envelope.id));
        // A page never comes back empty for want of bytes: its first envelope may be larger than the
        // room. An ephemeral one has left the tail by now, and cannot wait.
        if let Some(first) = page.first()
            && first.payload.len() > room.bytes
            && !self.unacked.is_empty()
            && !first.ephemeral
        {
            self.next_bytes = first.payload.len();
            return Ok(Step::NoRoom);
        }
        self.cursor = cursor;
        Ok(match page.is_empty() {
            true => Step::Nothing,
            false => Step::Mail(self.deliver_all(page)),
        })
    }

    /// What the store holds up to an id and no cursor brings.
    ///
    /// Each page is a look from the beginning, never from where the last one ended: mail of a sender may have
    /// been committed meanwhile behind that place, and more of the same sender after it. So what one relay
    /// accepted from one sender is found in its order. What this finds may be older than what another sender's
    /// mail was delivered with; the same sender's cannot be: its next relay mints above what it was answered
    /// before, and holds its readers at the barrier until they have looked.
    async fn look_through(&mut self, up_to: EnvelopeId) -> Result<Step, store::Error> {
        let room = Room {
            envelopes: self.window.envelopes.max(1),
            bytes: self.window.bytes.saturating_mul(2),
        };
        let (mut page, is_all) = self.committer.stored(self.id, up_to, room).await?;
        let cursor = self.cursor;
        page.retain(|envelope| {
            !self.unacked.contains_key(&envelope.id) && !self.committer.comes_by_cursor(envelope.id, cursor)
        });
        self.next_bytes = 0;
        let Some(first) = page.first() else {
            return Ok(match is_all {
                true => Step::End,
                false => Step::Nothing,
            });
        };
        let room = self.room();
        if first.payload.len() > room.bytes && !self.unacked.is_empty() {
            self.next_bytes = first.payload.len();
            return Ok(Step::NoRoom);
        }
        page.truncate(room.envelopes);
        let mut bytes = 0;
        let fits = page.iter().take_while(|envelope| {
            let is_first = bytes == 0;
            bytes += envelope.payload.len();
            is_first || bytes <= room.bytes
        });
        page.truncate(fits.count());
        Ok(Step::Mail(self.deliver_all(page)))
    }

    fn room(&self) -> Room {
        Room {
            envelopes: self.window.envelopes.max(1) - self.unacked.len().min(self.window.envelopes.max(1)),
            bytes: self.window.bytes.saturating_sub(self.unacked_bytes),
        }
    }

    fn deliver_all(&mut self, page: Vec<Arc<Envelope>>) -> Vec<Delivery> {
        let attempts = self.committer.attempts(self.id, &page);
        let page = page.into_iter().zip(attempts);
        page.map(|(envelope, before)| self.deliver(envelope, before))
            .collect()
    }

    fn deliver(&mut self, envelope: Arc<Envelope>, before: u32) -> Delivery {
        let delivered = Delivered {
            receipt: Receipt::from(&*envelope),
            ephemeral: envelope.ephemeral,
        };
        self.unacked_bytes += envelope.payload.len();
        self.unacked.insert(envelope.id, delivered);
        Delivery {
            envelope,
            attempt: before + 1,
        }
    }

    /// Whether the window has room for another envelope.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let next_bytes = self.next_bytes.max(1);
        self.unacked.is_empty()
            || (self.unacked.len() < self.window.envelopes
                && self.unacked_bytes + next_bytes <= self.window.bytes)
    }

    /// Forgets envelopes that this session delivered. Other ids are ignored. Returns how many counted.
    pub async fn ack(&mut self, ids: &[u64]) -> usize {
        let mut receipts = Vec::with_capacity(ids.len());
        let mut counted = 0;
        for id in ids {
            let Some(delivered) = self.unacked.remove(&EnvelopeId::from_u64(*id)) else {
                continue;
            };
            self.unacked_bytes -= usize::try_from(delivered.receipt.bytes).unwrap_or(0);
            counted += 1;
            if !delivered.ephemeral {
                receipts.push(delivered.receipt);
            }
        }
        self.committer.ack(self.id, &receipts).await;
        counted
    }

    /// Whether everything up to `mark` was delivered here and acked. `is_read` says that a read found
    /// nothing more since the mark was set, so that there is nothing below it to wait for.
    #[must_use]
    pub fn is_past(&self, mark: EnvelopeId, is_read: bool) -> bool {
        (is_read || self.cursor >= mark) && self.unacked.keys().next().is_none_or(|id| *id > mark)
    }

    /// Whether something was delivered and is not acked.
    #[must_use]
    pub fn has_unacked(&self) -> bool {
        !self.unacked.is_empty()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        if !self.unacked.is_empty() {
            let stored = self.unacked.iter().filter(|(_, delivered)| !delivered.ephemeral);
            self.committer.unacked(self.id, stored.map(|(id, _)| *id));
        }
    }
}
