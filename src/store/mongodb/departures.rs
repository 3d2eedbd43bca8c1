//! Mailboxes whose device is gone: what they held is deleted outside the transaction that made it go.
//!
//! # Why
//!
//! A mailbox may hold ten thousand envelopes, too many for the transaction of a registration. Nobody reads a
//! mailbox that has no device, and its number is never used again, so what it held may go later. What names
//! it goes at once: its keysets, and its sends' records, which are noted as forgotten.
//!
//! It is emptied twice: when the device goes, and again once no transaction that began before that can still
//! bring something. The second time is also what a crash has left to do.

use mongodb::ClientSession;
use mongodb::bson::doc;

use crate::model::{MailboxId, UnixMs};
use crate::store::Error;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, malformed};
use crate::store::mongodb::layout::{Collection, Index};
use crate::store::mongodb::transaction::Stop;
use crate::store::mongodb::{error, keysets, mail, pools, records, sessions};

/// `_id` the mailbox, `t` since when it is gone.
const PURGES: &str = "purges";

pub(super) const COLLECTIONS: &[Collection] = &[Collection {
    name: PURGES,
    schema: || {
        doc! {
            "bsonType": "object",
            "required": ["_id", "t"],
            "additionalProperties": false,
            "properties": { "_id": { "bsonType": "long" }, "t": { "bsonType": "date" } },
        }
    },
    indexes: &[Index {
        name: "by_time",
        keys: &[("t", 1)],
        unique: false,
        expire_after: None,
    }],
}];

/// Notes in a transaction that a mailbox is gone, and removes what names it.
pub(super) async fn note<T: Send>(
    db: &Connection,
    session: &mut ClientSession,
    mailbox: MailboxId,
    now: UnixMs,
) -> Result<(), Stop<T>> {
    records::forget(db, session, mailbox, now).await?;
    keysets::forget(db, session, mailbox).await?;
    sessions::forget(db, session, mailbox).await?;
    let purge = doc! { "_id": mailbox.0.cast_signed(), "t": date(now) };
    db.collection(PURGES).insert_one(purge).session(session).await?;
    Ok(())
}

/// Deletes what a mailbox that is gone has held.
///
/// # Errors
///
/// [`Error::Unavailable`]; [`purge_left`] does the rest.
pub(super) async fn purge(db: &Connection, mailbox: MailboxId) -> Result<(), Error> {
    mail::purge(db, mailbox).await?;
    pools::purge(db, mailbox).await
}

/// Empties mailboxes for good that are gone for a while, a few in a call; whether there may be more.
///
/// # Errors
///
/// [`Error`].
pub(super) async fn purge_left(db: &Connection, now: UnixMs) -> Result<bool, Error> {
    let left = left(db, now).await?;
    for mailbox in &left {
        purge(db, *mailbox).await?;
        let purged = doc! { "_id": mailbox.0.cast_signed() };
        db.within(async {
            let deleted = db.collection(PURGES).delete_one(purged).await;
            deleted.map_err(|error| error::meaning(&error))
        })
        .await?;
    }
    Ok(left.len() >= MAILBOXES_AT_ONCE)
}

async fn left(db: &Connection, now: UnixMs) -> Result<Vec<MailboxId>, Error> {
    let before = UnixMs(now.0.saturating_sub(AFTERMATH_MS));
    db.within(async {
        let mut session = db.session().await?;
        let found = db
            .collection(PURGES)
            .find(doc! { "t": { "$lt": date(before) } })
            .sort(doc! { "t": 1 })
            .limit(MAILBOXES_AT_ONCE as i64)
            .session(&mut session)
            .await;
        let mut found = found.map_err(|error| error::meaning(&error))?;
        let mut left = Vec::new();
        while let Some(document) = found.next(&mut session).await {
            let document = document.map_err(|error| error::meaning(&error))?;
            let number = document.get_i64("_id").map_err(|_| malformed(PURGES))?;
            left.push(MailboxId(number.cast_unsigned()));
        }
        db.learn(&session);
        Ok(left)
    })
    .await
}

/// How long after a device has gone a transaction that still saw it may commit: more than any verb's deadline,
/// and than the server lets a transaction live (60 s).
const AFTERMATH_MS: u64 = 5 * 60 * 1000;

/// Most mailboxes that one call empties.
const MAILBOXES_AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc};

    use super::*;
    use crate::store::conformance::mongodb::OnServer;
    use crate::store::conformance::{NOW, address, mailbox};
    use crate::store::mongodb::documents::{binary, pair};
    use crate::store::{DeviceStore as _, MailStore as _, Usage};

    #[tokio::test]
    async fn what_reaches_a_mailbox_as_it_goes_is_removed_a_while_later() {
        let store = OnServer::new().await.store;
        let bob = mailbox(&*store, "bob").await;
        store.remove_device(&address("bob", "1"), NOW).await.unwrap();
        let late = doc! {
            "_id": binary(pair(bob.0, 1)),
            "s": 1_i64,
            "e": DateTime::MAX,
            "h": binary([]),
            "p": binary([1]),
        };
        store.db.collection("mail").insert_one(late).await.unwrap();
        store.expire(NOW, 10).await.unwrap();
        assert_eq!(store.usage(bob).await.unwrap().envelopes, 1);
        let later = UnixMs(NOW.0 + AFTERMATH_MS + 1);
        assert!(store.expire(later, 10).await.unwrap().done);
        assert_eq!(store.usage(bob).await.unwrap(), Usage::default());
        let purges = store.db.collection(PURGES);
        assert_eq!(purges.count_documents(doc! {}).await.unwrap(), 0);
    }
}
