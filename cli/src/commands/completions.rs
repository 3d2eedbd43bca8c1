//! `chatctl completions`: what a shell needs to complete our command lines.

use clap_complete::Shell;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Failure;
use crate::out::{Document, Out};

/// Write a shell's completions
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl completions bash -o /etc/bash_completion.d/chatctl
  chatctl completions fish -o ~/.config/fish/completions/chatctl.fish")]
pub(crate) struct Completions {
    /// Whose
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// A shell's completions.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Script {
    /// Whose.
    shell: String,
    /// What the shell has to run.
    script: String,
}

impl Document for Script {
    const SCHEMA: &'static str = "chatctl.completions/v1";
}

impl Completions {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        clap_complete::generate(self.shell, &mut crate::command(), "chatctl", &mut bytes);
        let script = String::from_utf8_lossy(&bytes).into_owned();
        let document = Script {
            shell: self.shell.to_string(),
            script,
        };
        out.result(&document.script, &document)
    }
}
