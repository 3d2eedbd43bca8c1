//! `chatctl seed`: what a store needs before a relay uses it, whether it still has it, and data to try it with.
//!
//! Owns what its verbs share. Must not know how a store does it.

mod apply;
mod demo;
mod import_legacy;
mod plan;
mod reset;
mod verify;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Set up a store, check it, and fill it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl seed plan --store mongodb://db1,db2,db3/chat?replicaSet=rs0
  chatctl seed apply --store-uri-file /etc/chatctl/store-uri --environment production")]
pub(crate) struct Seed {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show what `apply` would change; write nothing
    Plan(plan::Plan),
    /// Make the store what this version needs
    Apply(apply::Apply),
    /// Check that what is stored fits together
    Verify(verify::Verify),
    /// Delete everything of chatctl's in the store
    Reset(reset::Reset),
    /// Fill the store with demo accounts
    Demo(Box<demo::Demo>),
    /// Take accounts over from an older chat's database
    ImportLegacy(Box<import_legacy::ImportLegacy>),
}

impl Seed {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Failure, "cannot start").caused_by(&error))?;
        let exit = runtime.block_on(async {
            match self.verb {
                Verb::Plan(plan) => plan.run(out).await,
                Verb::Apply(apply) => apply.run(out).await,
                Verb::Verify(verify) => verify.run(out).await,
                Verb::Reset(reset) => reset.run(out).await,
                Verb::Demo(demo) => demo.run(out).await,
                Verb::ImportLegacy(import) => import.run(out).await,
            }
        });
        runtime.shutdown_background();
        exit
    }
}
