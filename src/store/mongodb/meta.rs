//! What is said about the database as a whole: its layout's number, its epoch, and the counters from which
//! numbers are taken that are never used again.

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;
use rand::RngExt as _;

use crate::store::Error;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::malformed;
use crate::store::mongodb::error;
use crate::store::mongodb::layout::{self, Collection};

/// Facts, by name: `layout` and `epoch` (`n`), `environment` (`text`), and `lease`.
pub(super) const META: &str = "meta";
/// The last number taken, by what is numbered.
const COUNTERS: &str = "counters";

pub(super) const COLLECTIONS: &[Collection] = &[
    Collection {
        name: META,
        schema: || doc! { "bsonType": "object", "required": ["_id"], "properties": { "_id": { "bsonType": "string" } } },
        indexes: &[],
    },
    Collection {
        name: COUNTERS,
        schema: || {
            doc! {
                "bsonType": "object",
                "required": ["_id", "n"],
                "additionalProperties": false,
                "properties": { "_id": { "bsonType": "string" }, "n": { "bsonType": "long", "minimum": 1_i64 } },
            }
        },
        indexes: &[],
    },
];

/// Notes that the database has this version's layout, and gives it an epoch if it has none.
///
/// # Errors
///
/// The driver's.
pub(super) async fn record_layout(db: &Connection) -> mongodb::error::Result<()> {
    let epoch = rand::rng().random_range(1..=i64::MAX);
    let meta = db.collection(META);
    meta.update_one(doc! { "_id": "epoch" }, doc! { "$setOnInsert": { "n": epoch } })
        .upsert(true)
        .await?;
    let version = i64::from(layout::VERSION);
    meta.update_one(doc! { "_id": "layout" }, doc! { "$set": { "n": version } })
        .upsert(true)
        .await?;
    Ok(())
}

/// A number that the database keeps under a name.
///
/// # Errors
///
/// The driver's.
pub(super) async fn number(db: &Connection, name: &str) -> mongodb::error::Result<Option<i64>> {
    let found: Option<Document> = db.collection(META).find_one(doc! { "_id": name }).await?;
    Ok(found.and_then(|found| found.get("n").and_then(Bson::as_i64)))
}

/// What the database says of where it is used.
///
/// # Errors
///
/// The driver's.
pub(super) async fn environment(db: &Connection) -> mongodb::error::Result<Option<String>> {
    let found: Option<Document> = db
        .collection(META)
        .find_one(doc! { "_id": "environment" })
        .await?;
    Ok(found.and_then(|found| found.get_str("text").ok().map(str::to_owned)))
}

/// Sets what the database says of where it is used.
///
/// # Errors
///
/// The driver's.
pub(super) async fn set_environment(db: &Connection, environment: &str) -> mongodb::error::Result<()> {
    db.collection(META)
        .update_one(
            doc! { "_id": "environment" },
            doc! { "$set": { "text": environment } },
        )
        .upsert(true)
        .await?;
    Ok(())
}

/// Takes the next number of a counter; 1 at first. A number that is not used then is never used.
///
/// # Errors
///
/// [`Error::Unavailable`]; a number may be wasted.
pub(super) async fn next_number(db: &Connection, counter: &str) -> Result<u64, Error> {
    db.within(async {
        let taken = db
            .collection(COUNTERS)
            .find_one_and_update(doc! { "_id": counter }, doc! { "$inc": { "n": 1_i64 } })
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await
            .map_err(|error| error::meaning(&error))?;
        let number = taken.and_then(|taken| taken.get_i64("n").ok());
        number.map(i64::cast_unsigned).ok_or_else(|| malformed(COUNTERS))
    })
    .await
}
