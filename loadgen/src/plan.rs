//! A scenario worked out: every client by number, and every stream from one to another.
//!
//! Clients are numbered from `first`, so that agents on several hosts never share one. Who belongs together (a
//! pair, a room) has neighbouring numbers.

use std::ops::Range;

use chatctl_protocol::{AccountId, DeviceId};

/// Everybody who takes part here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Devices, by number less `first`.
    pub clients: Vec<Client>,
    /// Accounts with their devices.
    pub accounts: Vec<Account>,
    /// Who writes to whom.
    pub senders: Vec<Sender>,
    /// The number of the first client.
    pub first: u32,
}

/// A device that is simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its place in [`Plan::accounts`].
    pub account: u32,
    /// Its device.
    pub device_id: DeviceId,
    /// Drawn for this run.
    pub registration_id: u32,
}

/// An account that is simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name: the run's prefix and a number.
    pub name: AccountId,
    /// Its devices' places in [`Plan::clients`].
    pub devices: Range<u32>,
}

/// A client that writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Its place in [`Plan::clients`].
    pub client: u32,
    /// The accounts that each of its messages goes to: places in [`Plan::accounts`].
    pub to: Vec<u32>,
    /// The stream to the first of these accounts; the others follow. A stream has one ledger at each device.
    pub first_stream: u32,
}
