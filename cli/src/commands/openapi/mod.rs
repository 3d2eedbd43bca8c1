//! `chatctl openapi`: the description of the HTTP API.
//!
//! Needs no store, no configuration and no network: the description is made of the code.

mod check;
mod diff;
mod generate;
mod html;
mod routes;

pub(crate) use check::Checked;
pub(crate) use diff::Compared;
pub(crate) use generate::Described;
pub(crate) use html::Page;
pub(crate) use routes::Routes;

use std::path::Path;

use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Describe the HTTP API, check the description, and compare two
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl openapi generate -o openapi.json
  chatctl openapi diff old.json new.json --fail-on breaking")]
pub(crate) struct OpenApi {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write the description as OpenAPI 3.1
    Generate(generate::Generate),
    /// Find what is wrong with a description
    Check(check::Check),
    /// Tell which changes of a description break clients
    Diff(diff::Diff),
    /// List the routes
    Routes(routes::ListRoutes),
    Html(html::Html),
}

impl OpenApi {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        match self.verb {
            Verb::Generate(generate) => generate.run(out),
            Verb::Check(check) => check.run(out),
            Verb::Diff(diff) => diff.run(out),
            Verb::Routes(routes) => routes.run(out),
            Verb::Html(html) => html.run(out),
        }
    }
}

/// The description of this build.
fn generated() -> Result<Value, Failure> {
    let api = chatctl_relay::http::openapi();
    serde_json::to_value(api).map_err(|error| Failure::from_error(Exit::Failure, &error))
}

/// A description in a file.
fn read(path: &Path) -> Result<(String, Value), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::NoInput, format!("cannot read {}", path.display())).caused_by(&error)
    })?;
    let document: Value = serde_json::from_str(&text).map_err(|error| {
        Failure::new(Exit::DataErr, format!("{} is not JSON", path.display())).caused_by(&error)
    })?;
    if document["openapi"].is_string() && document["paths"].is_object() {
        return Ok((text, document));
    }
    let message = format!("{} is not an OpenAPI document", path.display());
    Err(Failure::new(Exit::DataErr, message).hint("`chatctl openapi generate -o FILE` writes one"))
}
