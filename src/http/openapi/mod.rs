//! The API's description (OpenAPI 3.1), made from the routes that are served.
//!
//! Owns what no route says of itself: titles, tags, the security scheme, limits that are settings. What a route
//! takes and answers stands at the route; [`values`] and [`refusals`] hold the words that routes share.

pub mod canonical;
pub mod refusals;
#[cfg(test)]
mod tests;
pub mod values;

use axum::Extension;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use chatctl_protocol::Limits;
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::keys::PoolRequest;
use crate::http::problem::Problem;
use crate::http::{Doors, described, token};

pub use self::canonical::canonical;

/// The description before its paths.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "chatctl",
        description = "The relay for end-to-end-encrypted chat: mailboxes, a directory of public keys, and push over \
            a WebSocket. It carries ciphertext and never holds a key that could open it.\n\n\
            Every error is a problem document (RFC 9457, `application/problem+json`) with a stable `code`. Besides \
            those that a route names: an address that is not here answers 404 `not_found`, and a method that an \
            address does not have 405 `method_not_allowed` with `Allow`. Unknown members of bodies and unknown \
            query parameters are ignored. Bytes are base64, of either alphabet and with or without padding where \
            they are read, standard and padded where they are written. Every answer has \
            `X-Content-Type-Options: nosniff`.\n\n\
            Limits that are settings are those of this relay; `GET /v1/limits` tells them, too.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
        contact(name = "The chatctl project"),
    ),
    components(schemas(Problem, PoolRequest)),
    servers((url = "/", description = "The relay that this description comes from")),
    tags(
        (name = "session", description = "The WebSocket: the way for apps. Frames are in `asyncapi.json`."),
        (name = "devices", description = "Devices come, are listed, and go."),
        (name = "keys", description = "Public keys: publish, claim, and the log of identities."),
        (name = "messages", description = "Mail without a socket, for scripts and wake-ups."),
        (name = "info", description = "What a client may know before it has a token."),
        (name = "admin", description = "For operators: a token of scope `admin`, or the relay's admin socket."),
        (name = "operations", description = "For whoever runs the relay."),
    ),
)]
pub(in crate::http) struct Api;

/// The description with the default limits: the same for everybody who builds this version.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    with_limits(&Limits::default())
}

/// The description of a relay that has these limits.
pub(in crate::http) fn with_limits(limits: &Limits) -> utoipa::openapi::OpenApi {
    let mut api = described().into_openapi();
    let components = api.components.get_or_insert_default();
    components.add_security_scheme(token::BEARER, token::security_scheme());
    let payload = values::payload(limits.max_payload_bytes);
    let payload = RefOr::T(payload.into());
    components.schemas.insert("Payload".to_owned(), payload);
    api
}

/// The text of `/openapi.json`.
#[derive(Debug, Clone)]
pub(in crate::http) struct Text(Bytes);

impl Text {
    /// Made once: it is the same for everybody.
    pub(in crate::http) fn of(limits: &Limits) -> Self {
        let document = serde_json::to_value(with_limits(limits)).unwrap_or_default();
        Self(canonical(&document).into())
    }
}

/// The door of this file; needs the [`Text`] as an extension.
pub(in crate::http) fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new().routes(routes!(document))
}

/// This description.
///
/// OpenAPI 3.1, with the limits of this relay.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "describeApi",
    tag = "info",
    responses((status = 200, description = "The description", body = serde_json::Value, content_type = "application/json",
        example = json!({"openapi": "3.1.0", "info": {"title": "chatctl", "version": "0.1.0"}, "paths": {}}))),
)]
async fn document(Extension(Text(text)): Extension<Text>) -> impl IntoResponse {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], text)
}
