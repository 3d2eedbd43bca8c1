//! Accounts themselves: what is said of one beside its devices.

use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::AccountId;
use rusqlite::{Connection, OptionalExtension as _};

use crate::store::embedded::Embedded;
use crate::store::{AccountStore, Error, OnOther, PutAccount};

#[async_trait]
impl AccountStore for Embedded {
    async fn put_account(
        &self,
        account: &AccountId,
        attributes: Arc<str>,
        on_other: OnOther,
    ) -> Result<PutAccount, Error> {
        let account = account.clone();
        self.writer
            .run(move |tx| Ok(put(tx.conn, &account, &attributes, on_other)?))
            .await
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Arc<str>>, Error> {
        self.shared.healthy()?;
        let account = account.clone();
        self.readers.run(move |conn| attributes(conn, &account)).await
    }
}

fn put(
    conn: &Connection,
    account: &AccountId,
    attributes: &str,
    on_other: OnOther,
) -> Result<PutAccount, Error> {
    let found = match self::attributes(conn, account)? {
        None => PutAccount::Created,
        Some(old) if *old == *attributes => return Ok(PutAccount::Same),
        Some(old) => PutAccount::Other(old),
    };
    match (&found, on_other) {
        (PutAccount::Other(_), OnOther::Keep) => {}
        (PutAccount::Created | PutAccount::Same, _) | (PutAccount::Other(_), OnOther::Replace) => {
            conn.prepare_cached(
                "INSERT INTO account (name, list_version, attributes) VALUES (?1, 0, ?2)
                 ON CONFLICT DO UPDATE SET attributes = excluded.attributes",
            )?
            .execute((account.as_str(), attributes))?;
        }
    }
    Ok(found)
}

fn attributes(conn: &Connection, account: &AccountId) -> Result<Option<Arc<str>>, Error> {
    let found: Option<Option<String>> = conn
        .prepare_cached("SELECT attributes FROM account WHERE name = ?1")?
        .query_row([account.as_str()], |row| row.get(0))
        .optional()?;
    Ok(found.flatten().map(Arc::from))
}
