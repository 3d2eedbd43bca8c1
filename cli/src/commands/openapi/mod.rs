//! `chatctl openapi`: the HTTP API, described.

mod html;

use crate::failure::Failure;
use crate::out::Out;

/// Describe the HTTP API
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: chatctl openapi html -o chatctl-api.html")]
pub(crate) struct OpenApi {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Html(html::Html),
}

impl OpenApi {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        match self.verb {
            Verb::Html(html) => html.run(out),
        }
    }
}
