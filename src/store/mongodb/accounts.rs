//! Accounts themselves: what is said of one beside its devices.
//!
//! Each is one write of one document, so no transaction is needed.

use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::AccountId;
use mongodb::bson::{Document, doc};

use crate::store::mongodb::MongoDb;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::devices::ACCOUNTS;
use crate::store::mongodb::documents::malformed;
use crate::store::mongodb::{enrolment, error};
use crate::store::{AccountStore, Error, Newcomer, OnOther, PutAccount};

#[async_trait]
impl AccountStore for MongoDb {
    async fn put_account(
        &self,
        account: &AccountId,
        attributes: Arc<str>,
        on_other: OnOther,
    ) -> Result<PutAccount, Error> {
        self.db
            .within(put(&self.db, account, &attributes, on_other))
            .await
    }

    async fn enrol(&self, newcomers: &[Newcomer]) -> Result<bool, Error> {
        enrolment::enrol(&self.db, newcomers).await
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Arc<str>>, Error> {
        self.db.within(find(&self.db, account)).await
    }
}

async fn put(
    db: &Connection,
    account: &AccountId,
    attributes: &Arc<str>,
    on_other: OnOther,
) -> Result<PutAccount, Error> {
    // A pipeline, so that looking and writing are one step of the server's.
    let put = match on_other {
        OnOther::Keep => doc! { "$ifNull": ["$x", { "$literal": &**attributes }] },
        OnOther::Replace => doc! { "$literal": &**attributes },
    };
    let mut session = db.session().await?;
    let mut tries = 0;
    let before = loop {
        let step = db
            .collection(ACCOUNTS)
            .find_one_and_update(
                doc! { "_id": account.as_str() },
                vec![doc! { "$set": { "x": put.clone() } }],
            )
            .upsert(true)
            .session(&mut session)
            .await;
        match step {
            // Two that make the same account at once: the other one was first.
            Err(error) if error::is_duplicate(&error) && tries < TRIES => tries += 1,
            Err(error) => return Err(error::meaning(&error)),
            Ok(before) => break before,
        }
    };
    db.learn(&session);
    Ok(match before.as_ref().map(attributes_of).transpose()?.flatten() {
        None => PutAccount::Created,
        Some(old) if old == *attributes => PutAccount::Same,
        Some(old) => PutAccount::Other(old),
    })
}

async fn find(db: &Connection, account: &AccountId) -> Result<Option<Arc<str>>, Error> {
    let mut session = db.session().await?;
    let found = db
        .collection(ACCOUNTS)
        .find_one(doc! { "_id": account.as_str() })
        .session(&mut session)
        .await
        .map_err(|error| error::meaning(&error))?;
    db.learn(&session);
    Ok(found.as_ref().map(attributes_of).transpose()?.flatten())
}

fn attributes_of(account: &Document) -> Result<Option<Arc<str>>, Error> {
    match account.get("x") {
        None => Ok(None),
        Some(attributes) => attributes
            .as_str()
            .map(|text| Some(text.into()))
            .ok_or_else(|| malformed(ACCOUNTS)),
    }
}

/// Tries of two that make the same account at once: after the first, it is there.
const TRIES: u32 = 3;
