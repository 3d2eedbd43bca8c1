//! `chatctl bench compare`.

use std::path::{Path, PathBuf};

use chatctl_loadgen::report::Report;
use chatctl_loadgen::report::compare::{self, Change, Comparison, Rules, compare};
use schemars::JsonSchema;
use serde::Serialize;

use super::account::read;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out, to_json};

/// Compare two reports: better, worse, or noise
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl bench compare base.json new.json --fail-on 'e2e.p99>+10%,throughput<-5%'
  chatctl bench compare runs/before runs/after --markdown")]
pub(super) struct Compare {
    /// What it was: a report, or a folder with those of several runs
    #[arg(value_name = "BASE")]
    base: PathBuf,

    /// What it is now
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// Changes that must not be, as 'e2e.p99>+10%,throughput<-5%'
    #[arg(long, value_name = "CHANGES", value_parser = changes)]
    fail_on: Option<Changes>,

    /// Compare what did different things, or came to no verdict
    #[arg(long)]
    anyway: bool,

    /// As a table for a comment
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// Changes that must not be. A type of its own: an argument that is a list would be one for each.
#[derive(Debug, Clone)]
struct Changes(Vec<Change>);

/// A comparison as a document of ours. It names its schema itself.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub(crate) struct Compared(Comparison);

impl Document for Compared {
    const SCHEMA: &'static str = compare::SCHEMA;
}

impl Compare {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let rules = Rules {
            fail_on: self.fail_on.map(|Changes(changes)| changes).unwrap_or_default(),
            force: self.anyway,
        };
        let (base, new) = (all(&self.base)?, all(&self.new)?);
        let compared = compare(&base, &new, &rules).map_err(|error| {
            Failure::from_error(Exit::DataErr, &error).hint("--anyway compares them all the same")
        })?;
        let text = match (out.is_json(), self.markdown) {
            (true, _) => to_json(&compared)?,
            (false, true) => compared.markdown(),
            (false, false) => compared.text(),
        };
        out.verbatim(text.as_bytes())?;
        match compared.failures.is_empty() {
            true => Ok(Exit::Ok),
            false => Ok(Exit::Threshold),
        }
    }
}

/// The report of a file, or those in a folder and its folders.
fn all(path: &Path) -> Result<Vec<Report>, Failure> {
    if !path.is_dir() {
        return read(path).map(|report| vec![report]);
    }
    let unreadable = |error: std::io::Error| {
        Failure::new(Exit::NoInput, format!("cannot look into {}", path.display())).caused_by(&error)
    };
    let mut files = vec![path.join("report.json")];
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        files.push(entry.map_err(unreadable)?.path().join("report.json"));
    }
    files.sort();
    files.retain(|file| file.is_file());
    match files.is_empty() {
        true => Err(Failure::new(
            Exit::NoInput,
            format!("there is no report in {}", path.display()),
        )),
        false => files.iter().map(|file| read(file)).collect(),
    }
}

fn changes(text: &str) -> Result<Changes, String> {
    Change::list(text).map(Changes).map_err(|error| error.to_string())
}
