//! How much there is to clean up: one question each, over the index by which it is removed.

use mongodb::bson::{Bson, Document, doc};

use crate::model::UnixMs;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, malformed, time};
use crate::store::mongodb::{departures, devices, error, jobs, mail, pools, records, revocations};
use crate::store::{Due, Error, Litter};

/// Counts.
pub(super) async fn due(db: &Connection, litter: Litter) -> Result<Due, Error> {
    let look = match litter {
        Litter::Mail { now } => Look {
            bytes: doc! { "$toLong": { "$binarySize": "$p" } }.into(),
            ..Look::up_to(mail::MAIL, "e", now)
        },
        Litter::Records { before } => Look {
            count: doc! { "$toLong": { "$size": "$h" } }.into(),
            ..Look::before(records::RECORDS, "a", before)
        },
        Litter::Revocations { now } => Look::up_to(revocations::REVOCATIONS, "e", now),
        Litter::Tombstones { before } => Look::before(pools::TOMBSTONES, "t", before),
        Litter::IdleDevices { before } => Look::before(devices::DEVICES, "l", before),
        Litter::Departed { now } => Look::before(departures::PURGES, "t", departures::ripe(now)),
        Litter::Runs { before, keep } => {
            let old = jobs::old_runs(db, before, keep).await?;
            return Ok(Due {
                count: old.len() as u64,
                bytes: 0,
                oldest: old.into_iter().min(),
            });
        }
    };
    look.ask(db).await
}

/// What is counted.
struct Look {
    collection: &'static str,
    wanted: Document,
    /// The field with its time.
    at: &'static str,
    /// What a document counts.
    count: Bson,
    /// Its bytes.
    bytes: Bson,
}

impl Look {
    fn before(collection: &'static str, at: &'static str, before: UnixMs) -> Self {
        Self::of(collection, at, doc! { "$lt": date(before) })
    }

    fn up_to(collection: &'static str, at: &'static str, now: UnixMs) -> Self {
        Self::of(collection, at, doc! { "$lte": date(now) })
    }

    fn of(collection: &'static str, at: &'static str, when: Document) -> Self {
        Self {
            collection,
            wanted: doc! { at: when },
            at,
            count: Bson::Int64(1),
            bytes: Bson::Int64(0),
        }
    }

    async fn ask(self, db: &Connection) -> Result<Due, Error> {
        let sum = doc! {
            "_id": Bson::Null,
            "count": { "$sum": self.count },
            "bytes": { "$sum": self.bytes },
            "oldest": { "$min": format!("${}", self.at) },
        };
        db.within(async {
            let mut session = db.session().await?;
            let found = db
                .collection(self.collection)
                .aggregate([doc! { "$match": self.wanted }, doc! { "$group": sum }])
                .session(&mut session)
                .await;
            let mut found = found.map_err(|error| error::meaning(&error))?;
            let sum = found.next(&mut session).await.transpose();
            let sum = sum.map_err(|error| error::meaning(&error))?;
            db.learn(&session);
            sum.map_or_else(|| Ok(Due::default()), |sum| decode(&sum, self.collection))
        })
        .await
    }
}

fn decode(sum: &Document, collection: &str) -> Result<Due, Error> {
    let number = |field| sum.get_i64(field).map_err(|_| malformed(collection));
    Ok(Due {
        count: number("count")?.cast_unsigned(),
        bytes: number("bytes")?.cast_unsigned(),
        oldest: sum.get_datetime("oldest").ok().copied().map(time),
    })
}
