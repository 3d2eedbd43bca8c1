//! `chatctl openapi html`: the pages of `/docs` as one file.

use chatctl_relay::http::docs;

use crate::failure::Failure;
use crate::out::Out;

/// Write the manual of the API as one HTML file that needs nothing else
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: chatctl openapi html -o chatctl-api.html")]
pub(crate) struct Html;

impl Html {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        out.verbatim(docs::one_file().as_bytes())
    }
}
