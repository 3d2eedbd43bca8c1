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
use crate::http::openapi::refusals::refusals;
use crate::http::openapi::values;
use crate::http::problem::Problem;
use crate::http::token::Caller;
use crate::model::Device;
use crate::store::{Keyset, Registered, Registration};

/// What a device says of itself.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RegisterRequest {
    /// What the device drew when it was installed. Another one than before means another installation.
    #[schema(value_type = values::RegistrationId)]
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
    #[schema(value_type = values::DeviceId)]
    pub device_id: DeviceId,
    /// What it drew when it was installed.
    #[schema(value_type = values::RegistrationId)]
    pub registration_id: u32,
    /// One more at each registration of this id by another installation, 1 at first.
    #[schema(value_type = values::Count)]
    pub incarnation: u32,
    /// Attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    pub attributes: Option<Value>,
}

/// The devices of an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Devices {
    /// Whose.
    #[schema(value_type = values::AccountId)]
    pub account: AccountId,
    /// One more at each change of the list.
    #[schema(value_type = values::Count)]
    pub version: u64,
    /// In the order of their ids.
    pub devices: Vec<ListedDevice>,
}

/// A device, as others see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedDevice {
    /// Its id within the account.
    #[schema(value_type = values::DeviceId)]
    pub device_id: DeviceId,
    /// What it drew when it was installed; a send names it.
    #[schema(value_type = values::RegistrationId)]
    pub registration_id: u32,
    /// Attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    pub attributes: Option<Value>,
    /// Its identity in the suite that was asked for, when it has published one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::Identity, required = false)]
    pub identity: Option<Bytes64>,
    /// One more at each change of the identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::Count, required = false)]
    pub identity_version: Option<u32>,
    /// Its signed statement in that suite.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::Statement, required = false)]
    pub statement: Option<Bytes64>,
}

/// What to show of each device.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// With identity and statement of this suite.
    #[param(value_type = Option<String>, min_length = 3, max_length = 32, pattern = "^(signal|olm|mls|x-[a-z0-9-]+)$", example = "signal")]
    pub suite: Option<String>,
}

refusals! {
    /// Why a device is not registered.
    RegisterRefusals: CALLER PARAMETERS BODY WRITES, LimitExceeded
}
refusals! {
    /// Why devices are not listed.
    ListRefusals: CALLER PARAMETERS READS, UnknownAccount
}
refusals! {
    /// Why a device is not removed.
    RemoveRefusals: CALLER PARAMETERS WRITES, NotFound
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
    operation_id = "registerDevice",
    tag = "devices",
    params(("device_id" = inline(values::DeviceId), Path, description = "The device of the token")),
    request_body(content = RegisterRequest, description = "At most 16 KiB",
        example = json!({"registration_id": 4242, "attributes": {"name": "phone"}})),
    security(("bearer" = ["chat"])),
    responses(
        (status = 200, description = "The same installation; its attributes are updated", body = RegisteredDevice,
            example = json!({"device_id": "1", "registration_id": 4242, "incarnation": 1,
                "attributes": {"name": "phone"}})),
        (status = 201, description = "A new device, or a new installation", body = RegisteredDevice,
            example = json!({"device_id": "1", "registration_id": 4242, "incarnation": 2})),
        RegisterRefusals,
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
    operation_id = "listDevices",
    tag = "devices",
    params(
        ("account" = inline(values::AccountId), Path, description = "Whose"),
        ListQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an answer that the caller has",
            example = "\"8fe2d1c04b6a7935d20e6cb14a2f9870\""),
    ),
    security(("bearer" = ["chat"])),
    responses(
        (status = 200, description = "The list", body = Devices,
            headers(("ETag" = String, description = "Names this answer")),
            example = json!({"account": "alice", "version": 2, "devices": [
                {"device_id": "1", "registration_id": 4242, "attributes": {"name": "phone"},
                    "identity": "BQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g", "identity_version": 1}]})),
        (status = 304, description = "The caller has it already",
            headers(("ETag" = String, description = "Names the answer"))),
        ListRefusals,
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
///
/// Its sessions end with close code 4403. The device may register again.
#[utoipa::path(
    delete,
    path = "/v1/devices/{device_id}",
    operation_id = "removeDevice",
    tag = "devices",
    params(("device_id" = inline(values::DeviceId), Path, description = "A device of the token's account")),
    security(("bearer" = ["chat"])),
    responses((status = 204, description = "Removed"), RemoveRefusals),
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
