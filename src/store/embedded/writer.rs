//! The one thread that writes: it gathers what waits, writes it as one transaction, answers together.
//!
//! Owns transactions, checkpoints and the decision to stop for good. Must not know what is written.
//!
//! # Why
//!
//! One fsync is dearer than a thousand rows, so everything that waits shares it. Each piece of work has
//! a savepoint of its own: one that is refused or fails does not undo its neighbours. What readers see
//! in memory changes after the commit and before the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::store::Error;
use crate::store::embedded::acked;
use crate::store::embedded::copier::{self, Copier, Stage};
use crate::store::embedded::fault::Undo;
use crate::store::embedded::regions::{Regions, Zeal};
use crate::store::embedded::room::Room;
use crate::store::embedded::shared::{Group, Shared};

/// What a piece of work works with.
pub(super) struct Tx<'a> {
    /// Inside the transaction, and inside the work's savepoint.
    pub(super) conn: &'a Connection,
    /// What is committed.
    pub(super) shared: &'a Shared,
    /// What the transaction has changed so far.
    pub(super) group: &'a mut Group,
}

/// What came of a piece of work.
enum Ran {
    Kept,
    Refused,
    Failed(Error),
}

/// A piece of work with somebody who waits for it.
trait Job: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> Ran;
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

struct Task<T, F> {
    work: Option<F>,
    outcome: Result<Option<T>, Error>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&mut Tx<'_>) -> Result<T, Undo<T>> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Ran {
        let Some(work) = self.work.take() else {
            return Ran::Refused;
        };
        match work(tx) {
            Ok(value) => {
                self.outcome = Ok(Some(value));
                Ran::Kept
            }
            Err(Undo::Refused(value)) => {
                self.outcome = Ok(Some(value));
                Ran::Refused
            }
            Err(Undo::Failed(error)) => {
                self.outcome = Err(error.clone());
                Ran::Failed(error)
            }
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let answer = match (self.outcome, committed) {
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(Some(value)), Ok(())) => Ok(value),
            (Ok(None), Ok(())) => Err(stopped()),
        };
        // Who no longer waits does not need to know.
        let _ = self.reply.send(answer);
    }
}

enum Message {
    Job(Box<dyn Job>),
    Cut(oneshot::Sender<Result<(), Error>>),
    Clear(oneshot::Sender<Result<usize, Error>>),
    Close(oneshot::Sender<Result<(), Error>>),
}

/// The way to the writer. Dropping it waits for the thread to finish what it has.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

/// Pieces of work that may wait; more wait in their callers.
const QUEUE: usize = 1024;
/// Pieces of work that share a transaction at most.
const GROUP: usize = 256;
/// WAL pages after which it is copied into the database, as far as readers allow: 128 MiB, of which much is acked by
/// then and never copied. To read so much again after a crash takes some tenths of a second.
const CHECKPOINT_PAGES: usize = if cfg!(test) { 1000 } else { 32 * 1024 };
/// WAL pages that the writer copies itself, so that the WAL can begin anew: some 20 milliseconds.
const REST_PAGES: usize = 2000;
/// WAL pages after which the writer waits for readers, so that the WAL starts over.
const RESTART_PAGES: usize = 64 * 1024;

impl Writer {
    /// Starts the thread, which owns the connection.
    pub(super) fn start(
        mut conn: Connection,
        copier: Copier,
        shared: Arc<Shared>,
        regions: Regions,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let wal_pages = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&wal_pages);
        conn.wal_hook(Some(move |_: &mut _, pages| {
            seen.store(usize::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(std::io::Error::other)?;
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                Desk {
                    conn,
                    copier,
                    shared,
                    regions,
                    wal_pages,
                    copied: Copied::default(),
                    is_stuck: false,
                    is_tired: false,
                }
                .run(jobs);
            })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Runs a piece of work in a transaction and waits until it is durable. The work runs even when
    /// the caller stops waiting.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Undo<T>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Task {
            work: Some(work),
            outcome: Ok(None),
            reply,
        };
        self.send(Message::Job(Box::new(task))).await?;
        answer.await.map_err(|_| stopped())?
    }

    /// Clears some of the rows away that were acked; how many are left.
    pub(super) async fn clear(&self) -> Result<usize, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Clear(reply)).await?;
        answer.await.map_err(|_| stopped())?
    }

    /// Copies the WAL into the database and cuts both files, if that is worth it and the disk has room.
    pub(super) async fn cut(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Cut(reply)).await?;
        answer.await.map_err(|_| stopped())?
    }

    /// Finishes what waits, copies the WAL into the database and closes the connection.
    pub(super) async fn close(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Close(reply)).await?;
        answer.await.map_err(|_| stopped())?
    }

    async fn send(&self, message: Message) -> Result<(), Error> {
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(message).await.map_err(|_| stopped())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // Milliseconds: at most one group. Whoever opens the directory next must find it free.
            let _ = thread.join();
        }
    }
}

/// The answer of a store that was closed.
pub(super) fn stopped() -> Error {
    Error::Unavailable("the store is closed".into())
}

/// What the thread has on its desk.
struct Desk {
    // The last connection to close is the one that writes.
    copier: Copier,
    conn: Connection,
    shared: Arc<Shared>,
    /// Acked mail whose rows are there.
    regions: Regions,
    wal_pages: Arc<AtomicUsize>,
    copied: Copied,
    /// Clearing away has failed: it waits for the next work that succeeds.
    is_tired: bool,
    /// The last checkpoint failed, and the log says so.
    is_stuck: bool,
}

/// How much of the log is in the database.
#[derive(Debug, Default)]
struct Copied {
    /// Pages of the log when the copier was asked last.
    asked: usize,
    /// Pages of the log when it was copied to its end, while readers kept it from beginning anew.
    pages: usize,
}

impl Desk {
    fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        // A panic in here would otherwise leave a store that looks well and answers nothing.
        let _alarm = Alarm(Arc::clone(&self.shared));
        while let Some(first) = self.next(&mut queue) {
            let mut jobs = Vec::new();
            let mut cutting = None;
            let mut clearing = None;
            let mut closing = None;
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Job(job) => jobs.push(job),
                    Message::Cut(reply) => cutting = Some(reply),
                    Message::Clear(reply) => clearing = Some(reply),
                    Message::Close(reply) => closing = Some(reply),
                }
                let is_told = closing.is_some() || cutting.is_some() || clearing.is_some();
                let enough = is_told || jobs.len() >= GROUP;
                next = if enough { None } else { queue.try_recv().ok() };
            }
            self.commit(jobs);
            if let Some(reply) = clearing {
                let cleared = self.clear(Zeal::Everything);
                let _ = reply.send(cleared.map(|()| self.regions.waiting()));
            }
            if let Some(reply) = closing {
                queue.close();
                let _ = reply.send(self.close());
                break;
            }
            match cutting {
                Some(reply) => drop(reply.send(self.cut())),
                None => self.checkpoint(),
            }
        }
    }

    /// What comes next. While nothing does, what was acked is cleared away.
    fn next(&mut self, queue: &mut mpsc::Receiver<Message>) -> Option<Message> {
        while !self.is_tired && self.regions.is_pressed() {
            if let Ok(message) = queue.try_recv() {
                return Some(message);
            }
            // Why not is told by the work that comes.
            let _ = self.clear(Zeal::Even);
            self.checkpoint();
        }
        queue.blocking_recv()
    }

    /// Clears some rows away, in a transaction of its own.
    fn clear(&mut self, zeal: Zeal) -> Result<(), Error> {
        let cleared = self.transact(&mut [], zeal);
        self.is_tired = cleared.is_err();
        if let Err(error @ Error::Poisoned(_)) = &cleared {
            self.stop(error);
        }
        cleared
    }

    fn commit(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        if jobs.is_empty() {
            return;
        }
        let zeal = match self.shared.is_short.load(Ordering::Relaxed) {
            true => Zeal::Everything,
            false => Zeal::Even,
        };
        let committed = self.transact(&mut jobs, zeal);
        if let Err(error @ Error::Poisoned(_)) = &committed {
            self.stop(error);
        }
        self.is_tired &= committed.is_err();
        for job in jobs {
            job.answer(committed.clone());
        }
    }

    /// One transaction for all jobs, and for what is cleared away beside. On an error nothing of it stays.
    fn transact(&mut self, jobs: &mut [Box<dyn Job>], zeal: Zeal) -> Result<(), Error> {
        self.shared.healthy()?;
        let burial = self.regions.choose(zeal);
        if jobs.is_empty() && burial.is_empty() {
            return Ok(());
        }
        let list = self.regions.next_list();
        self.step("BEGIN IMMEDIATE")?;
        // First, so that what comes takes the pages of what goes, which are written once then.
        let buried = acked::bury(&self.conn, &burial);
        let result = buried.and_then(|()| self.run_jobs(jobs)).and_then(|group| {
            let acked = group.acked();
            if !acked.is_empty() {
                acked::write(&self.conn, list, &acked)?;
            }
            #[cfg(test)]
            if let Some(error) = self.shared.sabotage.lock().take() {
                return Err(error);
            }
            self.step("COMMIT")?;
            Ok(group.into_changes())
        });
        if result.is_err() && !self.conn.is_autocommit() {
            self.step("ROLLBACK")?;
        }
        let changes = result?;
        self.regions.apply(&changes, list);
        self.regions.buried(&burial);
        self.shared.apply(changes);
        let mail = self.shared.mail.read();
        self.regions.living(mail.envelopes(), mail.bytes());
        Ok(())
    }

    fn run_jobs(&self, jobs: &mut [Box<dyn Job>]) -> Result<Group, Error> {
        let mut group = Group::default();
        for job in jobs {
            self.step("SAVEPOINT job")?;
            let mark = group.mark();
            let ran = job.run(&mut Tx {
                conn: &self.conn,
                shared: &self.shared,
                group: &mut group,
            });
            match ran {
                Ran::Kept => {}
                Ran::Failed(error @ Error::Poisoned(_)) => return Err(error),
                // A full disk or memory made SQLite give up the whole transaction, neighbours included.
                Ran::Failed(error) if self.conn.is_autocommit() => return Err(error),
                Ran::Failed(_) | Ran::Refused => {
                    self.step("ROLLBACK TO job")?;
                    group.undo_to(mark);
                }
            }
            self.step("RELEASE job")?;
        }
        Ok(group)
    }

    fn step(&self, sql: &str) -> Result<(), Error> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Has the WAL copied into the database when it is long or the disk is short. After the answers, so that
    /// nobody waits.
    fn checkpoint(&mut self) {
        if self.shared.healthy().is_err() {
            return;
        }
        match self.copy_what_is_due() {
            Ok(true) => self.is_stuck = false,
            Ok(false) => {}
            Err(error @ Error::Poisoned(_)) => self.stop(&error),
            // The WAL keeps everything, and the next commits try again.
            Err(error @ (Error::Full | Error::Unavailable(_) | Error::Corrupt(_))) => {
                if !std::mem::replace(&mut self.is_stuck, true) {
                    tracing::warn!(%error, "the write-ahead log cannot be copied into the database");
                }
            }
        }
    }

    /// Whether the log was copied to its end.
    fn copy_what_is_due(&mut self) -> Result<bool, Error> {
        let pages = self.wal_pages.load(Ordering::Relaxed);
        if pages < self.copied.pages {
            // The log has begun anew.
            self.copied = Copied::default();
        }
        let stage = self.copier.stage();
        let room = Room::look(&self.conn, &self.shared.directory)?;
        // A log that a backup reads cannot begin anew, and to wait for it would hold up everybody.
        let is_read = self.shared.reading_past.load(Ordering::Relaxed);
        if room.is_tight(self.shared.reserve()) {
            if !room.can_copy() {
                return Err(Error::Full);
            }
            self.copier.wait();
            self.wal_checkpoint(if is_read { "PASSIVE" } else { "TRUNCATE" })?;
            return Ok(true);
        }
        match stage {
            Stage::Copying => return Ok(false),
            Stage::Idle if pages < self.copied.pages + CHECKPOINT_PAGES => return Ok(false),
            Stage::Idle => {}
            Stage::Done(copied) => {
                copied?;
                if pages.saturating_sub(self.copied.asked) <= REST_PAGES {
                    let is_long = pages >= RESTART_PAGES && !is_read;
                    self.wal_checkpoint(if is_long { "RESTART" } else { "PASSIVE" })?;
                    self.copied.pages = pages;
                    return Ok(true);
                }
            }
        }
        if !room.can_copy() {
            return Err(Error::Full);
        }
        self.copied.asked = pages;
        self.copier.begin();
        Ok(false)
    }

    fn wal_checkpoint(&self, mode: &str) -> Result<(), Error> {
        copier::copy(&self.conn, mode)?;
        if mode == "TRUNCATE" {
            // In the other modes the next commit begins the log anew, and says so.
            self.wal_pages.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn cut(&self) -> Result<(), Error> {
        self.shared.healthy()?;
        let room = Room::look(&self.conn, &self.shared.directory)?;
        let is_read = self.shared.reading_past.load(Ordering::Relaxed);
        if is_read || !room.is_worth_cutting() || !room.can_copy() {
            return Ok(());
        }
        self.copier.wait();
        let cut = self.wal_checkpoint("TRUNCATE");
        if let Err(error @ Error::Poisoned(_)) = &cut {
            self.stop(error);
        }
        cut
    }

    fn stop(&self, error: &Error) {
        tracing::error!(%error, "only a restart helps");
        self.shared.stop(error);
    }

    fn close(self) -> Result<(), Error> {
        self.shared.healthy()?;
        self.shared.stop(&stopped());
        self.copier.wait();
        self.wal_checkpoint("TRUNCATE")?;
        let Self {
            conn, shared, copier, ..
        } = self;
        drop(copier);
        let closed = conn.close().map_err(|(_, error)| error.into());
        shared.directory.release();
        closed
    }
}

/// Poisons the store when its thread ends in a panic.
struct Alarm(Arc<Shared>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0
                .stop(&Error::Poisoned("the writer's thread panicked".into()));
        }
    }
}
