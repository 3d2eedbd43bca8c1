//! One-time keys that mean nothing: published so that they can be claimed.

use std::collections::BTreeMap;

use bytes::Bytes;
use chatctl_client::{Item, KeyUpload, PoolUpload};
use chatctl_protocol::{NameError, PoolName, Suite};

use crate::wire::chatctl::{RelayPlace, trouble};
use crate::wire::{Claimed, Trouble, Who};

/// Publishes keys of a device, and a fallback.
pub(super) async fn publish(place: &RelayPlace, who: &Who, keys: u32) -> Result<(), Trouble> {
    let (suite, pool) = names().map_err(|_| trouble::of("keys", true))?;
    let directory = place.http.directory(who.token.clone());
    let ids: Vec<String> = (0..keys).map(|key| format!("k{key}")).collect();
    let mut identity = Some(Bytes::from_static(b"identity of a bench"));
    let mut fallback = Some(item(FALLBACK));
    for ids in ids.chunks(MOST_AT_ONCE) {
        let change = PoolUpload {
            add: ids.iter().map(|id| item(id)).collect(),
            replace: None,
            fallback: fallback.take(),
        };
        let upload = KeyUpload {
            identity: identity.take(),
            statement: None,
            pools: BTreeMap::from([(pool.clone(), change)]),
        };
        let published = directory.upload(&suite, &upload).await;
        published.map_err(|error| trouble::directory(&error))?;
    }
    Ok(())
}

/// Claims a key of a device.
pub(super) async fn claim(place: &RelayPlace, who: &Who, of: &Who) -> Result<Claimed, Trouble> {
    let (suite, pool) = names().map_err(|_| trouble::of("keys", true))?;
    let directory = place.http.directory(who.token.clone());
    let (pools, devices) = ([pool], [of.device_id.clone()]);
    let claimed = directory.claim(&suite, &pools, (&of.account, &devices)).await;
    let mut claimed = claimed.map_err(|error| trouble::directory(&error))?;
    let keys = claimed.devices.remove(&of.device_id);
    let [pool] = pools;
    let item = keys.and_then(|mut keys| keys.items.remove(&pool)).flatten();
    Ok(match item {
        None => Claimed::Nothing,
        Some(item) if item.id == FALLBACK => Claimed::Fallback,
        Some(item) => Claimed::Key(item.id),
    })
}

fn names() -> Result<(Suite, PoolName), NameError> {
    Ok((Suite::parse("x-bench")?, PoolName::parse("otk")?))
}

fn item(id: &str) -> Item {
    let mut data = vec![0; KEY_BYTES];
    data[..id.len().min(KEY_BYTES)].copy_from_slice(&id.as_bytes()[..id.len().min(KEY_BYTES)]);
    Item {
        id: id.to_owned(),
        data: data.into(),
        signature: None,
    }
}

const FALLBACK: &str = "fallback";
/// As large as a public key of Curve25519.
const KEY_BYTES: usize = 32;
/// Items of one upload.
const MOST_AT_ONCE: usize = 100;
