//! `chatctl token verify`.

use std::time::Duration;

use chatctl_relay::auth::{Examination, KeyFacts, TokenError, inspect};
use chatctl_relay::config::AuthConfig;
use chatctl_relay::model::{Clock, Identity, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Input, plain};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::when::{self, relative, rfc3339};

/// Check a token as the relay does, and name every check that fails
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  printf %s \"$T\" | chatctl token verify --keys keys.json
  chatctl token verify --keys keys.json --token-file alice.token --at 2026-12-24T18:00:00Z")]
pub(super) struct Verify {
    #[command(flatten)]
    auth: AuthConfig,

    #[command(flatten)]
    input: Input,

    /// Check as of another time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    at: Option<UnixMs>,

    /// How much the issuer's clock may differ; the relay allows 5s
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    leeway: Duration,
}

/// Whether a token is good, and why not.
#[derive(Serialize, JsonSchema)]
pub(crate) struct VerifiedToken {
    valid: bool,
    /// The time as of which it was checked.
    at: String,
    leeway_seconds: u64,
    /// Of a good token.
    account: Option<String>,
    /// Of a good token.
    device_id: Option<String>,
    /// Of a good token: chat, admin.
    scopes: Vec<&'static str>,
    /// Of a good token.
    expires_at: Option<String>,
    /// Every check, in the order in which they are made.
    checks: Vec<Row>,
    /// Every failure, the gravest first.
    failures: Vec<Failed>,
}

impl Document for VerifiedToken {
    const SCHEMA: &'static str = "chatctl.token.verify/v1";
}

#[derive(Serialize, JsonSchema)]
struct Row {
    check: &'static str,
    /// Null when it could not be made.
    ok: Option<bool>,
    detail: String,
}

#[derive(Serialize, JsonSchema)]
struct Failed {
    code: &'static str,
    message: String,
}

impl Verify {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let now = self.at.unwrap_or_else(|| Clock::system().now());
        let keyset = super::keyset(&self.auth)?;
        let keys: Vec<_> = keyset.facts().collect();
        let verifier = super::verifier_with(&self.auth, keyset, self.leeway)?;
        let token = self.input.token(out)?;
        super::fetch_outside(&verifier, out)?;
        let examination = verifier.examine(&token, now);
        let said = inspect(&token, self.auth.max_token_life, now).ok();
        let said = said.map(|said| Said {
            header: said.header,
            claims: said.claims,
            keys,
            now,
        });
        let document = self.document(&examination, said.as_ref(), now);
        let shown = out.result(&text(&document), &document);
        let count = examination.failures.len();
        match examination.failures.into_iter().next() {
            None => {
                out.note("revocations are the relay's to know: `chatctl token revocations list`");
                shown
            }
            // Whether or not anybody read the list: a bad token never ends as a success.
            Some(first) => Err(refused(&first, count)),
        }
    }

    fn document(&self, examination: &Examination, said: Option<&Said>, now: UnixMs) -> VerifiedToken {
        let identity = examination.identity.as_ref();
        let failed = |failure: &TokenError| Failed {
            code: failure.code(),
            message: failure.to_string(),
        };
        let row = |check| Row::of(check, &examination.failures, said);
        VerifiedToken {
            valid: identity.is_some(),
            at: rfc3339(now),
            leeway_seconds: self.leeway.as_secs(),
            account: identity.map(|identity| identity.address.account.to_string()),
            device_id: identity.map(|identity| identity.address.device_id.to_string()),
            scopes: identity.map(scopes).unwrap_or_default(),
            expires_at: identity.map(|identity| rfc3339(identity.expires_at)),
            checks: CHECKS.into_iter().map(row).collect(),
            failures: examination.failures.iter().map(failed).collect(),
        }
    }
}

impl Row {
    fn of(check: &'static str, failures: &[TokenError], said: Option<&Said>) -> Self {
        let failed: Vec<_> = failures
            .iter()
            .filter(|failure| check_of(failure) == check)
            .collect();
        let (ok, detail) = match (failed.is_empty(), said) {
            (false, _) => {
                let messages: Vec<_> = failed.iter().map(ToString::to_string).collect();
                (Some(false), messages.join("; "))
            }
            (true, Some(said)) => (Some(true), said.about(check)),
            // What cannot be read cannot be checked.
            (true, None) => (None, String::new()),
        };
        Self { check, ok, detail }
    }
}

/// What the token says, to be shown beside the checks.
struct Said {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    keys: Vec<KeyFacts>,
    now: UnixMs,
}

impl Said {
    fn about(&self, check: &str) -> String {
        let claim = |name: &str| shown(self.claims.get(name));
        match check {
            "signature" => self.key(),
            "iss / aud" => format!("{} / {}", claim("iss"), claim("aud")),
            "sub / dev" => format!("{} / {}", claim("sub"), claim("dev")),
            "exp" => self.time("exp", "expires", "expired"),
            "nbf / iat" => self.time("iat", "issued", "issued"),
            "scope" => claim("scope"),
            "jti" => claim("jti"),
            _ => String::new(),
        }
    }

    fn key(&self) -> String {
        let (alg, kid) = (shown(self.header.get("alg")), shown(self.header.get("kid")));
        let known = self
            .keys
            .iter()
            .find(|key| self.header.get("kid").is_some_and(|kid| *kid == key.kid));
        match known.map(|key| (key.state.as_str(), key.since)) {
            Some((state, Some(since))) => format!("{alg}, key {kid} ({state} since {})", rfc3339(since)),
            Some((state, None)) => format!("{alg}, key {kid} ({state})"),
            None => format!("{alg}, key {kid}"),
        }
    }

    fn time(&self, claim: &str, ahead: &str, past: &str) -> String {
        let Some(seconds) = self.claims.get(claim).and_then(Value::as_u64) else {
            return shown(self.claims.get(claim));
        };
        let time = UnixMs(seconds.saturating_mul(1000));
        let word = if time > self.now { ahead } else { past };
        format!("{word} {} ({})", relative(time, self.now), rfc3339(time))
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Value::String(text)) => plain(text),
        Some(value) => plain(&value.to_string()),
    }
}

fn refused(first: &TokenError, count: usize) -> Failure {
    let failure = Failure::from_error(Exit::DataErr, first);
    match count {
        0 | 1 => failure,
        more => failure.hint(format!("{more} checks failed; stdout lists them all")),
    }
}

fn text(document: &VerifiedToken) -> String {
    let row = |row: &Row| {
        let word = match row.ok {
            Some(true) => "ok",
            Some(false) => "FAIL",
            None => "-",
        };
        let line = format!("  {:<10}  {word:<4}  {}", row.check, row.detail);
        format!("{}\n", line.trim_end())
    };
    let mut text: String = document.checks.iter().map(row).collect();
    if let (Some(account), Some(device)) = (&document.account, &document.device_id) {
        let scopes = document.scopes.join(" ");
        text.push_str(&format!("account {account}, device {device}, scope {scopes:?}\n"));
    }
    text
}

fn scopes(identity: &Identity) -> Vec<&'static str> {
    let words = [(identity.scopes.chat, "chat"), (identity.scopes.admin, "admin")];
    words
        .into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, word)| word)
        .collect()
}

/// The lines of the table.
const CHECKS: [&str; 9] = [
    "form",
    "signature",
    "iss / aud",
    "sub / dev",
    "exp",
    "nbf / iat",
    "life",
    "jti",
    "scope",
];

/// The line that a failure belongs to.
fn check_of(failure: &TokenError) -> &'static str {
    match failure {
        TokenError::TooLarge { .. } | TokenError::Malformed(_) => "form",
        TokenError::UnsupportedAlgorithm(_)
        | TokenError::HeaderMember(_)
        | TokenError::NoKeyId
        | TokenError::UnknownKey(_)
        | TokenError::KeyState { .. }
        | TokenError::AlgorithmMismatch { .. }
        | TokenError::Signature => "signature",
        TokenError::Issuer { .. } | TokenError::Audience { .. } => "iss / aud",
        TokenError::OtherDevice => "sub / dev",
        TokenError::Revoked => "jti",
        TokenError::Expired { .. } => "exp",
        TokenError::NotYet { .. } | TokenError::IssuedAhead { .. } => "nbf / iat",
        TokenError::TooLongLived { .. } => "life",
        TokenError::Missing(claim) | TokenError::Milliseconds(claim) | TokenError::Claim { claim, .. } => {
            match *claim {
                "iss" | "aud" => "iss / aud",
                "sub" | "dev" => "sub / dev",
                "exp" => "exp",
                "nbf" | "iat" => "nbf / iat",
                "jti" => "jti",
                _ => "scope",
            }
        }
    }
}
