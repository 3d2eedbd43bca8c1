//! Revocations: a row for each token, account and device about which something was said.
//!
//! One thread writes, and a number is the row's key, which SQLite never gives twice: whoever sees a row sees
//! every one with a lower number that there ever will be.

use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::{AccountId, DeviceId};
use rusqlite::{Connection, Row};

use crate::model::{Revocation, Revoked, UnixMs};
use crate::store::embedded::{Embedded, schema};
use crate::store::{Error, RevocationStore};

#[async_trait]
impl RevocationStore for Embedded {
    async fn revoke(&self, revocation: &Revocation) -> Result<u64, Error> {
        let revocation = revocation.clone();
        self.writer.run(move |tx| Ok(revoke(tx.conn, revocation)?)).await
    }

    async fn revocations(&self, after: u64, limit: usize) -> Result<Vec<(u64, Revocation)>, Error> {
        self.shared.healthy()?;
        self.readers.run(move |conn| read(conn, after, limit)).await
    }

    async fn prune_revocations(&self, now: UnixMs, limit: usize) -> Result<usize, Error> {
        self.writer.run(move |tx| Ok(prune(tx.conn, now, limit)?)).await
    }
}

/// The columns that [`decode`] reads.
pub(super) const COLUMNS: &str = "number, jti, account, device_id, up_to, revoked_at, expires_at, reason";

fn revoke(conn: &Connection, revocation: Revocation) -> Result<u64, Error> {
    let what = revocation.what.clone();
    let (jti, account, device_id) = columns_of(&what);
    let mut select = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM revocation WHERE jti = ?1 AND account = ?2 AND device_id = ?3"
    ))?;
    let earlier = select
        .query((jti, account, device_id))?
        .next()?
        .map(decode)
        .transpose()?;
    let revocation = revocation.after(earlier.as_ref().map(|(_, earlier)| earlier));
    let up_to = match &revocation.what {
        Revoked::Token(_) => UnixMs(0),
        Revoked::Issued { up_to, .. } => *up_to,
    };
    // Takes the earlier row away, and a new key.
    conn.prepare_cached(
        "INSERT OR REPLACE INTO revocation (jti, account, device_id, up_to, revoked_at, expires_at, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        jti,
        account,
        device_id,
        schema::time(up_to),
        schema::time(revocation.revoked_at),
        schema::time(revocation.expires_at),
        &*revocation.reason,
    ))?;
    Ok(conn.last_insert_rowid().cast_unsigned())
}

fn read(conn: &Connection, after: u64, limit: usize) -> Result<Vec<(u64, Revocation)>, Error> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM revocation WHERE number > ?1 ORDER BY number LIMIT ?2"
    ))?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut rows = select.query((after, schema::most(limit)))?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        page.push(decode(row)?);
    }
    Ok(page)
}

fn prune(conn: &Connection, now: UnixMs, limit: usize) -> Result<usize, Error> {
    let mut delete = conn.prepare_cached(
        "DELETE FROM revocation WHERE number IN
         (SELECT number FROM revocation WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
    )?;
    Ok(delete.execute((schema::time(now), schema::most(limit)))?)
}

/// Reads a row of all columns.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub(super) fn decode(row: &Row<'_>) -> Result<(u64, Revocation), Error> {
    let text = |index| row.get::<_, String>(index);
    let time = |index| Ok::<_, rusqlite::Error>(UnixMs(row.get::<_, i64>(index)?.cast_unsigned()));
    let (jti, account, device) = (text(1)?, text(2)?, text(3)?);
    let what = match (&*account, &*device) {
        ("", "") => Revoked::Token(jti.into()),
        ("", _) => return Err(Error::Corrupt("a revocation is about a device of nobody".into())),
        (account, device) => Revoked::Issued {
            account: AccountId::parse(account)?,
            device: match device {
                "" => None,
                device => Some(DeviceId::parse(device)?),
            },
            up_to: time(4)?,
        },
    };
    let revocation = Revocation {
        what,
        revoked_at: time(5)?,
        expires_at: time(6)?,
        reason: Arc::from(text(7)?),
    };
    Ok((row.get::<_, i64>(0)?.cast_unsigned(), revocation))
}

/// What a revocation is about, as it is found by.
fn columns_of(what: &Revoked) -> (&str, &str, &str) {
    match what {
        Revoked::Token(jti) => (jti, "", ""),
        Revoked::Issued { account, device, .. } => {
            ("", account.as_str(), device.as_ref().map_or("", DeviceId::as_str))
        }
    }
}
