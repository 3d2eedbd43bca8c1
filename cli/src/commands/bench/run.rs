//! `chatctl bench run`.

use std::path::PathBuf;

use chatctl_loadgen::scenario::Scenario;

use super::course::Options;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Run a scenario of one's own
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl bench scenario rooms -o office.toml
  chatctl bench run office.toml --out-dir runs")]
pub(super) struct Run {
    /// The scenario; flags stand over what it says
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    options: Options,
}

impl Run {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let name = self.file.display();
        let text = std::fs::read_to_string(&self.file)
            .map_err(|error| Failure::new(Exit::NoInput, format!("cannot read {name}")).caused_by(&error))?;
        let scenario = Scenario::parse(&text)
            .map_err(|error| Failure::new(Exit::Usage, format!("{name} is no scenario")).caused_by(&error))?;
        self.options.run(scenario, out)
    }
}
