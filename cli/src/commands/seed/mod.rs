//! `chatctl seed`: what a store needs before a relay uses it, whether it still has it, and data to try it with.
//!
//! Owns what its verbs share. Must not know how a store does it.

mod apply;
mod demo;
mod import_legacy;
mod plan;
mod reset;
mod verify;

use std::time::Duration;

pub(crate) use apply::Applied;
pub(crate) use demo::{Demonstrated, adopt};
pub(crate) use import_legacy::Imported;
pub(crate) use plan::Planned;
pub(crate) use reset::Emptied;
pub(crate) use verify::Verified;

use chatctl_relay::config::StoreConfig;
use chatctl_relay::store::embedded;
use chatctl_relay::store::mongodb;
use chatctl_relay::store::upkeep::{Action, Part, Progress, Step, Upkeep, UpkeepError, Wishes};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
use crate::runtime::wait_for;
use crate::store::{self, Place};

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
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        wait_for(async {
            match self.verb {
                Verb::Plan(plan) => plan.run(out).await,
                Verb::Apply(apply) => apply.run(out).await,
                Verb::Verify(verify) => verify.run(out).await,
                Verb::Reset(reset) => reset.run(out).await,
                Verb::Demo(demo) => demo.run(out).await,
                Verb::ImportLegacy(import) => import.run(out).await,
            }
        })
    }
}

/// What the settings name, set up or not.
///
/// # Errors
///
/// As [`store::place`], and of reaching it.
async fn premises(config: &StoreConfig) -> Result<Box<dyn Upkeep>, Failure> {
    match store::place(config)? {
        Place::Directory(directory) => Ok(Box::new(embedded::Premises::at(&directory))),
        Place::Database(uri) => {
            let premises = mongodb::Premises::reach(&uri, &store::options(config)).await;
            let premises = premises.map_err(|error| store::mongodb_failure(&error))?;
            Ok(Box::new(premises))
        }
    }
}

/// Does what `apply` does, for a relay that is about to serve; tells each step. Cancel safe: the next time goes on.
///
/// # Errors
///
/// As `apply`; but who else is at it is waited for, and an index that would have to be built again is left alone
/// while the store is good without.
pub(super) async fn bring_up_to_date(
    config: &StoreConfig,
    tell: &(dyn Fn(String) + Send + Sync),
) -> Result<(), Failure> {
    // It sets itself up when it is opened.
    if matches!(store::place(config)?, Place::Directory(_)) {
        return Ok(());
    }
    let failed = |error| failure(config, &error);
    let premises = premises(config).await?;
    let listener = |progress: Progress<'_>| match progress {
        Progress::Begun(step) => {
            info!(step = line(step), "applying");
            tell(format!("applying: {}", step.name));
        }
        Progress::At(step, done) => tell(format!("applying: {}: {done} of {}", step.name, step.documents)),
        Progress::Done(_) => {}
    };
    let began = Instant::now();
    loop {
        match premises.apply(&Wishes::default(), &listener).await {
            Ok(steps) => {
                info!(steps = steps.len(), "the store is what this version needs");
                return Ok(());
            }
            Err(UpkeepError::Held { holder, .. }) if began.elapsed() < OTHERS_PATIENCE => {
                tell(format!("applying: waiting for {holder}"));
                sleep(OTHERS_PAUSE).await;
            }
            Err(UpkeepError::NeedsRebuild(names)) => {
                let plan = premises.plan().await.map_err(failed)?;
                if plan.found != Some(plan.wanted) {
                    return Err(failed(UpkeepError::NeedsRebuild(names)));
                }
                let names = names.join(", ");
                warn!(
                    names,
                    "what has to be built again is left to `chatctl seed apply --allow-rebuild`"
                );
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// What an operator is told when something could not be done to a store.
fn failure(config: &StoreConfig, error: &UpkeepError) -> Failure {
    let (exit, hint) = match error {
        UpkeepError::Embedded(error) => {
            let directory = config.data_dir.clone().unwrap_or_default();
            return store::embedded_failure(&directory, error);
        }
        UpkeepError::MongoDb(error) => return store::mongodb_failure(error),
        UpkeepError::Store(error) => return store::store_failure(error),
        UpkeepError::NoStore(_) => (Exit::NoInput, "`chatctl seed apply` makes one"),
        UpkeepError::Held { .. } => (Exit::TempFail, "run the command again when it is done"),
        UpkeepError::LeaseLost => (
            Exit::TempFail,
            "run the command again: it goes on where it stopped",
        ),
        UpkeepError::NeedsRebuild(_) => (
            Exit::Config,
            "`chatctl seed apply --allow-rebuild` does it; what needs the index is slow until it is there again",
        ),
        UpkeepError::Duplicates(_) => (
            Exit::DataErr,
            "nothing was dropped; remove the documents that are too many, then run the command again",
        ),
        UpkeepError::InTheWay(_) => (Exit::Config, "name another database in the URI"),
        UpkeepError::Protected(_) => (
            Exit::NoPerm,
            "if that is wrong: `chatctl seed apply --environment NAME` says something else",
        ),
    };
    Failure::from_error(exit, error).hint(hint)
}

/// A step as programs read it.
#[derive(Debug, Serialize, JsonSchema)]
struct Line {
    /// `create`, `change`, `rebuild`, or `unknown` for what is not ours and stays.
    action: &'static str,
    /// `schema`, `collection`, `validator` or `index`.
    part: &'static str,
    name: String,
    /// What is other than it should be.
    detail: String,
    /// How many documents it concerns, about.
    documents: u64,
}

impl From<&Step> for Line {
    fn from(step: &Step) -> Self {
        Self {
            action: match step.action {
                Action::Create => "create",
                Action::Change => "change",
                Action::Rebuild => "rebuild",
                Action::Unknown => "unknown",
            },
            part: match step.part {
                Part::Schema => "schema",
                Part::Collection => "collection",
                Part::Validator => "validator",
                Part::Index => "index",
            },
            name: step.name.clone(),
            detail: step.detail.clone(),
            documents: step.documents,
        }
    }
}

/// A step as people read it, without the end of the line.
fn line(step: &Step) -> String {
    let mark = match step.action {
        Action::Create => '+',
        Action::Change => '~',
        Action::Rebuild => '!',
        Action::Unknown => '-',
    };
    let Line {
        action, part, name, ..
    } = Line::from(step);
    let detail = match step.detail.as_str() {
        "" => String::new(),
        detail => format!(": {detail}"),
    };
    let permission = match step.action {
        Action::Rebuild => ", needs --allow-rebuild",
        Action::Create | Action::Change | Action::Unknown => "",
    };
    let cost = match (step.action, step.documents) {
        (Action::Unknown, _) | (_, 0) => String::new(),
        (_, 1) => " [1 document]".to_owned(),
        (_, documents) => format!(" [{documents} documents]"),
    };
    format!("{mark} {action:<8}{part:<11}{name}{detail}{permission}{cost}")
}

/// How long a relay waits for somebody else who changes the database.
const OTHERS_PATIENCE: Duration = Duration::from_secs(1_800);

/// Time between two looks whether that is done.
const OTHERS_PAUSE: Duration = Duration::from_secs(1);
