//! Looks through an embedded store for what does not fit together.
//!
//! Reads only, a statement at a time: a long read would hold the relay's checkpoints up.

use std::collections::HashSet;

use bytes::Bytes;
use chatctl_protocol::{EnvelopeId, PoolName, Suite};
use rusqlite::{Connection, OptionalExtension as _};

use crate::model::MailboxId;
use crate::store::embedded::revocations::{self, COLUMNS};
use crate::store::embedded::{acked, mail, pools, runs};
use crate::store::upkeep::{Check, Depth, name_of};
use crate::store::{Error, Item};

/// Every check.
///
/// # Errors
///
/// [`Error`] when something cannot be read at all.
pub(super) fn everything(conn: &Connection, depth: Depth) -> Result<Vec<Check>, Error> {
    let mut checks = vec![rows(conn, depth)?];
    if depth.sample.is_none() {
        checks.push(pages(conn)?);
    }
    for (name, sql) in ORPHANS {
        checks.push(orphans(conn, depth, name, sql)?);
    }
    checks.push(revoked(conn, depth)?);
    checks.push(ran(conn, depth)?);
    checks.extend(bundles(conn, depth)?);
    Ok(checks)
}

/// Rows that are no revocations: a relay would stop at them, and learn of none that follows.
fn revoked(conn: &Connection, depth: Depth) -> Result<Check, Error> {
    let mut check = Check::new("revocations that can be read");
    let mut select = conn.prepare(&format!(
        "SELECT {COLUMNS} FROM revocation WHERE number IN ({}) ORDER BY number",
        ends_of("revocation", "number", "number")
    ))?;
    let mut rows = select.query([most(depth)])?;
    while let Some(row) = rows.next()? {
        check.looked += 1;
        if revocations::decode(row).is_err() {
            check.found(format!("revocation {}", row.get::<_, i64>(0)?));
        }
    }
    Ok(check)
}

/// Runs that cannot be read: their job would stop at them.
fn ran(conn: &Connection, depth: Depth) -> Result<Check, Error> {
    let mut check = Check::new("runs that can be read");
    let mut select = conn.prepare(&format!("SELECT {} FROM job_run LIMIT ?1", runs::COLUMNS))?;
    let mut rows = select.query([most(depth)])?;
    while let Some(row) = rows.next()? {
        check.looked += 1;
        if runs::decode(row).is_err() {
            check.found(format!("a run of {}", row.get::<_, String>(0)?));
        }
    }
    Ok(check)
}

/// The trees of the file; it takes a read of everything.
fn pages(conn: &Connection) -> Result<Check, Error> {
    let mut check = Check::new("pages of the file");
    check.looked = conn
        .query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))?
        .cast_unsigned();
    let mut complaints = conn.prepare("PRAGMA integrity_check(100)")?;
    let mut rows = complaints.query([])?;
    while let Some(row) = rows.next()? {
        let complaint: String = row.get(0)?;
        if complaint != "ok" {
            check.found(complaint);
        }
    }
    Ok(check)
}

/// Rows of mail that are no envelopes.
fn rows(conn: &Connection, depth: Depth) -> Result<Check, Error> {
    let mut check = Check::new("mail that can be read");
    let mut select = conn.prepare(&format!(
        "SELECT id, mailbox, sender, expires_at, head, payload FROM mail
         WHERE id IN ({}) ORDER BY id",
        ends_of("mail", "id", "id")
    ))?;
    let mut rows = select.query([most(depth)])?;
    let acked = acked::all(conn)?;
    while let Some(row) = rows.next()? {
        if acked.contains(&EnvelopeId::from_u64(row.get::<_, i64>(0)?.cast_unsigned())) {
            continue;
        }
        check.looked += 1;
        if mail::decode(row).is_err() {
            check.found(name_of(MailboxId(row.get::<_, i64>(1)?.cast_unsigned())));
        }
    }
    Ok(check)
}

/// The oldest and the newest rows of a table with a key that grows.
fn ends_of(table: &str, column: &str, key: &str) -> String {
    format!(
        "SELECT {column} FROM (SELECT {column} FROM {table} ORDER BY {key} LIMIT ?1)
         UNION ALL
         SELECT {column} FROM (SELECT {column} FROM {table} ORDER BY {key} DESC LIMIT ?1)"
    )
}

/// What belongs to something that is gone: what it is, and where (0 where no mailbox is known).
const ORPHANS: [(&str, &str); 5] = [
    ("mail of a device", ""),
    (
        "gaps of a device",
        "SELECT mailbox, mailbox NOT IN (SELECT mailbox FROM device) FROM gap LIMIT ?1",
    ),
    (
        "keysets of a device",
        "SELECT mailbox, mailbox NOT IN (SELECT mailbox FROM device) FROM keyset LIMIT ?1",
    ),
    (
        "pools of a keyset",
        "SELECT 0, keyset NOT IN (SELECT id FROM keyset) FROM pool LIMIT ?1",
    ),
    (
        "items of a pool",
        "SELECT 0, id NOT IN (SELECT batch FROM queue WHERE pool IN (SELECT id FROM pool))
         FROM item_batch LIMIT ?1",
    ),
];

fn orphans(conn: &Connection, depth: Depth, name: &str, sql: &str) -> Result<Check, Error> {
    let mut check = Check::new(name);
    let of_mail = format!(
        "SELECT mailbox, mailbox NOT IN (SELECT mailbox FROM device), id FROM mail WHERE id IN ({})",
        match depth.sample {
            Some(_) => ends_of("mail", "id", "id"),
            None => "SELECT id FROM mail LIMIT ?1".to_owned(),
        }
    );
    let acked = match sql.is_empty() {
        true => acked::all(conn)?,
        false => HashSet::new(),
    };
    let mut select = conn.prepare(if sql.is_empty() { &of_mail } else { sql })?;
    let mut rows = select.query([most(depth)])?;
    while let Some(row) = rows.next()? {
        if !acked.is_empty() && acked.contains(&EnvelopeId::from_u64(row.get::<_, i64>(2)?.cast_unsigned())) {
            continue;
        }
        check.looked += 1;
        if row.get(1)? {
            let example = match row.get::<_, i64>(0)? {
                0 => String::new(),
                mailbox => name_of(MailboxId(mailbox.cast_unsigned())),
            };
            check.found(example);
        }
    }
    Ok(check)
}

/// A keyset's row.
struct Bundle {
    keyset: i64,
    mailbox: MailboxId,
    suite: String,
}

/// Bundles whose items their identity did not sign, and queues that run dry.
fn bundles(conn: &Connection, depth: Depth) -> Result<[Check; 2], Error> {
    let mut signatures = Check::new("bundles with good signatures");
    let mut low = Check::warning(format!("queues with {} items or more", depth.floor));
    for bundle in chosen(conn, depth)? {
        let whose = format!("{}, suite {}", name_of(bundle.mailbox), bundle.suite);
        for count in pools::counts(conn, bundle.keyset)? {
            low.looked += 1;
            if count.count < depth.floor {
                low.found(format!("{whose}, pool {}: {}", count.pool, count.count));
            }
        }
        signatures.looked += 1;
        let suite = Suite::parse(&bundle.suite)?;
        let Some((identity, items)) = read(conn, bundle.keyset, depth)? else {
            // It went meanwhile.
            continue;
        };
        if let Err(why) = (depth.judge)(&suite, &identity, &items) {
            signatures.found(format!("{whose}: {why}"));
        }
    }
    Ok([signatures, low])
}

/// An identity and what it should have signed, of one moment.
fn read(conn: &Connection, keyset: i64, depth: Depth) -> Result<Option<Signed>, Error> {
    let conn = &*conn.unchecked_transaction()?;
    let identity: Option<Vec<u8>> = conn
        .prepare_cached("SELECT identity FROM keyset WHERE id = ?1")?
        .query_row([keyset], |row| row.get(0))
        .optional()?;
    let Some(identity) = identity else { return Ok(None) };
    let items = pools::some_items(conn, keyset, depth.sample.map(|_| FEW))?;
    Ok(Some((identity.into(), items)))
}

/// An identity and items with their pools.
type Signed = (Bytes, Vec<(PoolName, Item)>);

fn chosen(conn: &Connection, depth: Depth) -> Result<Vec<Bundle>, Error> {
    let mut select = conn.prepare("SELECT id, mailbox, suite FROM keyset ORDER BY random() LIMIT ?1")?;
    let rows = select.query_map([most(depth)], |row| {
        Ok(Bundle {
            keyset: row.get(0)?,
            mailbox: MailboxId(row.get::<_, i64>(1)?.cast_unsigned()),
            suite: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Items of each pool that are judged in a sample.
const FEW: usize = 3;

fn most(depth: Depth) -> i64 {
    depth.sample.map_or(-1, i64::from)
}
