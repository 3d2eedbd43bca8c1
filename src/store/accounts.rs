//! What a store promises about accounts themselves, with or without devices.

use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::{AccountId, DeviceId};

use crate::store::{Error, Registration, Upload};

/// Whose word counts when an account has other attributes already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOther {
    /// What is stored.
    Keep,
    /// What is put.
    Replace,
}

/// What a put found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutAccount {
    /// The account had no attributes.
    Created,
    /// It had the same ones; nothing changed.
    Same,
    /// It had these ones, and has them still or not any more, as was asked.
    Other(Arc<str>),
}

/// An account that is new to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// Its id.
    pub account: AccountId,
    /// Its attributes, as [`AccountStore::put_account`] takes them.
    pub attributes: Arc<str>,
    /// Its devices, each with an id of its own, and what each publishes; the mailbox of an upload is filled in.
    pub devices: Vec<(DeviceId, Registration, Upload)>,
}

/// Accounts.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// Gives an account attributes: JSON text, opaque, at most 1 KiB. Idempotent.
    ///
    /// The list of its devices and the list's version stay as they are, so an account that has
    /// attributes alone is, to those who ask for devices, one that never was.
    async fn put_account(
        &self,
        account: &AccountId,
        attributes: Arc<str>,
        on_other: OnOther,
    ) -> Result<PutAccount, Error>;

    /// Brings in accounts that nobody knows, each as if it had been given its attributes, had its devices
    /// registered and their keys published, in one write: all of them, or none where that is refused or one is
    /// there already. `false` then, and from a store for which this is no quicker than one by one, which the
    /// caller does. At most a hundred accounts.
    async fn enrol(&self, _newcomers: &[Newcomer]) -> Result<bool, Error> {
        Ok(false)
    }

    /// An account's attributes, or `None` when it was given none.
    async fn account(&self, account: &AccountId) -> Result<Option<Arc<str>>, Error>;
}
