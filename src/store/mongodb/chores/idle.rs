//! When devices were last seen, and the going of those that are not seen any more.
//!
//! # Why
//!
//! A device has the day in its own document, so its removal and its being seen collide. A database that was set up
//! before this was noted has devices without a day; they count as seen when somebody first looks for idle ones, so
//! that nobody goes because of what nobody has noted.

use std::collections::HashSet;
use std::time::Duration;

use chatctl_protocol::Address;
use mongodb::bson::{Bson, doc};
use tokio::time::Instant;

use crate::model::{MailboxId, UnixMs};
use crate::store::Error;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::devices::{self, DEVICES};
use crate::store::mongodb::documents::{date, malformed};
use crate::store::mongodb::{error, registrations};

/// Notes that devices were seen; those that are gone.
///
/// # Errors
///
/// [`Error`]; some may have been noted.
pub(super) async fn seen(
    db: &Connection,
    mailboxes: &[MailboxId],
    day: UnixMs,
) -> Result<Vec<MailboxId>, Error> {
    let mut gone = Vec::new();
    for some in mailboxes.chunks(AT_ONCE) {
        let here = db.within(note(db, some, day)).await?;
        gone.extend(some.iter().filter(|mailbox| !here.contains(mailbox)));
    }
    Ok(gone)
}

/// Notes it, and says which of them are there.
async fn note(db: &Connection, mailboxes: &[MailboxId], day: UnixMs) -> Result<HashSet<MailboxId>, Error> {
    let keys: Vec<i64> = mailboxes.iter().map(|mailbox| devices::key(*mailbox)).collect();
    let all = db.collection(DEVICES);
    let mut session = db.session().await?;
    // Most were seen on this day before: these are not written.
    let earlier = doc! {
        "_id": { "$in": &keys },
        "$or": [{ "l": { "$lt": date(day) } }, { "l": Bson::Null }],
    };
    let later = vec![doc! { "$set": { "l": { "$max": ["$l", "$t", date(day)] } } }];
    let noted = all.update_many(earlier, later).session(&mut session).await;
    noted.map_err(|error| error::meaning(&error))?;
    let found = all
        .find(doc! { "_id": { "$in": keys } })
        .projection(doc! { "_id": 1 })
        .session(&mut session)
        .await;
    let mut found = found.map_err(|error| error::meaning(&error))?;
    let mut here = HashSet::new();
    while let Some(document) = found.next(&mut session).await {
        let document = document.map_err(|error| error::meaning(&error))?;
        here.insert(devices::mailbox_of(&document)?);
    }
    db.learn(&session);
    Ok(here)
}

/// Removes idle devices, the longest idle first; each in a transaction of its own. Their mailboxes are not emptied yet.
///
/// # Errors
///
/// [`Error`], and then none was removed; who was removed before an error is told.
pub(super) async fn remove(
    db: &Connection,
    (before, now): (UnixMs, UnixMs),
    limit: usize,
) -> Result<Vec<(Address, MailboxId)>, Error> {
    stamp(db, now).await?;
    let mut removed = Vec::new();
    while removed.len() < limit {
        let idle = match candidates(db, before, limit - removed.len()).await {
            Err(error) if removed.is_empty() => return Err(error),
            Err(_) => return Ok(removed),
            Ok(idle) if idle.is_empty() => return Ok(removed),
            Ok(idle) => idle,
        };
        for (address, mailbox) in idle {
            match registrations::remove_idle(db, (&address, mailbox), (before, now)).await {
                Ok(true) => removed.push((address, mailbox)),
                // It was seen, or somebody else has removed it.
                Ok(false) => {}
                Err(error) if removed.is_empty() => return Err(error),
                Err(_) => return Ok(removed),
            }
        }
    }
    Ok(removed)
}

async fn candidates(
    db: &Connection,
    before: UnixMs,
    limit: usize,
) -> Result<Vec<(Address, MailboxId)>, Error> {
    db.within(async {
        let mut session = db.session().await?;
        let found = db
            .collection(DEVICES)
            .find(doc! { "l": { "$lt": date(before) } })
            .sort(doc! { "l": 1, "_id": 1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .projection(doc! { "a": 1, "d": 1 })
            .session(&mut session)
            .await;
        let mut found = found.map_err(|error| error::meaning(&error))?;
        let mut idle = Vec::new();
        while let Some(device) = found.next(&mut session).await {
            let device = device.map_err(|error| error::meaning(&error))?;
            idle.push((devices::address_of(&device)?, devices::mailbox_of(&device)?));
        }
        db.learn(&session);
        Ok(idle)
    })
    .await
}

/// Devices of which nobody has noted when they were seen count as seen now. What is not done in time is done by
/// the next call: until then they are idle to nobody.
async fn stamp(db: &Connection, now: UnixMs) -> Result<(), Error> {
    let began = Instant::now();
    let all = db.collection(DEVICES);
    while began.elapsed() < STAMPING {
        let left = db.within(async {
            let unseen = doc! { "l": Bson::Null };
            let found = all
                .find(unseen)
                .limit(AT_ONCE as i64)
                .projection(doc! { "_id": 1 });
            let mut found = found.await.map_err(|error| error::meaning(&error))?;
            let mut keys = Vec::new();
            while found.advance().await.map_err(|error| error::meaning(&error))? {
                let key = found.current().get_i64("_id").map_err(|_| malformed(DEVICES))?;
                keys.push(key);
            }
            let left = keys.len();
            if left > 0 {
                let these = doc! { "_id": { "$in": keys }, "l": Bson::Null };
                let stamped = all.update_many(these, doc! { "$set": { "l": date(now) } }).await;
                stamped.map_err(|error| error::meaning(&error))?;
            }
            Ok(left)
        });
        if left.await? < AT_ONCE {
            return Ok(());
        }
    }
    Ok(())
}

/// Devices in one question.
const AT_ONCE: usize = 1000;

/// How long one call goes on with devices of which nothing was noted.
const STAMPING: Duration = Duration::from_secs(1);
