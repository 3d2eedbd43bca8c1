//! Whose session is with which relay: a document for each mailbox that ever signed on.
//!
//! Must not know sockets. A document is touched when a device connects, and read in lists by the relays
//! that hold sessions.

use std::collections::HashMap;

use mongodb::ClientSession;
use mongodb::bson::doc;
use mongodb::options::ReturnDocument;

use crate::model::{MailboxId, UnixMs};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, malformed};
use crate::store::mongodb::layout::Collection;
use crate::store::mongodb::transaction::Stop;
use crate::store::mongodb::{error, records};
use crate::store::{Error, Lease};

/// `_id` the mailbox, `e` its epoch, `n` the relay's number, `p` the one before, `t` when it signed on.
pub(super) const SESSIONS: &str = "sessions";

pub(super) const COLLECTIONS: &[Collection] = &[Collection {
    name: SESSIONS,
    schema: || {
        doc! {
            "bsonType": "object",
            "required": ["_id", "e", "n", "p", "t"],
            "additionalProperties": false,
            "properties": {
                "_id": { "bsonType": "long" },
                "e": { "bsonType": "long", "minimum": 1_i64 },
                "n": { "bsonType": "int" },
                "p": { "bsonType": "int" },
                "t": { "bsonType": "date" },
            },
        }
    },
    indexes: &[],
}];

/// Takes a mailbox's session for a relay.
///
/// # Errors
///
/// [`Error`]; after [`Error::Unavailable`] it may have been taken.
pub(super) async fn sign_on(
    db: &Connection,
    mailbox: MailboxId,
    node: u16,
    now: UnixMs,
) -> Result<Lease, Error> {
    let epoch_and_before = db.within(async {
        let mut session = db.session().await?;
        let take = vec![doc! { "$set": {
            "e": { "$add": [{ "$ifNull": ["$e", 0_i64] }, 1_i64] },
            "p": { "$ifNull": ["$n", i32::from(node)] },
            "n": i32::from(node),
            "t": date(now),
        } }];
        let mut tries = 0;
        let taken = loop {
            let taken = db
                .collection(SESSIONS)
                .find_one_and_update(doc! { "_id": mailbox.0.cast_signed() }, take.clone())
                .upsert(true)
                .return_document(ReturnDocument::After)
                .session(&mut session)
                .await;
            match taken {
                // Two relays made the first document at once.
                Err(error) if error::is_duplicate(&error) && tries == 0 => tries += 1,
                taken => break taken.map_err(|error| error::meaning(&error))?,
            }
        };
        db.learn(&session);
        let taken = taken.ok_or_else(|| malformed(SESSIONS))?;
        let epoch = taken.get_i64("e").map_err(|_| malformed(SESSIONS))?;
        let before = taken.get_i32("p").map_err(|_| malformed(SESSIONS))?;
        Ok((epoch.cast_unsigned(), before))
    });
    let (epoch, before) = epoch_and_before.await?;
    // After the lease: what the relay before answered until then is stored.
    let newest = records::newest(db).await?;
    Ok(Lease {
        epoch,
        newest,
        moved: before != i32::from(node),
    })
}

/// Which of these are over.
///
/// # Errors
///
/// [`Error`].
pub(super) async fn displaced(db: &Connection, held: &[(MailboxId, u64)]) -> Result<Vec<MailboxId>, Error> {
    db.within(async {
        let mut session = db.session().await?;
        let ids: Vec<i64> = held.iter().map(|(mailbox, _)| mailbox.0.cast_signed()).collect();
        let found = db
            .collection(SESSIONS)
            .find(doc! { "_id": { "$in": ids } })
            .projection(doc! { "e": 1 })
            .session(&mut session)
            .await;
        let mut found = found.map_err(|error| error::meaning(&error))?;
        let mut epochs = HashMap::new();
        while let Some(document) = found.next(&mut session).await {
            let document = document.map_err(|error| error::meaning(&error))?;
            let long = |field| {
                document
                    .get_i64(field)
                    .map(i64::cast_unsigned)
                    .map_err(|_| malformed(SESSIONS))
            };
            epochs.insert(MailboxId(long("_id")?), long("e")?);
        }
        db.learn(&session);
        let is_over = |(mailbox, epoch): &&(MailboxId, u64)| epochs.get(mailbox) != Some(epoch);
        Ok(held.iter().filter(is_over).map(|(mailbox, _)| *mailbox).collect())
    })
    .await
}

/// A mailbox is no more, and nobody has its session.
///
/// # Errors
///
/// The driver's.
pub(super) async fn forget<T>(
    db: &Connection,
    session: &mut ClientSession,
    mailbox: MailboxId,
) -> Result<(), Stop<T>> {
    let sessions = db.collection(SESSIONS);
    let gone = doc! { "_id": mailbox.0.cast_signed() };
    sessions.delete_one(gone).session(session).await?;
    Ok(())
}
