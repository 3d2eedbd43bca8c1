//! The operator's doors: what an account has here. Revocations are in `revocations`, jobs in `jobs`, backups in
//! `backup`, the relay itself in `status`.
//!
//! For tokens of scope `admin`, and for the admin socket. Must not know how operators got there.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Path, State};
use chatctl_protocol::{AccountId, Code, DeviceId, PoolName, Suite};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Doors;
use crate::http::devices::bad_name;
use crate::http::keys::{PoolAnswer, show};
use crate::http::openapi::refusals::refusals;
use crate::http::openapi::values;
use crate::http::problem::Problem;
use crate::http::token::Operator;
use crate::switchboard::Holdings;

pub mod backup;
pub mod jobs;
pub mod revocations;
pub mod status;
pub mod time;

/// What an account has on this relay.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountAnswer {
    /// Whose it is.
    #[schema(value_type = values::AccountId)]
    pub account: AccountId,
    /// One more at each change of the list of devices.
    #[schema(value_type = values::Count)]
    pub version: u64,
    /// In the order of their ids.
    pub devices: Vec<DeviceHoldings>,
}

/// What a device has on this relay.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceHoldings {
    /// Its id within the account.
    #[schema(value_type = values::DeviceId)]
    pub device_id: DeviceId,
    /// What it drew when it was installed.
    #[schema(value_type = values::RegistrationId)]
    pub registration_id: u32,
    /// 1 at its first registration, one more at each that followed.
    #[schema(value_type = values::Count)]
    pub incarnation: u32,
    /// When this incarnation was registered (RFC 3339).
    #[schema(value_type = values::Time)]
    pub registered_at: String,
    /// Whether it has a session on this very relay now.
    pub is_here: bool,
    /// Envelopes that wait, as the store has them.
    #[schema(value_type = values::Count)]
    pub waiting: u64,
    /// Their payloads, in bytes.
    #[schema(value_type = values::Count)]
    pub waiting_bytes: u64,
    /// By suite and pool, zeros included.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, PoolAnswer>>)]
    pub pools: BTreeMap<Suite, BTreeMap<PoolName, PoolAnswer>>,
}

refusals! {
    /// Why an account is not shown.
    AccountRefusals: OPERATOR PARAMETERS READS, UnknownAccount
}

/// The doors of operators.
pub fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new()
        .routes(routes!(account))
        .routes(routes!(revocations::revoke, revocations::list))
        .routes(routes!(revocations::prune))
        .routes(routes!(backup::take))
        .merge(jobs::router())
        .merge(status::router())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// Shows what an account has on this relay.
///
/// Devices, mail that waits, keys that are left. No contents.
#[utoipa::path(
    get,
    path = "/v1/admin/accounts/{account}",
    operation_id = "showAccount",
    tag = "admin",
    params(("account" = inline(values::AccountId), Path, description = "Whose")),
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "What it has", body = AccountAnswer,
            example = json!({"account": "alice", "version": 1, "devices": [{
                "device_id": "1", "registration_id": 4242, "incarnation": 1, "registered_at": "2026-11-22T12:00:00Z",
                "is_here": true, "waiting": 12, "waiting_bytes": 4096,
                "pools": {"signal": {"ec": {"count": 98, "fallback": true, "fallback_used": false}}},
            }]})),
        AccountRefusals,
    ),
)]
async fn account(
    State(doors): State<Doors>,
    _operator: Operator,
    Path(account): Path<String>,
) -> Result<Json<AccountAnswer>, Problem> {
    let account = AccountId::parse(&account).map_err(bad_name)?;
    let (version, holdings) = doors.switchboard.holdings(&account).await?;
    if holdings.is_empty() {
        return Err(Problem::new(Code::UnknownAccount, "The account has no devices."));
    }
    Ok(Json(AccountAnswer {
        account,
        version,
        devices: holdings.into_iter().map(DeviceHoldings::from).collect(),
    }))
}

impl From<Holdings> for DeviceHoldings {
    fn from(holdings: Holdings) -> Self {
        let Holdings {
            device,
            is_here,
            waiting,
            waiting_bytes,
            pools,
        } = holdings;
        Self {
            device_id: device.device_id,
            registration_id: device.registration_id,
            incarnation: device.incarnation,
            registered_at: device.registered_at.rfc3339(),
            is_here,
            waiting,
            waiting_bytes,
            pools: pools
                .into_iter()
                .map(|(suite, counts)| (suite, show(counts)))
                .collect(),
        }
    }
}

/// A revocation is small.
const MAX_BODY_BYTES: usize = 8 * 1024;
