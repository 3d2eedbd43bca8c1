//! Giving space back to the file system, a little at a time.
//!
//! Must not know why pages hold nothing.

use rusqlite::Connection;

use crate::store::embedded::room::PAGE;
use crate::store::embedded::writer::Tx;
use crate::store::{Compacted, Error};

/// Pages that one step gives back: each is moved, so this is what a step writes, and what a commit waits for.
const PAGES: u64 = 64;

/// Pages that stay for what comes next.
const SPARE: u64 = 256;

/// One step. The file is cut when the log is copied into it.
pub(super) fn step(tx: &mut Tx<'_>) -> Result<Compacted, Error> {
    let before = Pages::count(tx.conn)?;
    let surplus = before.spare.saturating_sub(SPARE).min(PAGES);
    if surplus > 0 {
        // One page is freed with each row that the statement brings.
        let mut vacuum = tx
            .conn
            .prepare(&format!("PRAGMA incremental_vacuum({surplus})"))?;
        let mut freed = vacuum.query([])?;
        while freed.next()?.is_some() {}
    }
    let after = Pages::count(tx.conn)?;
    let freed = before.all.saturating_sub(after.all);
    Ok(Compacted {
        freed: freed * PAGE,
        size: after.all * PAGE,
        spare: after.spare * PAGE,
        // A file that was not made for it gives nothing back, however often it is asked.
        done: after.spare <= SPARE || freed == 0,
    })
}

/// Pages of the database.
struct Pages {
    all: u64,
    spare: u64,
}

impl Pages {
    fn count(conn: &Connection) -> Result<Self, Error> {
        let pragma = |name: &str| {
            let mut select = conn.prepare_cached(name)?;
            select.query_row([], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))
        };
        Ok(Self {
            all: pragma("PRAGMA page_count")?,
            spare: pragma("PRAGMA freelist_count")?,
        })
    }
}
