//! What mailboxes hold whose device is gone. Normally nothing: a device goes with its mailbox in one transaction.
//!
//! Must not know who asks, or when.

use std::collections::BTreeSet;

use rusqlite::{CachedStatement, Connection};

use crate::model::MailboxId;
use crate::store::embedded::fault::Undo;
use crate::store::embedded::shared::{Change, Shared};
use crate::store::embedded::writer::Tx;
use crate::store::embedded::{mail, pools, schema};
use crate::store::{Due, Error, Swept};

/// Mailboxes that a step looks at.
const LOOKS: usize = 1000;

/// Mailboxes that hold something, in their order.
struct Page {
    mailboxes: Vec<MailboxId>,
    is_last: bool,
}

/// One step: empties mailboxes without a device, at most `limit`, and goes on where the last one ended.
pub(super) fn sweep(tx: &mut Tx<'_>, limit: usize) -> Result<Swept, Undo<Swept>> {
    let after = *tx.shared.swept_to.lock();
    let page = page(tx.conn, tx.shared, after)?;
    let conn = tx.conn;
    let mut is_here = conn.prepare_cached(mail::IS_HERE)?;
    let mut swept = Swept::default();
    let mut reached = None;
    let mut rest = page.mailboxes.into_iter();
    while swept.mailboxes < limit as u64
        && let Some(mailbox) = rest.next()
    {
        if is_departed(&mut is_here, mailbox)? && !goes_now(tx, mailbox) {
            swept.things += tx.shared.mail.read().usage(mailbox).envelopes + items(conn, mailbox)?;
            swept.mailboxes += 1;
            mail::purge(tx, mailbox)?;
            pools::purge(conn, mailbox)?;
        }
        reached = Some(mailbox);
    }
    swept.done = page.is_last && rest.next().is_none();
    // When the transaction fails after this, what was skipped is found in the next round.
    *tx.shared.swept_to.lock() = reached.filter(|_| !swept.done).unwrap_or(MailboxId(0));
    Ok(swept)
}

/// How many mailboxes without a device hold something.
pub(super) fn due(conn: &Connection, shared: &Shared) -> Result<Due, Error> {
    let mut is_here = conn.prepare_cached(mail::IS_HERE)?;
    let mut due = Due::default();
    let mut after = MailboxId(0);
    loop {
        let page = page(conn, shared, after)?;
        for mailbox in page.mailboxes {
            after = mailbox;
            if is_departed(&mut is_here, mailbox)? {
                due.count += 1;
                due.bytes += shared.mail.read().usage(mailbox).bytes;
            }
        }
        if page.is_last {
            return Ok(due);
        }
    }
}

/// The next mailboxes that have mail, a gap or keys.
fn page(conn: &Connection, shared: &Shared, after: MailboxId) -> Result<Page, Error> {
    let mut found: BTreeSet<_> = shared.mail.read().mailboxes(after, LOOKS).into_iter().collect();
    for sql in [
        "SELECT DISTINCT mailbox FROM gap WHERE mailbox > ?1 ORDER BY mailbox LIMIT ?2",
        "SELECT DISTINCT mailbox FROM keyset WHERE mailbox > ?1 ORDER BY mailbox LIMIT ?2",
    ] {
        let mut select = conn.prepare_cached(sql)?;
        let mut rows = select.query((after.0.cast_signed(), schema::most(LOOKS)))?;
        while let Some(row) = rows.next()? {
            found.insert(MailboxId(row.get::<_, i64>(0)?.cast_unsigned()));
        }
    }
    // Where one of the three may have more, the others are of use up to there, and all of them bring as many.
    let is_last = found.len() < LOOKS;
    Ok(Page {
        mailboxes: found.into_iter().take(LOOKS).collect(),
        is_last,
    })
}

fn is_departed(is_here: &mut CachedStatement<'_>, mailbox: MailboxId) -> Result<bool, Error> {
    Ok(!is_here.exists([mailbox.0.cast_signed()])?)
}

/// Whether a mailbox goes in this very transaction: then it is in the index still, and in no table.
fn goes_now(tx: &Tx<'_>, mailbox: MailboxId) -> bool {
    let is_purged = |change: &Change| matches!(change, Change::Purged(of) if *of == mailbox);
    tx.group.changes().iter().any(is_purged)
}

/// One-time items in a mailbox' queues.
fn items(conn: &Connection, mailbox: MailboxId) -> Result<u64, Error> {
    let count: i64 = conn
        .prepare_cached(
            "SELECT coalesce(sum(total - taken), 0) FROM queue WHERE pool IN
                (SELECT pool.id FROM pool JOIN keyset ON pool.keyset = keyset.id WHERE keyset.mailbox = ?1)",
        )?
        .query_row([mailbox.0.cast_signed()], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}
