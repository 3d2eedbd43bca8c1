//! `chatctl schema`: what programs may expect of `--json`.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out, to_json};
use crate::schemas;

/// Show what a command's --json answer looks like
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl schema
  chatctl schema chatctl.token.issue/v1")]
pub(crate) struct Schema {
    /// Which one, as a JSON Schema; without it, all their names
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// The documents there are.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Documents {
    documents: Vec<Named>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Named {
    /// The value of the document's `schema`.
    name: &'static str,
    /// The command that writes it.
    command: &'static str,
}

impl Document for Documents {
    const SCHEMA: &'static str = "chatctl.schema/v1";
}

impl Schema {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let Some(name) = self.name else {
            return list(out);
        };
        let found = schemas::ALL.iter().find(|answer| answer.name == name);
        let Some(answer) = found else {
            return Err(
                Failure::new(Exit::NoInput, format!("there is no document {name:?}"))
                    .hint("`chatctl schema` lists them"),
            );
        };
        out.verbatim(to_json(&answer.schema())?.as_bytes())
    }
}

fn list(out: &Out) -> Result<(), Failure> {
    let documents: Vec<_> = schemas::ALL
        .iter()
        .map(|answer| Named {
            name: answer.name,
            command: answer.command,
        })
        .collect();
    let mut text = String::new();
    for Named { name, command } in &documents {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<40}chatctl {command} --json");
    }
    out.result(&text, &Documents { documents })
}
