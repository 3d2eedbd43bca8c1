//! When and by which version each collection became what it is.

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::time;
use crate::store::mongodb::layout::{self, Collection};
use crate::store::upkeep::Past;

/// `_id` the collection (or `schema`, for the whole) and the layout's number, `t` when, `b` by which chatctl.
const HISTORY: &str = "history";

pub(super) const COLLECTIONS: &[Collection] = &[Collection {
    name: HISTORY,
    schema: || {
        doc! {
            "bsonType": "object",
            "required": ["_id", "t", "b"],
            "properties": {
                "_id": {
                    "bsonType": "object",
                    "required": ["c", "v"],
                    "properties": { "c": { "bsonType": "string" }, "v": { "bsonType": "long" } },
                },
                "t": { "bsonType": "date" },
                "b": { "bsonType": "string" },
            },
        }
    },
    indexes: &[],
}];

/// Notes that the collections have this version's layout; what is noted already stays.
///
/// # Errors
///
/// The driver's.
pub(super) async fn record(db: &Connection) -> mongodb::error::Result<()> {
    db.database.run_command(notes()).await?;
    Ok(())
}

fn notes() -> Document {
    let names = layout::collections().map(|collection| collection.name);
    let version = i64::from(layout::VERSION);
    let note = |name: &str| {
        doc! {
            "q": { "_id": { "c": name, "v": version } },
            "u": [{ "$set": {
                "t": { "$ifNull": ["$t", "$$NOW"] },
                "b": { "$ifNull": ["$b", env!("CARGO_PKG_VERSION")] },
            } }],
            "upsert": true,
        }
    };
    let notes: Vec<_> = names.chain(["schema"]).map(note).collect();
    doc! { "update": HISTORY, "updates": notes, "writeConcern": { "w": "majority", "j": true } }
}

/// Everything that was noted, the oldest first.
///
/// # Errors
///
/// The driver's.
pub(super) async fn read(db: &Connection) -> mongodb::error::Result<Vec<Past>> {
    let notes = db
        .collection(HISTORY)
        .find(doc! {})
        .sort(doc! { "t": 1, "_id": 1 })
        .await?;
    let notes: Vec<Document> = notes.try_collect().await?;
    Ok(notes.iter().filter_map(past).collect())
}

fn past(note: &Document) -> Option<Past> {
    let id = note.get_document("_id").ok()?;
    Some(Past {
        part: id.get_str("c").ok()?.to_owned(),
        version: u32::try_from(id.get_i64("v").ok()?).ok()?,
        at: time(*note.get_datetime("t").ok()?),
        by: note.get_str("b").ok()?.to_owned(),
    })
}
