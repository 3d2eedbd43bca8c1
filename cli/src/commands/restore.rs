//! `chatctl restore`: a store out of a backup.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chatctl_relay::auth::private_file::Existing;
use chatctl_relay::model::Clock;
use chatctl_relay::store::embedded::backup::{self, Order, RestoreError, Restored};
use schemars::JsonSchema;
use serde::Serialize;

use super::backup::{Bar, Contents, failure, summary};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::figures::thousands;
use crate::out::{Document, Out};
use crate::runtime::wait_for;
use crate::signals::Signals;
use crate::store::blocking;

/// Make a store out of a backup, or only check the backup
///
/// What happened since the backup is lost, so all one-time keys in it are burned, every device is told, and ids go on
/// above all that may have been used. Revocations since then are lost, too, unless the store that is put aside by
/// --force can still be read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl restore chatctl.backup --check
  chatctl restore chatctl.backup --data-dir /var/lib/chatctl --dry-run
  chatctl restore chatctl.backup --data-dir /var/lib/chatctl --force")]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Directory for the store: missing, or without one; --force puts a store aside that is there
    #[arg(
        id = "store.data_dir",
        long = "data-dir",
        env = "CHATCTL_STORE__DATA_DIR",
        value_name = "DIR"
    )]
    data_dir: Option<PathBuf>,

    /// Only read the backup to its end, and say what is in it and whether it is good
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,

    /// Say what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Answered {
    /// The backup.
    file: PathBuf,
    contents: Contents,
    /// Whether there is a store now; otherwise nothing was changed.
    restored: bool,
    /// Where the store is, or would be; null when the backup was only checked.
    directory: Option<PathBuf>,
    /// One-time keys that nobody gets any more; devices are asked for new ones.
    burned: u64,
    /// Devices that are told of the gap.
    told: u64,
    /// Where the store is now that was there.
    aside: Option<PathBuf>,
    /// What that one still knew of the time since the backup; null when it was not asked, or could not be.
    carried: Option<Carried>,
}

/// What was taken over.
#[derive(Debug, Serialize, JsonSchema)]
struct Carried {
    /// One-time keys that were handed out.
    handed_out: u64,
    revocations: u64,
}

impl Document for Answered {
    const SCHEMA: &'static str = "chatctl.restore/v1";
}

impl Restore {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let order = self.order(out)?;
        let bar = Bar::begin(out, "restore");
        bar.length(std::fs::metadata(&self.file).ok().map(|file| file.len()));
        let (file, is_dry) = (self.file.clone(), self.dry_run);
        let work = move |go_on: backup::Told<'_>| match (order, is_dry) {
            (Some(order), false) => {
                backup::restore(&order, go_on).map(|done| (done.contents.clone(), Some(done)))
            }
            (Some(order), true) => {
                backup::look(&order)?;
                backup::check(&order.backup, go_on).map(|contents| (contents, None))
            }
            (None, _) => backup::check(&file, go_on).map(|contents| (contents, None)),
        };
        let directory = self.data_dir.clone().unwrap_or_default();
        let (contents, restored) = wait_for(until_told(work, directory, bar))?;
        let document = self.answer(&contents, restored);
        let text = format!(
            "{}\n{}{}",
            self.file.display(),
            summary(&contents),
            text(&document)
        );
        out.result(&text, &document).map(|()| Exit::Ok)
    }

    /// Nothing when the backup is only checked.
    fn order(&self, out: &Out) -> Result<Option<Order>, Failure> {
        if self.check {
            return Ok(None);
        }
        let Some(directory) = self.data_dir.clone() else {
            let message = "no directory is named for the store: --data-dir DIR";
            return Err(Failure::new(Exit::Config, message).hint("--check only looks at the backup"));
        };
        Ok(Some(Order {
            backup: self.file.clone(),
            directory,
            at: Clock::system().now(),
            replace: out.existing() == Existing::Replace,
        }))
    }

    fn answer(
        &self,
        contents: &chatctl_relay::store::backup::Contents,
        restored: Option<Restored>,
    ) -> Answered {
        let looks_only = self.check;
        let expected = |count: u64| if looks_only { 0 } else { count };
        let (mut burned, mut told) = (expected(contents.one_time_keys), expected(contents.devices));
        let (mut aside, mut carried) = (None, None);
        let is_done = restored.is_some();
        if let Some(done) = restored {
            (burned, told, aside) = (done.burned, done.told, done.aside);
            carried = done.carried.map(|carried| Carried {
                handed_out: carried.handed_out,
                revocations: carried.revocations,
            });
        }
        Answered {
            file: self.file.clone(),
            contents: Contents::of(contents),
            restored: is_done,
            directory: self.data_dir.clone().filter(|_| !looks_only),
            burned,
            told,
            aside,
            carried,
        }
    }
}

/// Does the work on a thread that may wait for files. A signal ends it, unless the store is being made already.
async fn until_told<T: Send + 'static>(
    work: impl FnOnce(backup::Told<'_>) -> Result<T, RestoreError> + Send + 'static,
    directory: PathBuf,
    bar: Bar,
) -> Result<T, Failure> {
    let mut signals = Signals::listen()?;
    let told = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&told);
    let done = blocking(move || {
        let go_on = |bytes| {
            bar.at(bytes);
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        work(&go_on).map_err(|error| failure(&directory, &error))
    });
    let mut done = std::pin::pin!(done);
    let exit = tokio::select! {
        done = &mut done => return done,
        exit = signals.next() => exit,
    };
    told.store(true, Ordering::Relaxed);
    done.await.map_err(|mut failure| {
        if failure.exit == Exit::Interrupted {
            failure.exit = exit;
        }
        failure
    })
}

fn text(answered: &Answered) -> String {
    let Some(directory) = &answered.directory else {
        return "  good: its digest fits, and SQLite finds nothing wrong\n".to_owned();
    };
    let (burned, told) = (thousands(answered.burned), thousands(answered.told));
    let mut text = match answered.restored {
        true => format!("restored to {}\n", directory.display()),
        false => format!(
            "would be restored to {}; nothing was changed\n",
            directory.display()
        ),
    };
    let mut line = |words: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {words}");
    };
    line(format!(
        "{burned} one-time keys burned; devices are asked for new ones as they come"
    ));
    line(format!(
        "{told} devices are told that mail may be missing (gap, reason restore)"
    ));
    if let Some(aside) = &answered.aside {
        line(format!("the store that was there is {}", name(aside)));
    }
    match &answered.carried {
        Some(carried) => line(format!(
            "taken over from it: {} handed-out keys, {} revocations",
            thousands(carried.handed_out),
            thousands(carried.revocations)
        )),
        None => {
            line("revocations since the backup are lost: revoke again, or rotate the token keys".to_owned())
        }
    }
    text
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
