//! Brings a demo's accounts into a store: what is missing is made, what is there stays.
//!
//! Owns what a device's file and the store say together. Files first, then the store: a run that is stopped
//! anywhere is completed by the next one.

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::{Address, Limits, Suite};
use chatctl_relay::auth::{Grant, Signer};
use chatctl_relay::model::{Clock, Device, DeviceList};
use chatctl_relay::store::{OnOther, Registered, Store, Uploaded};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Map;

use super::cast::{Part, Role, Script};
use super::state::{State, StateDir, Token};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::store::{blocking, store_failure};

/// What every device needs.
#[derive(Debug)]
pub(super) struct Stage {
    /// Where accounts go.
    pub(super) store: Arc<dyn Store>,
    /// Where private halves go.
    pub(super) states: StateDir,
    /// What the cast is drawn from.
    pub(super) script: Script,
    /// One-time keys of a device.
    pub(super) prekeys: u32,
    /// Devices that belong to somebody else are installed anew.
    pub(super) reinstall: bool,
    /// What signs tokens, if there shall be any.
    pub(super) tokens: Option<Tokens>,
    /// The relay's bounds.
    pub(super) limits: Limits,
    /// The time.
    pub(super) clock: Clock,
}

/// How tokens are made.
#[derive(Debug)]
pub(super) struct Tokens {
    /// The active key.
    pub(super) signer: Signer,
    /// `iss`.
    pub(super) issuer: String,
    /// `aud`.
    pub(super) audience: String,
    /// How long they live.
    pub(super) life: Duration,
}

/// What was done for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// Neither a file nor the store knew it.
    Created,
    /// Both knew it, and agree.
    Kept,
    /// Its file was there, and the store lacked it or its keys.
    Completed,
    /// The store had another installation, which is gone.
    Reinstalled,
    /// The store has it, and there is no file: its private halves are elsewhere, or lost. Nothing changed.
    NoFile,
    /// The store has another installation than the file. Nothing changed.
    Foreign,
}

impl Outcome {
    /// Every one.
    pub(super) const ALL: [Self; 6] = [
        Self::Created,
        Self::Kept,
        Self::Completed,
        Self::Reinstalled,
        Self::NoFile,
        Self::Foreign,
    ];

    /// In words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Kept => "kept",
            Self::Completed => "completed",
            Self::Reinstalled => "reinstalled",
            Self::NoFile => "left alone: no state file",
            Self::Foreign => "left alone: another installation",
        }
    }

    /// Whether the device is not the demo's.
    pub(super) const fn is_conflict(self) -> bool {
        match self {
            Self::NoFile | Self::Foreign => true,
            Self::Created | Self::Kept | Self::Completed | Self::Reinstalled => false,
        }
    }
}

/// What is to be done for a device.
enum Task {
    /// Nothing but a token, perhaps.
    Keep(State),
    /// The store has the registration and not the keys.
    Publish(State),
    /// The store lacks the device.
    Renew(State),
    /// It is made from nothing.
    Install { registration_id: u32, outcome: Outcome },
    /// It is left alone.
    Leave(Outcome),
}

impl Stage {
    /// Brings an account and its devices into the store; what was done for each device.
    ///
    /// # Errors
    ///
    /// Of the store or the state files. Whatever was done stays, and the next run goes on from there.
    pub(super) async fn enter(&self, role: &Role) -> Result<Vec<Outcome>, Failure> {
        let known = self
            .store
            .devices(&role.account)
            .await
            .map_err(|e| store_failure(&e))?;
        let attributes = Arc::clone(&role.attributes);
        self.store
            .put_account(&role.account, attributes, OnOther::Keep)
            .await
            .map_err(|error| store_failure(&error))?;
        let mut outcomes = Vec::with_capacity(role.devices.len());
        for part in &role.devices {
            outcomes.push(self.seat(part, &known).await?);
        }
        Ok(outcomes)
    }

    async fn seat(&self, part: &Part, known: &DeviceList) -> Result<Outcome, Failure> {
        let task = self.task(part, known.device(&part.address.device_id)).await?;
        let prekeys = self.prekeys;
        let (state, outcome) = match task {
            Task::Leave(outcome) => return Ok(outcome),
            Task::Keep(state) => {
                self.refresh_token(state, &part.address).await?;
                return Ok(Outcome::Kept);
            }
            Task::Publish(state) => (state, Outcome::Completed),
            Task::Renew(state) => {
                let renewed = blocking(move || Ok(state.renew(prekeys))).await?;
                (renewed, Outcome::Completed)
            }
            Task::Install {
                registration_id,
                outcome,
            } => {
                let address = part.address.clone();
                let installed = blocking(move || Ok(State::install(&address, registration_id, prekeys)));
                (installed.await?, outcome)
            }
        };
        let state = self.with_token(state, &part.address)?;
        let state = self.save(state).await?;
        self.publish(part, &state).await?;
        Ok(outcome)
    }

    /// Compares a device's file with what the store has.
    async fn task(&self, part: &Part, device: Option<&Device>) -> Result<Task, Failure> {
        let (states, address) = (self.states.clone(), part.address.clone());
        let state = blocking(move || states.load(&address)).await?;
        let Some(device) = device else {
            return Ok(match state {
                Some(state) => Task::Renew(state),
                None => Task::Install {
                    registration_id: part.registration_id,
                    outcome: Outcome::Created,
                },
            });
        };
        let Some(state) = state else {
            return Ok(self.other(part, device, Outcome::NoFile));
        };
        if state.registration_id != device.registration_id {
            return Ok(self.other(part, device, Outcome::Foreign));
        }
        let keyset = self.store.keyset(device.mailbox, &Suite::Olm).await;
        Ok(match keyset.map_err(|error| store_failure(&error))? {
            None => Task::Publish(state),
            Some(keyset) if keyset.identity == state.published.identity()? => Task::Keep(state),
            Some(_) => self.other(part, device, Outcome::Foreign),
        })
    }

    /// What becomes of a device whose keys are not ours.
    fn other(&self, part: &Part, device: &Device, outcome: Outcome) -> Task {
        if !self.reinstall {
            return Task::Leave(outcome);
        }
        // The first that is another one: the relay tells a new installation by this alone.
        let mut draws = (0..u32::MAX).map(|again| self.script.registration_id(&part.address, again));
        let registration_id = draws.find(|drawn| *drawn != device.registration_id);
        Task::Install {
            registration_id: registration_id.unwrap_or(part.registration_id),
            outcome: Outcome::Reinstalled,
        }
    }

    pub(super) async fn publish(&self, part: &Part, state: &State) -> Result<(), Failure> {
        let registration = self.registration(part, state);
        let now = registration.now;
        let registered = self.store.register(&part.address, registration).await;
        let device = match registered.map_err(|error| store_failure(&error))? {
            Registered::Created(device)
            | Registered::Updated(device)
            | Registered::Replaced { device, .. } => device,
            Registered::TooMany => {
                let message = format!(
                    "account {} has as many devices as it may have",
                    part.address.account
                );
                return Err(Failure::new(Exit::DataErr, message).hint("another --prefix or --rng-seed"));
            }
        };
        let (bundle, max) = (state.published.clone(), self.limits.max_one_time_keys);
        let upload = blocking(move || bundle.upload(device.mailbox, max, now)).await?;
        match self
            .store
            .upload(upload)
            .await
            .map_err(|error| store_failure(&error))?
        {
            Uploaded::Done { .. } => Ok(()),
            Uploaded::Conflict { .. }
            | Uploaded::TooMany { .. }
            | Uploaded::NoIdentity
            | Uploaded::NoDevice => {
                let (account, device) = (&part.address.account, &part.address.device_id);
                Err(Failure::new(
                    Exit::TempFail,
                    format!("device {device} of {account} was changed by somebody else meanwhile"),
                )
                .hint("run the command again"))
            }
        }
    }

    /// Writes a device's file; the device again.
    pub(super) async fn save(&self, state: State) -> Result<State, Failure> {
        let states = self.states.clone();
        blocking(move || states.save(&state).map(|()| state)).await
    }

    async fn refresh_token(&self, state: State, address: &Address) -> Result<(), Failure> {
        let old_end = state.token.as_ref().map(|token| token.expires_at_ms);
        let state = self.with_token(state, address)?;
        if state.token.as_ref().map(|token| token.expires_at_ms) != old_end {
            self.save(state).await?;
        }
        Ok(())
    }

    /// A device with a token, if there shall be one. One that has half its life before it stays.
    pub(super) fn with_token(&self, mut state: State, address: &Address) -> Result<State, Failure> {
        let Some(tokens) = &self.tokens else {
            return Ok(state);
        };
        let now = self.clock.now();
        let enough = now.plus_seconds(tokens.life.as_secs() / 2);
        if state
            .token
            .as_ref()
            .is_some_and(|token| token.expires_at_ms >= enough.0)
        {
            return Ok(state);
        }
        let grant = Grant {
            issuer: tokens.issuer.clone(),
            audience: tokens.audience.clone(),
            address: address.clone(),
            scope: None,
            life: tokens.life,
            extra: Map::new(),
        };
        let issued = tokens.signer.issue(&grant, &mut rand::rng(), now)?;
        state.token = Some(Token {
            token: issued.token,
            expires_at_ms: issued.expires_at.0,
        });
        Ok(state)
    }
}
