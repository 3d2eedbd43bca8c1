//! Runs as documents: how they look, and which ones are looked for.
//!
//! A run's key is its name, so the runs of a job lie together in the order of their ticks and attempts. Must not know
//! leases.

use std::sync::Arc;

use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc};

use crate::model::UnixMs;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, malformed, time};
use crate::store::mongodb::error;
use crate::store::mongodb::layout::{Collection, Index};
use crate::store::mongodb::transaction::Stop;
use crate::store::{AHEAD, Error, Outcome, Run, RunId, Trigger, Work};

/// `_id` job, tick and attempt, `g` why it is there, `f` the tick after which it answers all, `h` who, `b` when it began,
/// `e` when it ended, `o` its outcome, `w` what it has done (`n` things, `c` by kind, `t` the oldest, `r` retries),
/// `x` why it failed.
pub(super) const RUNS: &str = "job_runs";

pub(super) const COLLECTION: Collection = Collection {
    name: RUNS,
    schema: || {
        let count = doc! {
            "bsonType": "object",
            "required": ["k", "n"],
            "additionalProperties": false,
            "properties": { "k": { "bsonType": "string" }, "n": { "bsonType": "long" } },
        };
        let words: Vec<&str> = Outcome::ALL.into_iter().map(Outcome::as_str).collect();
        doc! {
            "bsonType": "object",
            "required": ["_id", "g", "f", "h", "b", "o", "w"],
            "additionalProperties": false,
            "properties": {
                "_id": id_schema(),
                "g": { "enum": [SCHEDULE, HAND] },
                "f": { "bsonType": "date" },
                "h": { "bsonType": "string" },
                "b": { "bsonType": "date" },
                "e": { "bsonType": "date" },
                "o": { "enum": words },
                "w": {
                    "bsonType": "object",
                    "required": ["n", "c", "r"],
                    "additionalProperties": false,
                    "properties": {
                        "n": { "bsonType": "long" },
                        "c": { "bsonType": "array", "items": count },
                        "t": { "bsonType": "date" },
                        "r": { "bsonType": "long" },
                    },
                },
                "x": { "bsonType": "string" },
            },
        }
    },
    indexes: &[
        Index {
            name: "by_job",
            keys: &[("_id.j", 1), ("b", -1), ("_id", -1)],
            unique: false,
            expire_after: None,
        },
        Index {
            name: "by_outcome",
            keys: &[("_id.j", 1), ("o", 1)],
            unique: false,
            expire_after: None,
        },
        Index {
            name: "by_time",
            keys: &[("b", -1), ("_id", -1)],
            unique: false,
            expire_after: None,
        },
    ],
};

/// The rule for a run's name.
pub(super) fn id_schema() -> Document {
    doc! {
        "bsonType": "object",
        "required": ["j", "t", "a"],
        "additionalProperties": false,
        "properties": {
            "j": { "bsonType": "string" },
            "t": { "bsonType": "date" },
            "a": { "bsonType": "long", "minimum": 1_i64 },
        },
    }
}

/// A run's name as its key.
pub(super) fn key(id: &RunId) -> Document {
    doc! { "j": &*id.job, "t": date(id.tick), "a": i64::from(id.attempt) }
}

/// The name in a key.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub(super) fn id_of(key: &Document) -> Result<RunId, Error> {
    let broken = || malformed(RUNS);
    let attempt = key.get_i64("a").map_err(|_| broken())?;
    Ok(RunId {
        job: key.get_str("j").map_err(|_| broken())?.into(),
        tick: time(*key.get_datetime("t").map_err(|_| broken())?),
        attempt: u32::try_from(attempt).map_err(|_| broken())?,
    })
}

/// Which runs are looked for.
pub(super) enum Sought<'a> {
    /// This one.
    Named(&'a RunId),
    /// With this tick, whatever its attempt.
    At(&'a str, UnixMs),
    /// Of the schedule, with a later tick; the first comes first.
    After(&'a str, UnixMs),
    /// With this outcome, in the order of their names.
    With(&'a str, Outcome),
    /// Of the schedule, with an earlier tick; the last comes first.
    Before(&'a str, UnixMs),
    /// Of the schedule, up to a tick; the last comes first.
    UpTo(&'a str, UnixMs),
    /// Of the schedule, over, and up to a tick; the last comes first.
    Over(&'a str, UnixMs),
    /// That began, whatever became of them; the one that began last comes first.
    Begun(&'a str),
}

impl Sought<'_> {
    fn filter_and_sort(&self) -> (Document, Document) {
        let key = |job: &str, tick, attempt: i64| doc! { "j": job, "t": tick, "a": attempt };
        let over: Vec<&str> = words(Outcome::is_over);
        let begun: Vec<&str> = words(|outcome| outcome.is_over() || outcome == Outcome::Running);
        let first = doc! { "_id": 1 };
        let last = doc! { "_id": -1 };
        match *self {
            Self::Named(id) => (doc! { "_id": self::key(id) }, first),
            Self::At(job, tick) => {
                let tick = date(tick);
                let all = doc! { "$gte": key(job, tick, 0), "$lte": key(job, tick, i64::MAX) };
                (doc! { "_id": all }, first)
            }
            Self::After(job, tick) => {
                let later =
                    doc! { "$gt": key(job, date(tick), i64::MAX), "$lte": key(job, DateTime::MAX, i64::MAX) };
                (doc! { "_id": later, "g": SCHEDULE }, first)
            }
            Self::With(job, outcome) => (doc! { "_id.j": job, "o": outcome.as_str() }, first),
            Self::Before(job, tick) => {
                let earlier = doc! { "$gte": key(job, DateTime::MIN, 0), "$lt": key(job, date(tick), 0) };
                (doc! { "_id": earlier, "g": SCHEDULE }, last)
            }
            Self::UpTo(job, tick) => (doc! { "_id": up_to(job, tick), "g": SCHEDULE }, last),
            Self::Over(job, tick) => {
                let over = doc! { "_id": up_to(job, tick), "g": SCHEDULE, "o": { "$in": over } };
                (over, last)
            }
            Self::Begun(job) => (doc! { "_id.j": job, "o": { "$in": begun } }, newest_first()),
        }
    }
}

fn words(wanted: impl Fn(Outcome) -> bool) -> Vec<&'static str> {
    let wanted = Outcome::ALL.into_iter().filter(|outcome| wanted(*outcome));
    wanted.map(Outcome::as_str).collect()
}

fn up_to(job: &str, tick: UnixMs) -> Document {
    doc! {
        "$gte": { "j": job, "t": DateTime::MIN, "a": 0_i64 },
        "$lte": { "j": job, "t": date(tick), "a": i64::MAX },
    }
}

/// The last tick that is no work of a clock that was wrong.
pub(super) fn horizon(now: UnixMs) -> UnixMs {
    let ahead = u64::try_from(AHEAD.as_millis()).unwrap_or(u64::MAX);
    UnixMs(now.0.saturating_add(ahead))
}

/// Whatever its tick.
pub(super) const EVER: UnixMs = UnixMs(i64::MAX as u64);

/// The order in which runs are told.
pub(super) fn newest_first() -> Document {
    doc! { "b": -1, "_id": -1 }
}

/// The first run of those that are looked for.
pub(super) async fn first<T>(
    db: &Connection,
    session: &mut ClientSession,
    sought: Sought<'_>,
) -> Result<Option<Run>, Stop<T>> {
    let (filter, sort) = sought.filter_and_sort();
    Ok(read(db, session, (filter, sort), 1).await?.pop())
}

/// All runs that are looked for.
pub(super) async fn all<T>(
    db: &Connection,
    session: &mut ClientSession,
    sought: Sought<'_>,
) -> Result<Vec<Run>, Stop<T>> {
    read(db, session, sought.filter_and_sort(), 0).await
}

/// Reads runs; 0 for no limit.
pub(super) async fn read<T>(
    db: &Connection,
    session: &mut ClientSession,
    (filter, sort): (Document, Document),
    limit: i64,
) -> Result<Vec<Run>, Stop<T>> {
    let mut found = db
        .collection(RUNS)
        .find(filter)
        .sort(sort)
        .limit(limit)
        .session(&mut *session)
        .await?;
    let mut runs = Vec::new();
    while let Some(document) = found.next(session).await.transpose()? {
        runs.push(decode(&document)?);
    }
    Ok(runs)
}

/// Writes a run, new or not.
pub(super) async fn put<T>(db: &Connection, session: &mut ClientSession, run: &Run) -> Result<(), Stop<T>> {
    let put = db
        .collection(RUNS)
        .replace_one(doc! { "_id": key(&run.id) }, encode(run))
        .upsert(true)
        .session(session)
        .await;
    match put {
        Err(error) if error::is_duplicate(&error) => Err(Stop::Again),
        put => put.map(drop).map_err(Stop::Driver),
    }
}

fn encode(run: &Run) -> Document {
    let mut document = doc! {
        "g": match run.trigger {
            Trigger::Schedule => SCHEDULE,
            Trigger::Hand => HAND,
        },
        "f": date(run.after),
        "h": &*run.holder,
        "b": date(run.began_at),
        "o": run.outcome.as_str(),
        "w": encode_work(&run.work),
    };
    if let Some(at) = run.ended_at {
        document.insert("e", date(at));
    }
    if let Some(error) = &run.error {
        document.insert("x", &**error);
    }
    document
}

fn encode_work(work: &Work) -> Document {
    let counts = work.counts.iter();
    let counts = counts.map(|(kind, count)| doc! { "k": &**kind, "n": count.cast_signed() });
    let counts: Vec<Document> = counts.collect();
    let mut document = doc! { "n": work.affected.cast_signed(), "c": counts, "r": i64::from(work.retries) };
    if let Some(oldest) = work.oldest {
        document.insert("t", date(oldest));
    }
    document
}

fn decode(document: &Document) -> Result<Run, Error> {
    let broken = || malformed(RUNS);
    let text = |field| document.get_str(field).map_err(|_| broken());
    let moment = |field| document.get_datetime(field).ok().copied().map(time);
    Ok(Run {
        id: id_of(document.get_document("_id").map_err(|_| broken())?)?,
        trigger: match text("g")? {
            SCHEDULE => Trigger::Schedule,
            HAND => Trigger::Hand,
            _other => return Err(broken()),
        },
        after: moment("f").ok_or_else(broken)?,
        holder: text("h")?.into(),
        began_at: moment("b").ok_or_else(broken)?,
        ended_at: moment("e"),
        outcome: Outcome::parse(text("o")?).ok_or_else(broken)?,
        work: decode_work(document.get_document("w").map_err(|_| broken())?)?,
        error: document.get_str("x").ok().map(Arc::from),
    })
}

fn decode_work(document: &Document) -> Result<Work, Error> {
    let broken = || malformed(RUNS);
    let number = |document: &Document, field| document.get_i64(field).map_err(|_| broken());
    let mut counts = Vec::new();
    for count in document.get_array("c").map_err(|_| broken())? {
        let count = count.as_document().ok_or_else(broken)?;
        let kind = count.get_str("k").map_err(|_| broken())?;
        counts.push((kind.into(), number(count, "n")?.cast_unsigned()));
    }
    Ok(Work {
        affected: number(document, "n")?.cast_unsigned(),
        counts,
        oldest: document.get_datetime("t").ok().copied().map(time),
        retries: u32::try_from(number(document, "r")?).map_err(|_| broken())?,
    })
}

const SCHEDULE: &str = "schedule";
const HAND: &str = "hand";
