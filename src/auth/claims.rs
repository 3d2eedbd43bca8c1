//! What a token says, and every rule about it.
//!
//! Pure: the time is an argument. All failures are found, not only the first.

use std::time::Duration;

use chatctl_protocol::{AccountId, Address, DeviceId};
use serde::Deserialize;
use serde_json::Value;

use super::error::{TokenError, quoted};
use crate::model::{Identity, Scopes, UnixMs};

/// What tokens have to keep. `None`: whatever it is.
#[derive(Debug, Clone)]
pub(super) struct Rules<'a> {
    pub(super) issuer: Option<&'a str>,
    pub(super) audience: Option<&'a str>,
    pub(super) max_life: Duration,
    /// How much the issuer's clock and ours may differ.
    pub(super) leeway: Duration,
}

/// The claims that mean something here. A claim that is there twice makes the token malformed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Claims {
    iss: Option<Value>,
    aud: Option<Value>,
    sub: Option<Value>,
    dev: Option<Value>,
    exp: Option<Value>,
    nbf: Option<Value>,
    iat: Option<Value>,
    jti: Option<Value>,
    scope: Option<Value>,
}

impl Claims {
    /// Who is said to have issued the token.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.iss.as_ref().and_then(Value::as_str)
    }

    /// Checks everything. Failures are added in the order of the checks; an identity is returned only
    /// when none was found here.
    pub(super) fn check(
        &self,
        rules: &Rules<'_>,
        now: UnixMs,
        found: &mut Vec<TokenError>,
    ) -> Option<Identity> {
        let before = found.len();
        self.names(rules, found);
        let account = parsed("sub", self.sub.as_ref(), "an account id", AccountId::parse, found);
        let device_id = parsed("dev", self.dev.as_ref(), "a device id", DeviceId::parse, found);
        let times = self.times(rules, now, found);
        let scopes = self.scopes(found);
        if found.len() > before {
            return None;
        }
        let (issued_at, expires_at) = times?;
        Some(Identity {
            address: Address {
                account: account?,
                device_id: device_id?,
            },
            scopes: scopes?,
            issued_at,
            expires_at,
            jti: self.jti.as_ref().and_then(Value::as_str)?.into(),
        })
    }

    fn names(&self, rules: &Rules<'_>, found: &mut Vec<TokenError>) {
        match (text("iss", self.iss.as_ref()), &rules.issuer) {
            (Ok(issuer), Some(wanted)) if issuer != *wanted => found.push(TokenError::Issuer {
                found: quoted(issuer),
                wanted: (*wanted).to_owned(),
            }),
            (Ok(_), _) => {}
            (Err(error), _) => found.push(error),
        }
        match (self.audiences(), &rules.audience) {
            (Ok(audiences), Some(wanted)) if !audiences.contains(wanted) => {
                found.push(TokenError::Audience {
                    found: quoted(&audiences.join(" ")),
                    wanted: (*wanted).to_owned(),
                });
            }
            (Ok(_), _) => {}
            (Err(error), _) => found.push(error),
        }
        match text("jti", self.jti.as_ref()) {
            Ok(jti) if jti.len() > 128 => found.push(TokenError::Claim {
                claim: "jti",
                rule: "1 to 128 bytes",
            }),
            Ok(_) => {}
            Err(error) => found.push(error),
        }
    }

    fn audiences(&self) -> Result<Vec<&str>, TokenError> {
        let wrong = TokenError::Claim {
            claim: "aud",
            rule: "a text or a list of texts",
        };
        match &self.aud {
            None => Err(TokenError::Missing("aud")),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(many)) => many.iter().map(Value::as_str).collect::<Option<_>>().ok_or(wrong),
            Some(_) => Err(wrong),
        }
    }

    /// `exp`, `iat` and `nbf`. Returns when the token begins and ends.
    fn times(&self, rules: &Rules<'_>, now: UnixMs, found: &mut Vec<TokenError>) -> Option<(UnixMs, UnixMs)> {
        let mut time = |claim, value: Option<&Value>| match seconds(claim, value) {
            Ok(time) => Some(time),
            Err(error) => {
                found.push(error);
                None
            }
        };
        let exp = time("exp", self.exp.as_ref());
        let iat = time("iat", self.iat.as_ref());
        let nbf = self.nbf.as_ref().and_then(|nbf| time("nbf", Some(nbf)));
        let now = Duration::from_millis(now.0);
        let leeway = rules.leeway;
        if let Some(by) = exp
            .and_then(|exp| now.checked_sub(exp))
            .filter(|by| *by >= leeway)
        {
            found.push(TokenError::Expired { by, leeway });
        }
        let ahead = |time: Option<Duration>| time.and_then(|time| time.checked_sub(now));
        if let Some(by) = ahead(nbf).filter(|by| *by > leeway) {
            found.push(TokenError::NotYet { by, leeway });
        }
        if let Some(by) = ahead(iat).filter(|by| *by > leeway) {
            found.push(TokenError::IssuedAhead { by, leeway });
        }
        let (exp, iat) = (exp?, iat?);
        match exp.checked_sub(iat) {
            Some(life) if life > rules.max_life => found.push(TokenError::TooLongLived {
                life,
                max: rules.max_life,
            }),
            Some(life) if !life.is_zero() => {}
            Some(_) | None => found.push(TokenError::Claim {
                claim: "exp",
                rule: "later than iat",
            }),
        }
        let unix = |time: Duration| UnixMs(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Some((unix(iat), unix(exp)))
    }

    /// No scope claim means `chat`. Words that mean nothing here are other people's.
    fn scopes(&self, found: &mut Vec<TokenError>) -> Option<Scopes> {
        match &self.scope {
            None => Some(Scopes {
                chat: true,
                admin: false,
            }),
            Some(Value::String(words)) => {
                let has = |wanted| words.split(' ').any(|word| word == wanted);
                Some(Scopes {
                    chat: has("chat"),
                    admin: has("admin"),
                })
            }
            Some(_) => {
                found.push(TokenError::Claim {
                    claim: "scope",
                    rule: "a text of words separated by spaces",
                });
                None
            }
        }
    }
}

fn text<'a>(claim: &'static str, value: Option<&'a Value>) -> Result<&'a str, TokenError> {
    match value {
        None => Err(TokenError::Missing(claim)),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(TokenError::Claim {
            claim,
            rule: "a text that is not empty",
        }),
    }
}

fn parsed<T, E>(
    claim: &'static str,
    value: Option<&Value>,
    rule: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
    found: &mut Vec<TokenError>,
) -> Option<T> {
    let result =
        text(claim, value).and_then(|text| parse(text).map_err(|_| TokenError::Claim { claim, rule }));
    result.map_err(|error| found.push(error)).ok()
}

/// A `NumericDate`: seconds since 1970, with a fraction if the issuer likes.
fn seconds(claim: &'static str, value: Option<&Value>) -> Result<Duration, TokenError> {
    let rule = "seconds since 1970";
    let value = value.ok_or(TokenError::Missing(claim))?;
    let number = value.as_f64().ok_or(TokenError::Claim { claim, rule })?;
    if number >= MILLISECONDS {
        return Err(TokenError::Milliseconds(claim));
    }
    let whole = value.as_u64().map(Duration::from_secs);
    whole
        .map_or_else(|| Duration::try_from_secs_f64(number), Ok)
        .map_err(|_| TokenError::Claim { claim, rule })
}

/// As seconds, the year 5138; as milliseconds, 1973. Nobody means the former.
const MILLISECONDS: f64 = 1e11;
