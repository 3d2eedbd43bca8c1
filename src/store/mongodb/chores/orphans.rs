//! What lies in mailboxes that belong to no device, and that nobody has noted as gone.
//!
//! # Why
//!
//! There should be nothing of the kind; a restored backup or a hand in the database may leave it. The numbers of
//! devices are nearly without gaps, so what is looked for is what lies in the gaps: a question for a thousand devices
//! and not one for each mailbox. What is found is noted as gone now, and emptied as what goes the usual way.

use std::collections::BTreeSet;

use mongodb::bson::{Bson, Document, doc};

use crate::model::{MailboxId, UnixMs};
use crate::store::Error;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::departures::{self, PURGES};
use crate::store::mongodb::devices::DEVICES;
use crate::store::mongodb::documents::{binary, malformed};
use crate::store::mongodb::{error, gaps, keysets, mail, pools, sessions};

/// How far a search has come: mailboxes up to this one were looked at.
#[derive(Debug, Default)]
pub(in crate::store::mongodb) struct Walk {
    after: i64,
}

/// How a collection's keys name their mailbox.
#[derive(Clone, Copy)]
enum Keys {
    /// By its number.
    Number,
    /// In so many bytes, of which the first eight are its number.
    Bytes(usize),
    /// In a document with it and a suite.
    Suite,
}

/// Collections in which something may lie.
const PLACES: [(&str, Keys); 6] = [
    (mail::MAIL, Keys::Bytes(16)),
    (gaps::GAPS, Keys::Bytes(16)),
    (pools::ITEMS, Keys::Bytes(24)),
    (pools::TOMBSTONES, Keys::Bytes(32)),
    (keysets::KEYSETS, Keys::Suite),
    (sessions::SESSIONS, Keys::Number),
];

impl Walk {
    /// Looks at the next mailboxes; whether these were the last ones.
    ///
    /// # Errors
    ///
    /// [`Error`]; the next step looks at the same ones.
    pub(in crate::store::mongodb) async fn step(
        &mut self,
        db: &Connection,
        now: UnixMs,
    ) -> Result<bool, Error> {
        let stretch = Stretch::after(db, self.after).await?;
        let mut found = BTreeSet::new();
        let mut is_whole = true;
        for (collection, keys) in PLACES {
            let some = stretch.search(db, collection, keys).await?;
            is_whole &= some.len() < AT_ONCE;
            found.extend(some.iter().filter_map(|key| keys.mailbox(key)));
        }
        // A device that came meanwhile is seen now, for what lies there is there since it came.
        for known in ids(
            db,
            DEVICES,
            doc! { "$in": found.iter().copied().collect::<Vec<i64>>() },
        )
        .await?
        {
            found.remove(&known);
        }
        for mailbox in found {
            tracing::debug!(mailbox, "something lies in a mailbox without a device");
            departures::note_orphan(db, MailboxId(mailbox.cast_unsigned()), now).await?;
        }
        // What was noted is left out the next time, so that the rest is found.
        if !is_whole {
            return Ok(false);
        }
        let is_last = stretch.end == i64::MAX;
        self.after = if is_last { 0 } else { stretch.end };
        Ok(is_last)
    }
}

/// A row of mailbox numbers: which of them belong to nobody.
struct Stretch {
    end: i64,
    /// From and up to.
    gaps: Vec<(i64, i64)>,
}

impl Stretch {
    async fn after(db: &Connection, after: i64) -> Result<Self, Error> {
        let devices = ids(db, DEVICES, doc! { "$gt": after }).await?;
        let mut end = end_of(&devices, i64::MAX);
        let gone = ids(db, PURGES, doc! { "$gt": after, "$lte": end }).await?;
        end = end_of(&gone, end);
        let mut known: Vec<i64> = devices.into_iter().chain(gone).collect();
        known.sort_unstable();
        let mut gaps = Vec::new();
        let mut next = after.saturating_add(1);
        for id in known.into_iter().take_while(|id| *id <= end) {
            if id > next {
                gaps.push((next, id - 1));
            }
            next = id.saturating_add(1);
        }
        if next <= end {
            gaps.push((next, end));
        }
        Ok(Self { end, gaps })
    }

    /// Keys of what lies in the gaps.
    async fn search(&self, db: &Connection, collection: &str, keys: Keys) -> Result<Vec<Bson>, Error> {
        if self.gaps.is_empty() {
            return Ok(Vec::new());
        }
        let any = self.gaps.iter().map(|gap| doc! { "_id": keys.between(*gap) });
        let any: Vec<Document> = any.collect();
        let found = find(db, collection, doc! { "$or": any }).await?;
        Ok(found
            .into_iter()
            .filter_map(|mut key| key.remove("_id"))
            .collect())
    }
}

/// The last one, if there may be more behind it.
fn end_of(page: &[i64], end: i64) -> i64 {
    page.last()
        .copied()
        .filter(|_| page.len() >= AT_ONCE)
        .unwrap_or(end)
}

impl Keys {
    /// All keys of some mailboxes.
    fn between(self, (from, to): (i64, i64)) -> Document {
        match self {
            Self::Number => doc! { "$gte": from, "$lte": to },
            Self::Suite => {
                doc! { "$gte": { "m": from, "s": "" }, "$lte": { "m": to, "s": Bson::MaxKey } }
            }
            Self::Bytes(length) => {
                let key = |mailbox: i64, rest: u8| {
                    let mut key = mailbox.to_be_bytes().to_vec();
                    key.resize(length, rest);
                    binary(key)
                };
                doc! { "$gte": key(from, 0), "$lte": key(to, u8::MAX) }
            }
        }
    }

    fn mailbox(self, key: &Bson) -> Option<i64> {
        match self {
            Self::Number => key.as_i64(),
            Self::Suite => key.as_document()?.get_i64("m").ok(),
            Self::Bytes(_) => {
                let Bson::Binary(key) = key else { return None };
                key.bytes
                    .first_chunk::<8>()
                    .map(|first| i64::from_be_bytes(*first))
            }
        }
    }
}

/// The first numbers of a collection that are wanted, in their order.
async fn ids(db: &Connection, collection: &str, wanted: Document) -> Result<Vec<i64>, Error> {
    let found = find(db, collection, doc! { "_id": wanted }).await?;
    let number = |document: &Document| document.get_i64("_id").map_err(|_| malformed(collection));
    found.iter().map(number).collect()
}

async fn find(db: &Connection, collection: &str, wanted: Document) -> Result<Vec<Document>, Error> {
    db.within(async {
        let mut session = db.session().await?;
        let found = db
            .collection(collection)
            .find(wanted)
            .sort(doc! { "_id": 1 })
            .limit(AT_ONCE as i64)
            .projection(doc! { "_id": 1 })
            .session(&mut session)
            .await;
        let mut found = found.map_err(|error| error::meaning(&error))?;
        let mut keys = Vec::new();
        while let Some(document) = found.next(&mut session).await {
            keys.push(document.map_err(|error| error::meaning(&error))?);
        }
        db.learn(&session);
        Ok(keys)
    })
    .await
}

/// Documents in one answer.
const AT_ONCE: usize = 1000;
