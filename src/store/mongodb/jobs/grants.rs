//! What is done with a lease: it is renewed, given back, or broken by somebody else.

use std::time::Duration;

use async_trait::async_trait;
use mongodb::ClientSession;

use crate::model::UnixMs;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::jobs::known;
use crate::store::mongodb::jobs::runs::{self, Sought};
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::{Ended, Error, Grant, Held, Outcome};

/// Extends a lease.
pub(super) async fn renew(
    db: &Connection,
    grant: &Grant,
    term: Duration,
    work: &crate::store::Work,
) -> Result<bool, Error> {
    db.transact(&Renew { grant, term, work }).await
}

/// Ends a run.
pub(super) async fn end(db: &Connection, grant: &Grant, ended: &Ended) -> Result<bool, Error> {
    db.transact(&End { grant, ended }).await
}

/// Breaks a lease.
pub(super) async fn unlock(db: &Connection, job: &str, now: UnixMs) -> Result<Option<Held>, Error> {
    db.transact(&Unlock { job, now }).await
}

/// A renewal, as one transaction.
struct Renew<'a> {
    grant: &'a Grant,
    term: Duration,
    work: &'a crate::store::Work,
}

#[async_trait]
impl Work for Renew<'_> {
    type Answer = bool;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<bool, Stop<bool>> {
        let known = known::find(db, session, &self.grant.run.job).await?;
        let Some(mut known) = known.filter(|known| known.is_held_by(self.grant) && known.is_held()) else {
            return Ok(false);
        };
        known.extend(self.term);
        known.save(db, session).await?;
        if let Some(mut run) = runs::first(db, session, Sought::Named(&self.grant.run)).await? {
            run.work = self.work.clone();
            runs::put(db, session, &run).await?;
        }
        Ok(true)
    }
}

/// An end, as one transaction.
struct End<'a> {
    grant: &'a Grant,
    ended: &'a Ended,
}

#[async_trait]
impl Work for End<'_> {
    type Answer = bool;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<bool, Stop<bool>> {
        let (grant, ended) = (self.grant, self.ended);
        let known = known::find(db, session, &grant.run.job).await?;
        let run = runs::first(db, session, Sought::Named(&grant.run)).await?;
        let Some(mut known) = known.filter(|known| known.is_held_by(grant)) else {
            let is_this =
                run.is_some_and(|run| run.outcome == ended.outcome && run.ended_at == Some(ended.at));
            return Ok(is_this);
        };
        known.release();
        known.count(ended.outcome, ended.at);
        known.save(db, session).await?;
        if let Some(mut run) = run {
            run.outcome = ended.outcome;
            run.ended_at = Some(ended.at);
            run.work = ended.work.clone();
            run.error.clone_from(&ended.error);
            runs::put(db, session, &run).await?;
        }
        Ok(true)
    }
}

/// The breaking of a lease, as one transaction.
struct Unlock<'a> {
    job: &'a str,
    now: UnixMs,
}

#[async_trait]
impl Work for Unlock<'_> {
    type Answer = Option<Held>;

    async fn run(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Option<Held>, Stop<Option<Held>>> {
        let Some(mut known) = known::find(db, session, self.job).await? else {
            return Ok(None);
        };
        let Some(held) = known.held() else {
            return Ok(None);
        };
        known.release();
        known.count(Outcome::LeaseLost, self.now);
        known.save(db, session).await?;
        if let Some(mut run) = runs::first(db, session, Sought::Named(&held.run)).await? {
            run.outcome = Outcome::LeaseLost;
            run.ended_at = Some(self.now);
            runs::put(db, session, &run).await?;
        }
        Ok(Some(held))
    }
}
