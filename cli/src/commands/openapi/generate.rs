//! `chatctl openapi generate`.

use chatctl_relay::http::openapi::canonical;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::out::{Document, Out};

/// Write the description as OpenAPI 3.1
///
/// Members are sorted and nothing depends on the time or the machine, so that the file can be committed and
/// compared. Limits that are settings have their defaults.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl openapi generate --force -o openapi/openapi.json && git diff --exit-code openapi/")]
pub(super) struct Generate {}

/// The description.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Described {
    /// The OpenAPI document itself, as it is written without `--json`.
    document: Value,
}

impl Document for Described {
    const SCHEMA: &'static str = "chatctl.openapi.generate/v1";
}

impl Generate {
    #[expect(clippy::unused_self, reason = "every command is run in the same way")]
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let document = super::generated()?;
        out.result(&canonical(&document), &Described { document })
    }
}
