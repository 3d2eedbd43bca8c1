//! `chatctl token keys import`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use chatctl_relay::auth::private_file::{self, Existing};
use chatctl_relay::auth::{KeyState, KeysetError, NewKey, PemError, is_private_pem};
use chatctl_relay::config::AuthConfig;
use chatctl_relay::model::Clock;
use schemars::JsonSchema;
use serde::Serialize;

use super::OpenFile;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Take a key in PEM into the keyset
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl token keys import key.pem --kid old-1 --keys keys.json
  openssl genpkey -algorithm ed25519 | chatctl token keys import - --kid new-1 --keys keys.json")]
pub(super) struct Import {
    /// PEM file, mode 0600 if the key is private (`-` is stdin): PKCS#8 or SPKI; Ed25519, P-256 or RSA
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The key's name
    #[arg(long, value_name = "NAME")]
    kid: String,

    /// Where the key begins its life
    #[arg(long, value_enum, value_name = "STATE", default_value = "next")]
    state: Start,

    #[command(flatten)]
    auth: AuthConfig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Start {
    /// Known, and signs when it is made active
    Next,
    /// Signs at once, if it has its private part
    Active,
}

/// A key that was taken into a keyset.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ImportedKey {
    /// The keyset.
    file: String,
    kid: String,
    alg: String,
    state: &'static str,
    /// False when it only verifies.
    has_private_part: bool,
}

impl Document for ImportedKey {
    const SCHEMA: &'static str = "chatctl.token.keys.import/v1";
}

impl Import {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let now = Clock::system().now();
        let text = read(&self.file)?;
        let key = NewKey::from_pem(&text, &self.kid, now).map_err(|error| refused(&error))?;
        let has_private_part = key.has_private_part();
        if !has_private_part && is_private_pem(text.as_bytes()) {
            out.warn("only the public part was taken: RS256 keys verify here and do not sign");
        }
        let file = OpenFile::open(&self.auth)?;
        super::changes_the_keyset(out, &file.path)?;
        let state = match self.state {
            Start::Next => KeyState::Next,
            Start::Active => KeyState::Active,
        };
        let keyset = file.keyset.with(key, state, now)?;
        keyset.save(&file.path, Existing::Replace)?;
        let alg = keyset.facts().find(|key| key.kid == self.kid);
        let alg = alg.map_or("", |key| key.algorithm.as_str());
        let (path, state) = (file.path.display().to_string(), state.as_str());
        let text = format!("key {} ({alg}, {state}) in {path}\n", self.kid);
        let document = ImportedKey {
            file: path,
            kid: self.kid,
            alg: alg.to_owned(),
            state,
            has_private_part,
        };
        out.result(&text, &document)
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: &std::io::Error| {
        Failure::new(Exit::NoInput, format!("cannot read {}", path.display())).caused_by(error)
    };
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        let stdin = std::io::stdin().lock();
        stdin
            .take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&error))?;
    } else {
        let open = match private_file::read(path) {
            Ok(private) => {
                bytes = private;
                None
            }
            Err(KeysetError::TooOpen { mode, .. }) => Some(mode),
            Err(error) => return Err(error.into()),
        };
        if let Some(mode) = open {
            let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
            file.take(MAX_BYTES)
                .read_to_end(&mut bytes)
                .map_err(|error| unreadable(&error))?;
            // What is public may be read by everybody.
            if is_private_pem(&bytes) {
                let path = path.to_owned();
                return Err(KeysetError::TooOpen { path, mode }.into());
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| refused(&PemError::NoPem))
}

fn refused(error: &PemError) -> Failure {
    let failure = Failure::from_error(Exit::DataErr, error);
    match error {
        PemError::Encrypted => failure.hint("`openssl pkcs8 -in FILE | chatctl token keys import - …` asks for the password and leaves nothing on disk"),
        PemError::OtherForm => failure.hint("`openssl pkcs8 -topk8 -nocrypt -in FILE | chatctl token keys import - …`"),
        PemError::NoPem | PemError::NotAKey | PemError::Several | PemError::Kind => failure
            .hint("PKCS#8 (BEGIN PRIVATE KEY) or SPKI (BEGIN PUBLIC KEY) of an Ed25519, P-256 or RSA key"),
        PemError::Key(_) => failure,
    }
}

const MAX_BYTES: u64 = 64 * 1024;
