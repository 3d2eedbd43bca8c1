//! Whether the relay is alive, whether it is ready, and what it counts.
//!
//! Owns [`Readiness`]. Alive means that a request is answered; ready means that new clients are welcome.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chatctl_protocol::Code;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Doors;
use crate::http::openapi::refusals::refusals;
use crate::http::problem::Problem;
use crate::http::token::OnAdminSocket;
use crate::http::vitals;

/// Whether new clients are welcome. Both ways out of it are final: only a new process starts over.
#[derive(Debug, Default)]
pub struct Readiness {
    draining: AtomicBool,
    store_stopped: AtomicBool,
}

impl Readiness {
    /// The relay is about to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The store failed in a way that only a restart helps.
    pub fn store_stopped(&self) {
        self.store_stopped.store(true, Ordering::Release);
    }

    /// Whether the relay is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Passes when new clients are welcome.
    ///
    /// # Errors
    ///
    /// A [`Problem`] of status 503 that says why they are not.
    pub fn check(&self) -> Result<(), Problem> {
        let reason = if self.store_stopped.load(Ordering::Acquire) {
            "The store has stopped after an I/O error; the relay needs a restart."
        } else if self.is_draining() {
            "The relay is about to stop."
        } else {
            return Ok(());
        };
        let problem = Problem::new(Code::Unavailable, "The relay is not ready.");
        Err(problem.detail(reason).retry_after(5))
    }
}

/// How the relay is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// `alive` or `ready`.
    #[schema(pattern = "^(alive|ready)$")]
    pub status: &'static str,
}

refusals! {
    /// Why new clients are not welcome.
    ReadyRefusals: , Unavailable
}
refusals! {
    /// Why there are no metrics.
    MetricsRefusals: , NotFound, Internal
}

/// A request that came in where metrics are served although they are not on the public address.
#[derive(Debug, Clone, Copy)]
pub struct OnMetricsAddress;

/// `/healthz`, `/readyz` and `/metrics`.
pub fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
}

/// Whether the relay is alive: an answer at all.
///
/// For a supervisor that restarts what does not answer.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "checkAlive",
    tag = "operations",
    responses((status = 200, description = "Alive", body = Health, example = json!({"status": "alive"}))),
)]
async fn healthz() -> Json<Health> {
    Json(Health { status: "alive" })
}

/// Whether new clients are welcome.
///
/// Not while the relay drains or its store does not answer, nor once that has stopped.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "checkReady",
    tag = "operations",
    responses(
        (status = 200, description = "Ready", body = Health, example = json!({"status": "ready"})),
        ReadyRefusals,
    ),
)]
async fn readyz(State(doors): State<Doors>) -> Result<Json<Health>, Problem> {
    doors.readiness.check()?;
    if !doors.switchboard.answers().await {
        let problem = Problem::new(Code::Unavailable, "The relay is not ready.");
        return Err(problem.detail("The store does not answer.").retry_after(5));
    }
    Ok(Json(Health { status: "ready" }))
}

/// Counters and gauges in the OpenMetrics text format.
///
/// No account, device or address is in them. A client that accepts `text/plain` alone gets the older text format.
/// Where the relay was given an address for metrics, they are there and on the admin socket, and not here.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "readMetrics",
    tag = "operations",
    responses(
        (status = 200, description = "The metrics", content(
            (String = "application/openmetrics-text",
                example = "# TYPE chatctl_sessions gauge\nchatctl_sessions 2\n# EOF\n"),
            (String = "text/plain", example = "# TYPE chatctl_sessions gauge\nchatctl_sessions 2\n"),
        )),
        MetricsRefusals,
    ),
)]
async fn metrics(
    State(doors): State<Doors>,
    operator: Option<Extension<OnAdminSocket>>,
    scraper: Option<Extension<OnMetricsAddress>>,
    headers: HeaderMap,
) -> Response {
    let is_elsewhere = doors.config.server.metrics_listen.is_some();
    if is_elsewhere && operator.is_none() && scraper.is_none() {
        return Problem::new(Code::NotFound, "There is nothing at this address.").into_response();
    }
    vitals::look(&doors).await;
    let is_plain = wants_plain(&headers);
    // Counting descriptors may take some milliseconds.
    let written = tokio::task::spawn_blocking(move || match is_plain {
        true => doors.metrics.plain_exposition(),
        false => doors.metrics.exposition(),
    });
    match written.await {
        Ok(Ok(text)) => {
            let kind = if is_plain { PLAIN } else { OPENMETRICS };
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Ok(Err(_)) | Err(_) => Problem::new(Code::Internal, "The relay failed.").into_response(),
    }
}

/// Whether somebody reads plain text and no OpenMetrics.
fn wants_plain(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted
        .is_some_and(|kinds| kinds.contains("text/plain") && !kinds.contains("application/openmetrics-text"))
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_ends_with_the_drain_or_the_store() {
        let readiness = Readiness::default();
        assert!(readiness.check().is_ok());
        readiness.drain();
        let problem = readiness.check().unwrap_err();
        assert_eq!((problem.status, problem.code), (503, "unavailable"));
        assert_eq!(problem.detail.unwrap(), "The relay is about to stop.");
        readiness.store_stopped();
        let problem = readiness.check().unwrap_err();
        assert!(problem.detail.unwrap().starts_with("The store has stopped"));
    }

    #[test]
    fn every_route_is_described() {
        let (_, api) = router().split_for_parts();
        let paths: Vec<_> = api.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/healthz", "/metrics", "/readyz"]);
    }
}
