//! The doors of devices: register, list, remove.
//!
//! Must not know what a registration does to mail and keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chatctl_protocol::{AccountId, Address, Code, DeviceId, NameError, Suite};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Doors;
use crate::http::body::JsonBody;
use crate::http::bytes64::Bytes64;
use crate::http::problem::Problem;
use crate::http::token::Caller;
use crate::model::Device;
use crate::store::{Keyset, Registered, Registration};

/// What a device says of itself.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RegisterRequest {
    /// What the device drew when it was installed. Another one than before means another installation.
    pub registration_id: u32,
    /// Whatever the app wants its peers to know, at most 1 KiB as JSON.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Map<String, Value>>,
}

/// A device, as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RegisteredDevice {
    /// Its id within the account.
    #[schema(value_type = String)]
    pub device_id: DeviceId,
    /// What it drew when it was installed.
    pub registration_id: u32,
    /// One more at each registration of this id by another installation, 1 at first.
    pub incarnation: u32,
    /// Attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Value>,
}

/// The devices of an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Devices {
    /// Whose.
    #[schema(value_type = String)]
    pub account: AccountId,
    /// One more at each change of the list.
    pub version: u64,
    /// In the order of their ids.
    pub devices: Vec<ListedDevice>,
}

/// A device, as others see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedDevice {
    /// Its id within the account.
    #[schema(value_type = String)]
    pub device_id: DeviceId,
    /// What it drew when it was installed; a send names it.
    pub registration_id: u32,
    /// Attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Value>,
    /// Its identity in the suite that was asked for, when it has published one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Bytes64>,
    /// One more at each change of the identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_version: Option<u32>,
    /// Its signed statement in that suite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<Bytes64>,
}

/// What to show of each device.
#[derive(Debug, Deserialize, IntoParams)]
pub struct ListQuery {
    /// With identity and statement of this suite.
    pub suite: Option<String>,
}

/// The doors of this file.
pub fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new()
        .routes(routes!(register, remove))
        .routes(routes!(list))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// Registers the device of the token, or updates its attributes.
///
/// Another registration id than before is another installation: mail, keys and sockets of the old one
/// go, atomically.
#[utoipa::path(
    put,
    path = "/v1/devices/{device_id}",
    tag = "devices",
    params(("device_id" = String, Path, description = "The device of the token")),
    request_body = RegisterRequest,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The same installation; its attributes are updated", body = RegisteredDevice),
        (status = 201, description = "A new device, or a new installation", body = RegisteredDevice),
        (status = 400, description = "bad_request", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "unauthorized", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "forbidden: the token is another device's", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "limit_exceeded", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: retry the same request", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn register(
    State(doors): State<Doors>,
    Caller(identity): Caller,
    Path(device_id): Path<String>,
    JsonBody(request): JsonBody<RegisterRequest>,
) -> Result<Response, Problem> {
    if device_id != identity.address.device_id.as_str() {
        return Err(Problem::new(Code::Forbidden, "The token is another device's."));
    }
    let max_devices = doors.config.limits.max_devices;
    let registration = Registration {
        registration_id: request.registration_id,
        attributes: request
            .attributes
            .map(|attributes| Value::Object(attributes).to_string().into()),
        max_devices,
        now: doors.clock.now(),
    };
    let switchboard = Arc::clone(&doors.switchboard);
    let registering = async move { switchboard.register(&identity.address, registration).await };
    let registered = doors.sessions.finish(registering).await??;
    let (status, device) = match registered {
        Registered::Created(device) | Registered::Replaced { device, .. } => (StatusCode::CREATED, device),
        Registered::Updated(device) => (StatusCode::OK, device),
        Registered::TooMany => {
            return Err(Problem::new(
                Code::LimitExceeded,
                "The account has as many devices as it may have.",
            )
            .detail(format!("devices of an account: at most {max_devices}")));
        }
    };
    let answer = RegisteredDevice {
        attributes: attributes(&device),
        device_id: device.device_id,
        registration_id: device.registration_id,
        incarnation: device.incarnation,
    };
    Ok((status, Json(answer)).into_response())
}

/// Lists the devices of an account. Uses nothing up.
///
/// The answer has an `ETag`; send it back in `If-None-Match`.
#[utoipa::path(
    get,
    path = "/v1/accounts/{account}/devices",
    tag = "devices",
    params(("account" = String, Path, description = "Whose"), ListQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The list", body = Devices, headers(("etag" = String, description = "Names this answer"))),
        (status = 304, description = "As before"),
        (status = 400, description = "bad_request", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "unauthorized", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "unknown_account: there are no devices", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn list(
    State(doors): State<Doors>,
    _caller: Caller,
    Path(account): Path<String>,
    Query(query): Query<ListQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let account = AccountId::parse(&account).map_err(bad_name)?;
    let suite = query.suite.as_deref().map(Suite::parse);
    let suite = suite.transpose().map_err(bad_name)?;
    let directory = doors.switchboard.directory();
    let (list, keysets) = directory.published(&account, suite.as_ref()).await?;
    let devices = list.devices.iter().zip(keysets);
    let answer = Devices {
        account,
        version: list.version,
        devices: devices.map(|(device, keyset)| show(device, keyset)).collect(),
    };
    Ok(with_etag(&answer, &headers))
}

/// Removes a device of the token's account with its mail and its keys.
#[utoipa::path(
    delete,
    path = "/v1/devices/{device_id}",
    tag = "devices",
    params(("device_id" = String, Path, description = "A device of the token's account")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, description = "bad_request", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "unauthorized", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: retry the same request", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn remove(
    State(doors): State<Doors>,
    Caller(identity): Caller,
    Path(device_id): Path<String>,
) -> Result<StatusCode, Problem> {
    let address = Address {
        account: identity.address.account,
        device_id: DeviceId::parse(&device_id).map_err(bad_name)?,
    };
    let switchboard = Arc::clone(&doors.switchboard);
    let removing = async move { switchboard.remove_device(&address).await };
    match doors.sessions.finish(removing).await?? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(Problem::new(Code::NotFound, "The account has no such device.")),
    }
}

fn show(device: &Device, keyset: Option<Keyset>) -> ListedDevice {
    let (identity, statement, version) = match keyset {
        Some(keyset) => (
            Some(keyset.identity),
            keyset.statement,
            Some(keyset.identity_version),
        ),
        None => (None, None, None),
    };
    ListedDevice {
        device_id: device.device_id.clone(),
        registration_id: device.registration_id,
        attributes: attributes(device),
        identity: identity.map(Bytes64::from),
        identity_version: version,
        statement: statement.map(Bytes64::from),
    }
}

/// Attributes are kept as the text of an object; anything else was not written here.
fn attributes(device: &Device) -> Option<Value> {
    serde_json::from_str(device.attributes.as_deref()?).ok()
}

/// The answer, or 304 when the caller has it already. The tag is made of the whole answer: an identity
/// or a statement may change while the list's version does not.
fn with_etag(answer: &Devices, headers: &HeaderMap) -> Response {
    let failed = || Problem::new(Code::Internal, "The relay failed.").into_response();
    let Ok(body) = serde_json::to_vec(answer) else {
        return failed();
    };
    let hash = Sha256::digest(&body);
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{hex}\"");
    let mut known = headers.get_all(header::IF_NONE_MATCH).iter();
    let is_known = known.any(|value| names_tag(value, &tag));
    let Ok(tag) = HeaderValue::try_from(tag) else {
        return failed();
    };
    if is_known {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let json = HeaderValue::from_static("application/json");
    ([(header::ETAG, tag), (header::CONTENT_TYPE, json)], body).into_response()
}

fn names_tag(value: &HeaderValue, tag: &str) -> bool {
    value.to_str().is_ok_and(|value| {
        let mut tags = value.split(',').map(str::trim);
        tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag)
    })
}

/// A name in a path or query that breaks its rule.
pub(super) fn bad_name(error: NameError) -> Problem {
    Problem::new(Code::BadRequest, "A name breaks its rule.").detail(error.to_string())
}

/// Attributes are at most 1 KiB; the rest is room for spaces and for fields of the future.
const MAX_BODY_BYTES: usize = 16 * 1024;
