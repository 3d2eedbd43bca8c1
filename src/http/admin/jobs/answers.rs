//! How jobs and their runs look to operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::config::jobs::OnMissed;
use crate::config::schedule::Schedule;
use crate::http::openapi::values;
use crate::jobs::Findings;
use crate::jobs::board::Standing;
use crate::jobs::runner::UnderWay;
use crate::model::UnixMs;
use crate::store::{Held, Overlap, Run, RunId, Trigger, Work};

/// A job, and how it stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobAnswer {
    /// Its name.
    #[schema(value_type = values::JobName)]
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Whether it removes something that somebody might miss.
    pub deletes: bool,
    /// Whether it is due by itself.
    pub is_on: bool,
    /// When it is due, as it was written; nothing when it is off.
    pub schedule: Option<String>,
    /// What was understood, as a sentence.
    pub sentence: Option<String>,
    /// The time zone of the schedule (IANA name).
    pub zone: Option<String>,
    /// What happens to a tick that comes while the job runs.
    #[schema(value_type = values::OnOverlap)]
    pub overlap: &'static str,
    /// What happens to ticks that came while nobody was there.
    #[schema(value_type = values::OnMissed)]
    pub missed: &'static str,
    /// Longest delay after a tick, in milliseconds.
    #[schema(value_type = values::Count)]
    pub jitter_ms: u64,
    /// Longest run, in milliseconds.
    #[schema(value_type = values::Count)]
    pub timeout_ms: u64,
    /// The next tick that is not in a pause (RFC 3339).
    #[schema(value_type = Option<values::Time>)]
    pub next_at: Option<String>,
    /// Until when it is paused (RFC 3339); the end of the year 9999 when there is no end.
    #[schema(value_type = Option<values::Time>)]
    pub paused_until: Option<String>,
    /// Who runs it, on whichever relay.
    pub held: Option<HeldAnswer>,
    /// The last tick of the schedule that was answered (RFC 3339).
    #[schema(value_type = Option<values::Time>)]
    pub last_tick: Option<String>,
    /// When a run last ended well (RFC 3339).
    #[schema(value_type = Option<values::Time>)]
    pub last_success: Option<String>,
    /// Runs since then that did not.
    #[schema(value_type = values::Count)]
    pub failures: u32,
    /// The last run that began.
    pub last_run: Option<RunAnswer>,
    /// What a run on this very relay has done so far.
    pub under_way: Option<UnderWayAnswer>,
}

/// Who has a job's lease.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HeldAnswer {
    /// The run.
    #[schema(value_type = values::RunName)]
    pub run: String,
    /// Host and process.
    #[schema(value_type = values::JobHolder)]
    pub holder: Arc<str>,
    /// Its fence: higher than every one before.
    #[schema(value_type = values::Count)]
    pub fence: u64,
    /// Since when (RFC 3339).
    #[schema(value_type = values::Time)]
    pub since: String,
    /// Milliseconds for which it is good without a renewal; 0 when it is over.
    #[schema(value_type = values::Count)]
    pub remaining_ms: u64,
}

/// A run, as it is remembered.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RunAnswer {
    /// Its name.
    #[schema(value_type = values::RunName)]
    pub run: String,
    /// Whose run it is.
    #[schema(value_type = values::JobName)]
    pub job: Arc<str>,
    /// When it was due (RFC 3339); for a run by hand, when somebody asked for it.
    #[schema(value_type = values::Time)]
    pub scheduled_for: String,
    /// It answers every tick later than this one, too (RFC 3339).
    #[schema(value_type = values::Time)]
    pub after: String,
    /// 1, and one more for each time that the run before was left unfinished.
    #[schema(value_type = values::Count)]
    pub attempt: u32,
    /// Why it is there.
    #[schema(value_type = values::RunTrigger)]
    pub trigger: &'static str,
    /// Who ran it: host and process.
    #[schema(value_type = values::JobHolder)]
    pub holder: Arc<str>,
    /// When it began, or was noted (RFC 3339).
    #[schema(value_type = values::Time)]
    pub began_at: String,
    /// When it ended (RFC 3339); nothing while it runs or waits.
    #[schema(value_type = Option<values::Time>)]
    pub ended_at: Option<String>,
    /// How long it took, in milliseconds.
    #[schema(value_type = Option<values::Count>)]
    pub took_ms: Option<u64>,
    /// What became of it.
    #[schema(value_type = values::RunOutcome)]
    pub outcome: &'static str,
    /// Things that it removed or found.
    #[schema(value_type = values::Count)]
    pub affected: u64,
    /// The same by kind, and what else is worth a number.
    #[schema(value_type = BTreeMap<String, values::Count>)]
    pub counts: BTreeMap<Arc<str>, u64>,
    /// Since when the oldest of them was due (RFC 3339).
    #[schema(value_type = Option<values::Time>)]
    pub oldest: Option<String>,
    /// Times that a step failed and was tried again.
    #[schema(value_type = values::Count)]
    pub retries: u32,
    /// Why it failed.
    #[schema(value_type = Option<String>)]
    pub error: Option<Arc<str>>,
}

/// What a run has done so far, or would do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FindingsAnswer {
    /// Things that it removed or found.
    #[schema(value_type = values::Count)]
    pub affected: u64,
    /// The same by kind, and what else is worth a number.
    #[schema(value_type = BTreeMap<String, values::Count>)]
    pub counts: BTreeMap<Arc<str>, u64>,
    /// Bytes that are freed, where it is known.
    #[schema(value_type = values::Count)]
    pub bytes: u64,
    /// Since when the oldest of them is due (RFC 3339).
    #[schema(value_type = Option<values::Time>)]
    pub oldest: Option<String>,
    /// Times that a step failed and was tried again.
    #[schema(value_type = values::Count)]
    pub retries: u32,
    /// One line for each thing found; at most a thousand.
    #[schema(max_items = 1000)]
    pub lines: Vec<String>,
}

/// A run on this very relay.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UnderWayAnswer {
    /// The run.
    #[schema(value_type = values::RunName)]
    pub run: String,
    /// When it began (RFC 3339).
    #[schema(value_type = values::Time)]
    pub since: String,
    /// What it has done so far.
    pub findings: FindingsAnswer,
}

impl JobAnswer {
    /// How a job stands, with what a run on this very relay has done.
    #[must_use]
    pub fn of(standing: Standing, under_way: Option<UnderWay>) -> Self {
        let Standing { plan, next, state } = standing;
        let schedule = plan.schedule.as_ref();
        Self {
            name: plan.job.as_str(),
            about: plan.job.about(),
            deletes: plan.job.deletes(),
            is_on: schedule.is_some(),
            schedule: schedule.map(ToString::to_string),
            sentence: schedule.map(Schedule::describe),
            zone: schedule.and_then(Schedule::own_zone).map(|zone| zone.to_string()),
            overlap: match plan.overlap {
                Overlap::Skip => "skip",
                Overlap::QueueOne => "queue-one",
            },
            missed: match plan.missed {
                OnMissed::RunOnce => "run-once",
                OnMissed::Skip => "skip",
            },
            jitter_ms: millis(plan.jitter),
            timeout_ms: millis(plan.timeout),
            next_at: next.map(UnixMs::rfc3339),
            paused_until: state.paused_until.map(UnixMs::rfc3339),
            held: state.held.map(HeldAnswer::of),
            last_tick: state.last_tick.map(UnixMs::rfc3339),
            last_success: state.last_success.map(UnixMs::rfc3339),
            failures: state.failures,
            last_run: state.last_run.map(RunAnswer::of),
            under_way: under_way.map(UnderWayAnswer::of),
        }
    }
}

impl HeldAnswer {
    /// Who has it.
    #[must_use]
    pub fn of(held: Held) -> Self {
        Self {
            run: name(&held.run),
            holder: held.holder,
            fence: held.fence,
            since: held.since.rfc3339(),
            remaining_ms: millis(held.remaining),
        }
    }
}

impl RunAnswer {
    /// A run.
    #[must_use]
    pub fn of(run: Run) -> Self {
        let Work {
            affected,
            counts,
            oldest,
            retries,
        } = run.work;
        Self {
            run: name(&run.id),
            scheduled_for: run.id.tick.rfc3339(),
            after: run.after.rfc3339(),
            attempt: run.id.attempt,
            job: run.id.job,
            trigger: match run.trigger {
                Trigger::Schedule => "schedule",
                Trigger::Hand => "hand",
            },
            holder: run.holder,
            began_at: run.began_at.rfc3339(),
            ended_at: run.ended_at.map(UnixMs::rfc3339),
            took_ms: run.ended_at.map(|end| end.0.saturating_sub(run.began_at.0)),
            outcome: run.outcome.as_str(),
            affected,
            counts: counts.into_iter().collect(),
            oldest: oldest.map(UnixMs::rfc3339),
            retries,
            error: run.error,
        }
    }
}

impl FindingsAnswer {
    /// What was found or done.
    #[must_use]
    pub fn of(findings: Findings) -> Self {
        let Findings { work, bytes, lines } = findings;
        Self {
            affected: work.affected,
            counts: work.counts.into_iter().collect(),
            bytes,
            oldest: work.oldest.map(UnixMs::rfc3339),
            retries: work.retries,
            lines,
        }
    }
}

impl UnderWayAnswer {
    fn of(under_way: UnderWay) -> Self {
        Self {
            run: name(&under_way.run),
            since: under_way.since.rfc3339(),
            findings: FindingsAnswer::of(under_way.findings),
        }
    }
}

/// The name of a run in text.
#[must_use]
pub fn name(run: &RunId) -> String {
    format!("{}/{}/{}", run.job, run.tick.0, run.attempt)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
