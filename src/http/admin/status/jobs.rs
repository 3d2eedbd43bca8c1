//! How a job stands, in so few words that a lamp can show it.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::openapi::values;
use crate::jobs::board::Standing;
use crate::model::UnixMs;

/// A job, in short. All of it: `GET /v1/admin/jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobLamp {
    /// Its name.
    #[schema(value_type = values::JobName)]
    pub name: &'static str,
    /// Whether it is due by itself.
    pub is_on: bool,
    /// Whether it has not ended well for more than three intervals. Never while it is off or paused.
    pub is_overdue: bool,
    /// Whether somebody runs it, on whichever relay.
    pub is_running: bool,
    /// Until when it is paused (RFC 3339); the end of the year 9999 when there is no end.
    #[schema(value_type = Option<values::Time>)]
    pub paused_until: Option<String>,
    /// Runs in a row that did not end well.
    #[schema(value_type = values::Count)]
    pub failures: u32,
    /// What became of the last run that began.
    #[schema(value_type = Option<values::RunOutcome>)]
    pub last_outcome: Option<&'static str>,
    /// When a run last ended well (RFC 3339).
    #[schema(value_type = Option<values::Time>)]
    pub last_success: Option<String>,
    /// The next tick that is not in a pause (RFC 3339).
    #[schema(value_type = Option<values::Time>)]
    pub next_at: Option<String>,
}

impl JobLamp {
    pub(super) fn of(standing: &Standing, now: UnixMs) -> Self {
        let Standing { plan, next, state } = standing;
        Self {
            name: plan.job.as_str(),
            is_on: plan.schedule.is_some(),
            is_overdue: is_overdue(standing, now),
            is_running: state.held.is_some(),
            paused_until: state.paused_until.map(UnixMs::rfc3339),
            failures: state.failures,
            last_outcome: state.last_run.as_ref().map(|run| run.outcome.as_str()),
            last_success: state.last_success.map(UnixMs::rfc3339),
            next_at: next.map(UnixMs::rfc3339),
        }
    }
}

/// The rule of the alert that is shipped: three intervals, and two minutes.
fn is_overdue(Standing { plan, state, .. }: &Standing, now: UnixMs) -> bool {
    let Some(interval) = plan.interval(now).filter(|_| state.paused_until.is_none()) else {
        return false;
    };
    let since = state.last_success.unwrap_or(state.since);
    let age = Duration::from_millis(now.0.saturating_sub(since.0));
    age > interval.saturating_mul(3).saturating_add(GRACE)
}

/// How long the alert waits.
const GRACE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::jobs::plan::Plan;
    use crate::store::JobState;

    const NOW: UnixMs = UnixMs(1_795_348_800_000);

    fn standing(change: impl FnOnce(&mut JobState)) -> Standing {
        let plan = Plan::all(&Config::default().jobs).remove(0);
        let mut state = JobState {
            job: plan.job.as_str().into(),
            since: UnixMs(NOW.0 - 3_600_000),
            paused_until: None,
            held: None,
            last_tick: None,
            last_success: Some(NOW),
            failures: 0,
            last_run: None,
        };
        change(&mut state);
        Standing {
            plan,
            next: None,
            state,
        }
    }

    #[test]
    fn a_job_is_overdue_after_three_intervals_unless_it_is_paused() {
        let interval = standing(|_| {}).plan.interval(NOW).unwrap().as_millis() as u64;
        let long_ago = UnixMs(NOW.0 - 3 * interval - 121_000);
        let is_overdue = |change: fn(&mut JobState), last_success| {
            let standing = standing(|state| {
                state.last_success = last_success;
                change(state);
            });
            JobLamp::of(&standing, NOW).is_overdue
        };
        assert!(!is_overdue(|_| {}, Some(UnixMs(long_ago.0 + 2_000))));
        assert!(is_overdue(|_| {}, Some(long_ago)));
        assert!(!is_overdue(
            |state| state.paused_until = Some(NOW),
            Some(long_ago)
        ));
        assert!(is_overdue(|state| state.since = UnixMs(0), None));
    }
}
