//! `chatctl token keys`.

use chatctl_relay::auth::Keyset;
use chatctl_relay::model::Clock;
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Make keys
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl token keys generate -o keys.json")]
pub(super) struct Keys {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a keyset with one Ed25519 key that signs
    Generate(Generate),
}

/// Make a keyset with one Ed25519 key that signs
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl token keys generate -o keys.json")]
struct Generate {}

/// A keyset that was made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GeneratedKey {
    /// Where it is.
    file: String,
    /// The name of its key.
    kid: String,
    /// How the key signs.
    alg: &'static str,
}

impl Document for GeneratedKey {
    const SCHEMA: &'static str = "chatctl.token.keys.generate/v1";
}

impl Keys {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        match self.verb {
            Verb::Generate(generate) => generate.run(out),
        }
    }
}

impl Generate {
    fn run(self, out: &Out) -> Result<(), Failure> {
        let path = out.file().ok_or_else(|| {
            Failure::new(Exit::Usage, "private keys are not shown on a screen: -o FILE")
                .hint("`chatctl token keys generate -o keys.json` writes them with mode 0600")
        })?;
        let keyset = Keyset::generate(&mut rand::rng(), Clock::system().now())?;
        keyset.save(path, out.existing())?;
        let kid = keyset.signing_kid().unwrap_or_default();
        let path = path.display();
        let document = GeneratedKey {
            file: path.to_string(),
            kid: kid.to_owned(),
            alg: "EdDSA",
        };
        out.about_file(&format!("key {kid} (EdDSA, active) in {path}\n"), &document)
    }
}
