//! `chatctl openapi diff`.

use std::fmt::Write as _;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::openapi::{Change, Severity, changes};
use crate::out::{Document, Out};

/// Tell which changes of a description break clients
///
/// Texts for people are not compared. Ends with 1 when there is a change that --fail-on names.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  git show main:openapi/openapi.json > main.json
  chatctl openapi diff main.json openapi/openapi.json --fail-on breaking")]
pub(super) struct Diff {
    /// The description that clients know
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The description that takes its place
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// Which changes are a failure
    #[arg(long, value_enum, value_name = "WHICH")]
    fail_on: Option<FailOn>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FailOn {
    /// Those that break clients.
    Breaking,
    /// All of them.
    Any,
}

/// What changed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Compared {
    /// Changes that break clients.
    breaking: usize,
    /// Changes of which nobody can tell from the documents.
    unclassified: usize,
    /// Changes that break nobody.
    compatible: usize,
    /// All of them, in this order.
    changes: Vec<Change>,
}

impl Document for Compared {
    const SCHEMA: &'static str = "chatctl.openapi.diff/v1";
}

impl Diff {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let changes = changes(&super::read(&self.old)?.1, &super::read(&self.new)?.1);
        let count = |severity| {
            changes
                .iter()
                .filter(|change| change.severity == severity)
                .count()
        };
        let compared = Compared {
            breaking: count(Severity::Breaking),
            unclassified: count(Severity::Unclassified),
            compatible: count(Severity::Compatible),
            changes,
        };
        out.result(&text(&compared), &compared)?;
        let failing = match self.fail_on {
            Some(FailOn::Breaking) => compared.breaking,
            Some(FailOn::Any) => compared.changes.len(),
            None => 0,
        };
        match (failing, self.fail_on) {
            (0, _) | (_, None) => Ok(()),
            (1.., Some(FailOn::Breaking)) => {
                Err(Failure::new(Exit::Failure, "the description breaks its clients")
                    .hint("a breaking change needs a new version of the API"))
            }
            (1.., Some(FailOn::Any)) => Err(Failure::new(Exit::Failure, "the descriptions differ")),
        }
    }
}

fn text(compared: &Compared) -> String {
    let mut text = String::new();
    for Change {
        severity,
        kind,
        place,
        message,
    } in &compared.changes
    {
        let severity = match severity {
            Severity::Breaking => "breaking",
            Severity::Unclassified => "unclassified",
            Severity::Compatible => "compatible",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{severity:<12}  {kind}  {place}: {message}");
    }
    let Compared {
        breaking,
        unclassified,
        compatible,
        ..
    } = compared;
    let _ = writeln!(
        text,
        "{breaking} breaking, {unclassified} unclassified, {compatible} compatible"
    );
    text
}
