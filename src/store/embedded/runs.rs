//! Runs of jobs as rows: writing, reading, and which of them may be forgotten.
//!
//! Must not know leases: a row says what was noted, and whether that is true still is decided elsewhere.

use std::sync::Arc;

use rusqlite::{Connection, Row};

use crate::model::UnixMs;
use crate::store::embedded::schema::{most, time};
use crate::store::{Due, Error, Outcome, Run, RunId, RunQuery, Trigger, Work};

/// The columns that [`decode`] reads.
pub(super) const COLUMNS: &str = "job, tick, attempt, by_hand, answers_after, holder, began_at, ended_at, \
     outcome, affected, counts, oldest, retries, error";

/// Writes a run down, in the place of what was there under its name.
pub(super) fn write(conn: &Connection, run: &Run) -> Result<(), Error> {
    let mut insert = conn.prepare_cached(&format!(
        "INSERT OR REPLACE INTO job_run ({COLUMNS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    ))?;
    insert.execute(rusqlite::params![
        &*run.id.job,
        time(run.id.tick),
        run.id.attempt,
        run.trigger == Trigger::Hand,
        time(run.after),
        &*run.holder,
        time(run.began_at),
        run.ended_at.map(time),
        run.outcome.as_str(),
        run.work.affected.cast_signed(),
        counts(&run.work)?,
        run.work.oldest.map(time),
        run.work.retries,
        run.error.as_deref(),
    ])?;
    Ok(())
}

/// A run by its name.
pub(super) fn find(conn: &Connection, id: &RunId) -> Result<Option<Run>, Error> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job_run WHERE job = ?1 AND tick = ?2 AND attempt = ?3"
    ))?;
    let mut rows = select.query((&*id.job, time(id.tick), id.attempt))?;
    rows.next()?.map(decode).transpose()
}

/// Whether a tick has a run, of whatever kind.
pub(super) fn has_tick(conn: &Connection, job: &str, tick: UnixMs) -> Result<bool, Error> {
    let mut select = conn.prepare_cached("SELECT 1 FROM job_run WHERE job = ?1 AND tick = ?2")?;
    Ok(select.exists((job, time(tick)))?)
}

/// The first run of the schedule with a later tick: that one, and what it answers after.
pub(super) fn next_tick(
    conn: &Connection,
    job: &str,
    tick: UnixMs,
) -> Result<Option<(UnixMs, UnixMs)>, Error> {
    let mut select = conn.prepare_cached(
        "SELECT tick, answers_after FROM job_run WHERE job = ?1 AND tick > ?2 AND NOT by_hand
         ORDER BY tick, attempt LIMIT 1",
    )?;
    let mut rows = select.query((job, time(tick)))?;
    let pair = |row: &Row<'_>| Ok((of(row.get(0)?), of(row.get(1)?)));
    rows.next()?.map(pair).transpose()
}

/// Runs of a job that run or wait, in the order of their names.
pub(super) fn open(conn: &Connection, job: &str) -> Result<Vec<Run>, Error> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job_run INDEXED BY job_run_open WHERE job = ?1 AND ended_at IS NULL
         ORDER BY tick, attempt"
    ))?;
    let mut rows = select.query([job])?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(decode(row)?);
    }
    Ok(runs)
}

/// The last run of the schedule by its name, with a tick up to this one, that is as wanted.
pub(super) fn last_of_schedule(
    conn: &Connection,
    job: &str,
    up_to: UnixMs,
    is_wanted: impl Fn(Outcome) -> bool,
) -> Result<Option<Run>, Error> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job_run WHERE job = ?1 AND NOT by_hand AND tick <= ?2
         ORDER BY tick DESC, attempt DESC"
    ))?;
    let mut rows = select.query((job, time(up_to)))?;
    while let Some(row) = rows.next()? {
        let run = decode(row)?;
        if is_wanted(run.outcome) {
            return Ok(Some(run));
        }
    }
    Ok(None)
}

/// The last tick of the schedule before this one that has a run.
pub(super) fn tick_before(conn: &Connection, job: &str, tick: UnixMs) -> Result<Option<UnixMs>, Error> {
    let mut select =
        conn.prepare_cached("SELECT MAX(tick) FROM job_run WHERE job = ?1 AND tick < ?2 AND NOT by_hand")?;
    let last: Option<i64> = select.query_row((job, time(tick)), |row| row.get(0))?;
    Ok(last.map(of))
}

/// The run of a job that began last and is as wanted.
pub(super) fn last_begun(
    conn: &Connection,
    job: &str,
    is_wanted: impl Fn(Outcome) -> bool,
) -> Result<Option<Run>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM job_run WHERE job = ?1 ORDER BY began_at DESC, tick DESC, attempt DESC"
    );
    first(conn, &sql, job, is_wanted)
}

fn first(
    conn: &Connection,
    sql: &str,
    job: &str,
    is_wanted: impl Fn(Outcome) -> bool,
) -> Result<Option<Run>, Error> {
    let mut select = conn.prepare_cached(sql)?;
    let mut rows = select.query([job])?;
    while let Some(row) = rows.next()? {
        if is_wanted(outcome(row)?) {
            return decode(row).map(Some);
        }
    }
    Ok(None)
}

/// Runs as asked for, the one that began last first.
pub(super) fn query(conn: &Connection, query: &RunQuery) -> Result<Vec<Run>, Error> {
    let conn = &*conn.unchecked_transaction()?;
    let jobs = match &query.job {
        Some(job) => vec![job.to_string()],
        None => names(conn)?,
    };
    let mut select = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM job_run
         WHERE job = ?1 AND began_at >= ?2 AND (?3 IS NULL OR outcome = ?3)
         ORDER BY began_at DESC, tick DESC, attempt DESC LIMIT ?4"
    ))?;
    let outcome = query.outcome.map(Outcome::as_str);
    let mut runs = Vec::new();
    // Job by job, each along its index: a merge of so many newest ones has the newest of all.
    for job in jobs {
        let mut rows = select.query((job, time(query.since), outcome, most(query.limit)))?;
        while let Some(row) = rows.next()? {
            runs.push(decode(row)?);
        }
    }
    runs.sort_unstable_by(|one, other| (other.began_at, &other.id).cmp(&(one.began_at, &one.id)));
    runs.truncate(query.limit);
    Ok(runs)
}

/// The names of all jobs.
pub(super) fn names(conn: &Connection) -> Result<Vec<String>, Error> {
    let mut select = conn.prepare_cached("SELECT name FROM job ORDER BY name")?;
    let names = select.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Runs that may be forgotten with the times when they began, the oldest first.
pub(super) fn old(
    conn: &Connection,
    before: UnixMs,
    keep: usize,
    limit: usize,
) -> Result<Vec<(UnixMs, RunId)>, Error> {
    let mut old = Vec::new();
    for job in names(conn)? {
        old_of(conn, &job, (before, keep, limit), &mut old)?;
    }
    old.sort_unstable();
    old.truncate(limit);
    Ok(old)
}

/// What is too old and what is beyond the newest is both at the beginning of a job's runs, in the order of time:
/// so it is everything up to one place.
fn old_of(
    conn: &Connection,
    job: &str,
    (before, keep, limit): (UnixMs, usize, usize),
    old: &mut Vec<(UnixMs, RunId)>,
) -> Result<(), Error> {
    let mut place = conn.prepare_cached(
        "SELECT began_at, tick, attempt FROM job_run WHERE job = ?1
         ORDER BY began_at DESC, tick DESC, attempt DESC LIMIT 1 OFFSET ?2",
    )?;
    let mut rows = place.query((job, most(keep)))?;
    let beyond = match rows.next()? {
        Some(row) => (row.get(0)?, row.get(1)?, row.get(2)?),
        None => (i64::MIN, i64::MIN, i64::MIN),
    };
    let too_old = (time(before).saturating_sub(1), i64::MAX, i64::MAX);
    let (began_at, tick, attempt) = beyond.max(too_old);
    let mut select = conn.prepare_cached(
        "SELECT began_at, tick, attempt FROM job_run
         WHERE job = ?1 AND (began_at, tick, attempt) <= (?2, ?3, ?4) AND ended_at IS NOT NULL
            AND (tick, attempt) IS NOT (
                SELECT tick, attempt FROM job_run WHERE job = ?1 AND NOT by_hand
                ORDER BY tick DESC, attempt DESC LIMIT 1)
         ORDER BY began_at, tick, attempt LIMIT ?5",
    )?;
    let mut rows = select.query((job, began_at, tick, attempt, most(limit)))?;
    let job: Arc<str> = job.into();
    while let Some(row) = rows.next()? {
        let id = RunId {
            job: Arc::clone(&job),
            tick: of(row.get(1)?),
            attempt: row.get(2)?,
        };
        old.push((of(row.get(0)?), id));
    }
    Ok(())
}

/// How many runs may be forgotten.
pub(super) fn due(conn: &Connection, before: UnixMs, keep: usize) -> Result<Due, Error> {
    let old = old(conn, before, keep, usize::MAX)?;
    Ok(Due {
        count: old.len() as u64,
        bytes: 0,
        oldest: old.first().map(|(began_at, _)| *began_at),
    })
}

/// Forgets the oldest runs that may be; how many.
pub(super) fn trim(conn: &Connection, before: UnixMs, keep: usize, limit: usize) -> Result<usize, Error> {
    let mut delete =
        conn.prepare_cached("DELETE FROM job_run WHERE job = ?1 AND tick = ?2 AND attempt = ?3")?;
    let mut forgotten = 0;
    for (_, id) in old(conn, before, keep, limit)? {
        forgotten += delete.execute((&*id.job, time(id.tick), id.attempt))?;
    }
    Ok(forgotten)
}

/// Reads a row of all columns.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub(super) fn decode(row: &Row<'_>) -> Result<Run, Error> {
    let text = |index| row.get::<_, String>(index).map(Arc::<str>::from);
    let counts: String = row.get(10)?;
    let counts = serde_json::from_str(&counts).map_err(|error| Error::Corrupt(error.to_string().into()))?;
    Ok(Run {
        id: RunId {
            job: text(0)?,
            tick: of(row.get(1)?),
            attempt: row.get(2)?,
        },
        trigger: if row.get(3)? {
            Trigger::Hand
        } else {
            Trigger::Schedule
        },
        after: of(row.get(4)?),
        holder: text(5)?,
        began_at: of(row.get(6)?),
        ended_at: row.get::<_, Option<i64>>(7)?.map(of),
        outcome: outcome(row)?,
        work: Work {
            affected: row.get::<_, i64>(9)?.cast_unsigned(),
            counts,
            oldest: row.get::<_, Option<i64>>(11)?.map(of),
            retries: row.get(12)?,
        },
        error: row.get::<_, Option<String>>(13)?.map(Arc::from),
    })
}

fn outcome(row: &Row<'_>) -> Result<Outcome, Error> {
    let word: String = row.get(8)?;
    Outcome::parse(&word).ok_or_else(|| Error::Corrupt(format!("a run's outcome is {word:?}").into()))
}

fn counts(work: &Work) -> Result<String, Error> {
    serde_json::to_string(&work.counts).map_err(|error| Error::Corrupt(error.to_string().into()))
}

fn of(column: i64) -> UnixMs {
    UnixMs(column.cast_unsigned())
}
