//! `chatctl asyncapi`: the WebSocket protocol, described for programs.

use chatctl_relay::http::asyncapi;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::out::{Document, Out};

/// Describe the WebSocket protocol
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl asyncapi generate -o asyncapi.json")]
pub(crate) struct AsyncApi {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write the AsyncAPI document, made from the code alone
    #[command(after_help = "Examples:
  chatctl asyncapi generate -o asyncapi.json
  chatctl asyncapi generate | jq '.channels.session[\"x-close-codes\"]'")]
    Generate,
}

/// The description.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Described {
    /// The AsyncAPI document itself, as it is written without `--json`.
    document: Value,
}

impl Document for Described {
    const SCHEMA: &'static str = "chatctl.asyncapi.generate/v1";
}

impl AsyncApi {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        match self.verb {
            Verb::Generate => {
                let document = asyncapi::document();
                out.result(&asyncapi::canonical(), &Described { document })
            }
        }
    }
}
