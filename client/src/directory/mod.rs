//! The relay's key directory, as one device uses it over HTTP: it registers, publishes keys, looks up devices and claims
//! their keys.
//!
//! Must not know what keys mean: they are opaque items in named pools.

mod error;
mod http;
mod keys;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::{AccountId, DeviceId, PoolName, Suite};
use hyper::{Method, StatusCode};
use parking_lot::Mutex;

use crate::{Token, TokenSource};

pub use error::DirectoryError;
pub use http::Http;
pub use keys::{Claimed, ClaimedKeys, DeviceList, Item, KeyUpload, ListedDevice, PoolCount, PoolUpload};

/// The directory, with the token of one device. Cheap to clone; clones share connections and the token.
///
/// The token source is asked before the first request, and once more when the relay refuses the token (401); a request
/// that was refused for its token is then asked again. Nothing else is tried twice.
#[derive(Clone)]
pub struct Directory {
    http: Http,
    source: Arc<dyn TokenSource>,
    /// The last token that the source gave.
    token: Arc<Mutex<Option<Token>>>,
}

impl Directory {
    pub(crate) fn new(http: Http, source: Arc<dyn TokenSource>) -> Self {
        Self {
            http,
            source,
            token: Arc::default(),
        }
    }

    /// Registers this device, or the same installation once more. Another registration id is a new installation: the
    /// mail and the keys of the old one are gone.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; `limit_exceeded` when the account has as many devices as it may have.
    pub async fn register(&self, device_id: &DeviceId, registration_id: u32) -> Result<(), DirectoryError> {
        let path = format!("/v1/devices/{device_id}");
        let body = wire::write(&wire::Register { registration_id })?;
        self.ask(Method::PUT, &path, Some(body)).await.map(drop)
    }

    /// Removes a device of this account, its mail and its keys.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; `not_found` when it is not there.
    pub async fn remove(&self, device_id: &DeviceId) -> Result<(), DirectoryError> {
        let path = format!("/v1/devices/{device_id}");
        self.ask(Method::DELETE, &path, None).await.map(drop)
    }

    /// An account's devices, with their identities in a suite. Uses nothing up.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; `unknown_account` when it has no devices.
    pub async fn devices(
        &self,
        account: &AccountId,
        suite: Option<&Suite>,
    ) -> Result<DeviceList, DirectoryError> {
        let query = suite.map_or_else(String::new, |suite| format!("?suite={suite}"));
        let path = format!("/v1/accounts/{account}/devices{query}");
        let body = self.ask(Method::GET, &path, None).await?;
        wire::read::<wire::Devices>(&body).map(DeviceList::from)
    }

    /// Publishes keys; what the pools hold then. Items that were handed out before are ignored, so the same upload may be
    /// tried again whatever became of it.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`].
    pub async fn upload(
        &self,
        suite: &Suite,
        keys: &KeyUpload,
    ) -> Result<BTreeMap<PoolName, PoolCount>, DirectoryError> {
        let body = wire::write(&wire::Upload::from(keys))?;
        let path = format!("/v1/keys/{suite}");
        let body = self.ask(Method::PUT, &path, Some(body)).await?;
        wire::read::<wire::Counts>(&body).map(BTreeMap::from)
    }

    /// What this device's pools hold.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`].
    pub async fn counts(&self, suite: &Suite) -> Result<BTreeMap<PoolName, PoolCount>, DirectoryError> {
        let path = format!("/v1/keys/{suite}");
        let body = self.ask(Method::GET, &path, None).await?;
        wire::read::<wire::Counts>(&body).map(BTreeMap::from)
    }

    /// Drops the one-time items of a pool, for a device that has lost their private parts. The fallback stays.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; `not_found` when this device has published nothing for the suite.
    pub async fn drop_queue(&self, suite: &Suite, pool: &PoolName) -> Result<(), DirectoryError> {
        let path = format!("/v1/keys/{suite}/{pool}");
        self.ask(Method::DELETE, &path, None).await.map(drop)
    }

    /// Claims one item from each of these pools of an account's devices; of all of them but this one when `devices` is
    /// empty. It is durable before it is answered, and an item is handed out once: keys of an answer that was lost are
    /// lost, too, so nothing is claimed twice by itself.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; `rate_limited` says when to come back.
    pub async fn claim(
        &self,
        suite: &Suite,
        pools: &[PoolName],
        (account, devices): (&AccountId, &[DeviceId]),
    ) -> Result<Claimed, DirectoryError> {
        let body = wire::write(&wire::Claim::new(suite, pools, account, devices))?;
        let body = self.ask(Method::POST, "/v1/keys/claim", Some(body)).await?;
        let claims: wire::Claims = wire::read(&body)?;
        Ok(claims.of(account))
    }

    /// The body of a good answer.
    async fn ask(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes, DirectoryError> {
        let request = (&method, path);
        let token = self.token(None).await?;
        let mut answer = self.http.ask(request, &token, body.clone()).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            let other = self.token(Some(&token)).await?;
            if other != token {
                answer = self.http.ask(request, &other, body).await?;
            }
        }
        if answer.status.is_success() {
            Ok(answer.body)
        } else {
            Err(wire::refused(&answer))
        }
    }

    /// The token at hand, unless it was refused; else the source's next.
    async fn token(&self, refused: Option<&Token>) -> Result<Token, DirectoryError> {
        let known = self.token.lock().clone();
        // Another request may have brought a newer one meanwhile.
        if let Some(known) = known.filter(|known| Some(known) != refused) {
            return Ok(known);
        }
        let token = self.source.token(refused.cloned()).await;
        let token = token.map_err(DirectoryError::NoToken)?;
        *self.token.lock() = Some(token.clone());
        Ok(token)
    }
}

/// Without the token.
impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.http).finish()
    }
}
