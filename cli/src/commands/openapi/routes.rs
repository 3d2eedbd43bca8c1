//! `chatctl openapi routes`.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::openapi::{Operation, operations};
use crate::out::{Document, Out};

/// List the routes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl openapi routes")]
pub(super) struct ListRoutes {}

/// The routes of the API.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Routes {
    routes: Vec<Route>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Route {
    method: String,
    path: String,
    operation_id: String,
    tag: String,
    /// The scopes that a token needs; none where no token is asked for.
    scopes: Vec<String>,
}

impl Document for Routes {
    const SCHEMA: &'static str = "chatctl.openapi.routes/v1";
}

impl ListRoutes {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let document = super::generated()?;
        let routes: Vec<_> = operations(&document).iter().map(Route::of).collect();
        let mut text = String::new();
        for Route {
            method,
            path,
            operation_id,
            tag,
            scopes,
        } in &routes
        {
            let scopes = if scopes.is_empty() {
                "-".to_owned()
            } else {
                scopes.join(" ")
            };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{method:<7} {path:<34} {operation_id:<16} {tag:<11} {scopes}"
            );
        }
        out.result(&text, &Routes { routes })
    }
}

impl Route {
    fn of(operation: &Operation<'_>) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let security = operation.body["security"].as_array().into_iter().flatten();
        let scopes = security.filter_map(|alternative| alternative["bearer"].as_array());
        Self {
            method: operation.method.to_uppercase(),
            path: operation.path.to_owned(),
            operation_id: text(&operation.body["operationId"]),
            tag: text(&operation.body["tags"][0]),
            scopes: scopes.flatten().map(text).collect(),
        }
    }
}
