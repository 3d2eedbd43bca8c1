//! The thread that copies the write-ahead log into the database while the writer goes on writing.
//!
//! Owns a connection that does nothing else. Must not know when the log is long enough.
//!
//! # Why
//!
//! The longer the log, the less is written twice: mail that was acked before the log is copied never reaches the
//! database. But to copy a long log takes a good part of a second, and nobody's commit should wait for that. This
//! thread alone could never finish, since the log grows meanwhile and begins anew only when all of it is copied: so the
//! writer copies the short rest itself.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::store::Error;

/// How far the thread is.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// Nothing to do.
    Idle,
    /// It copies what was in the log when it was asked.
    Copying,
    /// It has, or could not.
    Done(Result<(), Error>),
}

#[derive(Debug)]
struct Desk {
    stage: Mutex<Stage>,
    changed: Condvar,
}

/// The way to the thread. Dropping it waits for the copy that is made.
#[derive(Debug)]
pub(super) struct Copier {
    desk: Arc<Desk>,
    orders: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Copier {
    /// Starts the thread, which owns the connection.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start(conn: Connection) -> std::io::Result<Self> {
        let (orders, queue) = sync_channel(1);
        let desk = Arc::new(Desk {
            stage: Mutex::new(Stage::Idle),
            changed: Condvar::new(),
        });
        let its = Arc::clone(&desk);
        let thread = thread::Builder::new()
            .name("store-copier".into())
            .spawn(move || its.serve(&conn, &queue))?;
        Ok(Self {
            desk,
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Asks for a copy of what is in the log now. Nothing, while one is made.
    pub(super) fn begin(&self) {
        let mut stage = self.desk.stage.lock();
        if !matches!(*stage, Stage::Copying)
            && let Some(orders) = &self.orders
            && orders.try_send(()).is_ok()
        {
            *stage = Stage::Copying;
        }
    }

    /// How far it is; what is done is told once.
    pub(super) fn stage(&self) -> Stage {
        let mut stage = self.desk.stage.lock();
        match &*stage {
            Stage::Done(_) => std::mem::replace(&mut *stage, Stage::Idle),
            Stage::Idle | Stage::Copying => stage.clone(),
        }
    }

    /// Waits until no copy is made.
    pub(super) fn wait(&self) {
        let mut stage = self.desk.stage.lock();
        let is_copying = |stage: &mut Stage| matches!(stage, Stage::Copying);
        self.desk.changed.wait_while(&mut stage, is_copying);
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn serve(&self, conn: &Connection, orders: &Receiver<()>) {
        // A panic in here must not leave somebody waiting for ever.
        let mut done = Finish {
            desk: self,
            result: Ok(()),
        };
        while orders.recv().is_ok() {
            done.result = Err(Error::Poisoned("the copier's thread panicked".into()));
            done.result = copy(conn, "PASSIVE");
            done.tell();
        }
    }
}

struct Finish<'a> {
    desk: &'a Desk,
    result: Result<(), Error>,
}

impl Finish<'_> {
    fn tell(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        *self.desk.stage.lock() = Stage::Done(result);
        self.desk.changed.notify_all();
    }
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Copies the log into the database, as SQLite's mode of this name does.
pub(super) fn copy(conn: &Connection, mode: &str) -> Result<(), Error> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let busy: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
    tracing::trace!(busy, mode, "checkpoint");
    Ok(())
}
