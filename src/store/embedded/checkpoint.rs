//! When the write-ahead log is copied into the database, and by whom.
//!
//! Owns the copier and what is known of the log's length. Must not know transactions, nor what is written.
//!
//! # Why
//!
//! A long log is copied by the copier's thread, and nobody waits; the writer copies only the rest that came meanwhile,
//! or all of it when the disk is short.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;

use crate::store::Error;
use crate::store::embedded::copier::{self, Copier, Stage};
use crate::store::embedded::room::Room;
use crate::store::embedded::shared::Shared;

/// WAL pages after which it is copied into the database, as far as readers allow: 128 MiB, of which much is acked by
/// then and never copied. To read so much again after a crash takes some tenths of a second.
const CHECKPOINT_PAGES: usize = if cfg!(test) { 1000 } else { 32 * 1024 };
/// WAL pages that the writer copies itself, so that the WAL can begin anew: some 20 milliseconds.
const REST_PAGES: usize = 2000;
/// WAL pages after which the writer waits for readers, so that the WAL starts over.
const RESTART_PAGES: usize = 64 * 1024;

/// The write-ahead log as the writer sees it.
pub(super) struct Log {
    copier: Copier,
    /// How long it is, as the last commit said.
    pages: Arc<AtomicUsize>,
    copied: Copied,
}

/// How much of the log is in the database.
#[derive(Debug, Default)]
struct Copied {
    /// Pages of the log when the copier was asked last.
    asked: usize,
    /// Pages of the log when it was copied to its end, while readers kept it from beginning anew.
    pages: usize,
}

impl Log {
    /// Watches the log that a connection writes.
    ///
    /// # Errors
    ///
    /// When the connection tells nothing.
    pub(super) fn watch(conn: &mut Connection, copier: Copier) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&pages);
        conn.wal_hook(Some(move |_: &mut _, pages| {
            seen.store(usize::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            copier,
            pages,
            copied: Copied::default(),
        })
    }

    /// Has the log copied when it is long or the disk is short; whether it was copied to its end.
    pub(super) fn copy_what_is_due(&mut self, conn: &Connection, shared: &Shared) -> Result<bool, Error> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.copied.pages {
            // The log has begun anew.
            self.copied = Copied::default();
        }
        let stage = self.copier.stage();
        let room = Room::look(conn, &shared.directory)?;
        // A log that a backup reads cannot begin anew, and to wait for it would hold up everybody.
        let is_read = shared.reading_past.load(Ordering::Relaxed);
        if room.is_tight(shared.reserve()) {
            if !room.can_copy() {
                return Err(Error::Full);
            }
            self.copier.wait();
            self.copy(conn, if is_read { "PASSIVE" } else { "TRUNCATE" })?;
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
                    self.copy(conn, if is_long { "RESTART" } else { "PASSIVE" })?;
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

    /// Copies the log and cuts both files, if that is worth it and the disk has room.
    pub(super) fn cut(&self, conn: &Connection, shared: &Shared) -> Result<(), Error> {
        let room = Room::look(conn, &shared.directory)?;
        let is_read = shared.reading_past.load(Ordering::Relaxed);
        if is_read || !room.is_worth_cutting() || !room.can_copy() {
            return Ok(());
        }
        self.copier.wait();
        self.copy(conn, "TRUNCATE")
    }

    /// Copies all of the log for the last time. The copier's connection is closed on return.
    pub(super) fn finish(self, conn: &Connection) -> Result<(), Error> {
        self.copier.wait();
        self.copy(conn, "TRUNCATE")
    }

    fn copy(&self, conn: &Connection, mode: &str) -> Result<(), Error> {
        copier::copy(conn, mode)?;
        if mode == "TRUNCATE" {
            // In the other modes the next commit begins the log anew, and says so.
            self.pages.store(0, Ordering::Relaxed);
        }
        Ok(())
    }
}
