//! The one validation of tokens, for the daemon and for the operator's commands.
//!
//! Owns the order of the checks: the key is chosen by `kid`, the algorithm comes from the key, and the
//! signature is looked at before any claim is believed.

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::Address;
use parking_lot::RwLock;
use serde_json::Value;

use super::claims::{Claims, Rules};
use super::error::{TokenError, quoted};
use super::keyset::Keyset;
use super::revocations::Revocations;
use super::token::{Header, Parts};
use crate::config::AuthConfig;
use crate::metrics::{Count as _, Metrics};
use crate::model::{Identity, UnixMs};

/// Whose tokens are believed, and what they have to keep.
#[derive(Debug)]
pub struct Policy {
    /// The relay's own keys.
    pub keyset: Keyset,
    /// `iss` of tokens that these keys signed.
    pub issuer: String,
    /// `aud` of every token.
    pub audience: String,
    /// Longest `exp − iat`.
    pub max_life: Duration,
}

/// Checks tokens by a policy that may be swapped while it is in use.
#[derive(Debug)]
pub struct Verifier {
    policy: RwLock<Arc<Policy>>,
    revocations: Arc<Revocations>,
    metrics: Arc<Metrics>,
}

/// Everything that was found out about a token.
#[derive(Debug)]
pub struct Examination {
    /// Whom the token speaks for; only when there are no failures.
    pub identity: Option<Identity>,
    /// Every check that failed, the gravest first.
    pub failures: Vec<TokenError>,
}

impl Verifier {
    /// A verifier that follows a policy.
    #[must_use]
    pub fn new(policy: Policy, metrics: Arc<Metrics>) -> Self {
        Self {
            policy: RwLock::new(Arc::new(policy)),
            revocations: Arc::default(),
            metrics,
        }
    }

    /// Refuses what is revoked, whatever the policy says.
    #[must_use]
    pub fn heeding(self, revocations: Arc<Revocations>) -> Self {
        Self { revocations, ..self }
    }

    /// What is revoked.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Follows another policy from now on. Identities that were given before stay as they are.
    pub fn follow(&self, policy: Policy) {
        *self.policy.write() = Arc::new(policy);
    }

    /// The public keys of tokens that are good here.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.policy().keyset.jwks()
    }

    /// Whom the token speaks for. Never blocks for long: one signature check. Counted.
    ///
    /// # Errors
    ///
    /// [`TokenError`]: the first of [`Verifier::examine`]'s failures.
    pub fn verify(&self, token: &str, now: UnixMs) -> Result<Identity, TokenError> {
        let Examination { identity, failures } = self.examine(token, now);
        let result = match (identity, failures.into_iter().next()) {
            (Some(identity), None) => Ok(identity),
            (_, Some(failure)) => Err(failure),
            (None, None) => Err(TokenError::Malformed("it says nothing")),
        };
        let word = result.as_ref().err().map_or("ok", TokenError::code);
        self.metrics.tokens_verified.count(word);
        result
    }

    /// As [`Verifier::verify`], for a token that has to be a certain device's.
    ///
    /// # Errors
    ///
    /// [`TokenError::OtherDevice`] for a good token of anybody else, else as [`Verifier::verify`].
    pub fn verify_for(&self, address: &Address, token: &str, now: UnixMs) -> Result<Identity, TokenError> {
        let identity = self.verify(token, now)?;
        if identity.address == *address {
            Ok(identity)
        } else {
            Err(TokenError::OtherDevice)
        }
    }

    /// Every check, whether or not others failed. Not counted.
    #[must_use]
    pub fn examine(&self, token: &str, now: UnixMs) -> Examination {
        let mut failures = Vec::new();
        // One policy for the whole token: it may be swapped meanwhile.
        let policy = self.policy();
        let identity = match Parts::of(token) {
            Ok(parts) => policy.parts(parts, now, &mut failures),
            Err(error) => {
                failures.push(error);
                None
            }
        };
        // Only a token that was really issued is worth the look.
        if failures.is_empty()
            && let Some(identity) = &identity
            && self.revocations.cover(identity)
        {
            failures.push(TokenError::Revoked);
        }
        Examination {
            identity: identity.filter(|_| failures.is_empty()),
            failures,
        }
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read())
    }
}

impl Policy {
    /// What the settings say, with keys that were read.
    #[must_use]
    pub fn of(keyset: Keyset, config: &AuthConfig) -> Self {
        Self {
            keyset,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            max_life: config.max_token_life,
        }
    }

    fn parts(&self, parts: Parts<'_>, now: UnixMs, found: &mut Vec<TokenError>) -> Option<Identity> {
        match parts.header::<Header>() {
            Ok(header) => {
                if let Some((alg, kid)) = header.check(found) {
                    found.extend(self.signature(parts, alg, kid).err());
                }
            }
            Err(error) => found.push(error),
        }
        match parts.claims::<Claims>() {
            Ok(claims) => claims.check(&self.rules(), now, found),
            Err(error) => {
                found.push(error);
                None
            }
        }
    }

    fn signature(&self, parts: Parts<'_>, alg: &str, kid: &str) -> Result<(), TokenError> {
        let Some(key) = self.keyset.key(kid) else {
            return Err(TokenError::UnknownKey(quoted(kid)));
        };
        let state = key.entry.state;
        if !state.verifies() {
            return Err(TokenError::KeyState {
                kid: quoted(kid),
                state,
            });
        }
        if alg != key.algorithm.as_str() {
            return Err(TokenError::AlgorithmMismatch {
                header: quoted(alg),
                kid: quoted(kid),
                key: key.algorithm,
            });
        }
        let signed = parts.signed.as_bytes();
        let good =
            jsonwebtoken::crypto::verify(parts.signature, signed, &key.verifying, key.algorithm.library());
        if good.unwrap_or(false) {
            Ok(())
        } else {
            Err(TokenError::Signature)
        }
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            issuer: Some(&self.issuer),
            audience: Some(&self.audience),
            max_life: self.max_life,
        }
    }
}
