//! The group commit: what waits becomes one durable write, and then all of its senders hear of it.
//!
//! Must not decide what is accepted; it only takes what the books hold, in the order of the ids.

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::{Code, EnvelopeId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, warn};

use crate::committer::{Books, Committer, PATIENCE, Pending, code_of};
use crate::metrics::Count as _;
use crate::model::UnixMs;
use crate::store::{self, Batch, Committed, Posting};
use crate::trace;

/// One batch and what hangs on it.
#[derive(Debug)]
struct Load {
    batch: Batch,
    pending: Vec<Pending>,
    /// Where in `pending` each posting of the batch came from.
    origins: Vec<usize>,
    up_to: EnvelopeId,
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
                (books.due(self.pace.interval), books.away)
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
                        false => now.checked_sub(self.pace.interval).unwrap_or(now),
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
            batch,
            pending,
            origins,
            up_to,
        } = self.books.lock().load(self.clock.now(), until);
        let deletions = batch.deletions.clone();
        let ceiling = batch.id_ceiling;
        let stored: usize = batch.postings.iter().map(|posting| posting.envelopes.len()).sum();
        if batch.postings.is_empty() && deletions.is_empty() && ceiling.is_none() {
            self.settle(&pending, &origins, up_to, &Ok(Committed::default()));
            return Ok(true);
        }
        let result = self.write(batch).await;
        let deleted = match &result {
            Ok(_) => {
                self.metrics.envelopes_stored.inc_by(stored as u64);
                true
            }
            // Acks make room: they are written even when there is none for mail.
            Err(store::Error::Full) => {
                let batch = Batch {
                    deletions: deletions.clone(),
                    id_ceiling: ceiling,
                    ..Batch::default()
                };
                self.write(batch).await.is_ok()
            }
            Err(_) => false,
        };
        self.settle(&pending, &origins, up_to, &result);
        {
            let mut books = self.books.lock();
            if deleted {
                for deletion in &deletions {
                    books.tail.deleted(deletion.mailbox, deletion.id);
                }
                if let Some(ceiling) = ceiling {
                    books.minter.raise(ceiling);
                }
                self.ack_room.add_permits(deletions.len());
            } else {
                books.deletions.extend(deletions);
                books.deletions_since = Some(Instant::now());
            }
        }
        match result {
            Err(error @ (store::Error::Poisoned(_) | store::Error::Corrupt(_))) => Err(self.stop(error)),
            Err(store::Error::Unavailable(_)) => {
                self.refuse_pending();
                Ok(false)
            }
            Ok(_) | Err(store::Error::Full) => Ok(deleted),
        }
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
    async fn write(&self, batch: Batch) -> Result<Committed, store::Error> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let started = Instant::now();
            let span = trace::commit(|| size(&batch));
            let result = self.store.commit(batch.clone()).instrument(span.clone()).await;
            if result.is_err() {
                trace::failed(&span);
            }
            self.metrics.commit_duration.observe(started.elapsed());
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

    /// Releases a whole batch: answers, room, watermarks.
    fn settle(
        &self,
        pending: &[Pending],
        origins: &[usize],
        up_to: EnvelopeId,
        result: &Result<Committed, store::Error>,
    ) {
        let mut failed = vec![None; pending.len()];
        match result {
            Ok(committed) => {
                for &index in &committed.refused {
                    if let Some(slot) = origins.get(index).and_then(|&origin| failed.get_mut(origin)) {
                        *slot = Some(Code::DeviceMismatch);
                    }
                }
            }
            Err(error) => {
                for &origin in origins {
                    if let Some(slot) = failed.get_mut(origin) {
                        *slot = Some(code_of(error));
                    }
                }
            }
        }
        let mut books = self.books.lock();
        if matches!(result, Err(store::Error::Full)) && books.full_until.is_none() {
            warn!("the store has no room, sends are refused");
        }
        books.full_until = match result {
            Err(store::Error::Full) => Some(Instant::now() + FULL_PAUSE),
            Ok(_) => None,
            Err(_) => books.full_until,
        };
        for (send, failure) in pending.iter().zip(failed) {
            match failure {
                None => books.recents.safe(&send.record.key),
                Some(code) => {
                    self.metrics.sends_refused.count(code.as_str());
                    books.take_back(send);
                    books.recents.refused(&send.record.key, code);
                }
            }
            self.room.add_permits(send.charge as usize);
        }
        books.tail.settle(up_to);
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
        let mut books = self.books.lock();
        while let Some(send) = books.pending.pop_front() {
            self.metrics.sends_refused.count(Code::Unavailable.as_str());
            books.take_back(&send);
            books.recents.refused(&send.record.key, Code::Unavailable);
            self.room.add_permits(send.charge as usize);
            if let Some(last) = send.envelopes.last() {
                books.committing = books.committing.max(last.id);
                books.tail.settle(last.id);
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
    fn due(&self, interval: Duration) -> Option<Instant> {
        // Every send waits its interval, so that every recipient has the same time to ack; and commits
        // keep half of it between them, so that senders who come one by one still share them.
        let spaced = self.committed_at + interval / 2;
        let sends = self
            .pending
            .front()
            .map(|send| (send.since + interval).max(spaced));
        let acks = self.deletions_since.map(|since| since + ACK_DELAY);
        sends.into_iter().chain(acks).min()
    }

    /// Takes the sends that came up to `until`, oldest first, and all acks. Envelopes that were acked
    /// meanwhile are left out.
    fn load(&mut self, now: UnixMs, until: Instant) -> Load {
        let mut load = Load {
            batch: Batch {
                id_ceiling: self.minter.wanted_ceiling(now),
                ..Batch::default()
            },
            pending: Vec::new(),
            origins: Vec::new(),
            up_to: self.committing,
        };
        let mut bytes = 0;
        while load.pending.len() < MAX_SENDS && bytes < MAX_BYTES {
            let Some(send) = self.pending.pop_front_if(|send| send.since <= until) else {
                break;
            };
            let envelopes: Vec<_> = send
                .envelopes
                .iter()
                .filter(|envelope| !envelope.ephemeral)
                // A mailbox that is not known was removed: the store will refuse.
                .filter(|envelope| self.tail.holds(envelope.mailbox, envelope.id) != Some(false))
                .map(Arc::clone)
                .collect();
            bytes += envelopes
                .iter()
                .map(|envelope| envelope.payload.len())
                .sum::<usize>();
            load.up_to = send.envelopes.last().map_or(load.up_to, |envelope| envelope.id);
            if !envelopes.is_empty() {
                load.origins.push(load.pending.len());
                load.batch.postings.push(Posting {
                    record: send.record.clone(),
                    envelopes,
                });
            }
            load.pending.push(send);
        }
        self.committing = load.up_to;
        self.committed_at = Instant::now();
        load.batch.deletions = std::mem::take(&mut self.deletions);
        self.deletions_since = None;
        load
    }

    /// A send failed: its envelopes leave the tail and the ledgers.
    fn take_back(&mut self, send: &Pending) {
        for envelope in &send.envelopes {
            if self.tail.take_back(envelope.mailbox, envelope.id).is_some()
                && !envelope.ephemeral
                && let Some(ledger) = &mut self.tail.slots(envelope.mailbox).ledger
            {
                ledger.remove(envelope.sender, envelope.payload.len() as u64);
            }
        }
    }
}

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
