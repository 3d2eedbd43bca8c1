//! `chatctl token keys generate`.

use chatctl_relay::auth::{KeyState, Keyset, NewKey};
use chatctl_relay::model::Clock;
use schemars::JsonSchema;
use serde::Serialize;

use super::Alg;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Make a keyset with one key that signs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl token keys generate -o keys.json
  chatctl token keys generate --alg ES256 --kid relay-1 -o keys.json")]
pub(super) struct Generate {
    /// What the key signs with
    #[arg(long, value_enum, value_name = "ALG", default_value = "EdDSA")]
    alg: Alg,

    /// The key's name; `auto` is the day and chance
    #[arg(long, value_name = "NAME", default_value = "auto")]
    kid: String,
}

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

impl Generate {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let path = out.file().ok_or_else(|| {
            Failure::new(Exit::Usage, "private keys are not shown on a screen: -o FILE")
                .hint("`chatctl token keys generate -o keys.json` writes them with mode 0600")
        })?;
        let now = Clock::system().now();
        let algorithm = self.alg.algorithm();
        let kid = Some(self.kid.as_str()).filter(|kid| *kid != "auto");
        let key = NewKey::generate(algorithm, kid, &mut rand::rng(), now)?;
        let kid = key.kid().to_owned();
        Keyset::of_one(key, KeyState::Active, now)?.save(path, out.existing())?;
        let (alg, path) = (algorithm.as_str(), path.display());
        let text = format!("key {kid} ({alg}, active) in {path}\n");
        let file = path.to_string();
        out.about_file(&text, &GeneratedKey { file, kid, alg })
    }
}
