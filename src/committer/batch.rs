//! The group commit: what waits becomes one durable write, and then all of its senders hear of it.
//!
//! Must not decide what is accepted; it only takes what the books hold, in the order of the ids.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chatctl_protocol::{Code, EnvelopeId};
use parking_lot::MutexGuard;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, warn};

use crate::committer::receipts::settle_all;
use crate::committer::tail::Fate;
use crate::committer::{Books, Committer, PATIENCE, Pending, code_of};
use crate::metrics::Count as _;
use crate::store::{self, Batch, Committed, Posting};
use crate::trace;

/// One batch and what hangs on it.
#[derive(Debug, Default)]
struct Load {
    batch: Batch,
    sends: Vec<(Pending, Way)>,
    /// Payload bytes to be stored.
    bytes: usize,
    up_to: EnvelopeId,
}

/// What a batch does for a send.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Nothing: all of it was acked.
    Elided,
    /// It is the posting of this index.
    Stored(usize),
    /// Nothing: a mailbox of it was removed.
    Refused,
}

impl Committer {
    /// Commits what is accepted, until `stop` and nothing is left. Runs once, in a task of its own.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store has stopped: every waiting sender has been told, and only a
    /// restart helps.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), store::Error> {
        loop {
            let (due, is_away) = {
                let mut books = self.books.lock();
                if let Some(error) = books.over.take() {
                    drop(books);
                    return Err(self.stop(error));
                }
                (books.due(), books.away)
            };
            if is_away && !stop.is_cancelled() {
                self.find_again(&stop).await?;
                continue;
            }
            match due {
                None if stop.is_cancelled() => return Ok(()),
                None => tokio::select! {
                    () = self.work.notified() => {}
                    () = stop.cancelled() => {}
                },
                Some(due) if due > Instant::now() && !stop.is_cancelled() => tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.work.notified() => {}
                    () = stop.cancelled() => {}
                },
                Some(_) => {
                    let now = Instant::now();
                    let until = match stop.is_cancelled() {
                        true => now,
                        false => now.checked_sub(self.books.lock().leeway.wait()).unwrap_or(now),
                    };
                    let is_written = self.commit_once(until).await?;
                    if !is_written && stop.is_cancelled() {
                        // Acks that find no room on the way out: their mail comes again, and that is all.
                        let mut books = self.books.lock();
                        books.deletions.clear();
                        books.deletions_since = None;
                    }
                }
            }
        }
    }

    /// Waits until the store answers again, or `stop`.
    async fn find_again(&self, stop: &CancellationToken) -> Result<(), store::Error> {
        loop {
            match self.store.ping().await {
                Ok(()) => {
                    self.books.lock().away = false;
                    info!("the store answers again");
                    return Ok(());
                }
                Err(error @ (store::Error::Poisoned(_) | store::Error::Corrupt(_))) => {
                    return Err(self.stop(error));
                }
                Err(store::Error::Unavailable(_) | store::Error::Full) => {}
            }
            // Nobody waits for what could not be written: it was answered when the store was lost.
            self.refuse_pending();
            tokio::select! {
                () = tokio::time::sleep(PROBE_PAUSE) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Commits the sends that came up to `until`. Returns whether the acks of the batch were written.
    async fn commit_once(&self, until: Instant) -> Result<bool, store::Error> {
        let Load {
            batch, sends, up_to, ..
        } = self.load_batch(until);
        if batch.postings.is_empty() && batch.deletions.is_empty() && batch.id_ceiling.is_none() {
            self.settle(sends, up_to, &Ok(Committed::default()));
            return Ok(true);
        }
        let stored: usize = batch.postings.iter().map(|posting| posting.envelopes.len()).sum();
        let batch = Arc::new(batch);
        let result = self.write(&batch).await;
        let deleted = match &result {
            Ok(_) => {
                self.metrics.envelopes_stored.inc_by(stored as u64);
                true
            }
            // Acks make room: they are written even when there is none for mail.
            Err(store::Error::Full) => {
                let batch = Batch {
                    deletions: batch.deletions.clone(),
                    id_ceiling: batch.id_ceiling,
                    ..Batch::default()
                };
                self.write(&Arc::new(batch)).await.is_ok()
            }
            Err(_) => false,
        };
        self.settle(sends, up_to, &result);
        self.settle_acks(&batch, deleted);
        match result {
            Err(error @ (store::Error::Poisoned(_) | store::Error::Corrupt(_))) => Err(self.stop(error)),
            Err(store::Error::Unavailable(_)) => {
                self.refuse_pending();
                Ok(false)
            }
            Ok(_) | Err(store::Error::Full) => Ok(deleted),
        }
    }

    /// Takes a batch: a bounded number of sends at a time, so that nobody waits long for the books.
    fn load_batch(&self, until: Instant) -> Load {
        let mut load = Load::default();
        let mut books = self.books.lock();
        load.batch.id_ceiling = books.minter.wanted_ceiling(self.clock.now());
        load.up_to = books.committing;
        load.sends.reserve(books.pending.len().min(MAX_SENDS));
        while books.load(&mut load, until) {
            MutexGuard::bump(&mut books);
        }
        books.committed_at = Instant::now();
        let now = books.committed_at;
        books.leeway.turn(now);
        load.batch.deletions = std::mem::take(&mut books.deletions);
        books.deletions_since = None;
        let accepted = std::mem::take(&mut books.accepted);
        drop(books);
        self.metrics.envelopes_accepted.inc_by(accepted);
        load
    }

    /// Deletes what was acked and waits for a commit to ride on, ahead of it. For an expiry, which would
    /// take it for lost. Deleting twice is deleting once, so the wait goes on as it was.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store could not be written.
    pub async fn delete_acked(&self) -> Result<(), store::Error> {
        let deletions = self.books.lock().deletions.clone();
        if deletions.is_empty() {
            return Ok(());
        }
        let batch = Batch {
            deletions,
            ..Batch::default()
        };
        self.store.commit(batch).await?;
        Ok(())
    }

    /// Writes a batch; an unknown outcome is asked for again, for a bounded time. While it is, no new sends
    /// come in: those who wait here wait for this one batch, and are all told when it is given up.
    ///
    /// What was given up may be in the store all the same, or get there late. Its senders were told that the
    /// relay cannot tell; a retry is answered from the record then, and the recipients are asked to look.
    async fn write(&self, batch: &Arc<Batch>) -> Result<Committed, store::Error> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let started = Instant::now();
            let span = trace::commit(|| size(batch));
            let result = self.store.commit_kept(batch).instrument(span.clone()).await;
            let took = started.elapsed();
            if result.is_err() {
                trace::failed(&span);
            }
            self.metrics.commit_duration.observe(took);
            self.stopwatch.note(took);
            match result {
                Ok(committed) => {
                    self.metrics.commits.inc();
                    self.books.lock().away = false;
                    return Ok(committed);
                }
                Err(error @ store::Error::Unavailable(_)) => {
                    self.metrics.commits_failed.inc();
                    self.lost(&error);
                    if began.elapsed() + pause > PATIENCE {
                        warn!(%error, "a commit is given up");
                        return Err(error);
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                Err(error) => {
                    self.metrics.commits_failed.inc();
                    return Err(error);
                }
            }
        }
    }

    /// Releases a whole batch: answers, room, watermarks. A bounded number of sends at a time.
    fn settle(
        &self,
        sends: Vec<(Pending, Way)>,
        up_to: EnvelopeId,
        result: &Result<Committed, store::Error>,
    ) {
        let mut books = self.books.lock();
        if matches!(result, Err(store::Error::Full)) && books.full_until.is_none() {
            warn!("the store has no room, sends are refused");
        }
        books.full_until = match result {
            Err(store::Error::Full) => Some(Instant::now() + FULL_PAUSE),
            Ok(_) => None,
            Err(_) => books.full_until,
        };
        let mut told = Vec::with_capacity(sends.len().min(AT_ONCE));
        let mut sends = sends.into_iter().peekable();
        while sends.peek().is_some() {
            let mut room = 0;
            let mut settled_to = None;
            for (send, way) in sends.by_ref().take(AT_ONCE) {
                let refused = way.refusal(result);
                if let Some(code) = refused {
                    self.metrics.sends_refused.count(code.as_str());
                    books.take_back(&send);
                }
                room += send.charge as usize;
                settled_to = Some(send.position + 1);
                books
                    .recents
                    .settle(send.position, send.ticket, refused, &mut told);
            }
            self.note_settled(settled_to);
            MutexGuard::unlocked(&mut books, || {
                self.room.add_permits(room);
                settle_all(told.drain(..));
            });
        }
        books.tail.settle(up_to);
    }

    /// Sends before this position are settled: what of them is in the store can be found there. Under the lock.
    fn note_settled(&self, to: Option<u64>) {
        if let Some(to) = to {
            self.settled_to.fetch_max(to, Ordering::Release);
        }
    }

    /// The deletes of a batch are done, or wait for the next one.
    fn settle_acks(&self, batch: &Batch, deleted: bool) {
        let mut books = self.books.lock();
        if !deleted {
            books.deletions.extend(&batch.deletions);
            books.deletions_since = Some(Instant::now());
            return;
        }
        if let Some(ceiling) = batch.id_ceiling {
            books.minter.raise(ceiling);
        }
        for deletions in batch.deletions.chunks(AT_ONCE) {
            for deletion in deletions {
                books.tail.deleted(deletion.mailbox, deletion.id);
            }
            MutexGuard::bump(&mut books);
        }
        self.ack_room.add_permits(batch.deletions.len());
    }

    fn stop(&self, error: store::Error) -> store::Error {
        error!(%error, "the store has stopped");
        self.books.lock().stopped = true;
        self.refuse_pending();
        self.room.close();
        self.ack_room.close();
        error
    }

    /// Tells everybody who waits for a commit that there will be none. Nothing of theirs was written.
    fn refuse_pending(&self) {
        let mut told = Vec::new();
        let mut books = self.books.lock();
        while let Some(send) = books.pending.pop_front() {
            self.metrics.sends_refused.count(Code::Unavailable.as_str());
            books.take_back(&send);
            books.committing = books.committing.max(send.last);
            books.tail.settle(send.last);
            self.note_settled(Some(send.position + 1));
            self.room.add_permits(send.charge as usize);
            let refused = Some(Code::Unavailable);
            books
                .recents
                .settle(send.position, send.ticket, refused, &mut told);
        }
        drop(books);
        settle_all(told);
    }
}

impl Way {
    /// Why the send failed, if it did.
    fn refusal(self, result: &Result<Committed, store::Error>) -> Option<Code> {
        match (self, result) {
            (Self::Elided, _) => None,
            (Self::Refused, _) => Some(Code::DeviceMismatch),
            (Self::Stored(_), Err(error)) => Some(code_of(error)),
            (Self::Stored(index), Ok(committed)) => {
                let is_refused = committed.refused.binary_search(&index).is_ok();
                is_refused.then_some(Code::DeviceMismatch)
            }
        }
    }
}

fn size(batch: &Batch) -> trace::Size {
    let envelopes = batch.postings.iter().flat_map(|posting| &posting.envelopes);
    trace::Size {
        sends: batch.postings.len(),
        envelopes: envelopes.clone().count(),
        bytes: envelopes.map(|envelope| envelope.payload.len()).sum(),
        deletions: batch.deletions.len(),
    }
}

impl Books {
    /// When the next commit is due; `None` while there is nothing to commit.
    fn due(&self) -> Option<Instant> {
        let wait = self.leeway.wait();
        // Every send waits as long, so that every recipient has the same time to ack; and commits
        // keep half of it between them, so that senders who come one by one still share them.
        let spaced = self.committed_at + wait / 2;
        let sends = self.pending.front().map(|send| (send.since + wait).max(spaced));
        let acks = self.deletions_since.map(|since| since + ACK_DELAY);
        sends.into_iter().chain(acks).min()
    }

    /// Takes some of the sends that came up to `until`, oldest first. Envelopes that were acked
    /// meanwhile are left out. Returns whether there may be more.
    fn load(&mut self, load: &mut Load, until: Instant) -> bool {
        for _ in 0..AT_ONCE {
            if load.sends.len() >= MAX_SENDS || load.bytes >= MAX_BYTES {
                return false;
            }
            let Some(send) = self.pending.pop_front_if(|send| send.since <= until) else {
                return false;
            };
            // From here on an ack of it has to be written.
            self.committing = self.committing.max(send.last);
            load.up_to = self.committing;
            let way = self.way(&send, load);
            load.sends.push((send, way));
        }
        true
    }

    /// What becomes of a send in this batch.
    fn way(&self, send: &Pending, load: &mut Load) -> Way {
        let mut envelopes = Vec::new();
        for place in send.places.clone() {
            match self.tail.fate(place) {
                Fate::Done => {}
                Fate::Waits(envelope) => envelopes.push(Arc::clone(envelope)),
                Fate::Removed => return Way::Refused,
            }
        }
        let Some(first) = envelopes.first() else {
            return Way::Elided;
        };
        let Some(record) = self.recents.record(send.position, first.accepted_at) else {
            return Way::Refused;
        };
        load.bytes += envelopes
            .iter()
            .map(|envelope| envelope.payload.len())
            .sum::<usize>();
        load.batch.postings.push(Posting { record, envelopes });
        Way::Stored(load.batch.postings.len() - 1)
    }

    /// A send failed: its envelopes leave the tail and the ledgers.
    fn take_back(&mut self, send: &Pending) {
        for place in send.places.clone() {
            if let Some(envelope) = self.tail.take_back(place)
                && !envelope.ephemeral
                && let Some(ledger) = &mut self.tail.slots(envelope.mailbox).ledger
            {
                ledger.remove(envelope.sender, envelope.payload.len() as u64);
            }
        }
    }
}

/// Sends that are looked at before others have a turn at the books.
const AT_ONCE: usize = 128;

/// Most sends in one batch.
const MAX_SENDS: usize = 2048;

/// Most payload bytes in one batch, about.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Longest time that an ack waits for a commit to ride on.
pub(super) const ACK_DELAY: Duration = Duration::from_secs(1);

/// Time without sends after the store had no room.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// Time between two questions whether the store is back.
const PROBE_PAUSE: Duration = Duration::from_millis(500);
