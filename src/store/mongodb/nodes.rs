//! Relays that share the database: the number in each one's ids.
//!
//! # Why
//!
//! A process mints ids of its number only, and only below the ceiling that it has made durable under it.
//! Whoever takes the number over begins at that ceiling, and the process that had it can raise it no more:
//! its token is gone. So an id is minted once, however long a process was thought dead.

use chatctl_protocol::EnvelopeId;
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use crate::store::Error;
use crate::store::TOOL_NODE;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::malformed;
use crate::store::mongodb::error;
use crate::store::mongodb::layout::Collection;
use crate::store::mongodb::transaction::Stop;

/// `_id` the number, `w` the token of the process that has it, `c` the ceiling of its ids, `t` when the
/// ceiling was raised or the number taken, on the server's clock.
const NODES: &str = "nodes";

pub(super) const COLLECTIONS: &[Collection] = &[Collection {
    name: NODES,
    schema: || {
        doc! {
            "bsonType": "object",
            "required": ["_id", "w", "c", "t"],
            "additionalProperties": false,
            "properties": {
                "_id": { "bsonType": "long", "minimum": 0_i64, "maximum": i64::from(NUMBERS) - 1 },
                "w": { "bsonType": "long" },
                "c": { "bsonType": "long" },
                "t": { "bsonType": "date" },
            },
        }
    },
    indexes: &[],
}];

/// A number that this process has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) number: u16,
    token: i64,
}

impl Seat {
    /// Takes a number: a free one, else the one that was used least recently.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; a number may be taken and not used then.
    pub(super) async fn take(db: &Connection) -> Result<Self, Error> {
        let token: i64 = rand::random();
        db.within(async {
            loop {
                if let Some(seat) = try_to_take(db, token).await? {
                    return Ok(seat);
                }
                // Somebody else took just that one; the deadline bounds this.
            }
        })
        .await
    }

    /// The ceiling of this number's ids.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub(super) async fn ceiling(&self, db: &Connection) -> Result<EnvelopeId, Error> {
        db.within(async {
            let mut session = db.session().await?;
            let found = db
                .collection(NODES)
                .find_one(self.own())
                .session(&mut session)
                .await;
            let found = found.map_err(|error| error::meaning(&error))?;
            db.learn(&session);
            let ceiling = found
                .ok_or_else(taken)?
                .get_i64("c")
                .map_err(|_| malformed(NODES))?;
            Ok(EnvelopeId::from_u64(ceiling.cast_unsigned()))
        })
        .await
    }

    /// Makes a higher ceiling of this number's ids durable.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] when another process has taken the number.
    pub(super) async fn raise<T>(
        &self,
        db: &Connection,
        session: &mut ClientSession,
        ceiling: EnvelopeId,
    ) -> Result<(), Stop<T>> {
        let higher = doc! { "$max": ["$c", ceiling.as_u64().cast_signed()] };
        let raise = vec![doc! { "$set": { "c": higher, "t": "$$NOW" } }];
        let nodes = db.collection(NODES);
        let raised = nodes.update_one(self.own(), raise).session(session).await?;
        match raised.matched_count {
            0 => Err(Stop::Store(taken())),
            _ => Ok(()),
        }
    }

    fn own(&self) -> Document {
        doc! { "_id": i64::from(self.number), "w": self.token }
    }
}

/// One try; `None` when another process was quicker.
async fn try_to_take(db: &Connection, token: i64) -> Result<Option<Seat>, Error> {
    let mut session = db.session().await?;
    let mut found = db
        .collection(NODES)
        .find(doc! {})
        .session(&mut session)
        .await
        .map_err(|error| error::meaning(&error))?;
    let mut used: Vec<Used> = Vec::new();
    while let Some(document) = found.next(&mut session).await {
        used.push(Used::of(&document.map_err(|error| error::meaning(&error))?)?);
    }
    let Some((number, had_by)) = choose(&used) else {
        return Ok(None);
    };
    let take = vec![doc! { "$set": {
        "w": { "$literal": token }, "t": "$$NOW", "c": { "$ifNull": ["$c", 0_i64] },
    } }];
    // With the token that it had, so that of two who want the same number one finds nothing.
    let filter = match had_by {
        Some(token) => doc! { "_id": i64::from(number), "w": token },
        None => doc! { "_id": i64::from(number), "w": { "$exists": false } },
    };
    let taken = db
        .collection(NODES)
        .find_one_and_update(filter, take)
        .upsert(had_by.is_none())
        .return_document(ReturnDocument::After)
        .session(&mut session)
        .await;
    match taken {
        Ok(Some(_)) => {
            db.learn(&session);
            Ok(Some(Seat { number, token }))
        }
        Ok(None) => Ok(None),
        Err(error) if error::is_duplicate(&error) => Ok(None),
        Err(error) => Err(error::meaning(&error)),
    }
}

/// A number that somebody has or had.
#[derive(Debug, Clone, Copy)]
struct Used {
    number: u16,
    token: i64,
    at: i64,
}

impl Used {
    fn of(document: &Document) -> Result<Self, Error> {
        let long = |field| document.get_i64(field).map_err(|_| malformed(NODES));
        let at = document.get_datetime("t").map_err(|_| malformed(NODES))?;
        Ok(Self {
            number: u16::try_from(long("_id")?).map_err(|_| malformed(NODES))?,
            token: long("w")?,
            at: at.timestamp_millis(),
        })
    }
}

/// A number to take, and the token under which it was used, if it was.
fn choose(used: &[Used]) -> Option<(u16, Option<i64>)> {
    let free = (0..NUMBERS).find(|number| used.iter().all(|used| used.number != *number));
    free.map(|number| (number, None)).or_else(|| {
        let oldest = used.iter().min_by_key(|used| used.at)?;
        Some((oldest.number, Some(oldest.token)))
    })
}

fn taken() -> Error {
    Error::Poisoned("another process has taken this node's number".into())
}

/// All numbers that an id has room for, but the last.
const NUMBERS: u16 = TOOL_NODE;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::mongodb::OnServer;
    use crate::store::mongodb::{MongoDb, Options};
    use crate::store::{Batch, MailStore as _};

    const LAST: u16 = NUMBERS - 1;

    fn used(number: u16, at: i64) -> Used {
        Used {
            number,
            token: i64::from(number) + 7,
            at,
        }
    }

    #[test]
    fn a_free_number_is_taken_first_and_then_the_one_unused_for_longest() {
        assert_eq!(choose(&[]), Some((0, None)));
        assert_eq!(choose(&[used(0, 5), used(2, 1)]), Some((1, None)));
        let mut all: Vec<Used> = (0..NUMBERS).map(|number| used(number, 1_000)).collect();
        all[77].at = 999;
        assert_eq!(choose(&all), Some((77, Some(84))));
    }

    #[tokio::test]
    async fn a_number_that_is_taken_over_goes_on_at_its_ceiling_and_its_old_owner_stops() {
        let subject = OnServer::new().await;
        let old = &subject.store;
        let rest: Vec<Document> = (1..NUMBERS)
            .map(|number| {
                let far = mongodb::bson::DateTime::from_millis(4_000_000_000_000);
                doc! { "_id": i64::from(number), "w": 1_i64, "c": 0_i64, "t": far }
            })
            .collect();
        assert_eq!(old.start().await.unwrap().node, 0);
        old.db.collection(NODES).insert_many(rest).await.unwrap();
        let raise = |ceiling| Batch {
            id_ceiling: Some(EnvelopeId::from_u64(ceiling)),
            ..Batch::default()
        };
        old.commit(raise(1_000)).await.unwrap();
        let new = MongoDb::open(&subject.uri, &Options::default()).await.unwrap();
        let start = new.start().await.unwrap();
        assert_eq!((start.node, start.id_floor), (0, EnvelopeId::from_u64(1_000)));
        let refused = old.commit(raise(2_000)).await;
        assert!(matches!(refused, Err(Error::Poisoned(_))), "{refused:?}");
        new.commit(raise(3_000)).await.unwrap();
        assert_eq!(new.start().await.unwrap().id_floor, EnvelopeId::from_u64(3_000));
        new.drop_database().await.unwrap();
    }

    #[tokio::test]
    async fn processes_that_start_at_once_get_different_numbers() {
        let subject = OnServer::new().await;
        let mut numbers = Vec::new();
        let seats = futures_util::future::join_all((0..12).map(|_| Seat::take(&subject.store.db))).await;
        for seat in seats {
            numbers.push(seat.unwrap().number);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, Vec::from_iter(0..12));
        assert!(numbers.iter().all(|number| *number <= LAST));
        subject.store.drop_database().await.unwrap();
    }
}
