//! What a restored store has to forget and to jump over, because a future of it was lost that others remember.
//!
//! Owns the rows of that, all in the caller's transaction. Must not know files.
//!
//! # Why
//!
//! Since the backup was taken, one-time keys were handed out, ids were minted, devices acked, and lists of devices
//! grew. Nothing of that is known here, and nothing of it may happen a second time under the same name: each queue is
//! burned, and each number goes on above whatever it may have been.

use rusqlite::{Connection, OptionalExtension as _};

use crate::model::UnixMs;
use crate::store::digest;
use crate::store::embedded::mail::widen;
use crate::store::embedded::pools::{self, PoolId};
use crate::store::embedded::schema;
use crate::store::{Error, Gap, GapReason};
use chatctl_protocol::EnvelopeId;

/// What was done to a store that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Afresh {
    /// One-time keys that nobody gets any more.
    pub(super) burned: u64,
    /// Devices that are told.
    pub(super) told: u64,
    /// Every id from now on is above this one.
    pub(super) id_floor: EnvelopeId,
}

/// Takes the store's future away from it.
pub(super) fn begin(conn: &Connection, at: UnixMs) -> Result<Afresh, Error> {
    let burned = burn(conn, at)?;
    // What was published since may have taken the fallback's place: devices renew what counts as used.
    conn.execute(
        "UPDATE pool SET fallback_used = 1 WHERE id IN (SELECT pool FROM fallback)",
        [],
    )?;
    let told = tell(conn)?;
    let id_floor = raise_floor(conn, at)?;
    renew_epoch(conn)?;
    let jump = |sql: &str| conn.execute(sql, [LOST]);
    jump("UPDATE account SET list_version = list_version + ?1")?;
    jump(
        "INSERT INTO meta VALUES ('list_floor', ?1) ON CONFLICT DO UPDATE SET value = value + excluded.value",
    )?;
    jump("UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'device'")?;
    // Nobody has looked since: nobody is idle because of that.
    conn.execute("UPDATE device SET seen_at = max(seen_at, ?1)", [schema::time(at)])?;
    conn.execute(
        "INSERT INTO note VALUES ('restored_at', ?1) ON CONFLICT DO UPDATE SET text = excluded.text",
        [at.rfc3339()],
    )?;
    Ok(Afresh {
        burned,
        told,
        id_floor,
    })
}

/// Empties every queue, and remembers its items as if they had been handed out: some were.
fn burn(conn: &Connection, at: UnixMs) -> Result<u64, Error> {
    let queues: Vec<i64> = conn
        .prepare("SELECT DISTINCT pool FROM queue")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut burned = 0;
    for pool in queues.into_iter().map(PoolId) {
        for (_, place) in pools::places(conn, pool)? {
            let item = pools::read(conn, place)?;
            conn.prepare_cached("INSERT OR REPLACE INTO tombstone VALUES (?1, ?2, ?3)")?
                .execute((pool.0, digest::tombstone(&item), schema::time(at)))?;
            burned += 1;
        }
        pools::clear(conn, pool)?;
    }
    Ok(burned)
}

/// Leaves word for every device; how many. How much it has lost nobody knows.
fn tell(conn: &Connection) -> Result<u64, Error> {
    let devices: Vec<i64> = conn
        .prepare("SELECT mailbox FROM device")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for mailbox in &devices {
        let gap = Gap {
            reason: GapReason::Restore,
            dropped: 0,
        };
        widen(conn, crate::model::MailboxId(mailbox.cast_unsigned()), gap)?;
    }
    Ok(devices.len() as u64)
}

/// Raises the ceiling of ids above all that may have been minted.
fn raise_floor(conn: &Connection, at: UnixMs) -> Result<EnvelopeId, Error> {
    let known: i64 = conn.query_row(
        "SELECT max(coalesce((SELECT max(id) FROM mail), 0), coalesce((SELECT max(first_id) FROM record), 0),
                    (SELECT value FROM meta WHERE name = 'id_ceiling'))",
        [],
        |row| row.get(0),
    )?;
    let known = EnvelopeId::from_u64(known.cast_unsigned());
    let floor = known.max(EnvelopeId::at(at.0, 0)).plus_ms(AHEAD_MS);
    conn.execute(
        "UPDATE meta SET value = ?1 WHERE name = 'id_ceiling'",
        [floor.as_u64().cast_signed()],
    )?;
    Ok(floor)
}

/// Another epoch than any before.
fn renew_epoch(conn: &Connection) -> Result<(), Error> {
    let old: i64 = conn.query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| {
        row.get(0)
    })?;
    let mut new = old;
    while new == old || new == 0 {
        new = rand::random::<u64>().cast_signed();
    }
    conn.execute("UPDATE meta SET value = ?1 WHERE name = 'epoch'", [new])?;
    Ok(())
}

/// What a store that is put aside still knew of the time since the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carried {
    /// Keys that it remembers to have handed out.
    pub handed_out: u64,
    /// Revocations of tokens.
    pub revocations: u64,
}

/// Takes from the store that is attached as `old` what must not be forgotten: handed-out keys, revocations, and how far
/// numbers have come.
pub(super) fn carry(conn: &Connection) -> Result<Carried, Error> {
    let execute = |sql: &str| conn.execute(sql, []);
    execute(&format!(
        "INSERT INTO main.pool (keyset, name, fallback_used)
         SELECT here.id, there.name, 0 FROM old.pool AS there {SAME} WHERE true ON CONFLICT DO NOTHING"
    ))?;
    let handed_out = execute(&format!(
        "INSERT INTO main.tombstone
         SELECT pool.id, gone.hash, gone.at FROM old.tombstone AS gone
         JOIN old.pool AS there ON there.id = gone.pool {SAME}
         JOIN main.pool AS pool ON pool.keyset = here.id AND pool.name = there.name
         WHERE true ON CONFLICT DO UPDATE SET at = max(at, excluded.at)"
    ))?;
    let revocations = execute(
        "INSERT INTO main.revocation (jti, account, device_id, up_to, revoked_at, expires_at, reason)
         SELECT jti, account, device_id, up_to, revoked_at, expires_at, reason FROM old.revocation WHERE true
         ON CONFLICT DO UPDATE SET up_to = max(up_to, excluded.up_to),
            expires_at = max(expires_at, excluded.expires_at)",
    )?;
    execute(
        "UPDATE main.meta SET value = max(value, (SELECT value FROM old.meta WHERE name = 'id_ceiling'))
         WHERE name = 'id_ceiling'",
    )?;
    execute(
        "UPDATE main.sqlite_sequence
         SET seq = max(seq, coalesce((SELECT seq FROM old.sqlite_sequence WHERE name = 'device'), 0))
         WHERE name = 'device'",
    )?;
    Ok(Carried {
        handed_out: handed_out as u64,
        revocations: revocations as u64,
    })
}

/// Whether the store that is attached as `old` is of this version and can be read.
pub(super) fn can_carry(conn: &Connection) -> rusqlite::Result<bool> {
    let found: Option<i32> = conn
        .query_row("PRAGMA old.user_version", [], |row| row.get(0))
        .optional()?;
    Ok(found == Some(schema::VERSION))
}

/// From a pool `there` to the keyset `here` of the same installation and suite.
const SAME: &str = "JOIN old.keyset AS its ON its.id = there.keyset
    JOIN old.device AS was ON was.mailbox = its.mailbox
    JOIN main.device AS is_now ON is_now.account = was.account AND is_now.device_id = was.device_id
        AND is_now.registration_id = was.registration_id
    JOIN main.keyset AS here ON here.mailbox = is_now.mailbox AND here.suite = its.suite";

/// How far ids jump: more than clocks of two machines differ, and more than ids run ahead of them.
const AHEAD_MS: u64 = 24 * 3600 * 1000;

/// How far other numbers jump: more than anything changes between two backups.
const LOST: i64 = 1 << 20;
