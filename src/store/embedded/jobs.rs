//! Scheduled jobs: rows that say what was answered, and leases in memory that say who is at it.
//!
//! Must not know how a run is kept as a row.
//!
//! # Why
//!
//! The directory's lock keeps other processes out, so a lease that nobody else could see needs no row: a run that
//! is noted as running and has no lease outlived its process. What must never go back is the fence, and that is in
//! the job's row. Rows and leases change together: the writer shows the leases after the commit, as it does with
//! its indices. Time is told by the clock of who calls, since it stands still in some tests; it never goes back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row};
use tokio::time::Instant;

use crate::model::UnixMs;
use crate::store::embedded::leases::Lease;
use crate::store::embedded::schema::time;
use crate::store::embedded::writer::Tx;
use crate::store::embedded::{Embedded, runs};
use crate::store::{
    AHEAD, ATTEMPTS, Begin, Begun, Ended, Error, Grant, Held, JobState, JobStore, Outcome, Overlap, Run,
    RunId, RunQuery, TakenOver, Trigger, Work,
};

#[async_trait]
impl JobStore for Embedded {
    async fn introduce(&self, jobs: &[Arc<str>], now: UnixMs) -> Result<(), Error> {
        let jobs = jobs.to_vec();
        let introduce = move |tx: &mut Tx<'_>| {
            let each = jobs.iter().try_for_each(|job| introduce(tx.conn, job, now));
            Ok(each?)
        };
        self.writer.run(introduce).await
    }

    async fn begin(&self, wish: &Begin) -> Result<Begun, Error> {
        let (wish, at) = (wish.clone(), Instant::now());
        self.writer.run(move |tx| Ok(begin(tx, &wish, at)?)).await
    }

    async fn take_over(
        &self,
        job: &str,
        holder: &Arc<str>,
        term: Duration,
        now: UnixMs,
    ) -> Result<TakenOver, Error> {
        let at = Instant::now();
        let wish = Begin {
            job: job.into(),
            tick: now,
            after: now,
            trigger: Trigger::Schedule,
            holder: Arc::clone(holder),
            term,
            overlap: Overlap::Skip,
            now,
        };
        self.writer.run(move |tx| Ok(take_over(tx, wish, at)?)).await
    }

    async fn renew(&self, grant: &Grant, term: Duration, work: &Work) -> Result<bool, Error> {
        let (grant, work, at) = (grant.clone(), work.clone(), Instant::now());
        let renew = move |tx: &mut Tx<'_>| Ok(renew(tx, &grant, (at, term), work)?);
        self.writer.run(renew).await
    }

    async fn end(&self, grant: &Grant, ended: &Ended) -> Result<bool, Error> {
        let (grant, ended) = (grant.clone(), ended.clone());
        self.writer.run(move |tx| Ok(end(tx, &grant, ended)?)).await
    }

    async fn miss(&self, wish: &Begin) -> Result<(), Error> {
        let wish = wish.clone();
        let miss = move |tx: &mut Tx<'_>| {
            introduce(tx.conn, &wish.job, wish.now)?;
            if !is_answered(tx.conn, &wish)? {
                note(tx.conn, &wish, 1, Outcome::Missed)?;
            }
            Ok(())
        };
        self.writer.run(miss).await
    }

    async fn job_states(&self, now: UnixMs) -> Result<Vec<JobState>, Error> {
        self.shared.healthy()?;
        let (shared, at) = (Arc::clone(&self.shared), Instant::now());
        let look = move |conn: &Connection| {
            let conn = &*conn.unchecked_transaction()?;
            let held = |job: &str| shared.leases.lock().of(job).map(|lease| lease.held(at));
            let names = runs::names(conn)?.into_iter();
            let states = names.map(|job| state(conn, &job, held(&job), now));
            states.collect()
        };
        self.readers.run(look).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, Error> {
        self.shared.healthy()?;
        let query = query.clone();
        self.readers.run(move |conn| runs::query(conn, &query)).await
    }

    async fn pause(&self, job: &str, until: Option<UnixMs>) -> Result<bool, Error> {
        let job = job.to_owned();
        let pause = move |tx: &mut Tx<'_>| {
            let mut update = tx
                .conn
                .prepare_cached("UPDATE job SET paused_until = ?2 WHERE name = ?1")?;
            Ok(update.execute((job, until.map(time)))? > 0)
        };
        self.writer.run(pause).await
    }

    async fn unlock(&self, job: &str, now: UnixMs) -> Result<Option<Held>, Error> {
        let (job, at) = (job.to_owned(), Instant::now());
        self.writer.run(move |tx| Ok(unlock(tx, &job, now, at)?)).await
    }

    async fn trim_runs(&self, before: UnixMs, keep: usize, limit: usize) -> Result<usize, Error> {
        let trim = move |tx: &mut Tx<'_>| Ok(runs::trim(tx.conn, before, keep, limit)?);
        self.writer.run(trim).await
    }
}

fn begin(tx: &mut Tx<'_>, wish: &Begin, at: Instant) -> Result<Begun, Error> {
    introduce(tx.conn, &wish.job, wish.now)?;
    bury(tx, &wish.job, wish.now, at)?;
    if is_answered(tx.conn, wish)? {
        return Ok(Begun::Answered);
    }
    if wish.trigger == Trigger::Schedule && is_paused(tx.conn, &wish.job, wish.now)? {
        note(tx.conn, wish, 1, Outcome::Paused)?;
        return Ok(Begun::Paused);
    }
    let Some(lease) = tx.lease(&wish.job) else {
        return Ok(Begun::Granted(grant(tx, wish, 1, at)?));
    };
    let held = lease.held(at);
    match (wish.trigger, wish.overlap) {
        (Trigger::Hand, _) => Ok(Begun::Held(held)),
        (Trigger::Schedule, Overlap::QueueOne) if queued(tx.conn, &wish.job)?.is_none() => {
            note(tx.conn, wish, 1, Outcome::Queued)?;
            Ok(Begun::Queued)
        }
        (Trigger::Schedule, Overlap::QueueOne | Overlap::Skip) => {
            note(tx.conn, wish, 1, Outcome::Skipped)?;
            Ok(Begun::Held(held))
        }
    }
}

/// `wish` says who asks; the run says the rest.
fn take_over(tx: &mut Tx<'_>, wish: Begin, at: Instant) -> Result<TakenOver, Error> {
    let crashed = bury(tx, &wish.job, wish.now, at)?;
    let is_free = tx.lease(&wish.job).is_none() && !is_paused(tx.conn, &wish.job, wish.now)?;
    let left = if is_free {
        left_of(tx.conn, &wish.job, wish.now)?
    } else {
        None
    };
    let grant = left.map(|(run, attempt)| {
        let again = Begin {
            tick: run.id.tick,
            after: run.after,
            trigger: run.trigger,
            ..wish
        };
        grant(tx, &again, attempt, at)
    });
    Ok(TakenOver {
        crashed,
        grant: grant.transpose()?,
    })
}

fn renew(tx: &mut Tx<'_>, grant: &Grant, (at, term): (Instant, Duration), work: Work) -> Result<bool, Error> {
    let lease = tx.lease(&grant.run.job).filter(|lease| lease.is(grant));
    let Some(lease) = lease.filter(|lease| lease.is_good(at)) else {
        return Ok(false);
    };
    tx.set_lease(&grant.run.job, Some(lease.renewed(at, term)));
    if let Some(run) = runs::find(tx.conn, &grant.run)? {
        runs::write(tx.conn, &Run { work, ..run })?;
    }
    Ok(true)
}

fn end(tx: &mut Tx<'_>, grant: &Grant, ended: Ended) -> Result<bool, Error> {
    let run = runs::find(tx.conn, &grant.run)?;
    if !tx.lease(&grant.run.job).is_some_and(|lease| lease.is(grant)) {
        // The answer of the first time may have been lost.
        return Ok(run.is_some_and(|run| run.outcome == ended.outcome && run.ended_at == Some(ended.at)));
    }
    tx.set_lease(&grant.run.job, None);
    count(tx.conn, &grant.run.job, ended.outcome, ended.at)?;
    if let Some(run) = run {
        let over = Run {
            outcome: ended.outcome,
            ended_at: Some(ended.at),
            work: ended.work,
            error: ended.error,
            ..run
        };
        runs::write(tx.conn, &over)?;
    }
    Ok(true)
}

fn unlock(tx: &mut Tx<'_>, job: &str, now: UnixMs, at: Instant) -> Result<Option<Held>, Error> {
    let Some(lease) = tx.lease(job) else {
        return Ok(None);
    };
    tx.set_lease(job, None);
    count(tx.conn, job, Outcome::LeaseLost, now)?;
    if let Some(run) = runs::find(tx.conn, &lease.run)? {
        close(tx.conn, run, Outcome::LeaseLost, now)?;
    }
    Ok(Some(lease.held(at)))
}

fn introduce(conn: &Connection, job: &str, now: UnixMs) -> Result<(), Error> {
    conn.prepare_cached("INSERT OR IGNORE INTO job (name, since, fence, failures) VALUES (?1, ?2, 0, 0)")?
        .execute((job, time(now)))?;
    Ok(())
}

/// Whether somebody has answered this tick.
fn is_answered(conn: &Connection, wish: &Begin) -> Result<bool, Error> {
    if runs::has_tick(conn, &wish.job, wish.tick)? {
        return Ok(true);
    }
    if wish.trigger == Trigger::Hand {
        return Ok(false);
    }
    let later = runs::next_tick(conn, &wish.job, wish.tick)?;
    let Some((_, after)) = later.filter(|(tick, _)| *tick <= horizon(wish.now)) else {
        return Ok(false);
    };
    Ok(after < wish.tick || runs::tick_before(conn, &wish.job, wish.tick)?.is_none())
}

/// The last tick that is no work of a clock that was wrong.
fn horizon(now: UnixMs) -> UnixMs {
    let ahead = u64::try_from(AHEAD.as_millis()).unwrap_or(u64::MAX);
    UnixMs(now.0.saturating_add(ahead).min(i64::MAX.cast_unsigned()))
}

fn is_paused(conn: &Connection, job: &str, now: UnixMs) -> Result<bool, Error> {
    let mut select = conn.prepare_cached("SELECT 1 FROM job WHERE name = ?1 AND paused_until > ?2")?;
    Ok(select.exists((job, time(now)))?)
}

/// Marks what outlived its lease.
fn bury(tx: &mut Tx<'_>, job: &str, now: UnixMs, at: Instant) -> Result<Vec<RunId>, Error> {
    let lease = tx.lease(job);
    if lease.as_ref().is_some_and(|lease| !lease.is_good(at)) {
        tx.set_lease(job, None);
    }
    let alive = lease.filter(|lease| lease.is_good(at)).map(|lease| lease.run);
    let mut crashed = Vec::new();
    for run in runs::open(tx.conn, job)? {
        if run.outcome == Outcome::Running && Some(&run.id) != alive.as_ref() {
            crashed.push(run.id.clone());
            count(tx.conn, job, Outcome::Crashed, now)?;
            close(tx.conn, run, Outcome::Crashed, now)?;
        }
    }
    Ok(crashed)
}

/// The run to do, and its attempt.
fn left_of(conn: &Connection, job: &str, now: UnixMs) -> Result<Option<(Run, u32)>, Error> {
    if let Some(queued) = queued(conn, job)? {
        let attempt = queued.id.attempt;
        return Ok(Some((queued, attempt)));
    }
    let last = runs::last_of_schedule(conn, job, horizon(now), Outcome::is_over)?;
    let again = last.filter(|last| last.outcome.is_unfinished() && last.id.attempt < ATTEMPTS);
    Ok(again.map(|last| {
        let attempt = last.id.attempt + 1;
        (last, attempt)
    }))
}

fn queued(conn: &Connection, job: &str) -> Result<Option<Run>, Error> {
    let mut open = runs::open(conn, job)?.into_iter();
    Ok(open.find(|run| run.outcome == Outcome::Queued))
}

fn grant(tx: &mut Tx<'_>, wish: &Begin, attempt: u32, at: Instant) -> Result<Grant, Error> {
    let run = note(tx.conn, wish, attempt, Outcome::Running)?;
    let fence: i64 = tx
        .conn
        .prepare_cached("UPDATE job SET fence = fence + 1 WHERE name = ?1 RETURNING fence")?
        .query_row([&*wish.job], |row| row.get(0))?;
    let lease = Lease {
        run: run.clone(),
        holder: Arc::clone(&wish.holder),
        fence: fence.cast_unsigned(),
        since: wish.now,
        ends: at + wish.term,
    };
    tx.set_lease(&wish.job, Some(lease));
    Ok(Grant {
        run,
        fence: fence.cast_unsigned(),
    })
}

fn note(conn: &Connection, wish: &Begin, attempt: u32, outcome: Outcome) -> Result<RunId, Error> {
    let is_open = matches!(outcome, Outcome::Running | Outcome::Queued);
    let before = match wish.trigger {
        Trigger::Schedule => runs::tick_before(conn, &wish.job, wish.tick)?,
        Trigger::Hand => None,
    };
    let run = Run {
        id: RunId {
            job: Arc::clone(&wish.job),
            tick: wish.tick,
            attempt,
        },
        trigger: wish.trigger,
        after: wish.after.max(before.unwrap_or(wish.after)),
        holder: Arc::clone(&wish.holder),
        began_at: wish.now,
        ended_at: (!is_open).then_some(wish.now),
        outcome,
        work: Work::default(),
        error: None,
    };
    runs::write(conn, &run)?;
    Ok(run.id)
}

fn close(conn: &Connection, run: Run, outcome: Outcome, now: UnixMs) -> Result<(), Error> {
    let over = Run {
        outcome,
        ended_at: Some(now),
        ..run
    };
    runs::write(conn, &over)
}

/// Counts a run that has ended.
fn count(conn: &Connection, job: &str, outcome: Outcome, at: UnixMs) -> Result<(), Error> {
    if outcome == Outcome::Done {
        conn.prepare_cached("UPDATE job SET failures = 0, last_success = ?2 WHERE name = ?1")?
            .execute((job, time(at)))?;
    }
    if outcome.is_failure() {
        conn.prepare_cached("UPDATE job SET failures = failures + 1 WHERE name = ?1")?
            .execute([job])?;
    }
    Ok(())
}

/// What is known of a job whose row there is.
fn state(conn: &Connection, job: &str, held: Option<Held>, now: UnixMs) -> Result<JobState, Error> {
    let stamp = |row: &Row<'_>, index| {
        let column = row.get::<_, Option<i64>>(index)?;
        Ok::<_, rusqlite::Error>(column.map(|at| UnixMs(at.cast_unsigned())))
    };
    let known = conn
        .prepare_cached("SELECT since, paused_until, last_success, failures FROM job WHERE name = ?1")?
        .query_row([job], |row| {
            let since = stamp(row, 0)?.unwrap_or_default();
            Ok((since, stamp(row, 1)?, stamp(row, 2)?, row.get(3)?))
        })
        .optional()?;
    let (since, paused_until, last_success, failures) = known.unwrap_or_default();
    let is_a_run = |outcome: Outcome| outcome == Outcome::Running || outcome.is_over();
    Ok(JobState {
        job: job.into(),
        since,
        paused_until: paused_until.filter(|until| *until > now),
        held,
        last_tick: runs::last_of_schedule(conn, job, horizon(now), |_| true)?.map(|run| run.id.tick),
        last_success,
        failures,
        last_run: runs::last_begun(conn, job, is_a_run)?,
    })
}
