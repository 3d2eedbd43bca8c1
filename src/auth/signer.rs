//! Issuing tokens with the active key of a keyset.

use std::fmt;
use std::time::Duration;

use chatctl_protocol::Address;
use jsonwebtoken::EncodingKey;
use rand::CryptoRng;
use serde_json::{Map, Value};

use super::error::SignError;
use super::key::Algorithm;
use super::keyset::Keyset;
use crate::model::UnixMs;

/// What a token shall say.
#[derive(Debug, Clone)]
pub struct Grant {
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// `sub` and `dev`.
    pub address: Address,
    /// `scope`; without it the token may chat.
    pub scope: Option<String>,
    /// `exp − iat`, to the second.
    pub life: Duration,
    /// More claims, opaque to the relay.
    pub extra: Map<String, Value>,
}

/// A token, and what there is to know about it.
#[derive(Clone)]
pub struct Issued {
    /// The token itself: a secret.
    pub token: String,
    /// The key that signed.
    pub kid: String,
    /// How it signed.
    pub algorithm: Algorithm,
    /// The token's own name.
    pub jti: String,
    /// When it begins.
    pub issued_at: UnixMs,
    /// When it ends.
    pub expires_at: UnixMs,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Issues tokens.
#[derive(Debug)]
pub struct Signer {
    kid: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    /// A signer with the keyset's active key.
    ///
    /// # Errors
    ///
    /// [`SignError::NoActiveKey`].
    pub fn new(keyset: &Keyset) -> Result<Self, SignError> {
        let key = keyset.signing().ok_or(SignError::NoActiveKey)?;
        Ok(Self {
            kid: key.entry.kid.clone(),
            algorithm: key.algorithm,
            key: key.signing.clone().ok_or(SignError::NoActiveKey)?,
        })
    }

    /// Issues a token with a `jti` of its own.
    ///
    /// # Errors
    ///
    /// [`SignError::Reserved`] for an extra claim that is set here, [`SignError::Failed`] when the
    /// library refuses the key.
    pub fn issue(
        &self,
        grant: &Grant,
        random: &mut impl CryptoRng,
        now: UnixMs,
    ) -> Result<Issued, SignError> {
        let mut jti = [0; 16];
        random.fill_bytes(&mut jti);
        let jti = jti.map(|byte| format!("{byte:02x}")).concat();
        let iat = now.0 / 1000;
        let exp = iat.saturating_add(grant.life.as_secs());
        let mut claims = Map::new();
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("iss", grant.issuer.as_str().into());
        set("aud", grant.audience.as_str().into());
        set("sub", grant.address.account.as_str().into());
        set("dev", grant.address.device_id.as_str().into());
        set("iat", iat.into());
        set("exp", exp.into());
        set("jti", jti.as_str().into());
        if let Some(scope) = &grant.scope {
            set("scope", scope.as_str().into());
        }
        for (name, value) in &grant.extra {
            if RESERVED.contains(&name.as_str()) {
                return Err(SignError::Reserved(name.clone()));
            }
            set(name, value.clone());
        }
        let mut header = jsonwebtoken::Header::new(self.algorithm.library());
        header.kid = Some(self.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(|_| SignError::Failed)?;
        Ok(Issued {
            token,
            kid: self.kid.clone(),
            algorithm: self.algorithm,
            jti,
            issued_at: UnixMs(iat.saturating_mul(1000)),
            expires_at: UnixMs(exp.saturating_mul(1000)),
        })
    }
}

/// Claims that only the fields of [`Grant`] set. `nbf` is not: an issuer may want one.
const RESERVED: [&str; 8] = ["iss", "aud", "sub", "dev", "iat", "exp", "jti", "scope"];
