//! Scheduled jobs, for operators: how they stand, what they did, and a word in between.
//!
//! What is run by hand, and looked at before, is in `runs`. Must not know what a job does.

use axum::Json;
use axum::extract::{Path, State};
use chatctl_protocol::Code;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::answers::{HeldAnswer, JobAnswer};
use crate::config::jobs::JobName;
use crate::http::Doors;
use crate::http::admin::time;
use crate::http::body::JsonBody;
use crate::http::openapi::refusals::refusals;
use crate::http::openapi::values;
use crate::http::problem::Problem;
use crate::http::token::Operator;
use crate::jobs::board::{self, Standing};
use crate::model::UnixMs;
use crate::store::FOREVER;

pub mod answers;
pub mod runs;
#[cfg(test)]
mod tests;

/// All jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    /// In the order in which they are shown.
    pub jobs: Vec<JobAnswer>,
    /// Whether this relay runs them by schedule; when not, something else does.
    pub by_schedule: bool,
}

/// How long a job is paused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// Until when (RFC 3339, in the future); when not given, until it is resumed.
    #[schema(value_type = Option<values::Time>)]
    pub until: Option<String>,
}

/// Whether a job is paused.
#[derive(Debug, Serialize, ToSchema)]
pub struct PauseAnswer {
    /// Which job.
    #[schema(value_type = values::JobName)]
    pub job: &'static str,
    /// Until when it is paused (RFC 3339); the end of the year 9999 when there is no end. Nothing when it is not.
    #[schema(value_type = Option<values::Time>)]
    pub paused_until: Option<String>,
}

/// What was broken.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnlockAnswer {
    /// Which job.
    #[schema(value_type = values::JobName)]
    pub job: &'static str,
    /// Who had its lease; nothing when nobody had.
    pub broken: Option<HeldAnswer>,
}

refusals! {
    /// Why jobs are not listed.
    ListJobsRefusals: OPERATOR READS
}
refusals! {
    /// Why a job is not shown.
    ShowJobRefusals: OPERATOR PARAMETERS READS, NotFound
}
refusals! {
    /// Why a job is not paused.
    PauseJobRefusals: OPERATOR PARAMETERS BODY WRITES, NotFound
}
refusals! {
    /// Why a job is not resumed or unlocked.
    ChangeJobRefusals: OPERATOR PARAMETERS WRITES, NotFound
}

/// The doors of jobs.
pub fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(pause, resume))
        .routes(routes!(unlock))
        .merge(runs::router())
}

/// Lists the jobs.
///
/// When each is due, who runs it, what came of it, and what a run on this relay has done so far.
#[utoipa::path(
    get,
    path = "/v1/admin/jobs",
    operation_id = "listJobs",
    tag = "admin",
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "All jobs", body = JobList, example = json!({"jobs": [example()], "by_schedule": true})),
        ListJobsRefusals,
    ),
)]
async fn list(State(doors): State<Doors>, _operator: Operator) -> Result<Json<JobList>, Problem> {
    let standings = standings(&doors).await?;
    let jobs = standings.into_iter().map(|standing| answer(&doors, standing));
    Ok(Json(JobList {
        jobs: jobs.collect(),
        by_schedule: !doors.live.now().jobs.external,
    }))
}

/// Shows a job.
///
/// As in the list of all.
#[utoipa::path(
    get,
    path = "/v1/admin/jobs/{job}",
    operation_id = "showJob",
    tag = "admin",
    params(("job" = inline(values::JobName), Path, description = "Which job")),
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "The job", body = JobAnswer, example = json!(example())),
        ShowJobRefusals,
    ),
)]
async fn show(
    State(doors): State<Doors>,
    _operator: Operator,
    Path(job): Path<String>,
) -> Result<Json<JobAnswer>, Problem> {
    let job = named(&job)?;
    let standings = standings(&doors).await?;
    let standing = standings.into_iter().find(|standing| standing.plan.job == job);
    let standing = standing.ok_or_else(|| Problem::new(Code::Internal, "The relay failed."))?;
    Ok(Json(answer(&doors, standing)))
}

/// Pauses a job.
///
/// On all relays of the same store: its ticks are noted, and it does not run. A run that is under way goes on.
#[utoipa::path(
    put,
    path = "/v1/admin/jobs/{job}/pause",
    operation_id = "pauseJob",
    tag = "admin",
    params(("job" = inline(values::JobName), Path, description = "Which job")),
    request_body(content = PauseRequest, description = "For how long", example = json!({"until": "2026-11-23T06:00:00Z"})),
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "Paused", body = PauseAnswer,
            example = json!({"job": "expire-mail", "paused_until": "2026-11-23T06:00:00Z"})),
        PauseJobRefusals,
    ),
)]
async fn pause(
    State(doors): State<Doors>,
    _operator: Operator,
    Path(job): Path<String>,
    JsonBody(request): JsonBody<PauseRequest>,
) -> Result<Json<PauseAnswer>, Problem> {
    let job = named(&job)?;
    let until = match request.until.as_deref() {
        Some(text) => moment(text)?,
        None => FOREVER,
    };
    if until <= doors.clock.now() {
        return Err(bad("`until` must lie in the future"));
    }
    set_pause(doors, job, Some(until)).await
}

/// Resumes a job.
///
/// It runs at its next tick. One that is not paused stays as it is.
#[utoipa::path(
    delete,
    path = "/v1/admin/jobs/{job}/pause",
    operation_id = "resumeJob",
    tag = "admin",
    params(("job" = inline(values::JobName), Path, description = "Which job")),
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "Not paused", body = PauseAnswer, example = json!({"job": "expire-mail", "paused_until": null})),
        ChangeJobRefusals,
    ),
)]
async fn resume(
    State(doors): State<Doors>,
    _operator: Operator,
    Path(job): Path<String>,
) -> Result<Json<PauseAnswer>, Problem> {
    set_pause(doors, named(&job)?, None).await
}

/// Breaks a job's lease.
///
/// Whoever has it: a run that is under way loses it and stops. For a holder that is gone and whose lease is not over.
#[utoipa::path(
    delete,
    path = "/v1/admin/jobs/{job}/lease",
    operation_id = "unlockJob",
    tag = "admin",
    params(("job" = inline(values::JobName), Path, description = "Which job")),
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "Nobody has it", body = UnlockAnswer,
            example = json!({"job": "expire-mail", "broken": {"run": "expire-mail/1795348800000/1", "holder": "relay-2:4711",
                "fence": 7, "since": "2026-11-22T12:00:00Z", "remaining_ms": 41_000}})),
        ChangeJobRefusals,
    ),
)]
async fn unlock(
    State(doors): State<Doors>,
    _operator: Operator,
    Path(job): Path<String>,
) -> Result<Json<UnlockAnswer>, Problem> {
    let job = named(&job)?;
    let desk = doors.jobs.desk();
    let broken = desk.store.unlock(job.as_str(), desk.clock.now()).await?;
    Ok(Json(UnlockAnswer {
        job: job.as_str(),
        broken: broken.map(HeldAnswer::of),
    }))
}

async fn set_pause(doors: Doors, job: JobName, until: Option<UnixMs>) -> Result<Json<PauseAnswer>, Problem> {
    let desk = doors.jobs.desk();
    board::pause(&*desk.store, job, until, desk.clock.now()).await?;
    Ok(Json(PauseAnswer {
        job: job.as_str(),
        paused_until: until.map(UnixMs::rfc3339),
    }))
}

async fn standings(doors: &Doors) -> Result<Vec<Standing>, Problem> {
    let desk = doors.jobs.desk();
    Ok(board::standings(doors.jobs.plans(), &*desk.store, desk.clock.now()).await?)
}

fn answer(doors: &Doors, standing: Standing) -> JobAnswer {
    let under_way = doors.jobs.progress(standing.plan.job);
    JobAnswer::of(standing, under_way)
}

fn named(job: &str) -> Result<JobName, Problem> {
    job.parse().map_err(|error: crate::config::jobs::NoSuchJob| {
        Problem::new(Code::NotFound, "There is no such job.").detail(error.to_string())
    })
}

fn moment(text: &str) -> Result<UnixMs, Problem> {
    time::parse(text).ok_or_else(|| bad("a time must be RFC 3339 in UTC, as in 2026-11-22T12:00:00Z"))
}

fn bad(detail: &str) -> Problem {
    Problem::new(Code::BadRequest, "A part of the request breaks its rule.").detail(detail)
}

/// A job in the description.
fn example() -> serde_json::Value {
    serde_json::json!({
        "name": "expire-mail", "about": JobName::ExpireMail.about(), "deletes": true, "is_on": true,
        "schedule": "every 1m", "sentence": "Every 1m.", "zone": "UTC", "overlap": "skip", "missed": "run-once",
        "jitter_ms": 5000, "timeout_ms": 600_000, "next_at": "2026-11-22T12:01:00Z", "paused_until": null, "held": null,
        "last_tick": "2026-11-22T12:00:00Z", "last_success": "2026-11-22T12:00:03Z", "failures": 0,
        "last_run": runs::example(), "under_way": null,
    })
}
