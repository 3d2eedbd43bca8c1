//! Accounts that neither a file nor the store knows: made in groups, which a database takes much quicker than
//! one after the other.
//!
//! The order is the same as for one: files first, then the store.

use std::sync::Arc;

use chatctl_relay::model::MailboxId;
use chatctl_relay::store::{Newcomer, OnOther, Registration};
use futures_util::future::{join_all, try_join_all};

use super::cast::{Part, Role};
use super::stage::{Outcome, Stage};
use super::state::State;
use crate::failure::Failure;
use crate::store::{blocking, store_failure};

impl Stage {
    /// Brings a group of accounts in; what was done for each device of each.
    ///
    /// # Errors
    ///
    /// As [`Stage::enter`].
    pub(super) async fn enter_all(&self, roles: &[Role]) -> Result<Vec<Vec<Outcome>>, Failure> {
        let prepared = try_join_all(roles.iter().map(|role| self.prepare(role))).await?;
        let newcomers: Vec<Newcomer> = prepared
            .iter()
            .flatten()
            .map(|(newcomer, _)| newcomer.clone())
            .collect();
        let together = newcomers.len() > 1
            && self
                .store
                .enrol(&newcomers)
                .await
                .map_err(|error| store_failure(&error))?;
        let entered = roles
            .iter()
            .zip(prepared)
            .map(async |(role, prepared)| match prepared {
                None => self.enter(role).await,
                Some((_, states)) => {
                    if !together {
                        self.settle(role, &states).await?;
                    }
                    Ok(vec![Outcome::Created; states.len()])
                }
            });
        join_all(entered).await.into_iter().collect()
    }

    /// Makes the files of an account's devices, if it is new everywhere.
    async fn prepare(&self, role: &Role) -> Result<Option<(Newcomer, Vec<State>)>, Failure> {
        let known = self.store.devices(&role.account).await;
        if known.map_err(|error| store_failure(&error))?.version > 0 {
            return Ok(None);
        }
        let (mut states, mut devices) = (Vec::new(), Vec::new());
        for part in &role.devices {
            let (files, address) = (self.states.clone(), part.address.clone());
            if blocking(move || files.load(&address)).await?.is_some() {
                return Ok(None);
            }
        }
        for part in &role.devices {
            let (address, registration_id, prekeys) =
                (part.address.clone(), part.registration_id, self.prekeys);
            let state = blocking(move || Ok(State::install(&address, registration_id, prekeys))).await?;
            let state = self.save(self.with_token(state, &part.address)?).await?;
            let registration = self.registration(part, &state);
            let (bundle, max, now) = (
                state.published.clone(),
                self.limits.max_one_time_keys,
                registration.now,
            );
            // Its mailbox is not known yet.
            let upload = blocking(move || bundle.upload(MailboxId(0), max, now)).await?;
            devices.push((part.address.device_id.clone(), registration, upload));
            states.push(state);
        }
        let newcomer = Newcomer {
            account: role.account.clone(),
            attributes: Arc::clone(&role.attributes),
            devices,
        };
        Ok(Some((newcomer, states)))
    }

    /// Puts an account whose files were made into the store, one device after the other.
    async fn settle(&self, role: &Role, states: &[State]) -> Result<(), Failure> {
        let attributes = Arc::clone(&role.attributes);
        let put = self
            .store
            .put_account(&role.account, attributes, OnOther::Keep)
            .await;
        put.map_err(|error| store_failure(&error))?;
        for (part, state) in role.devices.iter().zip(states) {
            self.publish(part, state).await?;
        }
        Ok(())
    }

    /// What a device registers with.
    pub(super) fn registration(&self, part: &Part, state: &State) -> Registration {
        Registration {
            registration_id: state.registration_id,
            attributes: Some(Arc::clone(&part.attributes)),
            max_devices: self.limits.max_devices,
            now: self.clock.now(),
        }
    }
}
