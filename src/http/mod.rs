//! The doors of the relay: HTTP and WebSocket.
//!
//! Owns how the outside speaks to us: routes, bodies, status codes, tokens in headers. Decides nothing
//! about mail or keys; it calls the switchboard and puts the answer into words.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Verifier;
use crate::config::Config;
use crate::config::live::Current;
use crate::metrics::Metrics;
use crate::model::Clock;
use crate::switchboard::Switchboard;

use self::health::Readiness;
use self::reload::Reload;
use self::sessions::Sessions;

pub mod admin;
pub mod answers;
pub mod asyncapi;
pub mod body;
pub mod bytes64;
pub mod devices;
pub mod docs;
pub mod fixed;
pub mod health;
pub mod info;
pub mod keys;
pub mod messages;
pub mod problem;
pub mod reload;
pub mod sessions;
pub mod socket;
pub mod token;
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
}

/// The API's description, before its paths.
#[derive(Debug, OpenApi)]
#[openapi(info(title = "chatctl", description = "The relay for end-to-end-encrypted chat"))]
struct Api;

/// Every route with its description.
fn described() -> OpenApiRouter<Doors> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(ws::open))
        .merge(devices::router())
        .merge(keys::router())
        .merge(messages::router())
        .merge(admin::router())
        .merge(info::router())
        .merge(health::router())
        .merge(reload::router())
}

/// The API's description, from the same routes that are served.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = described().into_openapi();
    let components = api.components.get_or_insert_default();
    components.add_security_scheme(token::BEARER, token::security_scheme());
    api
}

/// Every route, ready to serve.
pub fn router(doors: Doors) -> Router {
    let metrics = Arc::clone(&doors.metrics);
    let (router, _) = described().split_for_parts();
    // Made once: it is the same for everybody.
    let description = Bytes::from(serde_json::to_vec(&openapi()).unwrap_or_default());
    let describe = move || async move { ([(header::CONTENT_TYPE, "application/json")], description) };
    let router = router
        .route("/openapi.json", get(describe))
        .route("/asyncapi.json", get(asyncapi::answer));
    let router = match doors.config.server.docs {
        true => router.merge(docs::router()),
        false => router,
    };
    answers::finish(router, metrics).with_state(doors)
}
