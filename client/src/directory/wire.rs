//! The directory's JSON, and what it means here. Fields that are not known are ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chatctl_protocol::{AccountId, Code, DeviceId, PoolName, Suite};
use hyper::StatusCode;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::directory::DirectoryError;
use crate::directory::http::Answer;
use crate::directory::keys::{
    Claimed, ClaimedKeys, DeviceList, Item, KeyUpload, ListedDevice, PoolCount, PoolUpload,
};

/// Bytes that are base64 in JSON.
struct Bytes64(Bytes);

impl Serialize for Bytes64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        Ok(Self(bytes.into()))
    }
}

#[derive(Serialize)]
pub(super) struct Register {
    pub(super) registration_id: u32,
}

#[derive(Serialize)]
pub(super) struct Upload {
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Bytes64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<Bytes64>,
    pools: BTreeMap<PoolName, UploadedPool>,
}

#[derive(Serialize)]
struct UploadedPool {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    add: Vec<WireItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replace: Option<Vec<WireItem>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<WireItem>,
}

#[derive(Serialize, Deserialize)]
struct WireItem {
    id: String,
    data: Bytes64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sig: Option<Bytes64>,
}

#[derive(Serialize)]
pub(super) struct Claim<'a> {
    suite: &'a Suite,
    pools: &'a [PoolName],
    targets: [ClaimTarget<'a>; 1],
}

#[derive(Serialize)]
struct ClaimTarget<'a> {
    account: &'a AccountId,
    devices: Vec<&'a str>,
}

#[derive(Deserialize)]
pub(super) struct Devices {
    version: u64,
    devices: Vec<WireDevice>,
}

#[derive(Deserialize)]
struct WireDevice {
    device_id: DeviceId,
    registration_id: u32,
    identity: Option<Bytes64>,
    statement: Option<Bytes64>,
}

#[derive(Deserialize)]
pub(super) struct Counts {
    pools: BTreeMap<PoolName, WireCount>,
}

#[derive(Deserialize)]
struct WireCount {
    count: u32,
    fallback: bool,
    fallback_used: bool,
}

#[derive(Deserialize)]
pub(super) struct Claims {
    results: BTreeMap<AccountId, ClaimedAccount>,
    missing: Vec<Missing>,
}

#[derive(Deserialize)]
struct ClaimedAccount {
    devices: BTreeMap<DeviceId, WireKeys>,
}

#[derive(Deserialize)]
struct WireKeys {
    registration_id: u32,
    identity: Bytes64,
    statement: Option<Bytes64>,
    items: BTreeMap<PoolName, Option<WireItem>>,
}

#[derive(Deserialize)]
struct Missing {
    account: AccountId,
    device_id: Option<DeviceId>,
}

/// A problem document (RFC 9457), as far as a program reads it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: Option<String>,
    code: Option<String>,
    retry_after: Option<u64>,
}

impl<'a> Claim<'a> {
    pub(super) fn new(
        suite: &'a Suite,
        pools: &'a [PoolName],
        account: &'a AccountId,
        devices: &'a [DeviceId],
    ) -> Self {
        let devices = match devices {
            [] => vec!["*"],
            named => named.iter().map(DeviceId::as_str).collect(),
        };
        let targets = [ClaimTarget { account, devices }];
        Self {
            suite,
            pools,
            targets,
        }
    }
}

impl Claims {
    /// What was claimed of the one account that was asked for.
    pub(super) fn of(mut self, account: &AccountId) -> Claimed {
        let missing = self
            .missing
            .into_iter()
            .filter(|missing| missing.account == *account);
        let devices = self.results.remove(account).map(|account| account.devices);
        Claimed {
            devices: devices
                .unwrap_or_default()
                .into_iter()
                .map(|(device, keys)| (device, keys.into()))
                .collect(),
            missing: missing.filter_map(|missing| missing.device_id).collect(),
        }
    }
}

impl From<&KeyUpload> for Upload {
    fn from(keys: &KeyUpload) -> Self {
        let pools = keys.pools.iter();
        Self {
            identity: keys.identity.clone().map(Bytes64),
            statement: keys.statement.clone().map(Bytes64),
            pools: pools.map(|(name, pool)| (name.clone(), pool.into())).collect(),
        }
    }
}

impl From<&PoolUpload> for UploadedPool {
    fn from(pool: &PoolUpload) -> Self {
        let items = |items: &Vec<Item>| items.iter().map(WireItem::from).collect();
        Self {
            add: items(&pool.add),
            replace: pool.replace.as_ref().map(items),
            fallback: pool.fallback.as_ref().map(WireItem::from),
        }
    }
}

impl From<&Item> for WireItem {
    fn from(item: &Item) -> Self {
        Self {
            id: item.id.clone(),
            data: Bytes64(item.data.clone()),
            sig: item.signature.clone().map(Bytes64),
        }
    }
}

impl From<WireItem> for Item {
    fn from(item: WireItem) -> Self {
        Self {
            id: item.id,
            data: item.data.0,
            signature: item.sig.map(|signature| signature.0),
        }
    }
}

impl From<Devices> for DeviceList {
    fn from(list: Devices) -> Self {
        let devices = list.devices.into_iter().map(|device| ListedDevice {
            device_id: device.device_id,
            registration_id: device.registration_id,
            identity: device.identity.map(|identity| identity.0),
            statement: device.statement.map(|statement| statement.0),
        });
        Self {
            version: list.version,
            devices: devices.collect(),
        }
    }
}

impl From<Counts> for BTreeMap<PoolName, PoolCount> {
    fn from(counts: Counts) -> Self {
        let pools = counts.pools.into_iter().map(|(name, pool)| {
            let count = PoolCount {
                count: pool.count,
                fallback: pool.fallback,
                fallback_used: pool.fallback_used,
            };
            (name, count)
        });
        pools.collect()
    }
}

impl From<WireKeys> for ClaimedKeys {
    fn from(keys: WireKeys) -> Self {
        let items = keys.items.into_iter();
        Self {
            registration_id: keys.registration_id,
            identity: keys.identity.0,
            statement: keys.statement.map(|statement| statement.0),
            items: items.map(|(pool, item)| (pool, item.map(Item::from))).collect(),
        }
    }
}

pub(super) fn write(body: &impl Serialize) -> Result<Bytes, DirectoryError> {
    let bytes = serde_json::to_vec(body).map_err(DirectoryError::unreachable)?;
    Ok(bytes.into())
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, DirectoryError> {
    serde_json::from_slice(body).map_err(DirectoryError::unreachable)
}

/// A refusal. What is not a problem document comes from something before the relay: its status still counts.
pub(super) fn refused(answer: &Answer) -> DirectoryError {
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    let known = |word: String| Code::ALL.into_iter().find(|code| code.as_str() == word);
    let title = problem.title.unwrap_or_else(|| phrase(answer.status));
    DirectoryError::Refused {
        status: answer.status.as_u16(),
        code: problem.code.and_then(known),
        title: title.chars().take(MAX_TITLE_CHARS).collect(),
        retry_after: answer
            .retry_after
            .or(problem.retry_after.map(Duration::from_secs)),
    }
}

fn phrase(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or("no reason given").to_owned()
}

/// A title is a sentence; a page of a proxy is not.
const MAX_TITLE_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(
        status: u16,
        header: Option<u64>,
        body: &'static str,
    ) -> (u16, Option<Code>, String, Option<u64>) {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: header.map(Duration::from_secs),
            body: Bytes::from_static(body.as_bytes()),
        };
        match refused(&answer) {
            DirectoryError::Refused {
                status,
                code,
                title,
                retry_after,
            } => (status, code, title, retry_after.map(|wait| wait.as_secs())),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_problem_is_a_refusal_with_its_reason_and_its_wait() {
        let problem = r#"{"type": "urn:chatctl:problem:rate_limited", "title": "Slower.", "code": "rate_limited", "retry_after": 7}"#;
        let limited = Some(Code::RateLimited);
        assert_eq!(
            refusal(429, None, problem),
            (429, limited, "Slower.".into(), Some(7))
        );
        assert_eq!(
            refusal(429, Some(9), problem),
            (429, limited, "Slower.".into(), Some(9))
        );
        let unknown = r#"{"title": "New.", "code": "of_the_future"}"#;
        assert_eq!(refusal(422, None, unknown), (422, None, "New.".into(), None));
        assert_eq!(
            refusal(502, Some(3), "<html>"),
            (502, None, "Bad Gateway".into(), Some(3))
        );
    }

    #[test]
    fn what_is_not_said_is_not_written() {
        let pools = BTreeMap::from([(PoolName::parse("otk").unwrap(), PoolUpload::default())]);
        let keys = KeyUpload {
            identity: Some(Bytes::from_static(b"\xfb\xff")),
            statement: None,
            pools,
        };
        let json = serde_json::to_value(Upload::from(&keys)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"identity": "+/8=", "pools": {"otk": {}}})
        );
    }
}
