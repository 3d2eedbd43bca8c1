//! Looks at published keys: signatures, and queues that run dry.
//!
//! Reads only. Must not know what makes a signature good.

use bytes::Bytes;
use chatctl_protocol::{PoolName, Suite};
use futures_util::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Result;

use crate::model::MailboxId;
use crate::store::Item;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::binary;
use crate::store::upkeep::{Check, Depth, name_of};

/// Keysets, with their pools and fallbacks.
pub(super) const KEYSETS: &str = "keysets";
/// What waits in the queues.
const ITEMS: &str = "items";

/// A keyset with its pools, as far as it was looked at.
struct Bundle {
    identity: Bytes,
    counts: Vec<(PoolName, u64)>,
    items: Vec<(PoolName, Item)>,
}

/// Bundles whose items their identity did not sign, and queues that run dry.
///
/// # Errors
///
/// The driver's.
pub(super) async fn judge(db: &Connection, depth: Depth) -> Result<[Check; 2]> {
    let mut signatures = Check::new("bundles with good signatures");
    let mut low = Check::warning(format!("queues with {} items or more", depth.floor));
    let sample = depth
        .sample
        .map(|sample| doc! { "$sample": { "size": i64::from(sample) } });
    let look = sample.into_iter().chain([doc! { "$project": { "_id": 1 } }]);
    let mut chosen = db.collection(KEYSETS).aggregate(look).await?;
    while let Some(key) = chosen.try_next().await? {
        let Some((mailbox, suite)) = key.get_document("_id").ok().and_then(name) else {
            signatures.looked += 1;
            signatures.found("a keyset without a mailbox or suite");
            continue;
        };
        let whose = format!("{}, suite {suite}", name_of(mailbox));
        let Some(bundle) = read(db, mailbox, &suite, depth).await? else {
            continue;
        };
        for (pool, count) in &bundle.counts {
            low.looked += 1;
            if *count < u64::from(depth.floor) {
                low.found(format!("{whose}, pool {pool}: {count}"));
            }
        }
        signatures.looked += 1;
        if (depth.judge)(&suite, &bundle.identity, &bundle.items).is_ok() {
            continue;
        }
        // Identity and items are of two moments: only what is wrong twice is wrong.
        let Some(again) = read(db, mailbox, &suite, depth).await? else {
            continue;
        };
        if let Err(why) = (depth.judge)(&suite, &again.identity, &again.items) {
            signatures.found(format!("{whose}: {why}"));
        }
    }
    Ok([signatures, low])
}

fn name(key: &Document) -> Option<(MailboxId, Suite)> {
    let mailbox = MailboxId(key.get_i64("m").ok()?.cast_unsigned());
    Some((mailbox, Suite::parse(key.get_str("s").ok()?).ok()?))
}

async fn read(db: &Connection, mailbox: MailboxId, suite: &Suite, depth: Depth) -> Result<Option<Bundle>> {
    let key = doc! { "m": mailbox.0.cast_signed(), "s": suite.as_str() };
    let keyset = db.collection(KEYSETS).find_one(doc! { "_id": key }).await?;
    let Some(keyset) = keyset else { return Ok(None) };
    let mut bundle = Bundle {
        identity: bytes(&keyset, "i").unwrap_or_default(),
        counts: Vec::new(),
        items: Vec::new(),
    };
    for pool in keyset.get_array("p").into_iter().flatten() {
        let Some((name, number)) = pool.as_document().and_then(pool_of) else {
            continue;
        };
        let queue = doc! { "_id": {
            "$gte": binary(place(mailbox, number, 0)), "$lte": binary(place(mailbox, number, u64::MAX)),
        } };
        let items = db.collection(ITEMS);
        let count = items.count_documents(queue.clone()).await?;
        bundle.counts.push((name.clone(), count));
        let found = items.find(queue).limit(depth.sample.map_or(0, |_| FEW)).await?;
        let found: Vec<Document> = found.try_collect().await?;
        let fallback = pool.as_document().and_then(|pool| pool.get_document("f").ok());
        let items = found.iter().chain(fallback).filter_map(item);
        bundle.items.extend(items.map(|item| (name.clone(), item)));
    }
    Ok(Some(bundle))
}

fn pool_of(pool: &Document) -> Option<(PoolName, u64)> {
    let name = PoolName::parse(pool.get_str("n").ok()?).ok()?;
    Some((name, pool.get_i64("k").ok()?.cast_unsigned()))
}

fn place(mailbox: MailboxId, pool: u64, place: u64) -> Vec<u8> {
    let numbers = [mailbox.0, pool, place];
    numbers.into_iter().flat_map(u64::to_be_bytes).collect()
}

fn item(document: &Document) -> Option<Item> {
    Some(Item {
        id: document.get_str("i").ok()?.into(),
        data: bytes(document, "d")?,
        signature: bytes(document, "g"),
    })
}

fn bytes(document: &Document, field: &str) -> Option<Bytes> {
    match document.get(field)? {
        Bson::Binary(binary) => Some(Bytes::copy_from_slice(&binary.bytes)),
        _ => None,
    }
}

/// Items of each queue that are judged in a sample.
const FEW: i64 = 3;
