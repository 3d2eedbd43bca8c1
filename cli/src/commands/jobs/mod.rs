//! `chatctl jobs`: what is cleaned up, and when.
//!
//! Owns the group. Must not know what a job does.

mod lint;
mod next;
mod units;

pub(crate) use lint::Linted;
pub(crate) use next::Coming;
pub(crate) use units::Written;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Look at scheduled jobs, and run them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl jobs next
  chatctl jobs lint '*/10 * * * *'")]
pub(crate) struct Jobs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show when jobs are due next
    Next(Box<next::Next>),
    /// Say what a schedule means, and what may be wrong with it
    Lint(lint::Lint),
    /// Write systemd timers that run the jobs instead of the relay
    Units(Box<units::Units>),
}

impl Jobs {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Next(next) => next.run(out),
            Verb::Lint(lint) => lint.run(out),
            Verb::Units(units) => units.run(out),
        }
    }
}
