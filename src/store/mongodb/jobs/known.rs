//! A job's document: its fence and its lease, whether it is paused, how it fared.
//!
//! Must not know runs.

use std::sync::Arc;
use std::time::Duration;

use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc};

use crate::model::UnixMs;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, malformed, time};
use crate::store::mongodb::error;
use crate::store::mongodb::jobs::runs;
use crate::store::mongodb::layout::Collection;
use crate::store::mongodb::transaction::Stop;
use crate::store::{Error, Grant, Held, Outcome, RunId};

/// `_id` its name, `s` since when it is known, `u` until when it is paused, `n` the fence, `l` the lease (`r` its run,
/// `h` who, `s` since when, `e` when it ends by the server's clock, `k` its mark), `o` when a run last ended well,
/// `f` failures since then, `v` how often the job or one of its runs was changed.
const JOBS: &str = "jobs";

pub(super) const COLLECTION: Collection = Collection {
    name: JOBS,
    schema: || {
        doc! {
            "bsonType": "object",
            "required": ["_id", "s", "n", "f", "v"],
            "additionalProperties": false,
            "properties": {
                "_id": { "bsonType": "string" },
                "s": { "bsonType": "date" },
                "u": { "bsonType": "date" },
                "n": { "bsonType": "long" },
                "l": {
                    "bsonType": "object",
                    "required": ["r", "h", "s", "e", "k"],
                    "additionalProperties": false,
                    "properties": {
                        "r": runs::id_schema(),
                        "h": { "bsonType": "string" },
                        "s": { "bsonType": "date" },
                        "e": { "bsonType": "date" },
                        "k": { "bsonType": "long" },
                    },
                },
                "o": { "bsonType": "date" },
                "f": { "bsonType": "long" },
                "v": { "bsonType": "long" },
            },
        }
    },
    indexes: &[],
};

/// A job, as a transaction has read it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: Arc<str>,
    pub(super) since: UnixMs,
    pub(super) paused_until: Option<UnixMs>,
    pub(super) last_success: Option<UnixMs>,
    pub(super) failures: u32,
    pub(super) lease: Option<Lease>,
    fence: u64,
    changes: i64,
    is_changed: bool,
    /// The server's clock as it was read.
    now: DateTime,
}

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) run: RunId,
    holder: Arc<str>,
    since: UnixMs,
    ends: DateTime,
    pub(super) mark: i64,
}

/// Makes jobs known.
pub(super) async fn introduce(db: &Connection, jobs: &[Arc<str>], now: UnixMs) -> Result<(), Error> {
    db.within(async {
        let mut session = db.session().await?;
        for job in jobs {
            let mut new = fresh(job, now);
            new.remove("_id");
            let introduced = db
                .collection(JOBS)
                .update_one(doc! { "_id": &**job }, doc! { "$setOnInsert": new })
                .upsert(true)
                .session(&mut session)
                .await;
            match introduced {
                // Somebody else was faster.
                Err(error) if error::is_duplicate(&error) => {}
                introduced => introduced.map(drop).map_err(|error| error::meaning(&error))?,
            }
        }
        db.learn(&session);
        Ok(())
    })
    .await
}

/// Pauses a job, or resumes it; whether there is one.
pub(super) async fn pause(db: &Connection, job: &str, until: Option<UnixMs>) -> Result<bool, Error> {
    let change = match until {
        Some(until) => doc! { "$set": { "u": date(until) } },
        None => doc! { "$unset": { "u": 1 } },
    };
    db.within(async {
        let mut session = db.session().await?;
        let paused = db
            .collection(JOBS)
            .update_one(doc! { "_id": job }, change)
            .session(&mut session)
            .await;
        let paused = paused.map_err(|error| error::meaning(&error))?;
        db.learn(&session);
        Ok(paused.matched_count > 0)
    })
    .await
}

/// All jobs, in the order of their names.
pub(super) async fn all<T>(db: &Connection, session: &mut ClientSession) -> Result<Vec<Known>, Stop<T>> {
    read(db, session, doc! {}).await
}

/// A job.
pub(super) async fn find<T>(
    db: &Connection,
    session: &mut ClientSession,
    job: &str,
) -> Result<Option<Known>, Stop<T>> {
    Ok(read(db, session, doc! { "_id": job }).await?.pop())
}

/// A job that is introduced if it was not.
pub(super) async fn find_or_introduce<T>(
    db: &Connection,
    session: &mut ClientSession,
    job: &str,
    now: UnixMs,
) -> Result<Known, Stop<T>> {
    if let Some(known) = find(db, session, job).await? {
        return Ok(known);
    }
    let inserted = db
        .collection(JOBS)
        .insert_one(fresh(job, now))
        .session(&mut *session)
        .await;
    match inserted {
        Err(error) if error::is_duplicate(&error) => return Err(Stop::Again),
        inserted => inserted.map(drop)?,
    }
    Ok(find(db, session, job).await?.ok_or_else(|| malformed(JOBS))?)
}

/// Reads jobs, and the server's clock with them.
async fn read<T>(
    db: &Connection,
    session: &mut ClientSession,
    filter: Document,
) -> Result<Vec<Known>, Stop<T>> {
    let look = [
        doc! { "$match": filter },
        doc! { "$sort": { "_id": 1 } },
        doc! { "$set": { "now": "$$NOW" } },
    ];
    let mut found = db.collection(JOBS).aggregate(look).session(&mut *session).await?;
    let mut all = Vec::new();
    while let Some(document) = found.next(session).await.transpose()? {
        all.push(decode(&document)?);
    }
    Ok(all)
}

impl Known {
    /// Writes the job, if it or one of its runs was changed.
    pub(super) async fn save<T>(&self, db: &Connection, session: &mut ClientSession) -> Result<(), Stop<T>> {
        if self.is_changed {
            db.collection(JOBS)
                .replace_one(doc! { "_id": &*self.name }, self.encode())
                .session(session)
                .await?;
        }
        Ok(())
    }

    /// One of its runs is changed: that is to collide with others who change one.
    pub(super) fn touch(&mut self) {
        self.is_changed = true;
    }

    /// Who has the lease, over or not.
    pub(super) fn held(&self) -> Option<Held> {
        self.lease.as_ref().map(|lease| Held {
            run: lease.run.clone(),
            holder: Arc::clone(&lease.holder),
            fence: self.fence,
            since: lease.since,
            remaining: self.remaining(lease),
        })
    }

    /// Whether there is a lease that is not over.
    pub(super) fn is_held(&self) -> bool {
        self.lease
            .as_ref()
            .is_some_and(|lease| !self.remaining(lease).is_zero())
    }

    /// Whether this grant is its lease still, over or not.
    pub(super) fn is_held_by(&self, grant: &Grant) -> bool {
        self.fence == grant.fence && self.lease.as_ref().is_some_and(|lease| lease.run == grant.run)
    }

    pub(super) fn is_paused(&self, now: UnixMs) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    /// Takes the lease, from whoever has it.
    pub(super) fn lend(&mut self, run: RunId, holder: &Arc<str>, since: UnixMs, mark: i64) -> Grant {
        self.fence += 1;
        self.lease = Some(Lease {
            run: run.clone(),
            holder: Arc::clone(holder),
            since,
            ends: self.now,
            mark,
        });
        self.is_changed = true;
        let fence = self.fence;
        Grant { run, fence }
    }

    /// The lease is good for so long from now on.
    pub(super) fn extend(&mut self, term: Duration) {
        let term = i64::try_from(term.as_millis()).unwrap_or(i64::MAX);
        let ends = self.now.timestamp_millis().saturating_add(term);
        if let Some(lease) = &mut self.lease {
            lease.ends = DateTime::from_millis(ends);
            self.is_changed = true;
        }
    }

    /// The lease with this mark, if it is not over, as it was granted.
    pub(super) fn granted(&self, mark: i64) -> Option<Grant> {
        let lease = self.lease.as_ref().filter(|lease| lease.mark == mark)?;
        let run = lease.run.clone();
        let fence = self.fence;
        self.is_held().then_some(Grant { run, fence })
    }

    /// Nobody has the lease any more.
    pub(super) fn release(&mut self) {
        self.lease = None;
        self.is_changed = true;
    }

    /// A run ended in this way.
    pub(super) fn count(&mut self, outcome: Outcome, at: UnixMs) {
        self.is_changed = true;
        if outcome == Outcome::Done {
            (self.failures, self.last_success) = (0, Some(at));
        }
        self.failures = self.failures.saturating_add(u32::from(outcome.is_failure()));
    }

    fn remaining(&self, lease: &Lease) -> Duration {
        let left = lease.ends.timestamp_millis() - self.now.timestamp_millis();
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    fn encode(&self) -> Document {
        let mut document = doc! {
            "s": date(self.since),
            "n": self.fence.cast_signed(),
            "f": i64::from(self.failures),
            "v": self.changes.wrapping_add(1),
        };
        if let Some(until) = self.paused_until {
            document.insert("u", date(until));
        }
        if let Some(at) = self.last_success {
            document.insert("o", date(at));
        }
        if let Some(lease) = &self.lease {
            let lease = doc! {
                "r": runs::key(&lease.run),
                "h": &*lease.holder,
                "s": date(lease.since),
                "e": lease.ends,
                "k": lease.mark,
            };
            document.insert("l", lease);
        }
        document
    }
}

fn fresh(job: &str, now: UnixMs) -> Document {
    doc! { "_id": job, "s": date(now), "n": 0_i64, "f": 0_i64, "v": 0_i64 }
}

fn decode(document: &Document) -> Result<Known, Error> {
    let broken = || malformed(JOBS);
    let moment = |field| document.get_datetime(field).ok().copied();
    let number = |field| document.get_i64(field).map_err(|_| broken());
    let lease = match document.get_document("l") {
        Ok(lease) => Some(decode_lease(lease)?),
        Err(_) => None,
    };
    Ok(Known {
        name: document.get_str("_id").map_err(|_| broken())?.into(),
        since: moment("s").map(time).ok_or_else(broken)?,
        paused_until: moment("u").map(time),
        last_success: moment("o").map(time),
        failures: u32::try_from(number("f")?).map_err(|_| broken())?,
        lease,
        fence: number("n")?.cast_unsigned(),
        changes: number("v")?,
        is_changed: false,
        now: moment("now").ok_or_else(broken)?,
    })
}

fn decode_lease(document: &Document) -> Result<Lease, Error> {
    let broken = || malformed(JOBS);
    let moment = |field| document.get_datetime(field).map_err(|_| broken());
    Ok(Lease {
        run: runs::id_of(document.get_document("r").map_err(|_| broken())?)?,
        holder: document.get_str("h").map_err(|_| broken())?.into(),
        since: time(*moment("s")?),
        ends: *moment("e")?,
        mark: document.get_i64("k").map_err(|_| broken())?,
    })
}
