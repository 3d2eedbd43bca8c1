//! `chatctl openapi html`: the pages of `/docs` as one file.

use chatctl_relay::http::docs;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Failure;
use crate::out::{Document, Out};

/// Write the manual of the API as one HTML file that needs nothing else
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl openapi html -o chatctl-api.html")]
pub(super) struct Html {}

/// The manual.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Page {
    /// The file.
    html: String,
}

impl Document for Page {
    const SCHEMA: &'static str = "chatctl.openapi.html/v1";
}

impl Html {
    #[expect(clippy::unused_self, reason = "every command is run in the same way")]
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let page = Page {
            html: docs::one_file(),
        };
        out.result(&page.html, &page)
    }
}
