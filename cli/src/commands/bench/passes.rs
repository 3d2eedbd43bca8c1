//! Tokens of simulated devices, signed with the keyset of the relay that is measured.

use std::time::Duration;

use chatctl_client::Token;
use chatctl_loadgen::wire::Passes;
use chatctl_protocol::{AccountId, Address, DeviceId};
use chatctl_relay::auth::{Grant, Keyset, SignError, Signer};
use chatctl_relay::model::Clock;
use serde_json::Map;

/// Signs a token for each device.
#[derive(Debug)]
pub(super) struct Signed {
    signer: Signer,
    issuer: String,
    audience: String,
    clock: Clock,
}

impl Signed {
    /// Signs with the active key of a keyset.
    ///
    /// # Errors
    ///
    /// When it has none.
    pub(super) fn with(keyset: &Keyset, issuer: &str, audience: &str) -> Result<Self, SignError> {
        Ok(Self {
            signer: Signer::new(keyset)?,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            clock: Clock::system(),
        })
    }
}

impl Passes for Signed {
    fn token(&self, account: &AccountId, device_id: &DeviceId) -> Result<Token, String> {
        let grant = Grant {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            address: Address {
                account: account.clone(),
                device_id: device_id.clone(),
            },
            scope: None,
            life: LIFE,
            extra: Map::new(),
        };
        let issued = self.signer.issue(&grant, &mut rand::rng(), self.clock.now());
        let issued = issued.map_err(|error| error.to_string())?;
        Ok(Token::new(&issued.token))
    }
}

/// No tokens, for servers that want none.
#[derive(Debug)]
pub(super) struct Nameless;

impl Passes for Nameless {
    fn token(&self, _account: &AccountId, _device_id: &DeviceId) -> Result<Token, String> {
        Ok(Token::new(""))
    }
}

/// Longer than a run; every relay lets tokens live for so long unless it was told not to.
const LIFE: Duration = Duration::from_secs(24 * 3600);
