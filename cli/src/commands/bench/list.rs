//! `chatctl bench list`.

use chatctl_loadgen::scenario::Preset;
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::figures::table;
use crate::out::{Document, Out};

/// List the presets, and what they do
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl bench list")]
pub(super) struct List {}

/// The presets.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Presets {
    presets: Vec<Entry>,
}

/// A preset.
#[derive(Debug, Serialize, JsonSchema)]
struct Entry {
    /// Its name.
    name: &'static str,
    /// What it does.
    about: &'static str,
}

impl Document for Presets {
    const SCHEMA: &'static str = "chatctl.bench.list/v1";
}

impl List {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let Self {} = self;
        let presets = Preset::ALL.map(|preset| Entry {
            name: preset.name(),
            about: preset.about(),
        });
        let rows: Vec<_> = presets
            .iter()
            .map(|entry| vec![entry.name.to_owned(), entry.about.to_owned()])
            .collect();
        let document = Presets {
            presets: presets.into(),
        };
        out.result(&table(&rows), &document)?;
        out.note("each is a command, `chatctl bench pairs`; `chatctl bench scenario pairs` prints what it does as a file");
        Ok(Exit::Ok)
    }
}
