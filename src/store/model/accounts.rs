//! The model's accounts: a text in a map.

use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::AccountId;

use crate::store::model::{Model, State};
use crate::store::{AccountStore, Error, OnOther, PutAccount};

impl State {
    fn put_account(&mut self, account: &AccountId, attributes: Arc<str>, on_other: OnOther) -> PutAccount {
        let place = &mut self.accounts.entry(account.clone()).or_default().attributes;
        match place.clone() {
            None => {
                *place = Some(attributes);
                PutAccount::Created
            }
            Some(old) if old == attributes => PutAccount::Same,
            Some(old) => {
                match on_other {
                    OnOther::Keep => {}
                    OnOther::Replace => *place = Some(attributes),
                }
                PutAccount::Other(old)
            }
        }
    }
}

#[async_trait]
impl AccountStore for Model {
    async fn put_account(
        &self,
        account: &AccountId,
        attributes: Arc<str>,
        on_other: OnOther,
    ) -> Result<PutAccount, Error> {
        self.with(|state| state.put_account(account, attributes, on_other))
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Arc<str>>, Error> {
        self.with(|state| state.accounts.get(account)?.attributes.clone())
    }
}
