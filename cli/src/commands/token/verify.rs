//! `chatctl token verify`.

use chatctl_relay::auth::{Examination, LEEWAY, TokenError};
use chatctl_relay::config::AuthConfig;
use chatctl_relay::model::{Clock, Identity, UnixMs};
use serde::Serialize;

use super::Input;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
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
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    valid: bool,
    at: String,
    leeway_seconds: u64,
    account: Option<String>,
    device_id: Option<String>,
    scopes: Vec<&'static str>,
    expires_at: Option<String>,
    failures: Vec<Failed>,
}

#[derive(Serialize)]
struct Failed {
    code: &'static str,
    message: String,
}

impl Verify {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let now = self.at.unwrap_or_else(|| Clock::system().now());
        let verifier = super::verifier(&self.auth, super::keyset(&self.auth)?)?;
        let examination = verifier.examine(&self.input.token(out)?, now);
        let shown = out.untyped(&text(&examination, now), &document(&examination, now));
        let count = examination.failures.len();
        match examination.failures.into_iter().next() {
            None => shown,
            // Whether or not anybody read the list: a bad token never ends as a success.
            Some(first) => Err(refused(&first, count)),
        }
    }
}

fn refused(first: &TokenError, count: usize) -> Failure {
    let failure = Failure::from_error(Exit::DataErr, first);
    match count {
        0 | 1 => failure,
        more => failure.hint(format!("{more} checks failed; stdout lists them all")),
    }
}

fn text(examination: &Examination, now: UnixMs) -> String {
    let failures = examination.failures.iter();
    let failures = failures.map(|failure| format!("FAIL  {:<22}{failure}\n", failure.code()));
    let identity = examination.identity.iter().map(|identity| {
        let (account, device) = (&identity.address.account, &identity.address.device_id);
        let end = relative(identity.expires_at, now);
        let scopes = scopes(identity).join(" ");
        format!("ok    account {account}, device {device}, scope {scopes:?}, expires {end}\n")
    });
    failures.chain(identity).collect()
}

fn document(examination: &Examination, now: UnixMs) -> Document {
    let identity = examination.identity.as_ref();
    let failed = |failure: &TokenError| Failed {
        code: failure.code(),
        message: failure.to_string(),
    };
    Document {
        schema: "chatctl.token.verify/v1",
        valid: identity.is_some(),
        at: rfc3339(now),
        leeway_seconds: LEEWAY.as_secs(),
        account: identity.map(|identity| identity.address.account.to_string()),
        device_id: identity.map(|identity| identity.address.device_id.to_string()),
        scopes: identity.map(scopes).unwrap_or_default(),
        expires_at: identity.map(|identity| rfc3339(identity.expires_at)),
        failures: examination.failures.iter().map(failed).collect(),
    }
}

fn scopes(identity: &Identity) -> Vec<&'static str> {
    let words = [(identity.scopes.chat, "chat"), (identity.scopes.admin, "admin")];
    words
        .into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, word)| word)
        .collect()
}
