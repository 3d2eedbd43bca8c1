//! What is known of all jobs together, and what an operator may say about them.
//!
//! The same for the doors of a relay and for a command line that has the store to itself. Must not know how any of it
//! is shown.

use std::sync::Arc;

use crate::config::jobs::JobName;
use crate::jobs::plan::Plan;
use crate::model::UnixMs;
use crate::store::{Error, FOREVER, JobState, Store};

/// A job: what the settings make of it, and what the store knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// How it is run.
    pub plan: Plan,
    /// The next tick that is not in a pause; `None` when it is off, or when nobody can tell.
    pub next: Option<UnixMs>,
    /// What came of it so far.
    pub state: JobState,
}

/// How all jobs stand, in the order of their plans.
///
/// # Errors
///
/// [`Error`].
pub async fn standings(plans: Vec<Plan>, store: &dyn Store, now: UnixMs) -> Result<Vec<Standing>, Error> {
    let mut states = store.job_states(now).await?;
    let mut state_of = |job: JobName| {
        let found = states.iter().position(|state| &*state.job == job.as_str());
        found.map_or_else(|| unheard(job, now), |at| states.swap_remove(at))
    };
    let standing = |plan: Plan| {
        let state = state_of(plan.job);
        Standing {
            next: next(&plan, state.paused_until, now),
            plan,
            state,
        }
    };
    Ok(plans.into_iter().map(standing).collect())
}

/// Pauses a job until a time, or resumes it, whether or not the store has heard of it.
///
/// # Errors
///
/// [`Error`].
pub async fn pause(store: &dyn Store, job: JobName, until: Option<UnixMs>, now: UnixMs) -> Result<(), Error> {
    if store.pause(job.as_str(), until).await? {
        return Ok(());
    }
    store.introduce(&[Arc::from(job.as_str())], now).await?;
    match store.pause(job.as_str(), until).await? {
        true => Ok(()),
        false => Err(Error::Corrupt(
            format!("{job} was introduced and is not known").into(),
        )),
    }
}

fn next(plan: &Plan, paused_until: Option<UnixMs>, now: UnixMs) -> Option<UnixMs> {
    let schedule = plan.schedule.as_ref()?;
    match paused_until {
        Some(FOREVER) => None,
        // A tick at the very end of the pause is not in it.
        Some(until) => schedule.next_after(now.max(UnixMs(until.0.saturating_sub(1)))),
        None => schedule.next_after(now),
    }
}

/// A job that the store has not heard of.
fn unheard(job: JobName, now: UnixMs) -> JobState {
    JobState {
        job: job.as_str().into(),
        since: now,
        paused_until: None,
        held: None,
        last_tick: None,
        last_success: None,
        failures: 0,
        last_run: None,
    }
}
