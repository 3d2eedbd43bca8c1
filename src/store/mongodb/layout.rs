//! What the database should look like: collections, validators, indexes, and the number of this layout.
//!
//! Owns the list of all collections; each collection is described beside the code that writes it. Changes
//! nothing: see `upkeep`.

use std::time::Duration;

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use crate::store::mongodb::{
    departures, devices, gaps, history, jobs, keys, keysets, mail, meta, nodes, pools, records, revocations,
    sessions,
};

/// The layout that this version writes.
pub(super) const VERSION: u32 = 3;

/// A collection as it should be.
#[derive(Debug)]
pub(super) struct Collection {
    /// Its name.
    pub(super) name: &'static str,
    /// Its documents, as a JSON schema in MongoDB's dialect.
    pub(super) schema: fn() -> Document,
    /// Its indexes besides the one of `_id`.
    pub(super) indexes: &'static [Index],
}

/// An index as it should be.
#[derive(Debug)]
pub(super) struct Index {
    /// Its name.
    pub(super) name: &'static str,
    /// Fields and their direction.
    pub(super) keys: &'static [(&'static str, i32)],
    /// Whether no two documents may have the same.
    pub(super) unique: bool,
    /// How long after the time in its field a document is deleted by the server.
    pub(super) expire_after: Option<Duration>,
}

impl Collection {
    /// The rule that the server checks its documents by.
    pub(super) fn validator(&self) -> Document {
        doc! { "$jsonSchema": (self.schema)() }
    }
}

impl Index {
    /// As the driver wants it.
    pub(super) fn model(&self) -> IndexModel {
        let keys: Document = self
            .keys
            .iter()
            .map(|(field, direction)| ((*field).to_owned(), (*direction).into()))
            .collect();
        let options = IndexOptions::builder()
            .name(self.name.to_owned())
            .unique(self.unique.then_some(true))
            .expire_after(self.expire_after)
            .build();
        IndexModel::builder().keys(keys).options(options).build()
    }
}

/// Every collection, in the order in which they are made.
pub(super) fn collections() -> impl Iterator<Item = &'static Collection> {
    [
        meta::COLLECTIONS,
        history::COLLECTIONS,
        nodes::COLLECTIONS,
        mail::COLLECTIONS,
        gaps::COLLECTIONS,
        records::COLLECTIONS,
        sessions::COLLECTIONS,
        devices::COLLECTIONS,
        departures::COLLECTIONS,
        keysets::COLLECTIONS,
        keys::COLLECTIONS,
        pools::COLLECTIONS,
        revocations::COLLECTIONS,
        jobs::COLLECTIONS,
    ]
    .into_iter()
    .flatten()
}

/// How long after its time the server itself deletes what a relay should have deleted, mail first of all: late
/// enough that a relay that was down for a while still does it, and tells the recipients.
pub(super) const BACK_STOP: Duration = Duration::from_secs(8 * 24 * 3600);

/// The same for idempotency records, whose window is a setting: longer than anybody sets it.
pub(super) const RECORDS_BACK_STOP: Duration = Duration::from_secs(90 * 24 * 3600);
