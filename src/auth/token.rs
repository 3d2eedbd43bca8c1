//! The text of a token taken apart, before anything in it is believed.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::claims::{Claims, Rules};
use super::error::{TokenError, quoted};
use super::{LEEWAY, MAX_TOKEN_BYTES};
use crate::model::UnixMs;

/// The header members that mean something here.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    alg: Option<Value>,
    kid: Option<Value>,
    crit: Option<Value>,
    jku: Option<Value>,
    jwk: Option<Value>,
    x5u: Option<Value>,
    x5c: Option<Value>,
}

impl Header {
    /// Checks what needs no key, and returns `alg` and `kid` when a key can be looked for.
    pub(super) fn check(&self, found: &mut Vec<TokenError>) -> Option<(&str, &str)> {
        let members = [
            ("crit", &self.crit),
            ("jku", &self.jku),
            ("jwk", &self.jwk),
            ("x5u", &self.x5u),
            ("x5c", &self.x5c),
        ];
        found.extend(
            members
                .iter()
                .filter(|(_, value)| value.is_some())
                .map(|(name, _)| TokenError::HeaderMember(name)),
        );
        let alg = self.alg.as_ref().and_then(Value::as_str).unwrap_or_default();
        let known = ["EdDSA", "ES256", "RS256", "HS256"].contains(&alg);
        if !known {
            found.push(TokenError::UnsupportedAlgorithm(quoted(alg)));
        }
        let kid = self
            .kid
            .as_ref()
            .and_then(Value::as_str)
            .filter(|kid| !kid.is_empty());
        if kid.is_none() {
            found.push(TokenError::NoKeyId);
        }
        kid.filter(|_| known).map(|kid| (alg, kid))
    }
}

/// The three parts of a token, as text.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) signed: &'a str,
    header: &'a str,
    claims: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn of(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge { bytes: token.len() });
        }
        let not_three = TokenError::Malformed("not three parts separated by dots");
        let (signed, signature) = token.rsplit_once('.').ok_or(not_three.clone())?;
        let (header, claims) = signed.split_once('.').ok_or(not_three.clone())?;
        if claims.contains('.') {
            return Err(not_three);
        }
        Ok(Self {
            signed,
            header,
            claims,
            signature,
        })
    }

    pub(super) fn header<T: DeserializeOwned>(&self) -> Result<T, TokenError> {
        object(self.header).ok_or(TokenError::Malformed("the header is not a base64url JSON object"))
    }

    pub(super) fn claims<T: DeserializeOwned>(&self) -> Result<T, TokenError> {
        object(self.claims).ok_or(TokenError::Malformed(
            "the claims are not a base64url JSON object",
        ))
    }
}

fn object<T: DeserializeOwned>(text: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    // A struct would be read from a list, too; tokens are objects.
    bytes.trim_ascii_start().starts_with(b"{").then_some(())?;
    serde_json::from_slice(&bytes).ok()
}

/// What stands in a token that nobody verified.
#[derive(Debug)]
pub struct Inspection {
    /// Its header.
    pub header: Map<String, Value>,
    /// Its claims.
    pub claims: Map<String, Value>,
    /// What a relay would refuse it for, as far as that shows without a key.
    pub warnings: Vec<TokenError>,
}

/// Takes a token apart without a key: nothing in the answer may be believed.
///
/// # Errors
///
/// [`TokenError::TooLarge`] and [`TokenError::Malformed`].
pub fn inspect(token: &str, max_life: Duration, now: UnixMs) -> Result<Inspection, TokenError> {
    let parts = Parts::of(token)?;
    let mut warnings = Vec::new();
    parts.header::<Header>()?.check(&mut warnings);
    let rules = Rules {
        issuer: None,
        audience: None,
        max_life,
        leeway: LEEWAY,
    };
    parts.claims::<Claims>()?.check(&rules, now, &mut warnings);
    Ok(Inspection {
        header: parts.header()?,
        claims: parts.claims()?,
        warnings,
    })
}
