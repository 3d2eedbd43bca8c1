//! `chatctl openapi check`.

use std::fmt::Write as _;
use std::path::PathBuf;

use chatctl_relay::http::openapi::canonical;
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::openapi::{self, Finding};
use crate::out::{Document, Out};

/// Find what is wrong with a description
///
/// Operations have ids of their own, descriptions and a say on tokens; errors are problem+json; references lead
/// somewhere; examples are there and are what their schemas say. Ends with 65 when something is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl openapi check
  chatctl openapi check --against openapi/openapi.json")]
pub(super) struct Check {
    /// The description; without it, that of this build
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Fail also when this file is not just what was checked, in canonical form
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Checked {
    /// Operations that were looked at.
    operations: usize,
    /// What is wrong, in the order of the document.
    findings: Vec<Finding>,
}

impl Document for Checked {
    const SCHEMA: &'static str = "chatctl.openapi.check/v1";
}

impl Check {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let document = match &self.file {
            Some(path) => super::read(path)?.1,
            None => super::generated()?,
        };
        let mut findings = openapi::findings(&document);
        if let Some(path) = &self.against {
            let (committed, _) = super::read(path)?;
            findings.extend(drift(
                &canonical(&document),
                &committed,
                &path.display().to_string(),
            ));
        }
        let operations = openapi::operations(&document).len();
        let mut text = String::new();
        for Finding { rule, place, message } in &findings {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{rule:<16}  {place}: {message}");
        }
        let _ = writeln!(text, "{operations} operations, {} findings", findings.len());
        let is_drift = findings.iter().any(|finding| finding.rule == "drift");
        let count = findings.len();
        out.result(&text, &Checked { operations, findings })?;
        match (count, is_drift) {
            (0, _) => Ok(()),
            (_, true) => Err(wrong(count).hint("`chatctl openapi generate --force -o FILE` writes it anew")),
            (_, false) => Err(wrong(count)),
        }
    }
}

fn wrong(count: usize) -> Failure {
    let things = if count == 1 { "thing is" } else { "things are" };
    Failure::new(
        Exit::DataErr,
        format!("{count} {things} wrong with the description"),
    )
}

/// The first line in which a file differs.
fn drift(wanted: &str, found: &str, name: &str) -> Option<Finding> {
    if wanted == found {
        return None;
    }
    let mut lines = wanted.lines().zip(found.lines()).enumerate();
    let (place, message) = match lines.find(|(_, (wanted, found))| wanted != found) {
        Some((index, (wanted, found))) => (
            format!("{name}:{}", index + 1),
            format!("{:?} should be {:?}", found.trim(), wanted.trim()),
        ),
        None => (name.to_owned(), "one is longer than the other".to_owned()),
    };
    Some(Finding::new("drift", &place, message))
}
