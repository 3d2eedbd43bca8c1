//! Who calls: the bearer token of a request.
//!
//! Tokens are taken from the `Authorization` header and from nowhere else: a URL ends up in the logs of
//! every proxy on the way. Must not know what a token looks like inside; that is `auth`.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use chatctl_protocol::Code;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::auth::Verifier;
use crate::http::Doors;
use crate::http::problem::Problem;
use crate::metrics::Count as _;
use crate::model::{Identity, UnixMs};

/// The name of the security scheme in the API's description: `security((BEARER = []))` says `"bearer"`.
pub const BEARER: &str = "bearer";

/// The device that a request speaks for: its token was verified and may chat.
#[derive(Debug, Clone)]
pub struct Caller(pub Identity);

impl FromRequestParts<Doors> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Problem> {
        let Some(token) = bearer(&parts.headers) else {
            doors.metrics.tokens_verified.count("no_token");
            return Err(no_token());
        };
        caller(&doors.verifier, token, doors.clock.now()).await.map(Self)
    }
}

/// Somebody who may look after the relay: a token with the `admin` scope, or the admin socket.
#[derive(Debug, Clone, Copy)]
pub struct Operator;

/// Marks a request that came over the admin socket, whose other end the system vouches for.
#[derive(Debug, Clone, Copy)]
pub struct OnAdminSocket;

impl FromRequestParts<Doors> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Problem> {
        if parts.extensions.get::<OnAdminSocket>().is_some() {
            return Ok(Self);
        }
        let Some(token) = bearer(&parts.headers) else {
            doors.metrics.tokens_verified.count("no_token");
            return Err(no_token());
        };
        let identity = doors.verifier.verify_or_refresh(token, doors.clock.now()).await?;
        match identity.scopes.admin {
            true => Ok(Self),
            false => Err(Problem::new(Code::Forbidden, "The token has no `admin` scope.")),
        }
    }
}

/// The token of the `Authorization` header. `None` without one, with two, or with another scheme.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

async fn caller(verifier: &Verifier, token: &str, now: UnixMs) -> Result<Identity, Problem> {
    let identity = verifier.verify_or_refresh(token, now).await?;
    if !identity.scopes.chat {
        return Err(Problem::new(Code::Forbidden, "The token has no `chat` scope."));
    }
    Ok(identity)
}

fn no_token() -> Problem {
    Problem::new(Code::Unauthorized, "This needs a token.")
        .detail("Send `Authorization: Bearer <token>`. Tokens in URLs are not read.")
}

/// How the API's description names the header, under [`BEARER`].
#[must_use]
pub fn security_scheme() -> SecurityScheme {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("A device's token: `sub` is the account, `dev` the device. Routes name the scope that they ask for: `chat`, which \
                tokens have when they name none, or `admin`."));
    SecurityScheme::Http(scheme.build())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use axum::http::HeaderValue;
    use chatctl_protocol::{AccountId, Address, DeviceId};
    use serde_json::Map;

    use super::*;
    use crate::auth::{Grant, Keyset, Policy, Signer};
    use crate::metrics::Metrics;

    const NOW: UnixMs = UnixMs(1_795_348_800_000);

    #[test]
    fn only_one_bearer_header_names_a_token() {
        let headers = |values: &[&'static str]| {
            let values = values.iter().map(|value| HeaderValue::from_static(value));
            HeaderMap::from_iter(values.map(|value| (header::AUTHORIZATION, value)))
        };
        assert_eq!(bearer(&headers(&["Bearer abc"])), Some("abc"));
        assert_eq!(bearer(&headers(&["bearer  abc "])), Some("abc"));
        for bad in [
            &[][..],
            &["Bearer "],
            &["Basic abc"],
            &["abc"],
            &["Bearer a", "Bearer b"],
        ] {
            assert_eq!(bearer(&headers(bad)), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_token_without_the_chat_scope_is_forbidden_and_a_bad_one_unauthorized() {
        let keyset = Keyset::generate(&mut rand::rng(), NOW).unwrap();
        let signer = Signer::new(&keyset).unwrap();
        let life = Duration::from_secs(60);
        let metrics = Arc::new(Metrics::new());
        let verifier = Verifier::new(Policy::new(keyset, "i", "a", life), Arc::clone(&metrics));
        let token = |scope: &str| {
            let grant = Grant {
                issuer: "i".into(),
                audience: "a".into(),
                address: Address {
                    account: AccountId::parse("alice").unwrap(),
                    device_id: DeviceId::parse("1").unwrap(),
                },
                scope: Some(scope.into()),
                life,
                extra: Map::new(),
            };
            signer.issue(&grant, &mut rand::rng(), NOW).unwrap().token
        };
        assert!(caller(&verifier, &token("chat"), NOW).await.is_ok());
        assert_eq!(
            caller(&verifier, &token("admin"), NOW).await.unwrap_err().status,
            403
        );
        let late = caller(&verifier, &token("chat"), NOW.plus_seconds(125))
            .await
            .unwrap_err();
        assert_eq!(late.status, 401);
        assert_eq!(late.detail.unwrap(), "the token expired 1m 5s ago (leeway 5s)");
        let text = metrics.exposition().unwrap();
        assert!(
            text.contains("chatctl_tokens_verified_total{reason=\"ok\"} 2"),
            "{text}"
        );
        assert!(
            text.contains("chatctl_tokens_verified_total{reason=\"expired\"} 1"),
            "{text}"
        );
    }
}
