//! Queues of one-time items that run low, page by page.
//!
//! Must not know what low means, or what is done about it.

use chatctl_protocol::Suite;
use rusqlite::Connection;

use crate::model::MailboxId;
use crate::store::embedded::{devices, pools, schema};
use crate::store::{Error, LowPool, LowPools};

/// Queues with at most `floor` items, of at most `limit` devices after one.
pub(super) fn page(conn: &Connection, floor: u32, after: MailboxId, limit: usize) -> Result<LowPools, Error> {
    let conn = &*conn.unchecked_transaction()?;
    let mut mailboxes = with_keys(conn, after, limit.saturating_add(1))?;
    let is_last = mailboxes.len() <= limit;
    mailboxes.truncate(limit);
    let mut page = LowPools {
        looked: mailboxes.len() as u64,
        next: mailboxes.last().copied().filter(|_| !is_last),
        low: Vec::new(),
    };
    for mailbox in mailboxes {
        look(conn, floor, mailbox, &mut page.low)?;
    }
    Ok(page)
}

fn with_keys(conn: &Connection, after: MailboxId, limit: usize) -> Result<Vec<MailboxId>, Error> {
    let mut select = conn
        .prepare_cached("SELECT DISTINCT mailbox FROM keyset WHERE mailbox > ?1 ORDER BY mailbox LIMIT ?2")?;
    let rows = select.query_map((after.0.cast_signed(), schema::most(limit)), |row| {
        Ok(MailboxId(row.get::<_, i64>(0)?.cast_unsigned()))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn look(conn: &Connection, floor: u32, mailbox: MailboxId, low: &mut Vec<LowPool>) -> Result<(), Error> {
    let Some(address) = devices::owner(conn, mailbox)? else {
        return Ok(());
    };
    let mut select = conn.prepare_cached("SELECT id, suite FROM keyset WHERE mailbox = ?1")?;
    let mut rows = select.query([mailbox.0.cast_signed()])?;
    let mut keysets = Vec::<(Suite, i64)>::new();
    while let Some(row) = rows.next()? {
        keysets.push((Suite::parse(&row.get::<_, String>(1)?)?, row.get(0)?));
    }
    keysets.sort();
    for (suite, keyset) in keysets {
        let counts = pools::counts(conn, keyset)?;
        low.extend(
            counts
                .into_iter()
                .filter(|count| count.count <= floor)
                .map(|count| LowPool {
                    mailbox,
                    address: address.clone(),
                    suite: suite.clone(),
                    pool: count.pool,
                    count: count.count,
                    fallback: count.fallback,
                }),
        );
    }
    Ok(())
}
