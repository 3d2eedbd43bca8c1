//! `chatctl jobs`: what is cleaned up and when, a run by hand, and what came of those that were.
//!
//! What holds now is asked of the relay if one is found, else of the store; when a job is due is in the settings
//! alone. Must not know what a job does.

mod desk;
mod entry;
mod history;
mod lint;
mod list;
mod next;
mod pause;
mod run;
mod units;
mod unlock;

pub(crate) use history::RunHistory;
pub(crate) use lint::Linted;
pub(crate) use list::JobList;
pub(crate) use next::Coming;
pub(crate) use pause::{Paused, Resumed};
pub(crate) use run::JobRun;
pub(crate) use units::Written;
pub(crate) use unlock::Unlocked;

use chatctl_relay::config::jobs::JobName;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
use crate::runtime::wait_for;

/// Look at scheduled jobs, run them by hand, and pause them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl jobs list --data-dir /var/lib/chatctl
  chatctl jobs run expire-mail --data-dir /var/lib/chatctl --apply
  chatctl jobs lint '*/10 * * * *'")]
pub(crate) struct Jobs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the jobs: when each is due, who runs it, what came of it
    List(Box<list::List>),
    /// Show when jobs are due next
    Next(Box<next::Next>),
    /// Say what a schedule means, and what may be wrong with it
    Lint(lint::Lint),
    /// Run a job now; one that deletes only looks, unless told to apply
    Run(Box<run::Run>),
    /// Show what came of runs, the newest first
    History(Box<history::History>),
    /// Pause a job on every relay of the store
    Pause(Box<pause::Pause>),
    /// Resume a job that is paused
    Resume(Box<pause::Resume>),
    /// Break the lease of a job whose holder is gone
    Unlock(Box<unlock::Unlock>),
    /// Write systemd timers that run the jobs instead of the relay
    Units(Box<units::Units>),
}

impl Jobs {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        match self.verb {
            Verb::List(list) => wait_for(list.run(out)),
            Verb::Next(next) => next.run(out),
            Verb::Lint(lint) => lint.run(out),
            Verb::Run(run) => wait_for(run.run(out)),
            Verb::History(history) => wait_for(history.run(out)),
            Verb::Pause(pause) => wait_for(pause.run(out)),
            Verb::Resume(resume) => wait_for(resume.run(out)),
            Verb::Unlock(unlock) => wait_for(unlock.run(out)),
            Verb::Units(units) => units.run(out),
        }
    }
}

/// Reads the name of a job, and knows all of them.
fn job() -> impl TypedValueParser<Value = JobName> {
    PossibleValuesParser::new(JobName::ALL.map(JobName::as_str)).try_map(|name| name.parse::<JobName>())
}
