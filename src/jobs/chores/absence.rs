//! From when on a device has to have been seen.
//!
//! Owns the rule that nobody is held absent for a time in which nobody could come: a relay that was switched off for
//! half a year finds all of its devices idle, and so does one that has only begun to stamp who comes.
//!
//! # Why from the history of jobs
//!
//! It is the only trace of a relay's hours that is kept anyway, on every store. It is coarse, and forgotten after some
//! time; what is not known counts as time in which the relay was there.

use std::time::Duration;

use crate::config::jobs::JobName;
use crate::jobs::Desk;
use crate::model::UnixMs;
use crate::store::{Error, RunQuery};

/// Devices that were last seen before this time are idle, on a day's beginning; `None` when none can be.
pub(super) async fn idle_before(desk: &Desk) -> Result<Option<UnixMs>, Error> {
    let limit = desk.terms.idle_devices;
    if limit.is_zero() {
        return Ok(None);
    }
    let now = desk.clock.now();
    let mine = JobName::RemoveIdleDevices.as_str();
    let states = desk.store.job_states(now).await?;
    // Before the store heard of this job nobody was stamped.
    let Some(since) = states.iter().find(|state| &*state.job == mine) else {
        return Ok(None);
    };
    let mut hours = Vec::new();
    for job in WITNESSES {
        let query = RunQuery {
            job: Some(job.as_str().into()),
            outcome: None,
            since: UnixMs::default(),
            limit: RUNS_ASKED,
        };
        let runs = desk.store.runs(&query).await?;
        hours.extend(runs.into_iter().map(|run| run.began_at));
    }
    hours.sort_unstable_by(|one, other| other.cmp(one));
    // The day began before whoever was stamped with it came: the whole day counts.
    let before = go_back(now, limit, &hours).day();
    Ok(Some(before).filter(|before| since.since < *before))
}

/// The time before `now` since which a relay was there for so long. `hours` are times at which one was, the last first.
fn go_back(now: UnixMs, by: Duration, hours: &[UnixMs]) -> UnixMs {
    let away = u64::try_from(AWAY.as_millis()).unwrap_or(u64::MAX);
    let mut left = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    let mut at = now;
    for hour in hours {
        let gap = at.0.saturating_sub(hour.0);
        if gap <= away {
            if gap >= left {
                break;
            }
            left -= gap;
        }
        at = (*hour).min(at);
    }
    UnixMs(at.0.saturating_sub(left))
}

/// Jobs that run rarely enough for their history to reach back, and often enough to show when nobody was there.
const WITNESSES: [JobName; 7] = [
    JobName::PruneRevocations,
    JobName::PruneTombstones,
    JobName::RemoveIdleDevices,
    JobName::ReportLowKeys,
    JobName::RemindKeyRotation,
    JobName::CompactStore,
    JobName::TrimHistory,
];

/// Runs of each that are read.
const RUNS_ASKED: usize = 1_000;

/// Time without any run after which the relay was not there.
const AWAY: Duration = Duration::from_secs(2 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;

    fn back(now: u64, days: u64, hours: &[u64]) -> u64 {
        let hours: Vec<_> = hours.iter().map(|day| UnixMs(day * DAY)).collect();
        go_back(UnixMs(now * DAY), Duration::from_millis(days * DAY), &hours).0 / DAY
    }

    #[test]
    fn time_in_which_no_job_ran_is_not_counted() {
        // Nothing is known.
        assert_eq!(back(300, 7, &[]), 293);
        // There every day.
        assert_eq!(back(300, 7, &[300, 299, 298, 297, 296, 295, 294, 293, 292]), 293);
        // Back since today, after a hundred days.
        assert_eq!(back(300, 7, &[300, 200, 199, 198]), 193);
        // Back since three days ago.
        assert_eq!(back(300, 7, &[300, 299, 298, 297, 200, 199]), 196);
        // A clock that was ahead when one of them ran.
        assert_eq!(back(300, 7, &[400, 300, 299]), 293);
    }
}
