//! The doors of keys: publish, count, drop, log. Claims are in `claim`.
//!
//! Must not know which keys are good or who may have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use chatctl_protocol::{AccountId, Code, DeviceId, PoolName, Suite};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{Object, ObjectBuilder};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoParams, PartialSchema as _, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::directory::{KeyUpload, MAX_LOG_ENTRIES, MAX_POOLS, NewItem, NewPool};
use crate::http::Doors;
use crate::http::body::JsonBody;
use crate::http::bytes64::Bytes64;
use crate::http::devices::bad_name;
use crate::http::openapi::refusals::refusals;
use crate::http::openapi::values;
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
    #[schema(value_type = Option<values::Identity>)]
    pub identity: Option<Bytes64>,
    /// A signed statement, at most 16 KiB, opaque; kept when left out.
    #[schema(value_type = Option<values::Statement>)]
    pub statement: Option<Bytes64>,
    /// Pools that change, by name.
    #[serde(default)]
    #[schema(schema_with = pool_requests)]
    pub pools: BTreeMap<PoolName, PoolRequest>,
}

/// What is done to one pool.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PoolRequest {
    /// One-time items to append, in order. Not with `replace`.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub add: Vec<ItemRequest>,
    /// One-time items that take the place of the whole queue.
    #[schema(max_items = 100)]
    pub replace: Option<Vec<ItemRequest>>,
    /// Takes the place of the fallback, which is handed out when the queue is empty and never used up.
    pub fallback: Option<ItemRequest>,
}

/// A key to hand out.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ItemRequest {
    /// Unique within its pool. Left out in suite `mls`, it is made of the data's hash.
    #[schema(value_type = Option<values::ItemId>)]
    pub id: Option<String>,
    /// The key, at most 24 KiB.
    #[schema(value_type = values::ItemData)]
    pub data: Bytes64,
    /// Its signature, at most 8 KiB.
    #[schema(value_type = Option<values::ItemSignature>)]
    pub sig: Option<Bytes64>,
}

/// What a publication did.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeysAnswer {
    /// Every pool, zeros included.
    #[schema(value_type = BTreeMap<values::PoolName, PoolAnswer>)]
    pub pools: BTreeMap<PoolName, PoolAnswer>,
    /// Items that were handed out before, and so were ignored.
    pub ignored: Vec<IgnoredItem>,
    /// One more at each change of the identity.
    #[schema(value_type = values::Count)]
    pub identity_version: u32,
}

/// How much a pool holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolAnswer {
    /// One-time items in the queue.
    #[schema(value_type = values::Count)]
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
    #[schema(value_type = values::PoolName)]
    pub pool: PoolName,
    /// Which.
    #[schema(value_type = values::ItemId)]
    pub id: Arc<str>,
}

/// What a device has published for a suite.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyCounts {
    /// Every pool, zeros included.
    #[schema(value_type = BTreeMap<values::PoolName, PoolAnswer>)]
    pub pools: BTreeMap<PoolName, PoolAnswer>,
    /// One more at each change of the identity; 0 when nothing was published.
    #[schema(value_type = values::Count)]
    pub identity_version: u32,
    /// SHA-256 over identity and fallbacks, to find out whether relay and device agree. Not there when
    /// nothing was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::Sha256, required = false)]
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
    #[schema(value_type = values::Count)]
    pub seq: u64,
    /// When, milliseconds since 1970.
    #[schema(value_type = values::UnixMs)]
    pub at: u64,
    /// Which device.
    #[schema(value_type = values::DeviceId)]
    pub device_id: DeviceId,
    /// Which family.
    #[schema(value_type = values::Suite)]
    pub suite: Suite,
    /// SHA-256 of the new identity.
    #[schema(value_type = values::Sha256)]
    pub identity_hash: Bytes64,
    /// The chain's value after this entry.
    #[schema(value_type = values::Sha256)]
    pub hash: Bytes64,
}

/// Which part of a log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Entries after this one; 0 for all.
    #[serde(default)]
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_u64, default = 0)]
    pub after: u64,
    /// At most so many entries.
    #[param(minimum = 1, maximum = 100, default = 100)]
    pub limit: Option<usize>,
}

refusals! {
    /// Why keys are not published.
    PublishRefusals: CALLER DEVICE PARAMETERS BODY WRITES, ItemIdConflict, BadSignature, LimitExceeded
}
refusals! {
    /// Why keys are not counted.
    CountRefusals: CALLER DEVICE PARAMETERS READS
}
refusals! {
    /// Why a queue is not dropped.
    DropRefusals: CALLER DEVICE PARAMETERS WRITES, NotFound
}
refusals! {
    /// Why a log is not read.
    LogRefusals: CALLER PARAMETERS READS
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
    operation_id = "publishKeys",
    tag = "keys",
    params(("suite" = inline(values::Suite), Path, description = "The family of keys")),
    request_body(content = KeysRequest, description = "At most 1 MiB, with at most 100 one-time items in all",
        examples(
            ("first" = (summary = "All that a device publishes at first", value = json!({
                "identity": "BQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g", "statement": "c3RhdGVtZW50",
                "pools": {"own": {"add": [{"id": "1", "data": "a2V5"}, {"id": "2", "data": "a2V6", "sig": "c2lnbmF0dXJl"}],
                    "fallback": {"id": "last", "data": "bGFzdA=="}}}}))),
            ("refill" = (summary = "More one-time items, with the identity that is published already",
                value = json!({"pools": {"own": {"add": [{"id": "3", "data": "a2V7"}]}}}))),
        )),
    security(("bearer" = ["chat"])),
    responses(
        (status = 200, description = "Published", body = KeysAnswer,
            example = json!({"pools": {
                "ec": {"count": 1, "fallback": false, "fallback_used": false},
                "kem": {"count": 0, "fallback": true, "fallback_used": false},
                "spk": {"count": 0, "fallback": true, "fallback_used": false}},
                "ignored": [{"pool": "ec", "id": "7"}], "identity_version": 1})),
        PublishRefusals,
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
    // Afterwards, so that a bad request is told first; keys of a device that is gone by now are gone, too.
    doors.switchboard.acting(&identity.address).await?;
    let ignored = published.ignored.into_iter();
    Ok(Json(KeysAnswer {
        pools: show(published.counts),
        ignored: ignored.map(|(pool, id)| IgnoredItem { pool, id }).collect(),
        identity_version: published.identity_version,
    }))
}

/// Counts what the device has published for a suite, zeros included.
///
/// Uses nothing up. The digest finds out whether relay and device agree on what is published.
#[utoipa::path(
    get,
    path = "/v1/keys/{suite}",
    operation_id = "countKeys",
    tag = "keys",
    params(("suite" = inline(values::Suite), Path, description = "The family of keys")),
    security(("bearer" = ["chat"])),
    responses(
        (status = 200, description = "The counts", body = KeyCounts,
            example = json!({"pools": {"otk": {"count": 42, "fallback": true, "fallback_used": false}},
                "identity_version": 1, "digest": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="})),
        CountRefusals,
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
    doors.switchboard.acting(&identity.address).await?;
    let digest = Bytes::copy_from_slice(&keyset.digest);
    Ok(Json(KeyCounts {
        pools: show(keyset.counts),
        identity_version: keyset.identity_version,
        digest: (keyset.identity_version > 0).then(|| digest.into()),
    }))
}

/// Drops the queue of a pool; its fallback stays.
///
/// For a device that has lost the private parts of its one-time keys.
#[utoipa::path(
    delete,
    path = "/v1/keys/{suite}/{pool}",
    operation_id = "dropQueue",
    tag = "keys",
    params(
        ("suite" = inline(values::Suite), Path, description = "The family of keys"),
        ("pool" = inline(values::PoolName), Path, description = "The pool"),
    ),
    security(("bearer" = ["chat"])),
    responses((status = 204, description = "Dropped"), DropRefusals),
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
    doors.switchboard.acting(&identity.address).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads the log of an account's identities: every change, each entry chained to the one before.
///
/// Ask again with `after` = the last `seq` until nothing comes.
#[utoipa::path(
    get,
    path = "/v1/accounts/{account}/keylog",
    operation_id = "readKeyLog",
    tag = "keys",
    params(("account" = inline(values::AccountId), Path, description = "Whose"), LogQuery),
    security(("bearer" = ["chat"])),
    responses(
        (status = 200, description = "Entries; none at the end, and none for an unknown account", body = KeyLog,
            example = json!({"entries": [{"seq": 1, "at": 1_795_348_800_000_u64, "device_id": "1", "suite": "signal",
                "identity_hash": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
                "hash": "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="}]})),
        LogRefusals,
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
    let limit = query.limit.unwrap_or(MAX_LOG_ENTRIES);
    if !(1..=MAX_LOG_ENTRIES).contains(&limit) || i64::try_from(query.after).is_err() {
        let rule = "`limit` must be 1 to 100, and `after` a number that a log can have.";
        return Err(Problem::new(Code::BadRequest, rule));
    }
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

/// At most eight pools, by name.
fn pool_requests() -> Object {
    let pools = ObjectBuilder::new()
        .description(Some("Pools that change, by name."))
        .additional_properties(Some(Ref::from_schema_name(PoolRequest::name())))
        .max_properties(Some(MAX_POOLS));
    match values::PoolName::schema() {
        RefOr::T(name) => pools.property_names(Some(name)).build(),
        RefOr::Ref(_) => pools.build(),
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
