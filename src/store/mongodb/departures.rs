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
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, malformed};
use crate::store::mongodb::layout::{Collection, Index};
use crate::store::mongodb::transaction::Stop;
use crate::store::mongodb::{error, keysets, mail, pools, records, sessions};
use crate::store::{Error, Swept};

/// `_id` the mailbox, `t` since when it is gone.
pub(super) const PURGES: &str = "purges";

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

/// Notes that nobody has a mailbox in which something lies; what is noted already stays.
///
/// # Errors
///
/// [`Error`].
pub(super) async fn note_orphan(db: &Connection, mailbox: MailboxId, now: UnixMs) -> Result<(), Error> {
    db.within(async {
        let gone = doc! { "$setOnInsert": { "t": date(now) } };
        let noted = db
            .collection(PURGES)
            .update_one(doc! { "_id": mailbox.0.cast_signed() }, gone)
            .upsert(true)
            .await;
        match noted {
            Err(error) if error::is_duplicate(&error) => Ok(()),
            noted => noted.map(drop).map_err(|error| error::meaning(&error)),
        }
    })
    .await
}

/// Deletes what a mailbox that is gone has held; how many envelopes and one-time items.
///
/// # Errors
///
/// [`Error::Unavailable`]; [`purge_left`] does the rest.
pub(super) async fn purge(db: &Connection, mailbox: MailboxId) -> Result<u64, Error> {
    Ok(mail::purge(db, mailbox).await? + pools::purge(db, mailbox).await?)
}

/// Empties mailboxes for good that are gone for a while, at most so many.
///
/// # Errors
///
/// [`Error`].
pub(super) async fn purge_left(db: &Connection, now: UnixMs, limit: usize) -> Result<Swept, Error> {
    if limit == 0 {
        return Ok(Swept::default());
    }
    let left = left(db, now, limit).await?;
    let mut swept = Swept {
        done: left.len() < limit,
        ..Swept::default()
    };
    for mailbox in left {
        swept.things += purge(db, mailbox).await?;
        // What names it went with its device, or it never had one.
        let number = mailbox.0.cast_signed();
        let rest = [
            (keysets::KEYSETS, doc! { "_id": keysets::every_suite(mailbox) }),
            (sessions::SESSIONS, doc! { "_id": number }),
            (PURGES, doc! { "_id": number }),
        ];
        db.within(async {
            for (collection, all) in rest {
                let deleted = db.collection(collection).delete_many(all).await;
                deleted.map_err(|error| error::meaning(&error))?;
            }
            Ok(())
        })
        .await?;
        swept.mailboxes += 1;
    }
    Ok(swept)
}

/// Mailboxes that went before this can be emptied for good now.
pub(super) fn ripe(now: UnixMs) -> UnixMs {
    UnixMs(now.0.saturating_sub(AFTERMATH_MS))
}

async fn left(db: &Connection, now: UnixMs, limit: usize) -> Result<Vec<MailboxId>, Error> {
    let before = ripe(now);
    db.within(async {
        let mut session = db.session().await?;
        let found = db
            .collection(PURGES)
            .find(doc! { "t": { "$lt": date(before) } })
            .sort(doc! { "t": 1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
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

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc};

    use super::*;
    use crate::store::conformance::mongodb::OnServer;
    use crate::store::conformance::{NOW, address, mailbox};
    use crate::store::mongodb::documents::{binary, pair};
    use crate::store::{ChoreStore as _, DeviceStore as _, Due, Litter, MailStore as _, Usage};

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
        let nothing = Swept {
            done: true,
            ..Swept::default()
        };
        assert_eq!(store.sweep_departed(NOW, 10).await.unwrap(), nothing);
        assert_eq!(store.usage(bob).await.unwrap().envelopes, 1);
        let later = UnixMs(NOW.0 + AFTERMATH_MS + 1);
        let litter = Litter::Departed { now: later };
        let due = Due {
            count: 1,
            bytes: 0,
            oldest: Some(NOW),
        };
        assert_eq!(store.due(litter).await.unwrap(), due);
        let swept = Swept {
            mailboxes: 1,
            things: 1,
            done: true,
        };
        assert_eq!(store.sweep_departed(later, 10).await.unwrap(), swept);
        assert_eq!(store.usage(bob).await.unwrap(), Usage::default());
        let purges = store.db.collection(PURGES);
        assert_eq!(purges.count_documents(doc! {}).await.unwrap(), 0);
    }
}
