//! How ticks are answered: by a run, by a note that there is none, or by making up for what somebody left.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::ClientSession;

use crate::model::UnixMs;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::jobs::known::{self, Known};
use crate::store::mongodb::jobs::runs::{self, Sought};
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::{ATTEMPTS, Begin, Begun, Error, Grant, Outcome, Overlap, Run, RunId, TakenOver, Trigger};

/// Answers a tick.
pub(super) async fn begin(db: &Connection, begin: &Begin, mark: i64) -> Result<Begun, Error> {
    db.transact(&Answer { begin, mark }).await
}

/// Looks for what was left.
pub(super) async fn take_over(
    db: &Connection,
    (job, holder): (&str, &Arc<str>),
    term: Duration,
    (now, mark): (UnixMs, i64),
) -> Result<TakenOver, Error> {
    let work = TakeOver {
        job,
        holder,
        term,
        now,
        mark,
    };
    db.transact(&work).await
}

/// Notes that ticks were missed.
pub(super) async fn miss(db: &Connection, begin: &Begin) -> Result<(), Error> {
    db.transact(&Miss(begin)).await
}

/// An answer, as one transaction.
struct Answer<'a> {
    begin: &'a Begin,
    /// By which the lease is known again.
    mark: i64,
}

#[async_trait]
impl Work for Answer<'_> {
    type Answer = Begun;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<Begun, Stop<Begun>> {
        let begin = self.begin;
        let mut known = known::find_or_introduce(db, session, &begin.job, begin.now).await?;
        let begun = self.decide(db, session, &mut known).await?;
        known.save(db, session).await?;
        Ok(begun)
    }
}

impl Answer<'_> {
    async fn decide(
        &self,
        db: &Connection,
        session: &mut ClientSession,
        known: &mut Known,
    ) -> Result<Begun, Stop<Begun>> {
        let begin = self.begin;
        if let Some(grant) = known.granted(self.mark)
            && grant.run.tick == begin.tick
        {
            known.extend(begin.term);
            return Ok(Begun::Granted(grant));
        }
        bury(db, session, known, begin.now).await?;
        if is_answered(db, session, begin).await? {
            return Ok(Begun::Answered);
        }
        if known.is_paused(begin.now) && begin.trigger == Trigger::Schedule {
            note(db, session, known, &noted(begin, Outcome::Paused)).await?;
            return Ok(Begun::Paused);
        }
        let Some(held) = known.held() else {
            let run = noted(begin, Outcome::Running);
            let grant = grant(db, session, known, (&run, self.mark)).await?;
            known.extend(begin.term);
            return Ok(Begun::Granted(grant));
        };
        let waits = runs::first(db, session, Sought::With(&begin.job, Outcome::Queued)).await?;
        match (begin.trigger, begin.overlap) {
            (Trigger::Hand, _) => Ok(Begun::Held(held)),
            (Trigger::Schedule, Overlap::QueueOne) if waits.is_none() => {
                note(db, session, known, &noted(begin, Outcome::Queued)).await?;
                Ok(Begun::Queued)
            }
            (Trigger::Schedule, Overlap::QueueOne | Overlap::Skip) => {
                note(db, session, known, &noted(begin, Outcome::Skipped)).await?;
                Ok(Begun::Held(held))
            }
        }
    }
}

/// A look for what was left, as one transaction.
struct TakeOver<'a> {
    job: &'a str,
    holder: &'a Arc<str>,
    term: Duration,
    now: UnixMs,
    mark: i64,
}

#[async_trait]
impl Work for TakeOver<'_> {
    type Answer = TakenOver;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<TakenOver, Stop<TakenOver>> {
        let Some(mut known) = known::find(db, session, self.job).await? else {
            return Ok(TakenOver::default());
        };
        let mut taken = TakenOver {
            crashed: Vec::new(),
            grant: known.granted(self.mark),
        };
        if taken.grant.is_none() {
            taken.crashed = bury(db, session, &mut known, self.now).await?;
            if known.lease.is_none() && !known.is_paused(self.now) {
                taken.grant = self.resume(db, session, &mut known).await?;
            }
        }
        if taken.grant.is_some() {
            known.extend(self.term);
        }
        known.save(db, session).await?;
        Ok(taken)
    }
}

impl TakeOver<'_> {
    async fn resume(
        &self,
        db: &Connection,
        session: &mut ClientSession,
        known: &mut Known,
    ) -> Result<Option<Grant>, Stop<TakenOver>> {
        let Some((left, attempt)) = self.left(db, session).await? else {
            return Ok(None);
        };
        let run = Run {
            id: RunId { attempt, ..left.id },
            trigger: left.trigger,
            after: left.after,
            holder: Arc::clone(self.holder),
            began_at: self.now,
            ended_at: None,
            outcome: Outcome::Running,
            work: crate::store::Work::default(),
            error: None,
        };
        grant(db, session, known, (&run, self.mark)).await.map(Some)
    }

    /// The run that waits, or was left, and the attempt that is next.
    async fn left(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Option<(Run, u32)>, Stop<TakenOver>> {
        if let Some(queued) = runs::first(db, session, Sought::With(self.job, Outcome::Queued)).await? {
            let attempt = queued.id.attempt;
            return Ok(Some((queued, attempt)));
        }
        let last = runs::first(db, session, Sought::Over(self.job, runs::horizon(self.now))).await?;
        let last = last.filter(|last| last.outcome.is_unfinished() && last.id.attempt < ATTEMPTS);
        Ok(last.map(|last| {
            let attempt = last.id.attempt + 1;
            (last, attempt)
        }))
    }
}

/// A note that ticks were missed, as one transaction.
struct Miss<'a>(&'a Begin);

#[async_trait]
impl Work for Miss<'_> {
    type Answer = ();

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<(), Stop<()>> {
        let mut known = known::find_or_introduce(db, session, &self.0.job, self.0.now).await?;
        if !is_answered(db, session, self.0).await? {
            note(db, session, &mut known, &noted(self.0, Outcome::Missed)).await?;
            known.save(db, session).await?;
        }
        Ok(())
    }
}

/// Whether a tick was answered, by its own run or by a later one that is not too far ahead.
async fn is_answered<T>(
    db: &Connection,
    session: &mut ClientSession,
    begin: &Begin,
) -> Result<bool, Stop<T>> {
    let same = runs::first(db, session, Sought::At(&begin.job, begin.tick)).await?;
    if same.is_some() || begin.trigger == Trigger::Hand {
        return Ok(same.is_some());
    }
    let later = runs::first(db, session, Sought::After(&begin.job, begin.tick)).await?;
    match later.filter(|later| later.id.tick <= runs::horizon(begin.now)) {
        None => Ok(false),
        Some(later) if later.after < begin.tick => Ok(true),
        // What was before the first one that is remembered has been forgotten, not left out.
        Some(_) => {
            let earlier = runs::first(db, session, Sought::Before(&begin.job, begin.tick)).await?;
            Ok(earlier.is_none())
        }
    }
}

/// Marks as crashed what runs without a good lease.
async fn bury<T>(
    db: &Connection,
    session: &mut ClientSession,
    known: &mut Known,
    now: UnixMs,
) -> Result<Vec<RunId>, Stop<T>> {
    if known.lease.is_some() && !known.is_held() {
        known.release();
    }
    let running = runs::all(db, session, Sought::With(&known.name, Outcome::Running)).await?;
    let mut crashed = Vec::new();
    for mut run in running {
        if known.lease.as_ref().is_none_or(|lease| lease.run != run.id) {
            run.outcome = Outcome::Crashed;
            run.ended_at = Some(now);
            runs::put(db, session, &run).await?;
            known.count(Outcome::Crashed, now);
            crashed.push(run.id);
        }
    }
    Ok(crashed)
}

/// Writes a run down, and takes the lease for it.
async fn grant<T>(
    db: &Connection,
    session: &mut ClientSession,
    known: &mut Known,
    (run, mark): (&Run, i64),
) -> Result<Grant, Stop<T>> {
    note(db, session, known, run).await?;
    Ok(known.lend(run.id.clone(), &run.holder, run.began_at, mark))
}

/// Writes a run down. It answers nothing that the one before it has answered.
async fn note<T>(
    db: &Connection,
    session: &mut ClientSession,
    known: &mut Known,
    run: &Run,
) -> Result<(), Stop<T>> {
    known.touch();
    let before = match run.trigger {
        Trigger::Schedule => runs::first(db, session, Sought::Before(&known.name, run.id.tick)).await?,
        Trigger::Hand => None,
    };
    let mut run = run.clone();
    run.after = before.map_or(run.after, |before| before.id.tick.max(run.after));
    runs::put(db, session, &run).await
}

/// The first run of a tick, with what becomes of it.
fn noted(begin: &Begin, outcome: Outcome) -> Run {
    let is_open = matches!(outcome, Outcome::Running | Outcome::Queued);
    Run {
        id: RunId {
            job: Arc::clone(&begin.job),
            tick: begin.tick,
            attempt: 1,
        },
        trigger: begin.trigger,
        after: begin.after,
        holder: Arc::clone(&begin.holder),
        began_at: begin.now,
        ended_at: (!is_open).then_some(begin.now),
        outcome,
        work: crate::store::Work::default(),
        error: None,
    }
}
