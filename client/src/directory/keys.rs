//! What the directory is asked and what it answers. Keys are opaque bytes here, and public.

use std::collections::BTreeMap;

use bytes::Bytes;
use chatctl_protocol::{DeviceId, PoolName};

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
