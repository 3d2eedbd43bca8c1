//! What a store promises about accounts themselves, with or without devices.

use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::AccountId;

use crate::store::Error;

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

    /// An account's attributes, or `None` when it was given none.
    async fn account(&self, account: &AccountId) -> Result<Option<Arc<str>>, Error>;
}
