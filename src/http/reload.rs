//! `POST /v1/admin/reload`: the relay reads its configuration anew.
//!
//! Must not know where a configuration comes from, or what stands in it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use chatctl_protocol::Code;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Doors;
use crate::http::openapi::refusals::refusals;
use crate::http::problem::Problem;
use crate::http::token::Operator;

/// Somebody who can read the configuration anew and make the relay follow it.
#[async_trait]
pub trait Reload: Send + Sync + fmt::Debug {
    /// Reads it, follows what can change in a running relay, and says what it did. One at a time.
    ///
    /// # Errors
    ///
    /// [`Refused`] when it is not good; nothing has changed then.
    async fn reload(&self) -> Result<Reloaded, Refused>;
}

/// A configuration that was read and followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reloaded {
    /// How many configurations the relay has followed; the one that it was started with is 1.
    pub generation: u64,
    /// What is different from now on.
    pub applied: Vec<Change>,
    /// What needs a restart. The relay goes on as before.
    pub deferred: Vec<Change>,
    /// What no reload can bring, because systemd reads it only when it starts the relay.
    pub notes: Vec<String>,
}

/// A setting with another value. Never of a secret: settings hold none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Change {
    /// Which one.
    #[schema(example = "mail.send_rate")]
    pub key: String,
    /// What the relay followed until now; nothing, if it was not set.
    #[schema(example = "100")]
    pub from: Option<String>,
    /// What the configuration says now.
    #[schema(example = "200")]
    pub to: Option<String>,
}

/// A configuration that is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is not good; the old one is kept: {}", problems.join("; "))]
pub struct Refused {
    /// Everything that is wrong with it.
    pub problems: Vec<String>,
}

refusals! {
    /// Why the configuration is not followed.
    ReloadRefusals: OPERATOR CONFIGURATION, NotFound
}

/// The route and its description.
pub fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new().routes(routes!(reload))
}

/// Reads the configuration anew.
///
/// What can change in a running relay changes at once; no session ends. The rest waits for a restart.
#[utoipa::path(
    post,
    path = "/v1/admin/reload",
    operation_id = "reloadConfiguration",
    tag = "admin",
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "Read and followed", body = Reloaded,
            example = json!({"generation": 2, "applied": [{"key": "mail.send_rate", "from": "100", "to": "200"}],
                "deferred": [], "notes": []})),
        ReloadRefusals,
    )
)]
async fn reload(State(doors): State<Doors>, _: Operator) -> Result<Json<Reloaded>, Problem> {
    let Some(reload) = doors.reload.as_ref().map(Arc::clone) else {
        return Err(Problem::new(
            Code::NotFound,
            "This relay has no configuration to read.",
        ));
    };
    // To its end, although the operator may hang up: half a configuration is none.
    let done = doors
        .sessions
        .finish(async move { reload.reload().await })
        .await?;
    done.map(Json)
        .map_err(|Refused { problems }| Problem::bad_configuration(problems))
}
