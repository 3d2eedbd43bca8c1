//! The device registry: accounts, their devices, and the versions of their lists.
//!
//! Mailbox numbers come from AUTOINCREMENT, so none is used twice, over removals and restarts. Must
//! not know how mail and keys are kept; it only asks for a mailbox to be emptied.

use std::collections::HashSet;
use std::sync::Arc;

use chatctl_protocol::{AccountId, Address, DeviceId};
use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::model::{Device, DeviceList, MailboxId, NumberHasher, UnixMs};
use crate::store::embedded::fault::Undo;
use crate::store::embedded::shared::Change;
use crate::store::embedded::writer::Tx;
use crate::store::embedded::{mail, pools, schema};
use crate::store::{Error, Registered, Registration};

/// Registers or re-registers a device.
pub(super) fn register(
    tx: &mut Tx<'_>,
    address: &Address,
    registration: &Registration,
) -> Result<Registered, Undo<Registered>> {
    let old = find(tx.conn, address)?;
    if let Some(mut device) = old.clone()
        && device.registration_id == registration.registration_id
    {
        if device.attributes != registration.attributes {
            device.attributes.clone_from(&registration.attributes);
            tx.conn
                .prepare_cached("UPDATE device SET attributes = ?2 WHERE mailbox = ?1")?
                .execute((device.mailbox.0.cast_signed(), device.attributes.as_deref()))?;
            raise_version(tx.conn, &address.account)?;
        }
        return Ok(Registered::Updated(device));
    }
    match old {
        None => {
            let count: u32 = tx
                .conn
                .prepare_cached("SELECT count(*) FROM device WHERE account = ?1")?
                .query_row([address.account.as_str()], |row| row.get(0))?;
            if count >= registration.max_devices {
                return Err(Undo::Refused(Registered::TooMany));
            }
            Ok(Registered::Created(create(tx, address, registration)?))
        }
        Some(Device { mailbox: old, .. }) => {
            discard(tx, address, old)?;
            let device = create(tx, address, registration)?;
            Ok(Registered::Replaced { device, old })
        }
    }
}

/// Removes a device and everything of its mailbox.
pub(super) fn remove(
    tx: &mut Tx<'_>,
    address: &Address,
) -> Result<Option<MailboxId>, Undo<Option<MailboxId>>> {
    let Some(device) = find(tx.conn, address)? else {
        return Ok(None);
    };
    discard(tx, address, device.mailbox)?;
    raise_version(tx.conn, &address.account)?;
    Ok(Some(device.mailbox))
}

/// Removes devices that were last seen before a time, the first ones first.
pub(super) fn remove_idle(
    tx: &mut Tx<'_>,
    before: UnixMs,
    limit: usize,
) -> Result<Vec<(Address, MailboxId)>, Error> {
    let conn = tx.conn;
    let mut select = conn.prepare_cached(
        "SELECT account, device_id, mailbox FROM device WHERE seen_at < ?1 ORDER BY seen_at, mailbox LIMIT ?2",
    )?;
    let mut rows = select.query((schema::time(before), schema::most(limit)))?;
    let mut idle = Vec::new();
    while let Some(row) = rows.next()? {
        let address = Address {
            account: AccountId::parse(&row.get::<_, String>(0)?)?,
            device_id: DeviceId::parse(&row.get::<_, String>(1)?)?,
        };
        idle.push((address, MailboxId(row.get::<_, i64>(2)?.cast_unsigned())));
    }
    drop(rows);
    for (address, mailbox) in &idle {
        discard(tx, address, *mailbox)?;
        raise_version(conn, &address.account)?;
    }
    Ok(idle)
}

/// Notes when devices were seen. Which of the mailboxes are gone.
pub(super) fn seen(conn: &Connection, mailboxes: &[MailboxId], day: UnixMs) -> Result<Vec<MailboxId>, Error> {
    let mut is_here = conn.prepare_cached(mail::IS_HERE)?;
    let mut note =
        conn.prepare_cached("UPDATE device SET seen_at = ?2 WHERE mailbox = ?1 AND seen_at < ?2")?;
    let mut gone = Vec::new();
    for mailbox in mailboxes {
        let number = mailbox.0.cast_signed();
        if note.execute((number, schema::time(day)))? == 0 && !is_here.exists([number])? {
            gone.push(*mailbox);
        }
    }
    Ok(gone)
}

/// Every mailbox that has a device.
pub(super) fn all(conn: &Connection) -> rusqlite::Result<HashSet<MailboxId, NumberHasher>> {
    let mut select = conn.prepare("SELECT mailbox FROM device")?;
    let rows = select.query_map([], |row| Ok(MailboxId(row.get::<_, i64>(0)?.cast_unsigned())))?;
    rows.collect()
}

/// An account's devices, in one snapshot.
pub(super) fn list(conn: &Connection, account: &AccountId) -> Result<DeviceList, Error> {
    let snapshot = conn.unchecked_transaction()?;
    let version: Option<i64> = snapshot
        .prepare_cached("SELECT list_version FROM account WHERE name = ?1")?
        .query_row([account.as_str()], |row| row.get(0))
        .optional()?;
    let mut select = snapshot.prepare_cached(
        "SELECT mailbox, device_id, registration_id, incarnation, attributes, registered_at
         FROM device WHERE account = ?1 ORDER BY device_id",
    )?;
    let mut rows = select.query([account.as_str()])?;
    let mut devices = Vec::new();
    while let Some(row) = rows.next()? {
        devices.push(decode(row)?);
    }
    Ok(DeviceList {
        version: version.unwrap_or(0).cast_unsigned(),
        devices,
    })
}

/// Whose a mailbox is.
pub(super) fn owner(conn: &Connection, mailbox: MailboxId) -> Result<Option<Address>, Error> {
    let found: Option<(String, String)> = conn
        .prepare_cached("SELECT account, device_id FROM device WHERE mailbox = ?1")?
        .query_row([mailbox.0.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((account, device_id)) = found else {
        return Ok(None);
    };
    Ok(Some(Address {
        account: AccountId::parse(&account)?,
        device_id: DeviceId::parse(&device_id)?,
    }))
}

fn find(conn: &Connection, address: &Address) -> Result<Option<Device>, Error> {
    conn.prepare_cached(
        "SELECT mailbox, device_id, registration_id, incarnation, attributes, registered_at
         FROM device WHERE account = ?1 AND device_id = ?2",
    )?
    .query_row((address.account.as_str(), address.device_id.as_str()), |row| {
        Ok(decode(row))
    })
    .optional()?
    .transpose()
}

fn create(tx: &mut Tx<'_>, address: &Address, registration: &Registration) -> Result<Device, Error> {
    let conn = tx.conn;
    let name = (address.account.as_str(), address.device_id.as_str());
    let past: Option<u32> = conn
        .prepare_cached("SELECT incarnation FROM past_device WHERE account = ?1 AND device_id = ?2")?
        .query_row(name, |row| row.get(0))
        .optional()?;
    conn.prepare_cached("DELETE FROM past_device WHERE account = ?1 AND device_id = ?2")?
        .execute(name)?;
    let incarnation = past.unwrap_or(0).saturating_add(1);
    let mailbox = conn
        .prepare_cached(
            "INSERT INTO device
                 (account, device_id, registration_id, incarnation, attributes, registered_at, seen_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        )?
        .insert((
            name.0,
            name.1,
            registration.registration_id,
            incarnation,
            registration.attributes.as_deref(),
            registration.now.0.cast_signed(),
        ))?;
    raise_version(conn, &address.account)?;
    let mailbox = MailboxId(mailbox.cast_unsigned());
    tx.group.note(Change::Arrived(mailbox));
    Ok(Device {
        device_id: address.device_id.clone(),
        mailbox,
        registration_id: registration.registration_id,
        incarnation,
        attributes: registration.attributes.clone(),
        registered_at: registration.now,
    })
}

/// Removes a device's row and everything of its mailbox, and remembers its incarnation.
fn discard(tx: &mut Tx<'_>, address: &Address, mailbox: MailboxId) -> Result<(), Error> {
    tx.conn
        .prepare_cached(
            "INSERT INTO past_device SELECT account, device_id, incarnation FROM device WHERE mailbox = ?1",
        )?
        .execute([mailbox.0.cast_signed()])?;
    tx.conn
        .prepare_cached("DELETE FROM device WHERE account = ?1 AND device_id = ?2")?
        .execute((address.account.as_str(), address.device_id.as_str()))?;
    mail::purge(tx, mailbox)?;
    pools::purge(tx.conn, mailbox)
}

/// One more than before, and than any that a lost future may have had.
fn raise_version(conn: &Connection, account: &AccountId) -> Result<(), Error> {
    conn.prepare_cached(
        "INSERT INTO account (name, list_version)
         VALUES (?1, 1 + coalesce((SELECT value FROM meta WHERE name = 'list_floor'), 0))
         ON CONFLICT DO UPDATE SET list_version = max(list_version + 1, excluded.list_version)",
    )?
    .execute([account.as_str()])?;
    Ok(())
}

fn decode(row: &Row<'_>) -> Result<Device, Error> {
    Ok(Device {
        mailbox: MailboxId(row.get::<_, i64>(0)?.cast_unsigned()),
        device_id: DeviceId::parse(&row.get::<_, String>(1)?)?,
        registration_id: row.get(2)?,
        incarnation: row.get(3)?,
        attributes: row.get::<_, Option<String>>(4)?.map(Arc::from),
        registered_at: UnixMs(row.get::<_, i64>(5)?.cast_unsigned()),
    })
}
