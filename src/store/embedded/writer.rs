//! The one thread that writes: it gathers what waits, writes it as one transaction, answers together.
//!
//! Owns transactions and the decision to stop for good. Must not know what is written.
//!
//! # Why
//!
//! One fsync is dearer than a thousand rows, so everything that waits shares it. Each piece of work has
//! a savepoint of its own: one that is refused or fails does not undo its neighbours. What readers see
//! in memory changes after the commit and before the answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::store::Error;
use crate::store::embedded::acked;
use crate::store::embedded::checkpoint::Log;
use crate::store::embedded::clock::{Clock, Woken};
use crate::store::embedded::copier::Copier;
use crate::store::embedded::fault::Undo;
use crate::store::embedded::regions::{Regions, Zeal};
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
    /// It is time, whatever the clock says.
    #[cfg(test)]
    Tick,
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

impl Writer {
    /// Starts the thread, which owns the connection.
    pub(super) fn start(
        mut conn: Connection,
        copier: Copier,
        shared: Arc<Shared>,
        regions: Regions,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let log = Log::watch(&mut conn, copier).map_err(std::io::Error::other)?;
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                Desk {
                    log,
                    conn,
                    shared,
                    regions,
                    clock: Clock::of_this_thread(),
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

    /// Has the clock tick now.
    #[cfg(test)]
    pub(super) async fn tick(&self) -> Result<(), Error> {
        self.send(Message::Tick).await
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
    log: Log,
    conn: Connection,
    shared: Arc<Shared>,
    /// Acked mail whose rows are there.
    regions: Regions,
    clock: Clock,
    /// Clearing away has failed: it waits for the next work that succeeds, or for the next tick.
    is_tired: bool,
    /// The last checkpoint failed, and the log says so.
    is_stuck: bool,
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
                    #[cfg(test)]
                    Message::Tick => self.tick(),
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
        loop {
            if self.clock.ticks(self.regions.is_waiting(), Instant::now()) {
                self.tick();
            }
            if self.is_tired || !self.regions.is_urgent() {
                match self.clock.sleep(queue) {
                    Woken::By(message) => return Some(message),
                    Woken::ByEnd => return None,
                    Woken::ByTime => continue,
                }
            }
            match queue.try_recv() {
                Ok(message) => return Some(message),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            // Why not is told by the work that comes.
            let _ = self.clear(Zeal::Even);
            self.checkpoint();
        }
    }

    fn tick(&mut self) {
        self.regions.tick();
        self.is_tired = false;
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
        match self.log.copy_what_is_due(&self.conn, &self.shared) {
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

    fn cut(&self) -> Result<(), Error> {
        self.shared.healthy()?;
        let cut = self.log.cut(&self.conn, &self.shared);
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
        let Self {
            log, conn, shared, ..
        } = self;
        log.finish(&conn)?;
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
