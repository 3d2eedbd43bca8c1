//! `chatctl asyncapi`: the WebSocket protocol, described for programs.

use chatctl_relay::http::asyncapi;

use crate::failure::Failure;
use crate::out::Out;

/// Describe the WebSocket protocol
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: chatctl asyncapi generate -o asyncapi.json")]
pub(crate) struct AsyncApi {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write the AsyncAPI document, made from the code alone
    #[command(after_help = "Examples:
  chatctl asyncapi generate -o asyncapi.json
  chatctl asyncapi generate | jq '.channels.session.\"x-close-codes\"'")]
    Generate,
}

impl AsyncApi {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        match self.verb {
            // The document is JSON whoever reads it.
            Verb::Generate => out.verbatim(asyncapi::canonical().as_bytes()),
        }
    }
}
