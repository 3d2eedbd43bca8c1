//! What is told of jobs and their runs, and the forgetting of old ones.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};

use crate::model::UnixMs;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, malformed, time};
use crate::store::mongodb::jobs::known::{self, Known};
use crate::store::mongodb::jobs::runs::{self, RUNS, Sought};
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::{Error, JobState, Run, RunQuery};

/// What is known of all jobs.
pub(super) async fn states(db: &Connection, now: UnixMs) -> Result<Vec<JobState>, Error> {
    db.transact(&States(now)).await
}

/// Runs, the newest first.
pub(super) async fn runs(db: &Connection, query: &RunQuery) -> Result<Vec<Run>, Error> {
    match query.limit {
        // To the server, no limit.
        0 => Ok(Vec::new()),
        _some => db.transact(&List(query)).await,
    }
}

/// Forgets old runs; how many.
pub(super) async fn trim(
    db: &Connection,
    (before, keep): (UnixMs, usize),
    limit: usize,
) -> Result<usize, Error> {
    let trim = Trim { before, keep, limit };
    db.transact(&trim).await
}

/// When runs began that [`trim`] would forget.
///
/// # Errors
///
/// [`Error`].
pub(in crate::store::mongodb) async fn old_runs(
    db: &Connection,
    before: UnixMs,
    keep: usize,
) -> Result<Vec<UnixMs>, Error> {
    db.transact(&Old { before, keep }).await
}

/// All states, as one transaction: they belong together.
struct States(UnixMs);

#[async_trait]
impl Work for States {
    type Answer = Vec<JobState>;

    async fn run(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Vec<JobState>, Stop<Vec<JobState>>> {
        let mut states = Vec::new();
        for known in known::all(db, session).await? {
            let last = runs::first(db, session, Sought::UpTo(&known.name, runs::horizon(self.0))).await?;
            states.push(JobState {
                since: known.since,
                paused_until: known.paused_until.filter(|until| *until > self.0),
                held: known.held(),
                last_tick: last.map(|run| run.id.tick),
                last_success: known.last_success,
                failures: known.failures,
                last_run: runs::first(db, session, Sought::Begun(&known.name)).await?,
                job: known.name,
            });
        }
        Ok(states)
    }
}

/// A list of runs, as one transaction.
struct List<'a>(&'a RunQuery);

#[async_trait]
impl Work for List<'_> {
    type Answer = Vec<Run>;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<Vec<Run>, Stop<Vec<Run>>> {
        let mut filter = doc! { "b": { "$gte": date(self.0.since) } };
        if let Some(job) = &self.0.job {
            filter.insert("_id.j", &**job);
        }
        if let Some(outcome) = self.0.outcome {
            filter.insert("o", outcome.as_str());
        }
        let limit = i64::try_from(self.0.limit).unwrap_or(i64::MAX);
        runs::read(db, session, (filter, runs::newest_first()), limit).await
    }
}

/// A step of forgetting, as one transaction.
struct Trim {
    before: UnixMs,
    keep: usize,
    limit: usize,
}

#[async_trait]
impl Work for Trim {
    type Answer = usize;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<usize, Stop<usize>> {
        let mut old = Vec::new();
        for known in known::all(db, session).await? {
            let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
            old.extend(old_of(db, session, (&known, limit), (self.before, self.keep)).await?);
        }
        // By their beginnings, then by their names.
        old.sort_by(|(one, id), (other, other_id)| {
            let name = |id: &Document| runs::id_of(id).ok();
            (one, name(id)).cmp(&(other, name(other_id)))
        });
        old.truncate(self.limit);
        if !old.is_empty() {
            let ids: Vec<&Document> = old.iter().map(|(_, id)| id).collect();
            db.collection(RUNS)
                .delete_many(doc! { "_id": { "$in": ids } })
                .session(&mut *session)
                .await?;
        }
        Ok(old.len())
    }
}

/// A look for old runs, as one transaction.
struct Old {
    before: UnixMs,
    keep: usize,
}

#[async_trait]
impl Work for Old {
    type Answer = Vec<UnixMs>;

    async fn run(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Vec<UnixMs>, Stop<Vec<UnixMs>>> {
        let mut old = Vec::new();
        for known in known::all(db, session).await? {
            let of = old_of(db, session, (&known, i64::MAX), (self.before, self.keep)).await?;
            old.extend(of.into_iter().map(|(began_at, _)| began_at));
        }
        Ok(old)
    }
}

/// The runs of a job that may be forgotten, the oldest first: when each began, and its key.
async fn old_of<T>(
    db: &Connection,
    session: &mut ClientSession,
    (known, limit): (&Known, i64),
    (before, keep): (UnixMs, usize),
) -> Result<Vec<(UnixMs, Document)>, Stop<T>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut old = vec![doc! { "b": { "$lt": date(before) } }];
    // The first one that is too many, and all that come after it.
    let surplus = db
        .collection(RUNS)
        .find_one(doc! { "_id.j": &*known.name })
        .sort(runs::newest_first())
        .skip(i64::try_from(keep).unwrap_or(i64::MAX).cast_unsigned())
        .projection(doc! { "b": 1 })
        .session(&mut *session)
        .await?;
    if let Some(surplus) = surplus {
        let (began_at, id) = beginning(&surplus)?;
        let began_at = date(began_at);
        old.push(doc! { "b": { "$lt": began_at } });
        old.push(doc! { "b": began_at, "_id": { "$lte": id } });
    }
    let mut wanted = doc! { "_id.j": &*known.name, "e": { "$exists": true }, "$or": old };
    if let Some(newest) = runs::first(db, session, Sought::UpTo(&known.name, runs::EVER)).await? {
        wanted.insert("_id", doc! { "$ne": runs::key(&newest.id) });
    }
    let mut found = db
        .collection(RUNS)
        .find(wanted)
        .sort(doc! { "b": 1, "_id": 1 })
        .limit(limit)
        .projection(doc! { "b": 1 })
        .session(&mut *session)
        .await?;
    let mut old = Vec::new();
    while let Some(document) = found.next(session).await.transpose()? {
        old.push(beginning(&document)?);
    }
    Ok(old)
}

fn beginning(document: &Document) -> Result<(UnixMs, Document), Error> {
    let began_at = document.get_datetime("b").map_err(|_| malformed(RUNS))?;
    let id = document.get_document("_id").map_err(|_| malformed(RUNS))?;
    Ok((time(*began_at), id.clone()))
}
