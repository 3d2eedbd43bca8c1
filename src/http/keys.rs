//! The doors of keys: publish, count, drop, log. Claims are in `claim`.
//!
//! Must not know which keys are good or who may have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use chatctl_protocol::{AccountId, DeviceId, PoolName, Suite};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::directory::{KeyUpload, NewItem, NewPool};
use crate::http::Doors;
use crate::http::body::JsonBody;
use crate::http::bytes64::Bytes64;
use crate::http::devices::bad_name;
use crate::http::problem::Problem;
use crate::http::token::Caller;
use crate::store::{KeyLogEntry, PoolCount};

pub mod claim;
#[cfg(test)]
mod tests;

/// What a device publishes for a suite.
#[derive(Debug, Deserialize, ToSchema)]
pub struct KeysRequest {
    /// The identity, at most 4 KiB; needed once, kept when left out.
    pub identity: Option<Bytes64>,
    /// A signed statement, at most 16 KiB, opaque; kept when left out.
    pub statement: Option<Bytes64>,
    /// Pools that change, by name.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, PoolRequest>)]
    pub pools: BTreeMap<PoolName, PoolRequest>,
}

/// What is done to one pool.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PoolRequest {
    /// One-time items to append, in order. Not with `replace`.
    #[serde(default)]
    pub add: Vec<ItemRequest>,
    /// One-time items that take the place of the whole queue.
    pub replace: Option<Vec<ItemRequest>>,
    /// Takes the place of the fallback, which is handed out when the queue is empty and never used up.
    pub fallback: Option<ItemRequest>,
}

/// A key to hand out.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ItemRequest {
    /// Unique within its pool, 1–32 bytes. Left out in suite `mls`, it is made of the data's hash.
    pub id: Option<String>,
    /// The key, at most 24 KiB.
    pub data: Bytes64,
    /// Its signature, at most 8 KiB.
    pub sig: Option<Bytes64>,
}

/// What a publication did.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeysAnswer {
    /// Every pool, zeros included.
    #[schema(value_type = BTreeMap<String, PoolAnswer>)]
    pub pools: BTreeMap<PoolName, PoolAnswer>,
    /// Items that were handed out before, and so were ignored.
    pub ignored: Vec<IgnoredItem>,
    /// One more at each change of the identity.
    pub identity_version: u32,
}

/// How much a pool holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolAnswer {
    /// One-time items in the queue.
    pub count: u32,
    /// Whether there is a fallback.
    pub fallback: bool,
    /// Whether the fallback was handed out since it was set.
    pub fallback_used: bool,
}

/// An item that was ignored.
#[derive(Debug, Serialize, ToSchema)]
pub struct IgnoredItem {
    /// Where.
    #[schema(value_type = String)]
    pub pool: PoolName,
    /// Which.
    #[schema(value_type = String)]
    pub id: Arc<str>,
}

/// What a device has published for a suite.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyCounts {
    /// Every pool, zeros included.
    #[schema(value_type = BTreeMap<String, PoolAnswer>)]
    pub pools: BTreeMap<PoolName, PoolAnswer>,
    /// One more at each change of the identity; 0 when nothing was published.
    pub identity_version: u32,
    /// SHA-256 over identity and fallbacks, to find out whether relay and device agree. Not there when
    /// nothing was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Bytes64>,
}

/// A part of an account's key log.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyLog {
    /// In the order of `seq`.
    pub entries: Vec<LogEntry>,
}

/// A change of an identity. `hash` = SHA-256 of the previous hash and this entry.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogEntry {
    /// 1 at first, without holes.
    pub seq: u64,
    /// When, milliseconds since 1970.
    pub at: u64,
    /// Which device.
    #[schema(value_type = String)]
    pub device_id: DeviceId,
    /// Which family.
    #[schema(value_type = String)]
    pub suite: Suite,
    /// SHA-256 of the new identity.
    pub identity_hash: Bytes64,
    /// The chain's value after this entry.
    pub hash: Bytes64,
}

/// Which part of a log.
#[derive(Debug, Deserialize, IntoParams)]
pub struct LogQuery {
    /// Entries after this one; 0 for all.
    #[serde(default)]
    pub after: u64,
    /// At most so many entries, 1 to 100; 100 when not given.
    pub limit: Option<usize>,
}

/// The doors of this file.
pub fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new()
        .routes(routes!(publish, count))
        .routes(routes!(drop_queue))
        .routes(routes!(claim::claim))
        .routes(routes!(log))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// Publishes the device's keys for a suite: all of it or nothing. The same request again changes nothing.
///
/// Items leave a queue in the order in which they were uploaded, each at most once. Items that were
/// handed out before are ignored. Signatures of `signal` and `olm` are checked.
#[utoipa::path(
    put,
    path = "/v1/keys/{suite}",
    tag = "keys",
    params(("suite" = String, Path, description = "signal, olm, mls or x-<name>")),
    request_body = KeysRequest,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Published", body = KeysAnswer),
        (status = 400, description = "bad_request", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "unauthorized", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "device_not_registered", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "item_id_conflict: the id has other bytes already", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "payload_too_large", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "bad_signature, limit_exceeded", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: retry the same request", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn publish(
    State(doors): State<Doors>,
    Caller(identity): Caller,
    Path(suite): Path<String>,
    JsonBody(request): JsonBody<KeysRequest>,
) -> Result<Json<KeysAnswer>, Problem> {
    let suite = Suite::parse(&suite).map_err(bad_name)?;
    let directory = doors.switchboard.directory();
    let published = directory.upload(&identity.address, suite, request.into()).await?;
    let ignored = published.ignored.into_iter();
    Ok(Json(KeysAnswer {
        pools: show(published.counts),
        ignored: ignored.map(|(pool, id)| IgnoredItem { pool, id }).collect(),
        identity_version: published.identity_version,
    }))
}

/// Counts what the device has published for a suite, zeros included.
#[utoipa::path(
    get,
    path = "/v1/keys/{suite}",
    tag = "keys",
    params(("suite" = String, Path, description = "signal, olm, mls or x-<name>")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The counts", body = KeyCounts),
        (status = 400, description = "bad_request", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "unauthorized", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "device_not_registered", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn count(
    State(doors): State<Doors>,
    Caller(identity): Caller,
    Path(suite): Path<String>,
) -> Result<Json<KeyCounts>, Problem> {
    let suite = Suite::parse(&suite).map_err(bad_name)?;
    let directory = doors.switchboard.directory();
    let keyset = directory.keyset(&identity.address, &suite).await?;
    let digest = Bytes::copy_from_slice(&keyset.digest);
    Ok(Json(KeyCounts {
        pools: show(keyset.counts),
        identity_version: keyset.identity_version,
        digest: (keyset.identity_version > 0).then(|| digest.into()),
    }))
}

/// Drops the queue of a pool; its fallback stays.
#[utoipa::path(
    delete,
    path = "/v1/keys/{suite}/{pool}",
    tag = "keys",
    params(
        ("suite" = String, Path, description = "signal, olm, mls or x-<name>"),
        ("pool" = String, Path, description = "The pool"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Dropped"),
        (status = 400, description = "bad_request", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "unauthorized", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "device_not_registered", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: retry the same request", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn drop_queue(
    State(doors): State<Doors>,
    Caller(identity): Caller,
    Path((suite, pool)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let suite = Suite::parse(&suite).map_err(bad_name)?;
    let pool = PoolName::parse(&pool).map_err(bad_name)?;
    let directory = doors.switchboard.directory();
    directory.drop_queue(&identity.address, &suite, &pool).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The log of an account's identities: every change, each entry chained to the one before.
#[utoipa::path(
    get,
    path = "/v1/accounts/{account}/keylog",
    tag = "keys",
    params(("account" = String, Path, description = "Whose"), LogQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Entries, empty at the end and for an unknown account", body = KeyLog),
        (status = 400, description = "bad_request", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "unauthorized", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn log(
    State(doors): State<Doors>,
    _caller: Caller,
    Path(account): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Json<KeyLog>, Problem> {
    let account = AccountId::parse(&account).map_err(bad_name)?;
    let directory = doors.switchboard.directory();
    let limit = query.limit.unwrap_or(usize::MAX);
    let entries = directory.key_log(&account, query.after, limit).await?;
    let entries = entries.into_iter().map(LogEntry::from).collect();
    Ok(Json(KeyLog { entries }))
}

impl From<KeysRequest> for KeyUpload {
    fn from(request: KeysRequest) -> Self {
        let pools = request.pools.into_iter();
        Self {
            identity: request.identity.map(Bytes::from),
            statement: request.statement.map(Bytes::from),
            pools: pools.map(|(name, pool)| (name, pool.into())).collect(),
        }
    }
}

impl From<PoolRequest> for NewPool {
    fn from(pool: PoolRequest) -> Self {
        let items = |items: Vec<ItemRequest>| items.into_iter().map(NewItem::from).collect();
        Self {
            add: items(pool.add),
            replace: pool.replace.map(items),
            fallback: pool.fallback.map(NewItem::from),
        }
    }
}

impl From<ItemRequest> for NewItem {
    fn from(item: ItemRequest) -> Self {
        Self {
            id: item.id.map(Arc::from),
            data: item.data.into(),
            signature: item.sig.map(Bytes::from),
        }
    }
}

impl From<KeyLogEntry> for LogEntry {
    fn from(entry: KeyLogEntry) -> Self {
        Self {
            seq: entry.seq,
            at: entry.at.0,
            device_id: entry.device_id,
            suite: entry.suite,
            identity_hash: Bytes::copy_from_slice(&entry.identity_hash).into(),
            hash: Bytes::copy_from_slice(&entry.hash).into(),
        }
    }
}

pub(super) fn show(counts: Vec<PoolCount>) -> BTreeMap<PoolName, PoolAnswer> {
    let counts = counts.into_iter().map(|count| {
        let answer = PoolAnswer {
            count: count.count,
            fallback: count.fallback,
            fallback_used: count.fallback_used,
        };
        (count.pool, answer)
    });
    counts.collect()
}

/// A hundred items of post-quantum keys are a quarter of it.
const MAX_BODY_BYTES: usize = 1024 * 1024;
