//! Looks through a database for what does not fit together.
//!
//! Reads only, of what a majority has. Must not know how documents come to be.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Result;

use crate::model::MailboxId;
use crate::store::mongodb::bundles;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::binary;
use crate::store::mongodb::layout::{self, Collection};
use crate::store::upkeep::{Check, Depth, name_of};

/// Every check.
///
/// # Errors
///
/// The driver's.
pub(super) async fn everything(db: &Connection, depth: Depth) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for collection in layout::collections() {
        checks.push(documents(db, depth, collection).await?);
    }
    for (name, length) in KEPT {
        checks.push(orphans(db, depth, name, length).await?);
    }
    checks.push(keysets(db, depth).await?);
    checks.push(departures(db).await?);
    checks.extend(bundles::judge(db, depth).await?);
    Ok(checks)
}

/// Collections whose keys begin with a mailbox's number, and how long the keys are: shorter keys come before
/// longer ones, whatever is in them.
const KEPT: [(&str, usize); 3] = [("mail", 16), ("gaps", 16), ("items", 24)];

/// Documents that their validator refuses.
async fn documents(db: &Connection, depth: Depth, collection: &Collection) -> Result<Check> {
    let mut check = Check::new(format!("documents of {}", collection.name));
    let all = db.collection(collection.name);
    let count = all.estimated_document_count().await?;
    check.looked = depth.sample.map_or(count, |sample| count.min(sample.into()));
    let mut look = sampled(depth);
    look.push(doc! { "$match": { "$nor": [collection.validator()] } });
    look.push(doc! { "$project": { "_id": 1 } });
    let mut refused = all.aggregate(look).await?;
    while let Some(document) = refused.try_next().await? {
        let mailbox = document.get("_id").and_then(mailbox_in);
        check.found(mailbox.map(name_of).unwrap_or_default());
    }
    Ok(check)
}

fn sampled(depth: Depth) -> Vec<Document> {
    let sample = depth
        .sample
        .map(|sample| doc! { "$sample": { "size": i64::from(sample) } });
    sample.into_iter().collect()
}

/// The mailbox at the beginning of a key.
fn mailbox_in(key: &Bson) -> Option<MailboxId> {
    match key {
        Bson::Binary(key) => {
            let first = key.bytes.first_chunk::<8>()?;
            Some(MailboxId(u64::from_be_bytes(*first)))
        }
        Bson::Document(key) => Some(MailboxId(key.get_i64("m").ok()?.cast_unsigned())),
        _ => None,
    }
}

/// What lies in mailboxes that belong to no device.
async fn orphans(db: &Connection, depth: Depth, name: &str, length: usize) -> Result<Check> {
    let mut check = Check::new(format!("mailboxes with {name} and a device"));
    let mailboxes = match depth.sample {
        Some(_) => some_mailboxes(db, depth, name).await?,
        None => every_mailbox(db, name, length).await?,
    };
    homeless(db, &mailboxes, &mut check).await?;
    Ok(check)
}

async fn keysets(db: &Connection, depth: Depth) -> Result<Check> {
    let mut check = Check::new("mailboxes with keysets and a device");
    let mailboxes = some_mailboxes(db, depth, bundles::KEYSETS).await?;
    homeless(db, &mailboxes, &mut check).await?;
    Ok(check)
}

async fn some_mailboxes(db: &Connection, depth: Depth, name: &str) -> Result<BTreeSet<MailboxId>> {
    let mut look = sampled(depth);
    look.push(doc! { "$project": { "_id": 1 } });
    let mut found = db.collection(name).aggregate(look).await?;
    let mut mailboxes = BTreeSet::new();
    while let Some(document) = found.try_next().await? {
        mailboxes.extend(document.get("_id").and_then(mailbox_in));
    }
    Ok(mailboxes)
}

/// Every mailbox in which something lies: a step of the index for each, and not one for each document.
async fn every_mailbox(db: &Connection, name: &str, length: usize) -> Result<BTreeSet<MailboxId>> {
    let mut mailboxes = BTreeSet::new();
    let mut after = vec![0; length];
    loop {
        let next = db
            .collection(name)
            .find_one(doc! { "_id": { "$gte": binary(after) } })
            .sort(doc! { "_id": 1 })
            .projection(doc! { "_id": 1 })
            .await?;
        let Some(mailbox) = next.and_then(|next| next.get("_id").and_then(mailbox_in)) else {
            return Ok(mailboxes);
        };
        mailboxes.insert(mailbox);
        let Some(following) = mailbox.0.checked_add(1) else {
            return Ok(mailboxes);
        };
        after = following.to_be_bytes().to_vec();
        after.resize(length, 0);
    }
}

/// Notes the mailboxes that belong to no device, and that nobody is emptying.
async fn homeless(db: &Connection, mailboxes: &BTreeSet<MailboxId>, check: &mut Check) -> Result<()> {
    check.looked = mailboxes.len() as u64;
    let all: Vec<i64> = mailboxes.iter().map(|mailbox| mailbox.0.cast_signed()).collect();
    for some in all.chunks(AT_ONCE) {
        let mut known = BTreeSet::new();
        for name in ["devices", PURGES] {
            let among = doc! { "_id": { "$in": some } };
            let mut found = db
                .collection(name)
                .find(among)
                .projection(doc! { "_id": 1 })
                .await?;
            while let Some(document) = found.try_next().await? {
                known.extend(document.get_i64("_id").ok());
            }
        }
        for mailbox in some.iter().filter(|mailbox| !known.contains(mailbox)) {
            check.found(name_of(MailboxId(mailbox.cast_unsigned())));
        }
    }
    Ok(())
}

/// Mailboxes that should have been emptied long ago.
async fn departures(db: &Connection) -> Result<Check> {
    let mut check = Check::warning("departures that are done within an hour");
    let purges = db.collection(PURGES);
    check.looked = purges.estimated_document_count().await?;
    let hour_ago = doc! { "$subtract": ["$$NOW", 3_600_000_i64] };
    let mut late = purges.find(doc! { "$expr": { "$lt": ["$t", hour_ago] } }).await?;
    while let Some(document) = late.try_next().await? {
        let mailbox = document.get_i64("_id").ok().map(i64::cast_unsigned);
        check.found(
            mailbox
                .map(|mailbox| name_of(MailboxId(mailbox)))
                .unwrap_or_default(),
        );
    }
    Ok(check)
}

/// Mailboxes whose device is gone and that are being emptied.
const PURGES: &str = "purges";

/// Mailboxes in one question.
const AT_ONCE: usize = 1000;
