//! Reading a mailbox: from the tail if it holds what comes next, else from the store.
//!
//! Must not change what is accepted; it only leaves out what was acked here and is not deleted yet.
//!
//! # Why
//!
//! Where relays share the store, the tail knows nothing of what the others accept, and their mail may become
//! visible out of the order of its ids. The mail of this relay is read by a cursor; that of the others by
//! looking from the beginning ([`Committer::stored`]), one page as one look: whatever a sender sent before
//! what the page holds is on it too.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chatctl_protocol::EnvelopeId;
use tokio::time::Instant;

use crate::committer::batch::ACK_DELAY;
use crate::committer::tail::{Page, Stretch, Times};
use crate::committer::{Committer, code_of};
use crate::model::{Envelope, MailboxId, UnixMs};
use crate::store::{self, Room, Span};

impl Committer {
    /// The mailbox's envelopes of the stretch, oldest first, and the cursor to go on from. From the
    /// tail if it holds what comes next, else from the store; empty when there is no more. Never one
    /// that was acked, nor one whose time is over, nor one that another relay may have accepted just now.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store could not be read.
    pub async fn page(
        &self,
        mailbox: MailboxId,
        stretch: Stretch,
        room: Room,
    ) -> Result<(Vec<Arc<Envelope>>, EnvelopeId), store::Error> {
        self.read(mailbox, stretch, room, |now| self.times(now)).await
    }

    /// As [`Self::page`], from the tail alone and as far as may be read now, each envelope with its deliveries
    /// before this one. `None` when the store has to be asked, or `looked` is not behind the last barrier.
    #[must_use]
    pub fn try_page(
        &self,
        mailbox: MailboxId,
        after: EnvelopeId,
        room: Room,
        looked: EnvelopeId,
    ) -> Option<Vec<(Arc<Envelope>, u32)>> {
        let times = self.times(self.clock.now());
        let mut books = self.books.lock();
        let up_to = match self.is_shared {
            // A barrier is raised under this lock.
            true if self.barrier.load(Ordering::Acquire) > looked.as_u64() => return None,
            true => books.minter.last(),
            false => EnvelopeId::MAX,
        };
        match books.tail.page(mailbox, Stretch { after, up_to }, room, times) {
            Page::Here(page) => Some(page),
            Page::Below(_) => None,
        }
    }

    /// What waits after `after`, for a reader who takes nothing: ephemeral envelopes are left to the session
    /// that they wait for, and where relays share the store only what is committed counts.
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
        let mut stretch = Stretch {
            after,
            up_to: EnvelopeId::MAX,
        };
        if !self.is_shared {
            let all_over = |now| Times {
                now,
                ephemeral_before: UnixMs(u64::MAX),
            };
            return Ok(self.read(mailbox, stretch, room, all_over).await?.0);
        }
        loop {
            let (page, last) = self.waiting(mailbox, stretch, room).await?;
            match last {
                Some(last) if page.is_empty() => stretch.after = last,
                Some(_) | None => return Ok(page),
            }
        }
    }

    /// What the store holds of the mailbox up to an id, from the beginning, whoever accepted it; and the last
    /// id that was looked at, if there was any.
    ///
    /// # Errors
    ///
    /// As [`Self::page`].
    pub async fn stored(
        &self,
        mailbox: MailboxId,
        up_to: EnvelopeId,
        room: Room,
    ) -> Result<(Vec<Arc<Envelope>>, Option<EnvelopeId>), store::Error> {
        let gone = self.books.lock().gone_after(mailbox, EnvelopeId::ZERO).len();
        let room = Room {
            envelopes: room.envelopes + gone.min(GONE_AT_ONCE),
            ..room
        };
        let stretch = Stretch {
            after: EnvelopeId::ZERO,
            up_to,
        };
        self.waiting(mailbox, stretch, room).await
    }

    /// Whether the store holds anything of the stretch, acked or not.
    ///
    /// # Errors
    ///
    /// As [`Self::page`].
    pub async fn holds_any(&self, mailbox: MailboxId, stretch: Stretch) -> Result<bool, store::Error> {
        let one = Room {
            envelopes: 1,
            bytes: 0,
        };
        Ok(self.waiting(mailbox, stretch, one).await?.1.is_some())
    }

    /// One page of the store without what was acked here, and the last id that was looked at.
    async fn waiting(
        &self,
        mailbox: MailboxId,
        stretch: Stretch,
        room: Room,
    ) -> Result<(Vec<Arc<Envelope>>, Option<EnvelopeId>), store::Error> {
        let Stretch { after, up_to } = stretch;
        let gone = self.books.lock().gone_after(mailbox, after);
        let span = Span {
            after,
            up_to,
            now: self.clock.now(),
        };
        let mut page = self.ask(self.store.read(mailbox, span, room)).await?;
        let last = page.last().map(|envelope| envelope.id);
        // Both: an ack may have come since, and a delete may have been committed since.
        let later = self.books.lock().gone_after(mailbox, after);
        let is_gone = |id: &EnvelopeId| gone.binary_search(id).is_ok() || later.binary_search(id).is_ok();
        page.retain(|envelope| !is_gone(&envelope.id));
        Ok((page, last))
    }

    async fn read(
        &self,
        mailbox: MailboxId,
        stretch: Stretch,
        room: Room,
        times: impl Fn(UnixMs) -> Times,
    ) -> Result<(Vec<Arc<Envelope>>, EnvelopeId), store::Error> {
        let Stretch { mut after, up_to } = stretch;
        while after < up_to {
            let now = self.clock.now();
            let page = {
                let stretch = Stretch { after, up_to };
                self.books.lock().tail.page(mailbox, stretch, room, times(now))
            };
            let floor = match page {
                Page::Here(page) => {
                    let page: Vec<_> = page.into_iter().map(|(envelope, _)| envelope).collect();
                    let cursor = page.last().map_or(after, |envelope| envelope.id);
                    return Ok((page, cursor));
                }
                Page::Below(floor) => floor.min(up_to),
            };
            let stretch = Stretch { after, up_to: floor };
            let (mut page, last) = self.waiting(mailbox, stretch, room).await?;
            after = last.unwrap_or(floor);
            page.retain(|envelope| !self.may_be_passed(envelope.id, now));
            if !page.is_empty() {
                return Ok((page, after));
            }
        }
        Ok((Vec::new(), after))
    }

    /// Whether another relay may still commit mail with a lower id: a cursor would pass that.
    fn may_be_passed(&self, id: EnvelopeId, now: UnixMs) -> bool {
        self.is_shared && id.node() != self.node && id.unix_ms() + UNSETTLED_MS > now.0
    }

    /// Whether mail of this id comes by the cursor, which has not reached it.
    #[must_use]
    pub fn comes_by_cursor(&self, id: EnvelopeId, cursor: EnvelopeId) -> bool {
        id.node() == self.node && id > cursor
    }

    /// Whether mail may come from other relays.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Up to where a reader may read now, and the id that it may not pass before it has looked.
    #[must_use]
    pub fn horizon(&self) -> (EnvelopeId, EnvelopeId) {
        if !self.is_shared {
            return (EnvelopeId::MAX, EnvelopeId::ZERO);
        }
        // In this order: what is minted behind a later barrier is above the first.
        let up_to = self.last_id();
        (up_to, EnvelopeId::from_u64(self.barrier.load(Ordering::Acquire)))
    }

    /// Mail up to here is in the store, whichever relay has accepted it.
    #[must_use]
    pub fn settled(&self) -> EnvelopeId {
        EnvelopeId::at(self.clock.now().0.saturating_sub(UNSETTLED_MS), 0)
    }

    /// What was acked stands in a reader's way: it is deleted with the next commit, which is now.
    pub fn delete_soon(&self) {
        let mut books = self.books.lock();
        if books.deletions_since.is_some() {
            books.deletions_since = Instant::now().checked_sub(ACK_DELAY);
            self.work.notify_one();
        }
    }

    /// Asks the store. When it does not answer, nobody else waits for it until it does.
    pub(super) async fn ask<T>(
        &self,
        asked: impl Future<Output = Result<T, store::Error>>,
    ) -> Result<T, store::Error> {
        asked.await.inspect_err(|error| self.lost(error))
    }

    /// Takes note of a store that does not answer, if that is what the error says: sends are refused from now
    /// on, and the task that commits asks when it is back. For whoever finds that out.
    pub fn lost(&self, error: &store::Error) {
        let mut books = self.books.lock();
        if matches!(error, store::Error::Unavailable(_)) && !books.away {
            tracing::warn!(%error, "the store does not answer: sends are {} until it does", code_of(error).as_str());
            books.away = true;
            self.work.notify_one();
        }
    }
}

/// Age from which on nobody commits mail of a lower id: well above the time that a commit may take, and
/// what clocks differ by. Where it does not hold, a look still finds the mail.
const UNSETTLED_MS: u64 = 60_000;

/// Acked envelopes that a look passes over in one page.
const GONE_AT_ONCE: usize = 1024;
