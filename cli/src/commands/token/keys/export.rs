//! `chatctl token keys export`.

use chatctl_relay::auth::Keyset;
use chatctl_relay::config::AuthConfig;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out, to_json};

/// Write the public parts, for those who check tokens elsewhere
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl token keys export --keys keys.json -o jwks.json
  chatctl token keys export --keys keys.json --export-format pem")]
pub(super) struct Export {
    #[command(flatten)]
    auth: AuthConfig,

    /// As a JWK set, or as PEM (SPKI), one key after the other
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "jwks")]
    export_format: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// A JWK set, as the relay serves it
    Jwks,
    /// PEM (SPKI)
    Pem,
}

/// Public keys.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ExportedKeys {
    /// JWKs; or for PEM, objects with `kid` and `pem`.
    keys: Vec<Value>,
}

impl Document for ExportedKeys {
    const SCHEMA: &'static str = "chatctl.token.keys.export/v1";
}

impl Export {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let keyset = Keyset::load(super::super::keys_file(&self.auth)?)?;
        let (text, keys) = match self.export_format {
            Form::Jwks => {
                let jwks = keyset.jwks();
                let keys = jwks["keys"].as_array().cloned().unwrap_or_default();
                (to_json(&jwks)?, keys)
            }
            Form::Pem => {
                let pems = keyset.public_pems();
                let text = pems.iter().map(|(_, pem)| pem.as_str()).collect();
                let keys = pems.iter().map(|(kid, pem)| json!({"kid": kid, "pem": pem}));
                (text, keys.collect())
            }
        };
        if keys.is_empty() {
            return Err(Failure::new(Exit::DataErr, "the keyset has no public keys to export")
                .hint("an HS256 key is a secret and has no public part; `chatctl token keys rotate --phase publish --alg EdDSA` makes one that has"));
        }
        out.result(&text, &ExportedKeys { keys })
    }
}
