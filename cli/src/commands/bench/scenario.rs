//! `chatctl bench scenario`.

use chatctl_loadgen::scenario::{Preset, Scenario};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use schemars::JsonSchema;
use serde::Serialize;

use super::course::sound;
use super::shape::Shape;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Print a preset as a scenario file, with the flags in it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl bench scenario pairs
  chatctl bench scenario rooms --clients 400 --rate 200/s -o office.toml")]
pub(super) struct Print {
    /// The preset
    #[arg(value_name = "PRESET", value_parser = preset())]
    preset: Preset,

    #[command(flatten)]
    shape: Shape,
}

/// A scenario that was printed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Written {
    /// The scenario.
    scenario: Scenario,
    /// The same as a file for `chatctl bench run`.
    toml: String,
}

impl Document for Written {
    const SCHEMA: &'static str = "chatctl.bench.scenario.file/v1";
}

impl Print {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let mut scenario = self.preset.scenario();
        self.shape.apply(&mut scenario)?;
        sound(&scenario)?;
        let toml = toml::to_string(&scenario).map_err(|error| Failure::from_error(Exit::Failure, &error))?;
        let document = Written {
            toml: toml.clone(),
            scenario,
        };
        out.result(&toml, &document)?;
        Ok(Exit::Ok)
    }
}

fn preset() -> impl TypedValueParser<Value = Preset> {
    PossibleValuesParser::new(Preset::ALL.map(Preset::name)).try_map(|name| name.parse::<Preset>())
}
