//! How much room is left for mail and keys, and when the write-ahead log has to make some.
//!
//! Must not know what is written.
//!
//! # Why
//!
//! A new page needs its place twice: in the log now, and in the database when the log is copied there. A
//! disk that has room for the first alone can never copy the log again: not even acks could be written,
//! which would free pages. So what the database is owed is not free, and what is deleted is free at once,
//! though the file system gets it back much later, or never.

use std::sync::atomic::Ordering;

use rusqlite::Connection;

use crate::store::Error;
use crate::store::embedded::files::Directory;
use crate::store::embedded::writer::Tx;

/// What is left, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// On the file system.
    free: u64,
    /// By which the database will grow when the log is copied into it.
    owed: u64,
    /// By which the database will shrink then.
    excess: u64,
    /// In pages of the database that hold nothing.
    spare: u64,
    /// The size of the log's file.
    log: u64,
}

impl Room {
    /// Looks how much there is. A few system calls.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when the file system does not say.
    pub(super) fn look(conn: &Connection, directory: &Directory) -> Result<Self, Error> {
        let pragma = |name: &str| {
            let mut select = conn.prepare_cached(name)?;
            select.query_row([], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))
        };
        let pages = pragma("PRAGMA page_count")?;
        let spare = pragma("PRAGMA freelist_count")?;
        let sizes = directory.sizes();
        let sizes = sizes.map_err(|error| Error::Unavailable(error.to_string().into()))?;
        Ok(Self {
            free: sizes.free,
            owed: (pages * PAGE).saturating_sub(sizes.database),
            excess: sizes.database.saturating_sub(pages * PAGE),
            spare: spare * PAGE,
            log: sizes.log,
        })
    }

    /// Whether so many bytes more leave the reserve alone.
    fn has(&self, bytes: u64, reserve: u64) -> bool {
        let growth = bytes.saturating_sub(self.spare);
        let can_be_copied = self.free >= self.owed + bytes + growth + SLACK;
        let once_copied = (self.free + self.log).saturating_sub(self.owed) + self.spare;
        can_be_copied && once_copied >= reserve.max(LEAST).saturating_add(bytes)
    }

    /// Bytes that there are for something else beside what stays free, and what the database is owed.
    pub(super) fn beside(&self, reserve: u64) -> u64 {
        let kept = self.owed.saturating_add(reserve.max(LEAST));
        self.free.saturating_sub(kept)
    }

    /// Whether the log should be copied and cut now, before it is in its own way.
    pub(super) fn is_tight(&self, reserve: u64) -> bool {
        self.log >= LOG_WORTH_CUTTING
            && self.free < reserve.max(LEAST).saturating_add(self.owed + 2 * self.log)
    }

    /// Whether the files are longer than they have to be, and it is worth a wait.
    pub(super) const fn is_worth_cutting(&self) -> bool {
        self.log >= LOG_WORTH_CUTTING || self.excess >= LOG_WORTH_CUTTING
    }

    /// Whether the log can be copied. A try that fails would take the last bytes of the disk.
    pub(super) const fn can_copy(&self) -> bool {
        self.free >= self.owed
    }
}

impl Tx<'_> {
    /// Takes room for so many bytes of new mail or new keys.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when what is left on the disk is the reserve.
    pub(super) fn take_room(&mut self, bytes: usize) -> Result<(), Error> {
        let room = Room::look(self.conn, &self.shared.directory)?;
        let bytes = self.group.add_bytes(bytes as u64);
        let has = room.has(bytes, self.shared.reserve());
        self.shared.is_short.store(!has, Ordering::Relaxed);
        if has { Ok(()) } else { Err(Error::Full) }
    }
}

/// Bytes of a page.
pub(super) const PAGE: u64 = 4096;

/// Stays free whatever the reserve is: without it acks could not be written, and there would be no way out.
const LEAST: u64 = 2 * 1024 * 1024;

/// What acks may take before the log is cut. Less than [`LEAST`] without a log that is not worth cutting:
/// else a disk could stay full after its mail was read.
const SLACK: u64 = 512 * 1024;

/// A shorter log is left alone.
const LOG_WORTH_CUTTING: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn room(free: u64, owed: u64) -> Room {
        Room {
            free: free * MIB,
            owed: owed * MIB,
            excess: 0,
            spare: 0,
            log: owed * MIB,
        }
    }

    #[test]
    fn what_the_database_is_owed_is_not_free() {
        assert!(room(20, 10).has(4 * MIB, 0));
        assert!(!room(20, 10).has(5 * MIB, 0));
        assert!(!room(9, 10).can_copy());
    }

    #[test]
    fn the_reserve_is_kept_and_pages_that_hold_nothing_count() {
        assert!(room(20, 0).has(6 * MIB, 14 * MIB));
        assert!(!room(20, 0).has(7 * MIB, 14 * MIB));
        let drained = Room {
            spare: 10 * MIB,
            ..room(4, 0)
        };
        assert!(drained.has(3 * MIB, 10 * MIB));
        assert!(!drained.has(4 * MIB, 10 * MIB));
        assert!(!drained.has(MIB, 14 * MIB));
    }

    #[test]
    fn a_log_that_is_in_its_own_way_is_cut() {
        assert!(!room(1000, 16).is_tight(64 * MIB));
        assert!(room(100, 16).is_tight(64 * MIB));
        assert!(!room(1, 0).is_tight(64 * MIB));
    }
}
