//! `chatctl token keys`: a keyset file and the life of its keys.
//!
//! Owns what its verbs share: the file that the settings name, and how long a rotation waits.

mod check;
mod export;
mod generate;
mod import;
mod list;
mod rotate;

pub(crate) use check::CheckedKeys;
pub(crate) use export::ExportedKeys;
pub(crate) use generate::GeneratedKey;
pub(crate) use import::ImportedKey;
pub(crate) use list::ListedKeys;
pub(crate) use rotate::RotatedKeys;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chatctl_relay::auth::private_file::{self, Held};
use chatctl_relay::auth::{Algorithm, Keyset, Phase, Waits};
use chatctl_relay::config::AuthConfig;
use chatctl_relay::model::UnixMs;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
use crate::when::{relative, rfc3339};

/// Make keys, change them without refusing anybody, and hand out their public parts
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl token keys generate -o keys.json
  chatctl token keys rotate --keys keys.json --phase auto")]
pub(super) struct Keys {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a keyset with one key that signs
    Generate(generate::Generate),
    /// List the keys, their states, and what comes next for each
    List(list::List),
    /// Take the next step from an old key to a new one
    Rotate(rotate::Rotate),
    /// Write the public parts, for those who check tokens elsewhere
    Export(export::Export),
    /// Take a key in PEM into the keyset
    Import(import::Import),
    /// Find everything that is wrong with the keyset
    Check(check::Check),
}

impl Keys {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        match self.verb {
            Verb::Generate(generate) => generate.run(out),
            Verb::List(list) => list.run(out),
            Verb::Rotate(rotate) => rotate.run(out),
            Verb::Export(export) => export.run(out),
            Verb::Import(import) => import.run(out),
            Verb::Check(check) => check.run(out),
        }
    }
}

/// What a key that is made here signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Alg {
    /// Ed25519: small, fast, and the default
    #[value(name = "EdDSA", alias = "eddsa")]
    EdDsa,
    /// ECDSA on P-256, for verifiers that know no Ed25519
    #[value(name = "ES256", alias = "es256")]
    Es256,
    /// A secret that everybody who checks tokens has to share
    #[value(name = "HS256", alias = "hs256")]
    Hs256,
}

impl Alg {
    const fn algorithm(self) -> Algorithm {
        match self {
            Self::EdDsa => Algorithm::EdDsa,
            Self::Es256 => Algorithm::Es256,
            Self::Hs256 => Algorithm::Hs256,
        }
    }
}

/// How long others may keep the public keys.
#[derive(Debug, clap::Args)]
struct Cache {
    /// Longest time for which somebody who checks tokens may keep the public keys (5m at least)
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    verifier_cache: Duration,
}

impl Cache {
    const fn waits(&self, auth: &AuthConfig) -> Waits {
        Waits {
            verifier_cache: self.verifier_cache,
            token_life: auth.max_token_life,
        }
    }
}

/// A keyset file that nobody else changes meanwhile.
struct OpenFile {
    path: PathBuf,
    keyset: Keyset,
    _held: Held,
}

impl OpenFile {
    fn open(auth: &AuthConfig) -> Result<Self, Failure> {
        // A link stays one: the file behind it is what is changed.
        let named = super::keys_file(auth)?;
        let path = named.canonicalize().unwrap_or_else(|_| named.to_owned());
        let held = private_file::hold(&path)?;
        let keyset = Keyset::load(&path)?;
        Ok(Self {
            path,
            keyset,
            _held: held,
        })
    }
}

/// Refuses `-o` where the file that is changed is `--keys`.
fn changes_the_keyset(out: &Out, path: &Path) -> Result<(), Failure> {
    match out.file() {
        Some(file) if file == path => Err(Failure::new(
            Exit::Usage,
            "--keys names the keyset, and it is changed in place; -o is for the report",
        )),
        _ => Ok(()),
    }
}

/// `activate in 5m at 2026-…`.
fn coming(phase: Phase, at: Option<UnixMs>, now: UnixMs) -> String {
    let phase = phase.as_str();
    match at {
        Some(at) if at <= now => format!("{phase} now"),
        Some(at) => format!("{phase} {} at {}", relative(at, now), rfc3339(at)),
        None => format!("{phase}, when is unknown"),
    }
}
