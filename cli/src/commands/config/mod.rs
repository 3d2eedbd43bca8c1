//! `chatctl config`: the configuration, before a relay reads it.

mod check;
mod init;
mod show;

pub(crate) use check::Checked;
pub(crate) use init::Written;
pub(crate) use show::Shown;

use chatctl_relay::config::Config;

use crate::failure::Failure;
use crate::log::LogConfig;
use crate::out::Out;
use crate::telemetry::TelemetryConfig;

/// Write, check and show the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl config init -o /etc/chatctl/chatctl.toml
  chatctl config check && chatctl reload
  chatctl config show --changed")]
pub(crate) struct Configuration {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write a configuration file in which every setting is explained
    Init(init::Init),
    /// Find everything that is wrong with configuration files and variables
    Check(check::Check),
    /// Show every setting, its value, and where that comes from
    Show(Box<show::Show>),
}

impl Configuration {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        match self.verb {
            Verb::Init(init) => init.run(out),
            Verb::Check(check) => check.run(out),
            Verb::Show(show) => show.run(out),
        }
    }
}

/// Everything that a file can say: what the relay takes, and the log.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "chatctl")]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) config: Config,

    #[command(flatten)]
    pub(crate) log: LogConfig,

    #[command(flatten)]
    pub(crate) telemetry: TelemetryConfig,
}
