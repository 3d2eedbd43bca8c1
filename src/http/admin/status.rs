//! `GET /v1/admin/status`: how the relay is, in one document.
//!
//! What is counted here is read where it is counted; what the store knows is asked for by `glance`. Names no account,
//! device, address of a client or id. Members are only ever added.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::answers::StatusAnswer;
use self::glance::{Glance, Glances};
use crate::http::Doors;
use crate::http::openapi::refusals::refusals;
use crate::http::token::Operator;
use crate::model::UnixMs;

pub mod answers;
mod example;
mod glance;
mod jobs;
#[cfg(test)]
mod tests;

/// What is told of the relay itself, besides what is counted.
#[derive(Debug)]
pub struct Board {
    /// When it was put together.
    pub started_at: UnixMs,
    /// The same by a clock that nobody sets.
    began: Instant,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// How often its supervisor wants to hear of it; empty where nobody does.
    pub watchdog: OnceLock<Duration>,
    glances: Glances,
}

impl Board {
    /// Of a relay that is put together now.
    #[must_use]
    pub fn new(started_at: UnixMs, listeners: Vec<Listener>) -> Self {
        Self {
            started_at,
            began: Instant::now(),
            listeners,
            watchdog: OnceLock::new(),
            glances: Glances::default(),
        }
    }

    /// How long it has been up.
    #[must_use]
    pub fn up(&self) -> Duration {
        self.began.elapsed()
    }

    /// What the store says: at most some seconds old, and asked for a bounded time.
    pub(in crate::http) async fn glance(&self, doors: &Doors) -> Arc<Glance> {
        self.glances.look(doors).await
    }
}

/// A place where the relay listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Listener {
    /// Address and port, or the path of a Unix socket.
    #[schema(example = "127.0.0.1:8480")]
    pub address: String,
    /// `tcp` or `unix`.
    #[schema(pattern = "^(tcp|unix)$")]
    pub kind: &'static str,
    /// Whether TLS is spoken there.
    pub tls: bool,
    /// Whether the supervisor opened it and passed it on.
    pub inherited: bool,
}

impl Listener {
    /// A port.
    #[must_use]
    pub fn tcp(address: SocketAddr, tls: bool, inherited: bool) -> Self {
        Self {
            address: address.to_string(),
            kind: "tcp",
            tls,
            inherited,
        }
    }

    /// A Unix socket that the relay opened itself.
    #[must_use]
    pub const fn unix(path: String) -> Self {
        Self {
            address: path,
            kind: "unix",
            tls: false,
            inherited: false,
        }
    }
}

refusals! {
    /// Why the status is not shown.
    StatusRefusals: OPERATOR
}

/// The route and its description.
pub fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new().routes(routes!(status))
}

/// Shows how the relay is.
///
/// Counters since its start, what is open now, the store, keys, configuration and jobs. What is not known, because the
/// store does not answer, is null. Cheap: may be asked every second.
#[utoipa::path(
    get,
    path = "/v1/admin/status",
    operation_id = "showStatus",
    tag = "admin",
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "How it is", body = StatusAnswer, example = json!(example::status())),
        StatusRefusals,
    ),
)]
async fn status(State(doors): State<Doors>, _operator: Operator) -> Json<StatusAnswer> {
    let glance = doors.board.glance(&doors).await;
    Json(StatusAnswer::of(&doors, &glance))
}
