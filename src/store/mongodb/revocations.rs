//! Revocations: a document for each token, account and device about which something was said.
//!
//! # Why
//!
//! A relay reads on from the last number that it has seen, so none may become visible below one that was. The
//! number is therefore taken inside the transaction: who takes the next one while it runs collides with it, and
//! runs again after it.

use async_trait::async_trait;
use chatctl_protocol::{AccountId, DeviceId};
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};

use crate::model::{Revocation, Revoked, UnixMs};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, malformed, time};
use crate::store::mongodb::layout::{BACK_STOP, Collection, Index};
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::mongodb::{MongoDb, error, meta};
use crate::store::{Error, RevocationStore};

/// `_id` what it is about (`j` a token, or `a` an account and `d` its device, if it is one's), `n` its number,
/// `u` up to when tokens were issued, `t` when it was said, `e` when it is over, `r` the reason.
pub(super) const REVOCATIONS: &str = "revocations";

/// What their numbers are called among the counters.
const COUNTER: &str = "revocation";

pub(super) const COLLECTIONS: &[Collection] = &[Collection {
    name: REVOCATIONS,
    schema: || {
        doc! {
            "bsonType": "object",
            "required": ["_id", "n", "t", "e", "r"],
            "additionalProperties": false,
            "properties": {
                "_id": {
                    "bsonType": "object",
                    "minProperties": 1_i64,
                    "additionalProperties": false,
                    "properties": {
                        "j": { "bsonType": "string" },
                        "a": { "bsonType": "string" },
                        "d": { "bsonType": "string" },
                    },
                },
                "n": { "bsonType": "long", "minimum": 1_i64 },
                "u": { "bsonType": "date" },
                "t": { "bsonType": "date" },
                "e": { "bsonType": "date" },
                "r": { "bsonType": "string" },
            },
        }
    },
    indexes: &[
        Index {
            name: "by_number",
            keys: &[("n", 1)],
            unique: true,
            expire_after: None,
        },
        // Clean-up is the relay's; this is for what a relay that never came back has left.
        Index {
            name: "by_end",
            keys: &[("e", 1)],
            unique: false,
            expire_after: Some(BACK_STOP),
        },
    ],
}];

#[async_trait]
impl RevocationStore for MongoDb {
    async fn revoke(&self, revocation: &Revocation) -> Result<u64, Error> {
        let in_turn = async {
            // Those that collide run again: within one process they need not.
            let _turn = self.revoking.lock().await;
            self.db.transact(&Revoke(revocation)).await
        };
        self.db.within(in_turn).await
    }

    async fn revocations(&self, after: u64, limit: usize) -> Result<Vec<(u64, Revocation)>, Error> {
        match i64::try_from(limit).unwrap_or(i64::MAX) {
            // To the server, no limit.
            0 => Ok(Vec::new()),
            limit => self.db.within(read(&self.db, after, limit)).await,
        }
    }

    async fn prune_revocations(&self, now: UnixMs, limit: usize) -> Result<usize, Error> {
        match i64::try_from(limit).unwrap_or(i64::MAX) {
            0 => Ok(0),
            limit => self.db.transact(&Prune { now, limit }).await,
        }
    }
}

/// A revocation, as one transaction.
struct Revoke<'a>(&'a Revocation);

#[async_trait]
impl Work for Revoke<'_> {
    type Answer = u64;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<u64, Stop<u64>> {
        // First: from here on this is alone.
        let number = meta::next(db, session, COUNTER).await?;
        let id = doc! { "_id": id_of(&self.0.what) };
        let all = db.collection(REVOCATIONS);
        let earlier = all.find_one(id.clone()).session(&mut *session).await?;
        let earlier = earlier.as_ref().map(decode).transpose()?;
        let revocation = self.0.clone().after(earlier.as_ref().map(|(_, earlier)| earlier));
        all.replace_one(id, encode(number, &revocation))
            .upsert(true)
            .session(&mut *session)
            .await?;
        Ok(number)
    }
}

async fn read(db: &Connection, after: u64, limit: i64) -> Result<Vec<(u64, Revocation)>, Error> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut session = db.session().await?;
    let found = db
        .collection(REVOCATIONS)
        .find(doc! { "n": { "$gt": after } })
        .sort(doc! { "n": 1 })
        .limit(limit)
        .session(&mut session)
        .await;
    let mut found = found.map_err(|error| error::meaning(&error))?;
    let mut page = Vec::new();
    while let Some(document) = found.next(&mut session).await {
        page.push(decode(&document.map_err(|error| error::meaning(&error))?)?);
    }
    db.learn(&session);
    Ok(page)
}

/// Some of what is over, as one transaction.
struct Prune {
    now: UnixMs,
    limit: i64,
}

#[async_trait]
impl Work for Prune {
    type Answer = usize;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<usize, Stop<usize>> {
        let all = db.collection(REVOCATIONS);
        let mut found = all
            .find(doc! { "e": { "$lte": date(self.now) } })
            .sort(doc! { "e": 1 })
            .limit(self.limit)
            .projection(doc! { "_id": 1 })
            .session(&mut *session)
            .await?;
        let mut over = Vec::new();
        while let Some(document) = found.next(session).await.transpose()? {
            let id = document.get_document("_id").map_err(|_| malformed(REVOCATIONS))?;
            over.push(id.clone());
        }
        let pruned = over.len();
        if pruned > 0 {
            all.delete_many(doc! { "_id": { "$in": over } })
                .session(&mut *session)
                .await?;
        }
        Ok(pruned)
    }
}

fn id_of(what: &Revoked) -> Document {
    match what {
        Revoked::Token(jti) => doc! { "j": &**jti },
        Revoked::Issued { account, device, .. } => match device {
            None => doc! { "a": account.as_str() },
            Some(device) => doc! { "a": account.as_str(), "d": device.as_str() },
        },
    }
}

fn encode(number: u64, revocation: &Revocation) -> Document {
    let mut document = doc! {
        "_id": id_of(&revocation.what),
        "n": number.cast_signed(),
        "t": date(revocation.revoked_at),
        "e": date(revocation.expires_at),
        "r": &*revocation.reason,
    };
    match &revocation.what {
        Revoked::Token(_) => {}
        Revoked::Issued { up_to, .. } => drop(document.insert("u", date(*up_to))),
    }
    document
}

fn decode(document: &Document) -> Result<(u64, Revocation), Error> {
    let broken = || malformed(REVOCATIONS);
    let moment = |field| document.get_datetime(field).map(|date| time(*date));
    let moment = |field| moment(field).map_err(|_| broken());
    let id = document.get_document("_id").map_err(|_| broken())?;
    let what = match (id.get_str("j"), id.get_str("a")) {
        (Ok(jti), Err(_)) => Revoked::Token(jti.into()),
        (Err(_), Ok(account)) => Revoked::Issued {
            account: AccountId::parse(account)?,
            device: id.get_str("d").ok().map(DeviceId::parse).transpose()?,
            up_to: moment("u")?,
        },
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => return Err(broken()),
    };
    let revocation = Revocation {
        what,
        revoked_at: moment("t")?,
        expires_at: moment("e")?,
        reason: document.get_str("r").map_err(|_| broken())?.into(),
    };
    let number = document.get_i64("n").map_err(|_| broken())?;
    Ok((number.cast_unsigned(), revocation))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;
    use crate::store::conformance::mongodb::OnServer;
    use crate::store::conformance::revocations::token;
    use crate::store::mongodb::Options;

    /// Revocations that a relay makes.
    const EACH: usize = 10;

    #[tokio::test]
    async fn relays_that_revoke_at_once_give_numbers_in_the_order_of_sight() {
        let first = OnServer::new().await;
        let options = Options::default();
        let relays = join_all((0..3).map(|_| MongoDb::open(&first.uri, &options))).await;
        let left = AtomicUsize::new(relays.len() * EACH);
        // From the first number of all on: nobody has made the counter.
        let revoking = relays.iter().zip(0..).map(|(relay, number)| {
            let left = &left;
            async move {
                for round in 0..EACH {
                    let said = token(&format!("{number} {round}"));
                    relay.as_ref().unwrap().revoke(&said).await.unwrap();
                    left.fetch_sub(1, Ordering::AcqRel);
                }
            }
        });
        let following = async {
            let mut seen = Vec::new();
            loop {
                let is_last = left.load(Ordering::Acquire) == 0;
                let last = seen.last().map_or(0, |(number, _)| *number);
                let page = first.store.revocations(last, 4).await.unwrap();
                match page.is_empty() {
                    true if is_last => return seen,
                    true => tokio::task::yield_now().await,
                    false => seen.extend(page),
                }
            }
        };
        let (seen, _) = tokio::join!(following, join_all(revoking));
        let numbers: Vec<u64> = seen.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
        let all: BTreeSet<String> = seen.iter().map(|(_, said)| format!("{:?}", said.what)).collect();
        assert_eq!(all.len(), 30);
        first.store.drop_database().await.unwrap();
    }
}
