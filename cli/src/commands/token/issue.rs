//! `chatctl token issue`.

use std::time::Duration;

use chatctl_protocol::{AccountId, Address, DeviceId};
use chatctl_relay::auth::{Grant, Issued, Signer, TokenError};
use chatctl_relay::config::AuthConfig;
use chatctl_relay::model::{Clock, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::when::{relative, rfc3339};

/// Issue a token for a device
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  T=$(chatctl token issue --keys keys.json --sub alice --device 1 --ttl 10m)
  chatctl token issue --keys keys.json --sub root --device 1 --scope admin -o admin.token")]
pub(super) struct Issue {
    #[command(flatten)]
    auth: AuthConfig,

    /// Account that the token speaks for
    #[arg(long, value_name = "ACCOUNT", value_parser = AccountId::parse)]
    sub: AccountId,

    /// Device that the token speaks for
    #[arg(long = "device", visible_alias = "dev", value_name = "DEVICE", value_parser = DeviceId::parse)]
    device: DeviceId,

    /// How long the token lives, with a unit
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,

    /// What the token may do; chat when none is given
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SCOPE")]
    scope: Vec<Scope>,

    /// How many tokens, each with a jti of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,

    /// One more claim; the value is JSON, or a text if it is not
    #[arg(long, value_name = "NAME=JSON", value_parser = claim)]
    claim: Vec<(String, Value)>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Scope {
    Chat,
    Admin,
}

impl Scope {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Admin => "admin",
        }
    }
}

/// Tokens that were issued.
#[derive(Serialize, JsonSchema)]
pub(crate) struct IssuedTokens {
    /// One for each that was asked for.
    tokens: Vec<Entry>,
}

impl Document for IssuedTokens {
    const SCHEMA: &'static str = "chatctl.token.issue/v1";
}

#[derive(Serialize, JsonSchema)]
struct Entry {
    token: String,
    kid: String,
    jti: String,
    issued_at: String,
    expires_at: String,
}

impl Issue {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let now = Clock::system().now();
        if self.ttl > self.auth.max_token_life {
            let refused = TokenError::TooLongLived {
                life: self.ttl,
                max: self.auth.max_token_life,
            };
            return Err(Failure::from_error(Exit::Usage, &refused)
                .hint("a shorter --ttl; or a longer --max-token-life, here and at the relay"));
        }
        let issued = self.issue(now)?;
        if let Some(first) = issued.first() {
            let (end, from_now) = (rfc3339(first.expires_at), relative(first.expires_at, now));
            let algorithm = first.algorithm.as_str();
            out.note(&format!(
                "key {} {algorithm}, expires {from_now} at {end}",
                first.kid
            ));
        }
        let text: String = issued
            .iter()
            .map(|issued| format!("{}\n", issued.token))
            .collect();
        let document = document(issued);
        out.secret(&text, &document)
    }

    fn issue(&self, now: UnixMs) -> Result<Vec<Issued>, Failure> {
        let keyset = super::keyset(&self.auth)?;
        let signer = Signer::new(&keyset)?;
        let verifier = super::verifier(&self.auth, keyset)?;
        let scopes: Vec<_> = self.scope.iter().map(|scope| scope.as_str()).collect();
        let grant = Grant {
            issuer: self.auth.issuer.clone(),
            audience: self.auth.audience.clone(),
            address: Address {
                account: self.sub.clone(),
                device_id: self.device.clone(),
            },
            scope: (!scopes.is_empty()).then(|| scopes.join(" ")),
            life: self.ttl,
            extra: self.claim.iter().cloned().collect::<Map<_, _>>(),
        };
        let mut issued = Vec::new();
        for _ in 0..self.count {
            let one = signer.issue(&grant, &mut rand::rng(), now)?;
            // Never hands out what the relay would refuse: too large, `nbf` ahead, a life below a second.
            verifier.verify(&one.token, now).map_err(|error| {
                Failure::new(Exit::Usage, "the relay would refuse such a token").caused_by(&error)
            })?;
            issued.push(one);
        }
        Ok(issued)
    }
}

fn document(issued: Vec<Issued>) -> IssuedTokens {
    let entry = |one: Issued| Entry {
        issued_at: rfc3339(one.issued_at),
        expires_at: rfc3339(one.expires_at),
        token: one.token,
        kid: one.kid,
        jti: one.jti,
    };
    IssuedTokens {
        tokens: issued.into_iter().map(entry).collect(),
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("must be name=value")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}
