//! The doors of jobs, over a store in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use axum::{Extension, Router};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::auth::Keyset;
use crate::config::Config;
use crate::http::problem::Problem;
use crate::http::token::OnAdminSocket;
use crate::http::trial::{self, NOW};
use crate::http::{admin, answers};
use crate::jobs::hand::Refusal;
use crate::store::model::Model;
use crate::store::{Begin, Begun, Ended, JobStore as _, Outcome, Overlap, Trigger, Work};

/// The operator's doors, and the store behind them.
struct House {
    router: Router,
    store: Arc<Model>,
}

async fn house() -> House {
    let store = Model::new();
    let keyset = Keyset::generate(&mut rand::rng(), NOW).unwrap();
    let doors = trial::doors(store.clone(), &Config::default(), keyset).await;
    let metrics = doors.metrics.clone();
    let (router, _) = admin::router().split_for_parts();
    let router = answers::finish(router, metrics).with_state(doors);
    House { router, store }
}

impl House {
    /// What an operator is answered: `PUT /v1/…`, with a body unless it is null.
    async fn ask(&self, door: &str, body: Value) -> (u16, Value) {
        let (method, path) = door.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        let mut bytes = Body::empty();
        if !body.is_null() {
            request = request.header(header::CONTENT_TYPE, "application/json");
            bytes = Body::from(body.to_string());
        }
        let router = self.router.clone().layer(Extension(OnAdminSocket));
        let response = router.oneshot(request.body(bytes).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Somebody else begins to run a job.
    async fn begin(&self, job: &str) -> crate::store::Grant {
        let begin = Begin {
            job: job.into(),
            tick: NOW,
            after: NOW,
            trigger: Trigger::Schedule,
            holder: "relay-2:4711".into(),
            term: Duration::from_secs(60),
            overlap: Overlap::Skip,
            now: NOW,
        };
        match self.store.begin(&begin).await.unwrap() {
            Begun::Granted(grant) => grant,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn every_job_is_listed_with_its_schedule_before_anything_ran() {
    let house = house().await;
    let (status, list) = house.ask("GET /v1/admin/jobs", Value::Null).await;
    assert_eq!((status, list["jobs"].as_array().unwrap().len()), (200, 10));
    assert_eq!(list["by_schedule"], true);
    let (status, job) = house.ask("GET /v1/admin/jobs/expire-mail", Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(job, list["jobs"][0]);
    for (field, value) in [
        ("schedule", json!("every 1m")),
        ("is_on", json!(true)),
        ("zone", json!("UTC")),
        ("next_at", json!("2026-11-22T12:01:00Z")),
        ("paused_until", Value::Null),
        ("held", Value::Null),
        ("last_run", Value::Null),
    ] {
        assert_eq!(job[field], value, "{field}");
    }
}

#[tokio::test]
async fn a_job_is_paused_until_a_time_or_until_it_is_resumed() {
    let house = house().await;
    let door = "PUT /v1/admin/jobs/expire-mail/pause";
    let until = json!({"until": "2026-11-22T14:00:00Z"});
    let paused = json!({"job": "expire-mail", "paused_until": "2026-11-22T14:00:00Z"});
    assert_eq!(house.ask(door, until).await, (200, paused));
    let (_, job) = house.ask("GET /v1/admin/jobs/expire-mail", Value::Null).await;
    assert_eq!(
        (&job["paused_until"], &job["next_at"]),
        (&json!("2026-11-22T14:00:00Z"), &json!("2026-11-22T14:00:00Z"))
    );
    assert_eq!(
        house.ask(door, json!({})).await.1["paused_until"],
        "9999-12-31T23:59:59Z"
    );
    let (_, job) = house.ask("GET /v1/admin/jobs/expire-mail", Value::Null).await;
    assert_eq!(job["next_at"], Value::Null);
    let (status, _) = house.ask(door, json!({"until": "2026-11-22T12:00:00Z"})).await;
    assert_eq!(status, 400);
    let resumed = house
        .ask("DELETE /v1/admin/jobs/expire-mail/pause", Value::Null)
        .await;
    assert_eq!(
        resumed,
        (200, json!({"job": "expire-mail", "paused_until": null}))
    );
    let (_, job) = house.ask("GET /v1/admin/jobs/expire-mail", Value::Null).await;
    assert_eq!(job["next_at"], "2026-11-22T12:01:00Z");
}

#[tokio::test]
async fn a_lease_is_shown_with_its_holder_and_broken_when_told() {
    let house = house().await;
    house.begin("trim-history").await;
    let (_, job) = house.ask("GET /v1/admin/jobs/trim-history", Value::Null).await;
    let held = &job["held"];
    assert_eq!(
        (&held["holder"], &held["run"], &held["since"]),
        (
            &json!("relay-2:4711"),
            &json!("trim-history/1795348800000/1"),
            &json!("2026-11-22T12:00:00Z")
        )
    );
    assert!(
        (50_000..=60_000).contains(&held["remaining_ms"].as_u64().unwrap()),
        "{held}"
    );
    let (status, broken) = house
        .ask("DELETE /v1/admin/jobs/trim-history/lease", Value::Null)
        .await;
    assert_eq!(
        (status, &broken["broken"]["holder"]),
        (200, &json!("relay-2:4711"))
    );
    let again = house
        .ask("DELETE /v1/admin/jobs/trim-history/lease", Value::Null)
        .await;
    assert_eq!(again, (200, json!({"job": "trim-history", "broken": null})));
}

#[tokio::test]
async fn what_came_of_runs_is_remembered_and_asked_for_by_job_and_outcome() {
    let house = house().await;
    let grant = house.begin("expire-mail").await;
    let ended = Ended {
        outcome: Outcome::Failed,
        at: NOW.plus_seconds(2),
        work: Work {
            affected: 3,
            counts: vec![("envelopes".into(), 3)],
            ..Work::default()
        },
        error: Some("the disk is full".into()),
    };
    assert!(house.store.end(&grant, &ended).await.unwrap());
    let wanted = json!({"runs": [{
        "run": "expire-mail/1795348800000/1", "job": "expire-mail", "scheduled_for": "2026-11-22T12:00:00Z",
        "after": "2026-11-22T12:00:00Z", "attempt": 1, "trigger": "schedule", "holder": "relay-2:4711",
        "began_at": "2026-11-22T12:00:00Z", "ended_at": "2026-11-22T12:00:02Z", "took_ms": 2000, "outcome": "failed",
        "affected": 3, "counts": {"envelopes": 3}, "oldest": null, "retries": 0, "error": "the disk is full",
    }]});
    for query in [
        "",
        "?job=expire-mail&outcome=failed&since=2026-11-22T12:00:00Z&limit=1",
    ] {
        let runs = house
            .ask(&format!("GET /v1/admin/jobs/runs{query}"), Value::Null)
            .await;
        assert_eq!(runs, (200, wanted.clone()), "{query}");
    }
    for query in ["?job=trim-history", "?outcome=ok", "?since=2026-11-22T12:00:01Z"] {
        let runs = house
            .ask(&format!("GET /v1/admin/jobs/runs{query}"), Value::Null)
            .await;
        assert_eq!(runs, (200, json!({"runs": []})), "{query}");
    }
    for query in [
        "?job=sweep",
        "?outcome=good",
        "?since=today",
        "?limit=0",
        "?limit=1001",
    ] {
        let (status, problem) = house
            .ask(&format!("GET /v1/admin/jobs/runs{query}"), Value::Null)
            .await;
        assert_eq!(
            (status, &problem["code"]),
            (400, &json!("bad_request")),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_job_that_is_none_is_not_found_behind_every_door() {
    let house = house().await;
    for (door, body) in [
        ("GET /v1/admin/jobs/sweep", Value::Null),
        ("GET /v1/admin/jobs/sweep/look", Value::Null),
        ("POST /v1/admin/jobs/sweep/runs", json!({})),
        ("DELETE /v1/admin/jobs/sweep/run", Value::Null),
        ("PUT /v1/admin/jobs/sweep/pause", json!({})),
        ("DELETE /v1/admin/jobs/sweep/pause", Value::Null),
        ("DELETE /v1/admin/jobs/sweep/lease", Value::Null),
    ] {
        let (status, problem) = house.ask(door, body).await;
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{door}");
    }
}

#[tokio::test]
async fn a_look_changes_nothing_and_a_run_that_is_not_here_is_not_stopped() {
    let house = house().await;
    let (status, found) = house
        .ask("GET /v1/admin/jobs/expire-mail/look", Value::Null)
        .await;
    assert_eq!((status, &found["affected"]), (200, &json!(0)));
    let stopped = house
        .ask("DELETE /v1/admin/jobs/expire-mail/run", Value::Null)
        .await;
    assert_eq!(stopped, (202, json!({"is_stopping": false})));
    for seconds in [0, 604_801] {
        let wish = json!({ "timeout_seconds": seconds });
        let (status, _) = house.ask("POST /v1/admin/jobs/expire-mail/runs", wish).await;
        assert_eq!(status, 400, "{seconds}");
    }
}

#[tokio::test]
async fn a_job_that_runs_elsewhere_is_refused_with_its_holder() {
    let house = house().await;
    house.begin("expire-mail").await;
    let states = house.store.job_states(NOW).await.unwrap();
    let held = states.into_iter().find_map(|state| state.held).unwrap();
    let problem = serde_json::to_value(Problem::from(Refusal::Held(held))).unwrap();
    assert_eq!(
        (&problem["status"], &problem["code"], &problem["held"]["holder"]),
        (&json!(409), &json!("job_running"), &json!("relay-2:4711"))
    );
}
