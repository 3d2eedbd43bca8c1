//! Runs of jobs, for operators: those that were, one that begins by hand, and what it would do.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::{FindingsAnswer, RunAnswer, name};
use super::{bad, moment, named};
use crate::config::jobs::JobName;
use crate::http::Doors;
use crate::http::body::JsonBody;
use crate::http::openapi::refusals::refusals;
use crate::http::openapi::values;
use crate::http::problem::Problem;
use crate::http::token::Operator;
use crate::jobs::hand;
use crate::model::UnixMs;
use crate::store::{Outcome, RunQuery};

/// Runs, the one that began last first.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunList {
    /// At most `limit`.
    pub runs: Vec<RunAnswer>,
}

/// Which of them.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RunsWish {
    /// Of this job alone.
    #[param(value_type = Option<values::JobName>, inline)]
    pub job: Option<String>,
    /// With this outcome alone.
    #[param(value_type = Option<values::RunOutcome>, inline)]
    pub outcome: Option<String>,
    /// That began at this time or later (RFC 3339).
    #[param(value_type = Option<values::Time>, inline)]
    pub since: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<usize>,
}

/// How a job is run by hand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginRequest {
    /// Longest run, in seconds, at most a week; when not given, as for a run by schedule.
    #[schema(minimum = 1, maximum = 604_800)]
    pub timeout_seconds: Option<u32>,
}

/// A run that has begun.
#[derive(Debug, Serialize, ToSchema)]
pub struct BeginAnswer {
    /// Its name. `GET /v1/admin/jobs/{job}` shows how far it is, as `under_way`.
    #[schema(value_type = values::RunName)]
    pub run: String,
}

/// Whether a run stops.
#[derive(Debug, Serialize, ToSchema)]
pub struct StopAnswer {
    /// `false` when none is on this relay.
    pub is_stopping: bool,
}

refusals! {
    /// Why runs are not listed.
    ListRunsRefusals: OPERATOR PARAMETERS READS
}
refusals! {
    /// Why nobody looked.
    LookRefusals: OPERATOR PARAMETERS READS, NotFound
}
refusals! {
    /// Why a job is not begun.
    BeginRefusals: OPERATOR PARAMETERS BODY WRITES, NotFound, JobRunning
}
refusals! {
    /// Why a run is not stopped.
    StopRefusals: OPERATOR PARAMETERS, NotFound
}

/// The doors of runs.
pub(super) fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(look))
        .routes(routes!(begin))
        .routes(routes!(stop))
}

/// Lists runs.
///
/// The one that began last first. Ticks that were only noted are among them: skipped, paused, missed.
#[utoipa::path(
    get,
    path = "/v1/admin/jobs/runs",
    operation_id = "listJobRuns",
    tag = "admin",
    params(RunsWish),
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "Runs", body = RunList, example = json!({"runs": [example()]})),
        ListRunsRefusals,
    ),
)]
async fn list(
    State(doors): State<Doors>,
    _operator: Operator,
    Query(wish): Query<RunsWish>,
) -> Result<Json<RunList>, Problem> {
    let query = wish.parse()?;
    let runs = doors.jobs.desk().store.runs(&query).await?;
    Ok(Json(RunList {
        runs: runs.into_iter().map(RunAnswer::of).collect(),
    }))
}

/// Looks what a job would do.
///
/// Changes nothing. May read much.
#[utoipa::path(
    get,
    path = "/v1/admin/jobs/{job}/look",
    operation_id = "lookJob",
    tag = "admin",
    params(("job" = inline(values::JobName), Path, description = "Which job")),
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "What a run would do now", body = FindingsAnswer,
            example = json!({"affected": 1204, "counts": {"envelopes": 1204}, "bytes": 3_565_158,
                "oldest": "2026-10-01T00:00:00Z", "retries": 0, "lines": []})),
        LookRefusals,
    ),
)]
async fn look(
    State(doors): State<Doors>,
    _operator: Operator,
    Path(job): Path<String>,
) -> Result<Json<FindingsAnswer>, Problem> {
    let findings = hand::look(named(&job)?, &doors.jobs.desk()).await?;
    Ok(Json(FindingsAnswer::of(findings)))
}

/// Runs a job now.
///
/// In the background, on this relay; paused or not. One run of a job at a time, whichever relay is asked.
#[utoipa::path(
    post,
    path = "/v1/admin/jobs/{job}/runs",
    operation_id = "runJob",
    tag = "admin",
    params(("job" = inline(values::JobName), Path, description = "Which job")),
    request_body(content = BeginRequest, description = "How", example = json!({"timeout_seconds": 600})),
    security(("bearer" = ["admin"])),
    responses(
        (status = 202, description = "It has begun", body = BeginAnswer, example = json!({"run": "expire-mail/1795348800000/1"})),
        BeginRefusals,
    ),
)]
async fn begin(
    State(doors): State<Doors>,
    _operator: Operator,
    Path(job): Path<String>,
    JsonBody(request): JsonBody<BeginRequest>,
) -> Result<(StatusCode, Json<BeginAnswer>), Problem> {
    let job = named(&job)?;
    let timeout = request
        .timeout_seconds
        .map(|seconds| Duration::from_secs(seconds.into()));
    if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > LONGEST) {
        return Err(bad("`timeout_seconds` must be 1 to 604800"));
    }
    let runner = Arc::clone(&doors.jobs);
    // To its end although the operator may hang up: a lease that is taken has a run behind it.
    let begun = doors
        .sessions
        .finish(async move { runner.start(job, timeout).await });
    let run = begun.await??;
    Ok((StatusCode::ACCEPTED, Json(BeginAnswer { run: name(&run) })))
}

/// Stops the run of a job on this relay.
///
/// After the step that it is at. What it did is done; it is in the history as stopped.
#[utoipa::path(
    delete,
    path = "/v1/admin/jobs/{job}/run",
    operation_id = "stopJob",
    tag = "admin",
    params(("job" = inline(values::JobName), Path, description = "Which job")),
    security(("bearer" = ["admin"])),
    responses(
        (status = 202, description = "It will stop, or there is none", body = StopAnswer, example = json!({"is_stopping": true})),
        StopRefusals,
    ),
)]
async fn stop(
    State(doors): State<Doors>,
    _operator: Operator,
    Path(job): Path<String>,
) -> Result<(StatusCode, Json<StopAnswer>), Problem> {
    let is_stopping = doors.jobs.stop(named(&job)?);
    Ok((StatusCode::ACCEPTED, Json(StopAnswer { is_stopping })))
}

impl RunsWish {
    fn parse(self) -> Result<RunQuery, Problem> {
        let limit = self.limit.unwrap_or(100);
        if !(1..=1_000).contains(&limit) {
            return Err(bad("`limit` must be 1 to 1000"));
        }
        let job = self.job.map(|job| job.parse::<JobName>());
        let job = job.transpose().map_err(|error| bad(&error.to_string()))?;
        let outcome = self
            .outcome
            .as_deref()
            .map(|word| Outcome::parse(word).ok_or_else(|| bad("`outcome` is not the word for one")));
        Ok(RunQuery {
            job: job.map(|job| job.as_str().into()),
            outcome: outcome.transpose()?,
            since: self.since.as_deref().map_or(Ok(UnixMs(0)), moment)?,
            limit,
        })
    }
}

/// A run in the description.
pub(super) fn example() -> serde_json::Value {
    serde_json::json!({
        "run": "expire-mail/1795348800000/1", "job": "expire-mail", "scheduled_for": "2026-11-22T12:00:00Z",
        "after": "2026-11-22T11:59:00Z", "attempt": 1, "trigger": "schedule", "holder": "relay-2:4711",
        "began_at": "2026-11-22T12:00:02Z", "ended_at": "2026-11-22T12:00:03Z", "took_ms": 810, "outcome": "ok",
        "affected": 1204, "counts": {"envelopes": 1204}, "oldest": "2026-11-22T11:59:01Z", "retries": 0, "error": null,
    })
}

/// The longest run that anybody may ask for.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
