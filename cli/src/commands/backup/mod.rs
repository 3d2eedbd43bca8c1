//! `chatctl backup`: everything that an embedded store holds, in one file that is made while the relay runs.
//!
//! Owns how the bytes get from the relay, or from a store at rest, to where they are wanted. What they are, the store
//! says.

mod bar;
mod words;

use std::io::{self, IsTerminal as _, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chatctl_relay::config::StoreConfig;
use chatctl_relay::model::Clock;
use chatctl_relay::store::backup::BackupError;
use chatctl_relay::store::embedded::backup as embedded;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;

pub(super) use self::bar::Bar;
pub(super) use self::words::{Contents, failure, store_failure, summary};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::figures::bytes;
use crate::out::{Document, Out, Sink};
use crate::relay::{Relay, RelayOptions};
use crate::runtime::wait_for;
use crate::signals::Signals;
use crate::store::{self, Place, blocking};

/// Copy a relay's whole store into a file, while it runs
///
/// The file has mode 0600 and is checked before it gets its name. It holds mail that waits (ciphertext), public keys,
/// who has which devices, and who waits for mail from whom: keep it as you keep the store. No keys of tokens are in it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl backup -o /var/backups/chatctl.backup --force
  chatctl backup --data-dir /var/lib/chatctl | ssh vault 'cat > chatctl.backup'
  systemd-run --on-calendar=daily chatctl backup -o /var/backups/chatctl.backup --force")]
pub(crate) struct Backup {
    #[command(flatten)]
    relay: RelayOptions,

    #[command(flatten)]
    store: StoreConfig,
}

/// What was written.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Taken {
    /// Where it is.
    file: PathBuf,
    /// Its size.
    bytes: u64,
    /// How long it took, the check included.
    took_ms: u64,
    /// The relay that was asked; null when the store was at rest.
    through: Option<String>,
    contents: Contents,
}

impl Document for Taken {
    const SCHEMA: &'static str = "chatctl.backup/v1";
}

impl Backup {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let names_store = self.store.uri.is_some() || self.store.uri_file.is_some();
        if names_store && let Place::Database(_) = store::place(&self.store)? {
            return Err(words::not_embedded());
        }
        let is_piped = out.file().is_none();
        if is_piped && (out.is_json() || io::stdout().is_terminal()) {
            let message = "a backup goes to a file or into a pipe";
            return Err(Failure::new(Exit::Usage, message).hint("-o FILE names one"));
        }
        // Before anything is copied.
        let sink = out.sink()?;
        wait_for(self.take(out, sink))
    }

    async fn take(self, out: &Out, sink: Sink) -> Result<Exit, Failure> {
        let began = Instant::now();
        let mut signals = Signals::listen()?;
        let data_dir = self.store.data_dir.as_deref();
        let relay = match Relay::find(&self.relay, data_dir).await? {
            None if data_dir.is_none() => Some(Relay::reach(&self.relay, None).await?),
            found => found,
        };
        let through = relay.as_ref().map(Relay::name);
        let bar = Bar::begin(out, "backup");
        let written = match (relay, data_dir) {
            (Some(relay), _) => from_relay(relay, sink, &bar, &mut signals).await?,
            (None, directory) => {
                let directory = directory.unwrap_or(Path::new(""));
                at_rest(directory, sink, &bar, &mut signals).await?
            }
        };
        let (sink, size) = match written {
            ControlFlow::Continue(written) => written,
            ControlFlow::Break(exit) => return Ok(exit),
        };
        let Some(path) = sink.path().map(Path::to_owned) else {
            drop(bar);
            sink.finish()?;
            out.note(&format!("{} written", bytes(size)));
            return Ok(Exit::Ok);
        };
        bar.say("checking");
        let named = out.file().map(Path::to_owned).unwrap_or_default();
        let checked = blocking({
            let named = named.clone();
            move || {
                let go_on = |_| ControlFlow::Continue(());
                embedded::check(&path, &go_on).map_err(|error| failure(&named, &error))
            }
        });
        let contents = tokio::select! {
            contents = checked => contents?,
            exit = signals.next() => return Ok(exit),
        };
        sink.finish()?;
        drop(bar);
        let document = Taken {
            file: named,
            bytes: size,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            through,
            contents: Contents::of(&contents),
        };
        let text = format!(
            "{}  {}, checked\n{}",
            document.file.display(),
            bytes(size),
            summary(&contents)
        );
        out.about_file(&text, &document).map(|()| Exit::Ok)
    }
}

/// Where the bytes went and how many there were, or how the process ends because it was told to. What was not finished
/// is gone then.
type Written = ControlFlow<Exit, (Sink, u64)>;

async fn from_relay(
    relay: Relay,
    mut sink: Sink,
    bar: &Bar,
    signals: &mut Signals,
) -> Result<Written, Failure> {
    let name = relay.name();
    let relay = relay.patient(LONGEST_COPY);
    let begun = tokio::select! {
        begun = relay.stream("/v1/admin/backup") => begun?,
        exit = signals.next() => return Ok(ControlFlow::Break(exit)),
    };
    let mut stream = begun.map_err(words::refused)?;
    let length = stream.length();
    bar.length(length);
    let mut written = 0;
    loop {
        let piece = tokio::select! {
            piece = stream.next() => piece,
            exit = signals.next() => return Ok(ControlFlow::Break(exit)),
        };
        match piece.map_err(|error| broke_off(&name, &error))? {
            Some(piece) => {
                written += piece.len() as u64;
                // Who reads a pipe may be slow for ever.
                let write = blocking(move || sink.write(&piece).map(|()| sink));
                sink = tokio::select! {
                    sink = write => sink?,
                    exit = signals.next() => return Ok(ControlFlow::Break(exit)),
                };
                bar.at(written);
            }
            None if length.is_none_or(|length| length == written) => {
                return Ok(ControlFlow::Continue((sink, written)));
            }
            None => return Err(broke_off(&name, &io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn broke_off(relay: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Unavailable, format!("the relay at {relay} broke off"))
        .caused_by(error)
        .hint("nothing was written; run the command again")
}

/// A store that no relay has open.
async fn at_rest(directory: &Path, sink: Sink, bar: &Bar, signals: &mut Signals) -> Result<Written, Failure> {
    let told = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&told);
    let (directory, bar) = (directory.to_owned(), bar.clone());
    let mut work = std::pin::pin!(blocking(move || copy(&directory, sink, &bar, &stop)));
    let exit = tokio::select! {
        copied = &mut work => return copied.map(ControlFlow::Continue),
        exit = signals.next() => exit,
    };
    told.store(true, Ordering::Relaxed);
    // It takes its files with it. Who reads a pipe may be slow for ever: there are none then.
    let _ = timeout(LONGEST_STOP, work).await;
    Ok(ControlFlow::Break(exit))
}

fn copy(directory: &Path, mut sink: Sink, bar: &Bar, stop: &Arc<AtomicBool>) -> Result<(Sink, u64), Failure> {
    let is_told = Arc::clone(stop);
    let stopped = Box::new(move || is_told.load(Ordering::Relaxed));
    let copied = embedded::offline(directory, Clock::system().now(), stopped);
    let copied = copied.map_err(|error| words::not_opened(directory, &error))?;
    let mut snapshot = copied.map_err(|error| store_failure(&error))?;
    bar.length(Some(snapshot.bytes));
    let mut buffer = vec![0; PIECE];
    let mut written = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(store_failure(&BackupError::GivenUp));
        }
        let read = snapshot
            .read(&mut buffer)
            .map_err(|error| Failure::new(Exit::Failure, "cannot read the copy").caused_by(&error))?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            return Ok((sink, written));
        };
        sink.write(piece)?;
        written += read as u64;
        bar.at(written);
    }
}

/// How long a relay may take to make the copy, before its first byte comes.
const LONGEST_COPY: Duration = Duration::from_secs(6 * 3600);

/// How long the way out may take.
const LONGEST_STOP: Duration = Duration::from_secs(5);

/// Bytes that are written at once.
const PIECE: usize = 1024 * 1024;
