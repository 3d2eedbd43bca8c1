//! The door of claims.
//!
//! Must not know budgets or queues: the directory answers, and the answer does not tell a fallback from
//! a one-time item.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chatctl_protocol::{AccountId, DeviceId, NameError, PoolName, Suite};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::directory::{self, ClaimedDevice, MAX_DEVICES};
use crate::http::Doors;
use crate::http::body::JsonBody;
use crate::http::bytes64::Bytes64;
use crate::http::devices::bad_name;
use crate::http::openapi::refusals::refusals;
use crate::http::openapi::values;
use crate::http::problem::Problem;
use crate::http::token::Caller;
use crate::store::Item;

/// A wish for one item of each pool of each device.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ClaimRequest {
    /// Which family: `signal`, `olm`, `mls` or `x-<name>`.
    #[schema(value_type = values::Suite)]
    pub suite: Suite,
    /// Pools to take from, each named once.
    #[schema(value_type = Vec<values::PoolName>, min_items = 1, max_items = 8)]
    pub pools: Vec<PoolName>,
    /// Whose keys; at most 64 devices in all.
    #[schema(min_items = 1, max_items = 64)]
    pub targets: Vec<ClaimTarget>,
}

/// Devices of one account.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ClaimTarget {
    /// Whose.
    #[schema(value_type = values::AccountId)]
    pub account: AccountId,
    /// Device ids, or `*` for all of the account except the caller.
    #[schema(value_type = Vec<values::DeviceWish>, max_items = 64)]
    pub devices: Vec<String>,
}

/// What a claim brought.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClaimAnswer {
    /// By account.
    #[schema(value_type = BTreeMap<values::AccountId, ClaimedAccount>)]
    pub results: BTreeMap<AccountId, ClaimedAccount>,
    /// Devices that have published nothing for the suite or are not there; without `device_id`, accounts
    /// that have no devices.
    pub missing: Vec<MissingKeys>,
}

/// One account's part of a claim.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClaimedAccount {
    /// The version of its device list.
    #[schema(value_type = values::Count)]
    pub list_version: u64,
    /// By device id.
    #[schema(value_type = BTreeMap<values::DeviceId, ClaimedKeys>)]
    pub devices: BTreeMap<DeviceId, ClaimedKeys>,
}

/// One device's part of a claim.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClaimedKeys {
    /// What the device drew when it was installed; a send names it.
    #[schema(value_type = values::RegistrationId)]
    pub registration_id: u32,
    /// Its identity.
    #[schema(value_type = values::Identity)]
    pub identity: Bytes64,
    /// Its signed statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::Statement, required = false)]
    pub statement: Option<Bytes64>,
    /// By pool; null where there was nothing.
    #[schema(value_type = BTreeMap<values::PoolName, MaybeItem>)]
    pub items: BTreeMap<PoolName, MaybeItem>,
}

/// A key, or nothing.
#[derive(Debug, Serialize, ToSchema)]
pub struct MaybeItem(Option<ClaimedItem>);

/// A key.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClaimedItem {
    /// Its id within the pool.
    #[schema(value_type = values::ItemId)]
    pub id: Arc<str>,
    /// The key.
    #[schema(value_type = values::ItemData)]
    pub data: Bytes64,
    /// Its signature, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::ItemSignature, required = false)]
    pub sig: Option<Bytes64>,
}

/// What was wanted and is not there.
#[derive(Debug, Serialize, ToSchema)]
pub struct MissingKeys {
    /// Whose.
    #[schema(value_type = values::AccountId)]
    pub account: AccountId,
    /// Which.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::DeviceId, required = false)]
    pub device_id: Option<DeviceId>,
}

refusals! {
    /// Why nothing is claimed.
    ClaimRefusals: CALLER DEVICE BODY WRITES, LimitExceeded, RateLimited
}

/// Claims one item of each pool of each device: the oldest one-time item, else the fallback, else
/// nothing.
///
/// What is answered is used up, be the answer lost or not.
#[utoipa::path(
    post,
    path = "/v1/keys/claim",
    operation_id = "claimKeys",
    tag = "keys",
    request_body(content = ClaimRequest, description = "At most 1 MiB, with at most 64 devices in all",
        example = json!({"suite": "signal", "pools": ["spk", "ec", "kem"],
            "targets": [{"account": "bob", "devices": ["*"]}, {"account": "carol", "devices": ["1"]}]})),
    security(("bearer" = ["chat"])),
    responses(
        (status = 200, description = "What there was", body = ClaimAnswer,
            example = json!({"results": {"bob": {"list_version": 3, "devices": {"1": {
                "registration_id": 4242, "identity": "BQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g",
                "items": {"spk": {"id": "1", "data": "a2V5", "sig": "c2lnbmF0dXJl"},
                    "ec": {"id": "7", "data": "a2V5"}, "kem": null}}}}},
                "missing": [{"account": "carol", "device_id": "1"}]})),
        ClaimRefusals,
    ),
)]
pub(super) async fn claim(
    State(doors): State<Doors>,
    Caller(identity): Caller,
    JsonBody(request): JsonBody<ClaimRequest>,
) -> Result<Json<ClaimAnswer>, Problem> {
    let wanted = request.targets.iter().map(|target| target.devices.len().max(1));
    if wanted.sum::<usize>() > MAX_DEVICES {
        let limit = directory::Error::Limit {
            what: "devices in a claim",
            max: MAX_DEVICES,
        };
        return Err(limit.into());
    }
    let claim = directory::ClaimRequest {
        suite: request.suite,
        pools: request.pools.clone(),
        targets: targets(request.targets).map_err(bad_name)?,
    };
    let directory = doors.switchboard.directory();
    let answer = directory.claim(&identity.address, claim).await?;
    doors.switchboard.acting(&identity.address).await?;
    let results = answer.accounts.into_iter().map(|account| {
        let devices = account.devices.into_iter();
        let result = ClaimedAccount {
            list_version: account.list_version,
            devices: devices.map(|device| show(&request.pools, device)).collect(),
        };
        (account.account, result)
    });
    let missing = answer.missing.into_iter().map(|missing| MissingKeys {
        account: missing.account,
        device_id: missing.device_id,
    });
    Ok(Json(ClaimAnswer {
        results: results.collect(),
        missing: missing.collect(),
    }))
}

/// Devices by account; `None` means all of them.
type Targets = BTreeMap<AccountId, Option<BTreeSet<DeviceId>>>;

/// Targets by account; an account that is named twice is asked once, for all that was named.
fn targets(targets: Vec<ClaimTarget>) -> Result<Targets, NameError> {
    let mut wanted = Targets::new();
    for target in targets {
        let devices = wanted
            .entry(target.account)
            .or_insert_with(|| Some(BTreeSet::new()));
        for device in target.devices {
            if device == "*" {
                *devices = None;
            } else {
                let id = DeviceId::parse(&device)?;
                if let Some(devices) = devices {
                    devices.insert(id);
                }
            }
        }
    }
    Ok(wanted)
}

fn show(pools: &[PoolName], device: ClaimedDevice) -> (DeviceId, ClaimedKeys) {
    let items = device.items.into_iter();
    let items = items.map(|item| MaybeItem(item.map(ClaimedItem::from)));
    let keys = ClaimedKeys {
        registration_id: device.registration_id,
        identity: device.identity.into(),
        statement: device.statement.map(Bytes64::from),
        items: pools.iter().cloned().zip(items).collect(),
    };
    (device.device_id, keys)
}

impl From<Item> for ClaimedItem {
    fn from(item: Item) -> Self {
        Self {
            id: item.id,
            data: item.data.into(),
            sig: item.signature.map(Bytes64::from),
        }
    }
}
