//! What is said about the database as a whole: its layout's number, its epoch, and the counters from which
//! numbers are taken that are never used again.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;
use rand::RngExt as _;
use tokio::sync::Mutex;

use crate::store::Error;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::malformed;
use crate::store::mongodb::error;
use crate::store::mongodb::layout::{self, Collection};
use crate::store::mongodb::transaction::Stop;

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

/// Numbers that are never used again, out of a counter of the database. Those who ask at the same time are
/// served by one request; who asks alone takes one number.
#[derive(Debug)]
pub(super) struct Numbers {
    counter: &'static str,
    /// Who asks and has no number yet.
    asking: AtomicU64,
    /// Taken, and not given to anybody.
    spare: Mutex<Range<u64>>,
}

impl Numbers {
    /// The numbers of a counter; 1 is the first.
    pub(super) fn of(counter: &'static str) -> Self {
        Self {
            counter,
            asking: AtomicU64::new(0),
            spare: Mutex::new(0..0),
        }
    }

    /// The next number.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; numbers may be wasted.
    pub(super) async fn next(&self, db: &Connection) -> Result<u64, Error> {
        self.asking.fetch_add(1, Ordering::Relaxed);
        let mut spare = self.spare.lock().await;
        if let Some(number) = spare.next() {
            return Ok(number);
        }
        // All who ask up to here; those who have given up leave theirs to the next.
        let count = self.asking.swap(0, Ordering::Relaxed).clamp(1, MOST_NUMBERS);
        let last = take(db, self.counter, count).await?;
        *spare = (last + 1 - count)..(last + 1);
        spare.next().ok_or_else(|| malformed(COUNTERS))
    }
}

impl Numbers {
    /// So many numbers in a row; the first of them.
    ///
    /// # Errors
    ///
    /// As [`Self::next`].
    pub(super) async fn row(&self, db: &Connection, count: u64) -> Result<u64, Error> {
        Ok(take(db, self.counter, count).await? + 1 - count)
    }
}

/// The next number of a counter, in a transaction: it is taken when that is committed, and who takes one meanwhile
/// runs again. So the numbers are in the order in which what they number becomes visible, and none is wasted.
///
/// # Errors
///
/// [`Stop::Again`] when it is the counter's first and somebody else's, too; the driver's.
pub(super) async fn next<T>(
    db: &Connection,
    session: &mut ClientSession,
    counter: &str,
) -> Result<u64, Stop<T>> {
    let taken = db
        .collection(COUNTERS)
        .find_one_and_update(doc! { "_id": counter }, doc! { "$inc": { "n": 1_i64 } })
        .upsert(true)
        .return_document(ReturnDocument::After)
        .session(session)
        .await;
    match taken {
        Err(error) if error::is_duplicate(&error) => Err(Stop::Again),
        Err(error) => Err(error.into()),
        Ok(taken) => {
            let number = taken.and_then(|taken| taken.get_i64("n").ok());
            Ok(number.ok_or_else(|| malformed(COUNTERS))?.cast_unsigned())
        }
    }
}

/// Raises a counter by so many; its new value.
async fn take(db: &Connection, counter: &str, count: u64) -> Result<u64, Error> {
    db.within(async {
        let raise = doc! { "$inc": { "n": count.cast_signed() } };
        let taken = db
            .collection(COUNTERS)
            .find_one_and_update(doc! { "_id": counter }, raise)
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await
            .map_err(|error| error::meaning(&error))?;
        let last = taken.and_then(|taken| taken.get_i64("n").ok());
        let last = last.map(i64::cast_unsigned).filter(|last| *last >= count);
        last.ok_or_else(|| malformed(COUNTERS))
    })
    .await
}

/// Most numbers that one request takes.
const MOST_NUMBERS: u64 = 256;
