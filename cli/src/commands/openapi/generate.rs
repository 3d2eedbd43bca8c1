//! `chatctl openapi generate`.

use chatctl_relay::http::openapi::canonical;

use crate::failure::Failure;
use crate::out::Out;

/// Write the description as OpenAPI 3.1
///
/// Members are sorted and nothing depends on the time or the machine, so that the file can be committed and
/// compared. Limits that are settings have their defaults.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl openapi generate --force -o openapi/openapi.json && git diff --exit-code openapi/")]
pub(super) struct Generate {}

impl Generate {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        out.verbatim(canonical(&super::generated()?).as_bytes())
    }
}
