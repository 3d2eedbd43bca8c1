//! The doors of the relay: HTTP and WebSocket.
//!
//! Owns how the outside speaks to us: routes, bodies, status codes, tokens in headers. Decides nothing
//! about mail or keys; it calls the switchboard and puts the answer into words.

use std::sync::Arc;

use axum::{Extension, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Verifier;
use crate::config::Config;
use crate::config::live::Current;
use crate::jobs::runner::Runner;
use crate::metrics::Metrics;
use crate::model::Clock;
use crate::switchboard::Switchboard;

use self::health::Readiness;
pub use self::openapi::openapi;
use self::reload::Reload;
use self::sessions::Sessions;

pub mod admin;
pub mod answers;
pub mod asyncapi;
pub mod body;
pub mod bytes64;
pub mod descriptors;
pub mod devices;
pub mod docs;
pub mod fixed;
pub mod health;
pub mod info;
pub mod keys;
pub mod messages;
pub mod openapi;
pub mod problem;
pub mod reload;
pub mod sessions;
pub mod socket;
pub mod token;
#[cfg(test)]
mod trial;
pub mod ws;

/// What every door needs.
#[derive(Debug, Clone)]
pub struct Doors {
    /// Mail, devices, keys.
    pub switchboard: Arc<Switchboard>,
    /// Checks tokens.
    pub verifier: Arc<Verifier>,
    /// Settings, as the relay was started with them.
    pub config: Arc<Config>,
    /// Settings that a reload may change, as they are now.
    pub live: Current,
    /// Who reads the configuration anew; nobody, where there is none to read.
    pub reload: Option<Arc<dyn Reload>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Wall clock.
    pub clock: Clock,
    /// Whether new work is welcome.
    pub readiness: Arc<Readiness>,
    /// Where connections run.
    pub sessions: Sessions,
    /// Scheduled jobs.
    pub jobs: Arc<Runner>,
}

/// Every route with its description.
fn described() -> OpenApiRouter<Doors> {
    OpenApiRouter::with_openapi(openapi::Api::openapi())
        .routes(routes!(ws::open))
        .merge(devices::router())
        .merge(keys::router())
        .merge(messages::router())
        .merge(admin::router())
        .merge(info::router())
        .merge(health::router())
        .merge(reload::router())
        .merge(openapi::router())
        .merge(asyncapi::router())
}

/// Every route, ready to serve.
pub fn router(doors: Doors) -> Router {
    let metrics = Arc::clone(&doors.metrics);
    let (router, _) = described().split_for_parts();
    let description = openapi::Text::of(&doors.config.limits);
    let router = match doors.config.server.docs {
        true => router.merge(docs::router()),
        false => router,
    };
    let router = router.layer(Extension(description));
    answers::finish(router, metrics).with_state(doors)
}
