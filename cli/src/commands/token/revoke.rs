//! `chatctl token revoke`: through the relay, which closes sessions at once, or straight into the store.

use std::path::PathBuf;
use std::time::Duration;

use chatctl_protocol::{AccountId, DeviceId};
use chatctl_relay::auth::{LEEWAY, inspect};
use chatctl_relay::config::StoreConfig;
use chatctl_relay::model::{Clock, Revocation, Revoked, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Input;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::relay::{Relay, RelayOptions};
use crate::store::{self, Fresh};
use crate::when::{self, rfc3339};

/// Take tokens back: they open nothing any more, and their sessions close
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).args(["jti", "jti_of", "sub"]),
    after_help = "Examples:
  chatctl token revoke --data-dir /var/lib/chatctl --sub alice --device 2 --reason 'phone stolen'
  chatctl token revoke --admin-socket /run/chatctl/admin.sock --jti-of leaked.jwt"
)]
pub(super) struct Revoke {
    /// The token of this `jti`
    #[arg(long, value_name = "JTI", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    jti: Option<String>,

    /// The token in this file; it is not checked
    #[arg(long, value_name = "FILE")]
    jti_of: Option<PathBuf>,

    /// All tokens of this account
    #[arg(long, value_name = "ACCOUNT", value_parser = AccountId::parse)]
    sub: Option<AccountId>,

    /// Of this device alone
    #[arg(long, value_name = "DEVICE", requires = "sub", value_parser = DeviceId::parse)]
    device: Option<DeviceId>,

    /// Only tokens issued at or before this time (RFC 3339), or `now`, which is also the default
    #[arg(long, value_name = "TIME", requires = "sub", value_parser = moment)]
    issued_before: Option<Moment>,

    /// What to remember about it; clients never see it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = reason)]
    reason: String,

    /// Longest life that a token may have: so long the revocation is kept
    #[arg(id = "auth.max_token_life", long = "max-token-life", env = "CHATCTL_AUTH__MAX_TOKEN_LIFE", value_name = "DURATION", default_value = "30d", value_parser = humantime::parse_duration)]
    max_token_life: Duration,

    #[command(flatten)]
    relay: RelayOptions,

    #[command(flatten)]
    store: StoreConfig,
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    Now,
    At(UnixMs),
}

/// Tokens that were taken back.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RevokedTokens {
    /// The revocation's number.
    number: u64,
    /// Sessions that the relay closed at once; null when the store was written to without one.
    closed_sessions: Option<u64>,
    /// When the revocation is forgotten: all of its tokens are over by themselves then.
    expires_at: String,
    /// The relay that was told; null when there was none.
    through: Option<String>,
}

impl Document for RevokedTokens {
    const SCHEMA: &'static str = "chatctl.token.revoke/v1";
}

impl Revoke {
    pub(super) async fn run(self, out: &Out) -> Result<(), Failure> {
        let now = Clock::system().now();
        let revocation = self.revocation(now, out)?;
        let found = Relay::find(&self.relay, self.store.data_dir.as_deref()).await?;
        let document = match found {
            Some(relay) => self.tell(&relay, &revocation).await?,
            None => self.write(&revocation).await?,
        };
        out.result(&text(&document), &document)
    }

    fn revocation(&self, now: UnixMs, out: &Out) -> Result<Revocation, Failure> {
        let life = self.max_token_life + LEEWAY;
        let longest = now.plus_seconds(life.as_secs().saturating_add(1));
        let (what, expires_at) = match (&self.sub, &self.jti) {
            (Some(account), _) => {
                let up_to = match self.issued_before {
                    None | Some(Moment::Now) => now,
                    Some(Moment::At(time)) => time,
                };
                if up_to > now {
                    return Err(Failure::new(Exit::Usage, "--issued-before lies in the future")
                        .hint("tokens that are not issued yet cannot be revoked"));
                }
                let what = Revoked::Issued {
                    account: account.clone(),
                    device: self.device.clone(),
                    up_to,
                };
                (what, longest)
            }
            (None, Some(jti)) => (Revoked::Token(jti.as_str().into()), longest),
            (None, None) => self.of_file(now, longest, out)?,
        };
        Ok(Revocation {
            what,
            revoked_at: now,
            expires_at,
            reason: self.reason.as_str().into(),
        })
    }

    fn of_file(&self, now: UnixMs, longest: UnixMs, out: &Out) -> Result<(Revoked, UnixMs), Failure> {
        let input = Input {
            token_file: self.jti_of.clone(),
            dash: None,
        };
        let inspection = inspect(&input.token(out)?, self.max_token_life, now)
            .map_err(|error| Failure::from_error(Exit::DataErr, &error))?;
        let claims = inspection.claims;
        let jti = claims
            .get("jti")
            .and_then(Value::as_str)
            .filter(|jti| !jti.is_empty())
            .ok_or_else(|| {
                Failure::new(Exit::DataErr, "the token has no `jti`").hint("no relay takes such a token")
            })?;
        let end = claims.get("exp").and_then(Value::as_u64);
        let end = end.map(|exp| UnixMs(0).plus_seconds(exp.saturating_add(LEEWAY.as_secs())));
        // Nobody checked the token: no end of its own keeps a revocation longer than one that could be good.
        let end = end.unwrap_or(longest).min(longest);
        if end <= now {
            return Err(
                Failure::new(Exit::DataErr, "the token is over by itself").hint("there is nothing to revoke")
            );
        }
        Ok((Revoked::Token(jti.into()), end))
    }

    async fn tell(&self, relay: &Relay, revocation: &Revocation) -> Result<RevokedTokens, Failure> {
        let answer = relay
            .post("/v1/admin/revocations", &self.request(revocation))
            .await?;
        let number = answer.get("number").and_then(Value::as_u64);
        let strange = || {
            Failure::new(
                Exit::Protocol,
                format!("{} answers, but not as a relay does", relay.name()),
            )
            .hint("is it a relay of this version?")
        };
        Ok(RevokedTokens {
            number: number.ok_or_else(strange)?,
            closed_sessions: answer.get("closed_sessions").and_then(Value::as_u64),
            expires_at: answer
                .get("expires_at")
                .and_then(Value::as_str)
                .ok_or_else(strange)?
                .to_owned(),
            through: Some(relay.name()),
        })
    }

    /// The relay's own clock says what `now` is, and its own settings how long a token can live.
    fn request(&self, revocation: &Revocation) -> Value {
        let mut request = Map::new();
        request.insert("reason".into(), (*revocation.reason).into());
        match &revocation.what {
            Revoked::Token(jti) => {
                request.insert("jti".into(), (**jti).into());
                if self.jti_of.is_some() {
                    let leeway = u64::try_from(LEEWAY.as_millis()).unwrap_or(u64::MAX);
                    let end = UnixMs(revocation.expires_at.0.saturating_sub(leeway));
                    request.insert("expires_at".into(), rfc3339(end).into());
                }
            }
            Revoked::Issued { account, device, .. } => {
                request.insert("account".into(), account.as_str().into());
                if let Some(device) = device {
                    request.insert("device_id".into(), device.as_str().into());
                }
                let issued_before = match self.issued_before {
                    None | Some(Moment::Now) => "now".to_owned(),
                    Some(Moment::At(time)) => rfc3339(time),
                };
                request.insert("issued_before".into(), issued_before.into());
            }
        }
        Value::Object(request)
    }

    async fn write(&self, revocation: &Revocation) -> Result<RevokedTokens, Failure> {
        let store = open(&self.store).await?;
        let number = store.revoke(revocation).await;
        let closed = store.close().await;
        let number = number.map_err(|error| store::store_failure(&error))?;
        closed.map_err(|error| store::store_failure(&error))?;
        Ok(RevokedTokens {
            number,
            closed_sessions: None,
            expires_at: rfc3339(revocation.expires_at),
            through: None,
        })
    }
}

/// The store, for when no relay answers. One that holds it says no.
pub(super) async fn open(
    config: &StoreConfig,
) -> Result<std::sync::Arc<dyn chatctl_relay::store::Store>, Failure> {
    store::open(config, Fresh::Refuse).await.map_err(|failure| match failure.exit {
        Exit::TempFail => failure.hint(
            "a relay that runs has it: reach that with --admin-socket FILE (systemd: /run/chatctl/admin.sock), or --url URL --token-file FILE",
        ),
        _ => failure,
    })
}

fn text(document: &RevokedTokens) -> String {
    let RevokedTokens {
        number, expires_at, ..
    } = document;
    let closed = match (document.closed_sessions, &document.through) {
        (Some(1), Some(relay)) => {
            format!("closed 1 session on the relay at {relay}; others on the same store follow within 2s")
        }
        (Some(count), Some(relay)) => {
            format!(
                "closed {count} sessions on the relay at {relay}; others on the same store follow within 2s"
            )
        }
        (None, _) | (_, None) => {
            "no relay answered here: written to the store; relays on it close sessions within 2s".to_owned()
        }
    };
    format!("revocation {number}, kept until {expires_at}\n{closed}\n")
}

fn moment(text: &str) -> Result<Moment, String> {
    match text {
        "now" => Ok(Moment::Now),
        text => when::parse(text).map(Moment::At),
    }
}

fn reason(text: &str) -> Result<String, String> {
    match text.len() {
        0..=256 => Ok(text.to_owned()),
        bytes => Err(format!("is {bytes} bytes long, and may be 256")),
    }
}
