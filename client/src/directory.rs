//! The relay's key directory, as one device uses it over HTTP: it registers, publishes keys, looks up devices and claims
//! their keys.
//!
//! Must not know what keys mean: they are opaque items in named pools.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Code, DeviceId, PoolName, Suite};

use crate::TokenSource;

/// A relay's HTTP doors. Cheap to clone; all clones share connections, and so do the directories made from it.
#[derive(Clone)]
pub struct Http {
    url: Arc<str>,
    client: reqwest::Client,
}

/// The directory, with the token of one device. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    http: Http,
    source: Arc<dyn TokenSource>,
}

/// Why the directory did not do it.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The URL is not `http://` or `https://` and a host.
    #[error("not an HTTP URL")]
    Url,
    /// No answer, or one that is not of a relay.
    #[error("the relay does not answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The token source failed.
    #[error("no token")]
    NoToken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The relay said no.
    #[error("the relay refused: {title}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The reason, unless this client is too old to know it.
        code: Option<Code>,
        /// The reason in the relay's words.
        title: String,
        /// How long to wait before it is tried again.
        retry_after: Option<Duration>,
    },
}

/// A device of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDevice {
    /// Its name.
    pub device_id: DeviceId,
    /// What it drew when it was installed.
    pub registration_id: u32,
    /// Its identity in the suite that was asked for.
    pub identity: Option<Bytes>,
    /// Its signed statement in that suite.
    pub statement: Option<Bytes>,
}

/// An account's devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList {
    /// Grows with every change.
    pub version: u64,
    /// In the order of their names.
    pub devices: Vec<ListedDevice>,
}

/// An item that a device publishes, or that was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name in its pool.
    pub id: String,
    /// The public key.
    pub data: Bytes,
    /// The identity's signature.
    pub signature: Option<Bytes>,
}

/// What a device publishes for a suite, in one transaction; the same upload twice changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyUpload {
    /// The identity, when it is the first upload or another one.
    pub identity: Option<Bytes>,
    /// A signed statement.
    pub statement: Option<Bytes>,
    /// What changes in each pool.
    pub pools: BTreeMap<PoolName, PoolUpload>,
}

/// What changes in a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolUpload {
    /// Joins the queue, in this order.
    pub add: Vec<Item>,
    /// Takes the place of the queue.
    pub replace: Option<Vec<Item>>,
    /// Takes the place of the fallback.
    pub fallback: Option<Item>,
}

/// How much a pool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolCount {
    /// One-time items that are left.
    pub count: u32,
    /// Whether there is a fallback.
    pub fallback: bool,
    /// Whether it was handed out.
    pub fallback_used: bool,
}

/// What was claimed of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedKeys {
    /// For which installation the keys are.
    pub registration_id: u32,
    /// Its identity.
    pub identity: Bytes,
    /// Its signed statement.
    pub statement: Option<Bytes>,
    /// One item for each pool that was asked for; none from an empty pool without a fallback.
    pub items: BTreeMap<PoolName, Option<Item>>,
}

/// What was claimed of an account's devices. Devices without keys in the suite are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    /// By device.
    pub devices: BTreeMap<DeviceId, ClaimedKeys>,
    /// Devices that were asked for and have no keys.
    pub missing: Vec<DeviceId>,
}

impl Http {
    /// The doors of a relay at `http://host:port` or `https://host:port`, with the certificates that the system trusts.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::Url`].
    pub fn new(url: &str) -> Result<Self, DirectoryError> {
        let is_http = url.starts_with("http://") || url.starts_with("https://");
        if !is_http {
            return Err(DirectoryError::Url);
        }
        let client = reqwest::Client::builder().no_proxy().build();
        let client = client.map_err(|error| DirectoryError::Unreachable(Box::new(error)))?;
        Ok(Self {
            url: url.trim_end_matches('/').into(),
            client,
        })
    }

    /// The directory, for a device that has this source of tokens.
    pub fn directory(&self, source: impl TokenSource) -> Directory {
        Directory {
            http: self.clone(),
            source: Arc::new(source),
        }
    }
}

impl Directory {
    /// Registers this device, or the same installation once more. Another registration id is a new installation: the
    /// mail and the keys of the old one are gone.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`].
    pub async fn register(&self, device_id: &DeviceId, registration_id: u32) -> Result<(), DirectoryError> {
        let _ = (
            &self.http.url,
            &self.http.client,
            &self.source,
            device_id,
            registration_id,
        );
        std::future::ready(Err(not_built())).await
    }

    /// Removes a device of this account, its mail and its keys.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`].
    pub async fn remove(&self, device_id: &DeviceId) -> Result<(), DirectoryError> {
        let _ = device_id;
        std::future::ready(Err(not_built())).await
    }

    /// An account's devices, with their identities in a suite. Uses nothing up.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`].
    pub async fn devices(
        &self,
        account: &AccountId,
        suite: Option<&Suite>,
    ) -> Result<DeviceList, DirectoryError> {
        let _ = (account, suite);
        std::future::ready(Err(not_built())).await
    }

    /// Publishes keys; what the pools hold then.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`].
    pub async fn upload(
        &self,
        suite: &Suite,
        keys: &KeyUpload,
    ) -> Result<BTreeMap<PoolName, PoolCount>, DirectoryError> {
        let _ = (suite, keys);
        std::future::ready(Err(not_built())).await
    }

    /// What this device's pools hold.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`].
    pub async fn counts(&self, suite: &Suite) -> Result<BTreeMap<PoolName, PoolCount>, DirectoryError> {
        let _ = suite;
        std::future::ready(Err(not_built())).await
    }

    /// Claims one item from each of these pools of an account's devices; of all of them when `devices` is empty. It is durable
    /// before it is answered, and an item is handed out once.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`].
    pub async fn claim(
        &self,
        suite: &Suite,
        pools: &[PoolName],
        (account, devices): (&AccountId, &[DeviceId]),
    ) -> Result<Claimed, DirectoryError> {
        let _ = (suite, pools, account, devices);
        std::future::ready(Err(not_built())).await
    }
}

fn not_built() -> DirectoryError {
    DirectoryError::Unreachable("not built yet".into())
}

/// Without the token.
impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.http).finish()
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http").field(&self.url).finish()
    }
}
