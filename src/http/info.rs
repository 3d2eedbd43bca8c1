//! What a client may know before it has a token: the relay's limits, versions and public keys.

use std::borrow::Cow;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use chatctl_protocol::{Encoding, Limits};
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Doors;

/// The relay's limits, as in `HelloOk`.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct LimitsAnswer(Limits);

/// Made from the struct itself, so that no limit is left out: a whole number for each, with its default.
impl PartialSchema for LimitsAnswer {
    fn schema() -> RefOr<Schema> {
        let mut object = ObjectBuilder::new().description(Some(
            "Every bound that a client can run into. Sizes are bytes; times are named.",
        ));
        let Ok(Value::Object(limits)) = serde_json::to_value(Limits::default()) else {
            return object.into();
        };
        for (name, default) in limits {
            let number = ObjectBuilder::new()
                .schema_type(Type::Integer)
                .default(Some(default));
            object = object.property(name.clone(), number).required(name);
        }
        object.into()
    }
}

impl ToSchema for LimitsAnswer {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Limits")
    }
}

/// What answers here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Info {
    /// Always `chatctl`.
    #[schema(examples("chatctl"))]
    pub name: &'static str,
    /// The relay's version.
    #[schema(examples("0.1.0"))]
    pub version: &'static str,
    /// Subprotocols of the WebSocket, the relay's favourite first.
    pub protocols: Vec<&'static str>,
    /// Whether a load generator on another machine may measure this relay (`server.allow_bench`).
    #[schema(examples(false))]
    pub allows_bench: bool,
}

impl Info {
    /// About this build.
    #[must_use]
    pub fn of_this_build() -> Self {
        Self {
            name: "chatctl",
            version: env!("CARGO_PKG_VERSION"),
            protocols: Encoding::ALL.map(Encoding::subprotocol).to_vec(),
            allows_bench: false,
        }
    }
}

/// The keys whose tokens are good here, public parts only.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PublicKeys {
    /// A JWK (RFC 7517) for each key that is next, active or retiring.
    #[schema(value_type = Vec<Object>)]
    pub keys: Vec<Value>,
}

/// `/v1/limits`, `/v1/info` and `/.well-known/jwks.json`.
pub fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new()
        .routes(routes!(limits))
        .routes(routes!(info))
        .routes(routes!(jwks))
}

/// The relay's limits.
///
/// The same as every session is told in `HelloOk`.
#[utoipa::path(
    get,
    path = "/v1/limits",
    operation_id = "readLimits",
    tag = "info",
    responses((status = 200, description = "The limits", body = LimitsAnswer, example = json!(Limits::default()))),
)]
async fn limits(State(doors): State<Doors>) -> Json<LimitsAnswer> {
    Json(LimitsAnswer(doors.config.limits.clone()))
}

/// The relay's version and the protocols that it speaks.
///
/// For a client that wants to know whom it talks to before it has a token.
#[utoipa::path(
    get,
    path = "/v1/info",
    operation_id = "readInfo",
    tag = "info",
    responses((status = 200, description = "About the relay", body = Info, example = json!(Info::of_this_build()))),
)]
async fn info(State(doors): State<Doors>) -> Json<Info> {
    Json(Info {
        allows_bench: doors.config.server.allow_bench,
        ..Info::of_this_build()
    })
}

/// The public keys of good tokens, for whoever wants to check one.
///
/// May be kept for five minutes.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "readPublicKeys",
    tag = "info",
    responses((status = 200, description = "The keys", body = PublicKeys,
        headers(("Cache-Control" = String, description = "`public, max-age=300`")),
        example = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "2026-11-22-k1",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}))),
)]
async fn jwks(State(doors): State<Doors>) -> impl IntoResponse {
    let cache = [(header::CACHE_CONTROL, "public, max-age=300")];
    (cache, Json(doors.verifier.jwks()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schema_of_the_limits_names_every_limit() {
        let schema = serde_json::to_value(LimitsAnswer::schema()).unwrap();
        let limits = serde_json::to_value(LimitsAnswer(Limits::default())).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        let limits = limits.as_object().unwrap();
        assert_eq!(
            properties.keys().collect::<Vec<_>>(),
            limits.keys().collect::<Vec<_>>()
        );
        assert_eq!(schema["required"].as_array().unwrap().len(), limits.len());
        assert_eq!(properties["window"], json!({"type": "integer", "default": 64}));
    }

    #[test]
    fn the_protocols_are_named_and_every_route_is_described() {
        assert_eq!(
            Info::of_this_build().protocols,
            ["chatctl.v1.proto", "chatctl.v1.json"]
        );
        let (_, api) = router().split_for_parts();
        let paths: Vec<_> = api.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/.well-known/jwks.json", "/v1/info", "/v1/limits"]);
    }
}
