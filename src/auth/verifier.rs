//! The one validation of tokens, for the daemon and for the operator's commands.
//!
//! Owns the order of the checks: the key is chosen by `kid`, the algorithm comes from the key, and the
//! signature is looked at before any claim is believed.

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::Address;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::LEEWAY;
use super::claims::{Claims, Rules};
use super::error::{KeysetError, TokenError, quoted};
use super::key::{Key, KeyFacts};
use super::keyset::Keyset;
use super::outside::{Issuer, Outside};
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
    /// How much an issuer's clock and ours may differ.
    pub leeway: Duration,
    /// Issuers besides the relay. Each is judged by its own keys, and by no others.
    outside: Outside,
}

/// Checks tokens by a policy that may be swapped while it is in use.
#[derive(Debug)]
pub struct Verifier {
    policy: RwLock<Arc<Policy>>,
    another_policy: Notify,
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
            another_policy: Notify::new(),
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

    /// Follows another policy from now on, with the keys of outside issuers that are known already.
    /// Identities that were given before stay as they are.
    pub fn follow(&self, mut policy: Policy) {
        let mut current = self.policy.write();
        policy.outside.inherit(&current.outside);
        *current = Arc::new(policy);
        drop(current);
        self.another_policy.notify_one();
    }

    /// Fetches the keys of outside issuers when they are due, for ever. Cancel safe.
    pub async fn keep_fresh(&self) {
        loop {
            let policy = self.policy();
            tokio::select! {
                () = policy.outside.keep_fresh() => {}
                () = self.another_policy.notified() => {}
            }
        }
    }

    /// Fetches the keys that are due now, once. Cancel safe.
    pub async fn fetch_due(&self) {
        self.policy().outside.ask_due().await;
    }

    /// Outside issuers that have given no keys yet, as in the settings.
    #[must_use]
    pub fn silent_issuers(&self) -> Vec<String> {
        self.policy().outside.silent()
    }

    /// What may be told about the relay's own keys.
    #[must_use]
    pub fn key_facts(&self) -> Vec<KeyFacts> {
        self.policy().keyset.facts().collect()
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
        self.count(self.judge(token, now))
    }

    /// As [`Verifier::verify`], for a token that has to be a certain device's.
    ///
    /// # Errors
    ///
    /// [`TokenError::OtherDevice`] for a good token of anybody else, else as [`Verifier::verify`].
    pub fn verify_for(&self, address: &Address, token: &str, now: UnixMs) -> Result<Identity, TokenError> {
        only(address, self.verify(token, now)?)
    }

    /// As [`Verifier::verify`]; but where an outside issuer's token names a key that is not known yet, its
    /// keys are fetched first, if [`Verifier::keep_fresh`] runs and they were not just now. Waits for at most
    /// two seconds. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Verifier::verify`].
    pub async fn verify_or_refresh(&self, token: &str, now: UnixMs) -> Result<Identity, TokenError> {
        let longest = Instant::now() + LONGEST_WAIT;
        let mut judged = self.judge(token, now);
        while let Err(TokenError::UnknownKey(_)) = judged {
            let wanted = self
                .policy()
                .outside_issuer(token)
                .and_then(|issuer| issuer.want());
            let Some(mut rounds) = wanted else { break };
            if timeout_at(longest, rounds.changed()).await.is_err() {
                break;
            }
            judged = self.judge(token, now);
        }
        self.count(judged)
    }

    /// As [`Verifier::verify_for`], with [`Verifier::verify_or_refresh`].
    ///
    /// # Errors
    ///
    /// As [`Verifier::verify_for`].
    pub async fn verify_for_or_refresh(
        &self,
        address: &Address,
        token: &str,
        now: UnixMs,
    ) -> Result<Identity, TokenError> {
        only(address, self.verify_or_refresh(token, now).await?)
    }

    fn judge(&self, token: &str, now: UnixMs) -> Result<Identity, TokenError> {
        let Examination { identity, failures } = self.examine(token, now);
        match (identity, failures.into_iter().next()) {
            (Some(identity), None) => Ok(identity),
            (_, Some(failure)) => Err(failure),
            (None, None) => Err(TokenError::Malformed("it says nothing")),
        }
    }

    fn count(&self, judged: Result<Identity, TokenError>) -> Result<Identity, TokenError> {
        let word = judged.as_ref().err().map_or("ok", TokenError::code);
        self.metrics.tokens_verified.count(word);
        judged
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

fn only(address: &Address, identity: Identity) -> Result<Identity, TokenError> {
    if identity.address == *address {
        Ok(identity)
    } else {
        Err(TokenError::OtherDevice)
    }
}

impl Policy {
    /// What the settings say, with keys that were read. Reads the files of outside issuers.
    ///
    /// # Errors
    ///
    /// [`KeysetError`] for an outside issuer that cannot be trusted as the settings have it.
    pub fn of(keyset: Keyset, config: &AuthConfig) -> Result<Self, KeysetError> {
        let own = Self::new(keyset, &config.issuer, &config.audience, config.max_token_life);
        Ok(Self {
            outside: Outside::of(config)?,
            ..own
        })
    }

    /// A policy that trusts nobody but the keyset's owner.
    #[must_use]
    pub fn new(keyset: Keyset, issuer: &str, audience: &str, max_life: Duration) -> Self {
        Self {
            keyset,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            max_life,
            leeway: LEEWAY,
            outside: Outside::default(),
        }
    }

    /// The outside issuer that a token says it is from.
    fn outside_issuer(&self, token: &str) -> Option<Arc<Issuer>> {
        let claims: Claims = Parts::of(token).ok()?.claims().ok()?;
        self.outside.issuer(claims.issuer()?).cloned()
    }

    fn parts(&self, parts: Parts<'_>, now: UnixMs, found: &mut Vec<TokenError>) -> Option<Identity> {
        let claims = parts.claims::<Claims>();
        // Not believed, only looked at: it decides whose keys may vouch for the token at all.
        let said = claims.as_ref().ok().and_then(Claims::issuer);
        let outside = said.and_then(|name| self.outside.issuer(name));
        match parts.header::<Header>() {
            Ok(header) => {
                if let Some((alg, kid)) = header.check(found) {
                    let signed = match outside {
                        None => signature(self.keyset.key(kid), parts, alg, kid),
                        Some(issuer) => {
                            let keys = issuer.keys();
                            signature(keys.iter().find(|key| key.entry.kid == kid), parts, alg, kid)
                        }
                    };
                    found.extend(signed.err());
                }
            }
            Err(error) => found.push(error),
        }
        let rules = Rules {
            issuer: Some(outside.map_or(self.issuer.as_str(), |issuer| issuer.name())),
            audience: Some(&self.audience),
            max_life: self.max_life,
            leeway: self.leeway,
        };
        match &claims {
            Ok(claims) => claims.check(&rules, now, found),
            Err(error) => {
                found.push(error.clone());
                None
            }
        }
    }
}

fn signature(key: Option<&Key>, parts: Parts<'_>, alg: &str, kid: &str) -> Result<(), TokenError> {
    let Some(key) = key else {
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
    let good = jsonwebtoken::crypto::verify(parts.signature, signed, &key.verifying, key.algorithm.library());
    if good.unwrap_or(false) {
        Ok(())
    } else {
        Err(TokenError::Signature)
    }
}

/// The longest time that a door waits for an outside issuer's keys.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
