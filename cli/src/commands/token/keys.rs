//! `chatctl token keys`.

use std::path::PathBuf;

use chatctl_relay::auth::Keyset;
use chatctl_relay::auth::private_file::Existing;
use chatctl_relay::model::Clock;
use serde_json::json;

use crate::failure::Failure;
use crate::out::Out;

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
struct Generate {
    /// File to write (mode 0600)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Take the place of a file that is there; its tokens are good no more
    #[arg(long)]
    force: bool,
}

impl Keys {
    pub(super) fn run(self, out: Out) -> Result<(), Failure> {
        match self.verb {
            Verb::Generate(generate) => generate.run(out),
        }
    }
}

impl Generate {
    fn run(self, out: Out) -> Result<(), Failure> {
        let keyset = Keyset::generate(&mut rand::rng(), Clock::system().now())?;
        let existing = if self.force {
            Existing::Replace
        } else {
            Existing::Keep
        };
        keyset.save(&self.output, existing)?;
        let kid = keyset.signing_kid().unwrap_or_default();
        let path = self.output.display();
        let document = json!({
            "schema": "chatctl.token.keys.generate/v1", "file": path.to_string(), "kid": kid, "alg": "EdDSA",
        });
        out.result(&format!("key {kid} (EdDSA, active) in {path}\n"), &document)
    }
}
