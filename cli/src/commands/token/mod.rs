//! `chatctl token`: tokens and their keys.
//!
//! Owns what its verbs share: where keys and tokens come from, and the policy of the relay. No token is
//! ever taken from the command line, where `ps` and the shell's history would show it.

mod inspect;
mod issue;
mod keys;
mod revocations;
mod revoke;
mod verify;

pub(crate) use inspect::InspectedToken;
pub(crate) use issue::IssuedTokens;
pub(crate) use keys::{CheckedKeys, ExportedKeys, GeneratedKey, ImportedKey, ListedKeys, RotatedKeys};
pub(crate) use revocations::{PrunedRevocations, RevocationList};
pub(crate) use revoke::RevokedTokens;
pub(crate) use verify::VerifiedToken;

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chatctl_relay::auth::{Keyset, LEEWAY, MAX_TOKEN_BYTES, Policy, Verifier};
use chatctl_relay::config::AuthConfig;
use chatctl_relay::metrics::Metrics;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
use crate::runtime::wait_for;

/// Make, check and look into tokens and their keys
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl token keys generate -o keys.json
  chatctl token issue --keys keys.json --sub alice --dev 1 | chatctl token verify --keys keys.json")]
pub(crate) struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Issue a token for a device
    Issue(issue::Issue),
    /// Check a token as the relay does, and name every check that fails
    Verify(verify::Verify),
    /// Show what stands in a token, without checking it
    Inspect(inspect::Inspect),
    /// Take tokens back: they open nothing any more, and their sessions close
    Revoke(Box<revoke::Revoke>),
    /// List tokens that were taken back, or forget those that are over
    Revocations(revocations::Revocations),
    /// Make keys, change them without refusing anybody, and hand out their public parts
    Keys(keys::Keys),
}

impl Token {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        match self.verb {
            Verb::Issue(issue) => issue.run(out),
            Verb::Verify(verify) => verify.run(out),
            Verb::Inspect(inspect) => inspect.run(out),
            Verb::Revoke(revoke) => wait_for(revoke.run(out)),
            Verb::Revocations(revocations) => wait_for(revocations.run(out)),
            Verb::Keys(keys) => keys.run(out),
        }
    }
}

/// The file of the keyset that the settings name.
fn keys_file(auth: &AuthConfig) -> Result<&Path, Failure> {
    auth.keys.as_deref().ok_or_else(|| {
        Failure::new(Exit::Config, "no keyset is named: --keys FILE")
            .hint("`chatctl token keys generate -o FILE` makes one")
    })
}

/// The keyset that the settings name.
fn keyset(auth: &AuthConfig) -> Result<Keyset, Failure> {
    Ok(Keyset::load(keys_file(auth)?)?)
}

/// The relay's own check.
fn verifier(auth: &AuthConfig, keyset: Keyset) -> Result<Verifier, Failure> {
    verifier_with(auth, keyset, LEEWAY)
}

/// The relay's own check, with another leeway.
fn verifier_with(auth: &AuthConfig, keyset: Keyset, leeway: Duration) -> Result<Verifier, Failure> {
    let mut policy = Policy::of(keyset, auth)?;
    policy.leeway = leeway;
    Ok(Verifier::new(policy, Arc::new(Metrics::new())))
}

/// Fetches the keys of outside issuers that are behind URLs, once. Whoever does not answer is named.
fn fetch_outside(verifier: &Verifier, out: &Out) -> Result<(), Failure> {
    if verifier.silent_issuers().is_empty() {
        return Ok(());
    }
    wait_for(async {
        verifier.fetch_due().await;
        Ok(())
    })?;
    for issuer in verifier.silent_issuers() {
        out.warn(&format!(
            "warning: no keys of this outside issuer: {}",
            plain(&issuer)
        ));
    }
    Ok(())
}

/// What anybody may have written, made harmless for a terminal.
fn plain(text: &str) -> String {
    let escape = |char: char| {
        if char == ' ' || char.is_ascii_graphic() {
            char.to_string()
        } else {
            char.escape_default().to_string()
        }
    };
    text.chars().map(escape).collect()
}

/// Where a token is read from.
#[derive(Debug, clap::Args)]
struct Input {
    /// Read the token from a file instead of stdin
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// `-` for stdin. A token that is typed here is refused without being shown.
    #[arg(hide = true, value_name = "-")]
    dash: Option<String>,
}

impl Input {
    fn token(&self, out: &Out) -> Result<String, Failure> {
        let typed = self.dash.as_deref().is_some_and(|dash| dash != "-");
        // A token in place of a file's name would be shown by the error about that file.
        let path = self.token_file.as_ref().and_then(|path| path.to_str());
        if typed || path.is_some_and(|path| path.starts_with("eyJ")) {
            let message = "refusing to read a token from the command line (visible in ps and shell history)";
            return Err(Failure::new(Exit::Usage, message).hint("use stdin or --token-file"));
        }
        let mut bytes = Vec::new();
        // A little more than a token may be, so that a longer one is seen to be longer.
        let limit = MAX_TOKEN_BYTES as u64 + 1024;
        let read = match &self.token_file {
            Some(path) => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
            None => {
                let stdin = std::io::stdin();
                if stdin.is_terminal() {
                    out.warn("reading a token from the terminal; end with Enter and Ctrl-D");
                }
                stdin.lock().take(limit).read_to_end(&mut bytes)
            }
        };
        let from = self
            .token_file
            .as_ref()
            .map_or("stdin".to_owned(), |path| path.display().to_string());
        let failed = |error: &std::io::Error| {
            Failure::new(Exit::NoInput, format!("cannot read the token from {from}")).caused_by(error)
        };
        read.map_err(|error| failed(&error))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::new(Exit::DataErr, format!("what {from} holds is not text")))?;
        match text.trim() {
            "" => Err(Failure::new(Exit::DataErr, format!("{from} holds no token"))),
            token => Ok(token.to_owned()),
        }
    }
}
