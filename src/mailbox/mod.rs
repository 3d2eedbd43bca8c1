//! A device's mailbox as its session reads it: one path, online or away.
//!
//! Owns the cursor and the window: what was delivered and is not acked. Must not know sockets, frames
//! or the store; the committer answers from the tail or from the store, whichever holds what is next.

mod unacked;

use std::sync::Arc;

use chatctl_protocol::EnvelopeId;
use smallvec::SmallVec;

use crate::committer::{Committer, Receipt, Stretch};
use crate::mailbox::unacked::{Delivered, Unacked};
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
    unacked: Unacked,
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
            unacked: Unacked::default(),
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
        if let Some(page) = self.try_next() {
            return Ok(page);
        }
        while self.has_room() {
            let (end, barrier) = self.committer.horizon();
            let is_held = self.look.barrier < barrier;
            // A sender that has come from another relay may have left mail there, which is to come before what
            // it sends here: behind the barrier both are read together.
            let free = match is_held {
                true => end.min(self.committer.settled()),
                false => end,
            };
            match self.read_on(free).await? {
                Step::Mail(page) => return Ok(page),
                Step::NoRoom => break,
                Step::Nothing => continue,
                Step::End if !is_held && !self.look.is_wanted => break,
                Step::End => {}
            }
            // Only now: a sender that has left this relay sent what is read by now before what is found.
            match self.look_through(end).await? {
                Step::Mail(page) if page.is_empty() => {}
                Step::Mail(page) => return Ok(page),
                Step::NoRoom => break,
                Step::Nothing => {
                    self.look.is_stuck = true;
                    self.committer.delete_soon();
                    break;
                }
                Step::End => {
                    self.look.is_wanted = false;
                    self.look.barrier = self.look.barrier.max(barrier);
                }
            }
        }
        Ok(Vec::new())
    }

    /// As [`Self::next`], if the tail has it: `None` when the store has to be asked.
    pub fn try_next(&mut self) -> Option<Vec<Delivery>> {
        self.look.is_stuck = false;
        if !self.has_room() {
            return Some(Vec::new());
        }
        let room = self.room();
        let mut page = self
            .committer
            .try_page(self.id, self.cursor, room, self.look.barrier)?;
        self.next_bytes = 0;
        let Some((last, _)) = page.last() else {
            if self.look.is_wanted {
                return None;
            }
            self.unacked.rest();
            return Some(Vec::new());
        };
        let cursor = last.id;
        // A look may have been quicker.
        page.retain(|(envelope, _)| !self.unacked.contains(envelope.id));
        if let Some((first, _)) = page.first()
            && self.has_to_wait(first, room)
        {
            return Some(Vec::new());
        }
        self.cursor = cursor;
        // Behind what was delivered before there may be more.
        if page.is_empty() {
            return None;
        }
        let page = page.into_iter();
        Some(
            page.map(|(envelope, before)| self.deliver(envelope, before))
                .collect(),
        )
    }

    /// As [`Self::ack`], if that needs no waiting: `None` when too many acks wait for their delete.
    pub fn try_ack(&mut self, ids: &[u64]) -> Option<usize> {
        // No more than that can count.
        let room = self.committer.ack_room(ids.len().min(self.unacked.len()))?;
        let mut receipts: SmallVec<[Receipt; 32]> = SmallVec::new();
        let counted = self.unacked.take(ids, |receipt| receipts.push(receipt));
        if !receipts.is_empty() {
            self.committer.ack_into(room, self.id, &receipts);
        }
        Some(counted)
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
        page.retain(|envelope| !self.unacked.contains(envelope.id));
        if let Some(first) = page.first()
            && self.has_to_wait(first, room)
        {
            return Ok(Step::NoRoom);
        }
        self.cursor = cursor;
        Ok(match page.is_empty() {
            true => Step::Nothing,
            false => Step::Mail(self.deliver_all(page)),
        })
    }

    /// Whether the first envelope of a page has to wait for acks: a page never comes back empty for want of bytes,
    /// its first envelope may be larger than the room. An ephemeral one has left the tail by now, and cannot wait.
    fn has_to_wait(&mut self, first: &Envelope, room: Room) -> bool {
        let has_to = first.payload.len() > room.bytes && !self.unacked.is_empty() && !first.ephemeral;
        if has_to {
            self.next_bytes = first.payload.len();
        }
        has_to
    }

    /// What the store holds and no cursor brings, with what the cursor brings before it, in the order of the ids.
    ///
    /// Each page is a look from the beginning, never from where the last one ended: mail of a sender may have
    /// been committed meanwhile behind that place, and more of the same sender after it. So what one relay
    /// accepted from one sender is found in its order. What this finds may be older than what another sender's
    /// mail was delivered with; the same sender's cannot be: its next relay mints above what it was answered
    /// before, and holds its readers at the barrier until they have looked.
    async fn look_through(&mut self, end: EnvelopeId) -> Result<Step, store::Error> {
        let room = Room {
            envelopes: self.window.envelopes.max(1),
            bytes: self.window.bytes.saturating_mul(2),
        };
        let (mut page, last) = self.committer.stored(self.id, EnvelopeId::MAX, room).await?;
        page.retain(|envelope| !self.unacked.contains(envelope.id));
        let by_cursor = |mailbox: &Self, id| mailbox.committer.comes_by_cursor(id, mailbox.cursor);
        let found = page.iter().position(|envelope| !by_cursor(self, envelope.id));
        let Some(last) = last else {
            return Ok(Step::End);
        };
        // Mail of this relay that is older comes first; without any found, as far as the page tells.
        let before = found
            .and_then(|at| page.get(at))
            .map_or(last, |envelope| envelope.id);
        if page
            .iter()
            .any(|envelope| envelope.id <= before && by_cursor(self, envelope.id))
        {
            match self.read_on(end.min(before)).await? {
                Step::End => {}
                step @ (Step::Mail(_) | Step::NoRoom) => return Ok(step),
                // The cursor has moved: what is found now may be another page.
                Step::Nothing => return Ok(Step::Mail(Vec::new())),
            }
        }
        let Some(at) = found else {
            // Behind what was skipped there may be more: a page does not say whether it was cut short.
            let rest = Stretch {
                after: last,
                up_to: EnvelopeId::MAX,
            };
            return Ok(match self.committer.holds_any(self.id, rest).await? {
                true => Step::Nothing,
                false => Step::End,
            });
        };
        page.drain(..at);
        let end = page.iter().position(|envelope| by_cursor(self, envelope.id));
        page.truncate(end.unwrap_or(page.len()));
        Ok(self.deliver_found(page))
    }

    /// Delivers what fits of what a look has found.
    fn deliver_found(&mut self, mut page: Vec<Arc<Envelope>>) -> Step {
        let room = self.room();
        let first_bytes = page.first().map_or(0, |first| first.payload.len());
        self.next_bytes = 0;
        if first_bytes > room.bytes && !self.unacked.is_empty() {
            self.next_bytes = first_bytes;
            return Step::NoRoom;
        }
        page.truncate(room.envelopes);
        let mut bytes = 0;
        let fits = page.iter().enumerate().take_while(|(turn, envelope)| {
            bytes += envelope.payload.len();
            *turn == 0 || bytes <= room.bytes
        });
        page.truncate(fits.count());
        Step::Mail(self.deliver_all(page))
    }

    fn room(&self) -> Room {
        Room {
            envelopes: self.window.envelopes.max(1) - self.unacked.len().min(self.window.envelopes.max(1)),
            bytes: self.window.bytes.saturating_sub(self.unacked.bytes()),
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
        self.unacked.insert(delivered);
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
                && self.unacked.bytes() + next_bytes <= self.window.bytes)
    }

    /// Forgets envelopes that this session delivered. Other ids are ignored. Returns how many counted.
    pub async fn ack(&mut self, ids: &[u64]) -> usize {
        if let Some(counted) = self.try_ack(ids) {
            return counted;
        }
        let mut receipts = Vec::with_capacity(ids.len().min(self.unacked.len()));
        let counted = self.unacked.take(ids, |receipt| receipts.push(receipt));
        self.committer.ack(self.id, &receipts).await;
        counted
    }

    /// Whether everything up to `mark` was delivered here and acked. `is_read` says that a read found
    /// nothing more since the mark was set, so that there is nothing below it to wait for.
    #[must_use]
    pub fn is_past(&self, mark: EnvelopeId, is_read: bool) -> bool {
        (is_read || self.cursor >= mark) && self.unacked.first().is_none_or(|id| id > mark)
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
            self.committer.unacked(self.id, self.unacked.stored());
        }
    }
}
