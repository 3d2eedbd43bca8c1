//! A relay for one run: a child process with keys, a store and a port of its own, gone when it is dropped.
//!
//! Knows how the relay is started and ended, and nothing of what is measured.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use chatctl_loadgen::server::Pid;
use chatctl_relay::auth::Keyset;
use chatctl_relay::auth::private_file::Existing;
use chatctl_relay::model::Clock;
use parking_lot::Mutex;
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::host;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// How a relay of one's own is made.
#[derive(Debug, Clone, Default)]
pub(super) struct Wishes {
    /// The folder in which its temporary one is made.
    pub(super) beside: Option<PathBuf>,
    /// Its configuration.
    pub(super) config: Option<PathBuf>,
    /// A database instead of a folder.
    pub(super) store_uri_file: Option<PathBuf>,
}

/// A relay of one's own.
#[derive(Debug)]
pub(super) struct OwnRelay {
    /// None only while it is started again.
    child: Mutex<Option<Child>>,
    address: SocketAddr,
    pid: Pid,
    keyset: Arc<Keyset>,
    wishes: Wishes,
    /// Last: it is removed when nobody uses it any more.
    folder: TempDir,
}

impl OwnRelay {
    /// Starts one, and waits until it listens.
    ///
    /// # Errors
    ///
    /// When there is no room for it, or it does not start: with what it said.
    pub(super) fn start(wishes: Wishes, out: &Out) -> Result<Self, Failure> {
        let beside = wishes.beside.clone().unwrap_or_else(host::disk);
        let no_room = |error: &(dyn std::error::Error + 'static)| {
            let message = format!("there is no room for a relay in {}", beside.display());
            Failure::new(Exit::CantCreate, message)
                .caused_by(error)
                .hint("--data-dir DIR names another folder")
        };
        let folder = tempfile::Builder::new()
            .prefix("chatctl-bench-")
            .tempdir_in(&beside);
        let folder = folder.map_err(|error| no_room(&error))?;
        tell(&wishes, folder.path(), out);
        let keyset = Keyset::generate(&mut rand::rng(), Clock::system().now())?;
        keyset.save(&folder.path().join(KEYS), Existing::Keep)?;
        std::fs::write(folder.path().join(NO_CONFIG), "").map_err(|error| no_room(&error))?;
        prepare(&wishes, folder.path())?;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let (child, address) = launch(&wishes, folder.path(), free)?;
        Ok(Self {
            pid: Pid::of(child.id()),
            child: Mutex::new(Some(child)),
            address,
            keyset: Arc::new(keyset),
            wishes,
            folder,
        })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, whichever that is.
    pub(super) fn pid(&self) -> Pid {
        self.pid.clone()
    }

    /// What its tokens are signed with.
    pub(super) fn keyset(&self) -> &Keyset {
        &self.keyset
    }

    /// What it keeps state in, for the report.
    pub(super) const fn store(&self) -> &'static str {
        match self.wishes.store_uri_file {
            Some(_) => "mongodb",
            None => "embedded",
        }
    }

    /// Kills it without a warning, and starts it again where it was. Blocks until it listens.
    ///
    /// # Errors
    ///
    /// When it does not come back.
    pub(super) fn crash(&self) -> Result<(), Failure> {
        let running = self.child.lock().take();
        if let Some(mut child) = running {
            // It may be dead already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
        let (child, _) = launch(&self.wishes, self.folder.path(), self.address)?;
        self.pid.becomes(child.id());
        *self.child.lock() = Some(child);
        Ok(())
    }
}

/// In order if it ends in time, so that it leaves nothing in a database that others would wait for.
impl Drop for OwnRelay {
    fn drop(&mut self) {
        let Some(mut child) = self.child.lock().take() else {
            return;
        };
        let _ = kill_process(rustix::process::Pid::from_child(&child), Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Harmless where it is gone.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn tell(wishes: &Wishes, folder: &Path, out: &Out) {
    match &wishes.store_uri_file {
        Some(_) => out.note("the relay's store is the database that was named"),
        None => out.note(&format!("the relay's store is in {}", folder.display())),
    }
    if wishes.store_uri_file.is_none() && host::is_memory(folder) {
        out.warn("warning: that is memory, where waiting for the disk costs nothing: --data-dir DIR names a folder on a disk");
    }
}

/// Sets a database up. A folder needs nothing.
fn prepare(wishes: &Wishes, folder: &Path) -> Result<(), Failure> {
    let Some(file) = &wishes.store_uri_file else {
        return Ok(());
    };
    let applied = bare(folder, "seed", None)
        .arg("apply")
        .arg("--store-uri-file")
        .arg(file)
        .output();
    let applied = applied.map_err(|error| cannot_start(&error))?;
    match applied.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&applied.stderr).into_owned();
            Err(Failure::new(Exit::Unavailable, "the database cannot be set up")
                .because(said.lines().map(str::to_owned)))
        }
    }
}

/// A command of this program that knows nothing of this machine's configuration, but of the one that is named.
fn bare(folder: &Path, verb: &str, config: Option<&Path>) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| "chatctl".into());
    let config = config.map_or_else(|| folder.join(NO_CONFIG), Path::to_owned);
    let mut command = Command::new(program);
    command.arg(verb).arg("-c").arg(config).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHATCTL_")) {
        command.env_remove(name);
    }
    command
}

/// The relay's command line: nothing in it shall refuse what a bench asks for, all else is as it is for everybody.
fn command(wishes: &Wishes, folder: &Path, address: SocketAddr) -> Command {
    let mut command = bare(folder, "serve", wishes.config.as_deref());
    command.arg("--keys").arg(folder.join(KEYS));
    command.arg("--listen").arg(address.to_string());
    command.arg("--admin-socket").arg(folder.join("admin.sock"));
    match &wishes.store_uri_file {
        Some(file) => command.arg("--store-uri-file").arg(file),
        None => command.arg("--data-dir").arg(folder.join("store")),
    };
    command.args(GENEROUS).args(["--limits", LIMITS]);
    command.args([
        "--log-format",
        "json",
        "--log-level",
        "warn,chatctl_relay::server=info",
    ]);
    command
        .arg("--end-with-stdin")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null());
    // A Ctrl-C at the terminal is for the bench, which still has to hear what is under way.
    command.process_group(0);
    command
}

/// Starts the process, and waits until it says where it listens.
fn launch(wishes: &Wishes, folder: &Path, address: SocketAddr) -> Result<(Child, SocketAddr), Failure> {
    let mut child = command(wishes, folder, address)
        .spawn()
        .map_err(|error| cannot_start(&error))?;
    let said = Arc::new(Mutex::new(Vec::new()));
    let (tell, heard) = mpsc::sync_channel(1);
    if let Some(stderr) = child.stderr.take() {
        let said = Arc::clone(&said);
        let listen = std::thread::Builder::new().name("bench-relay-log".to_owned());
        let listening = listen.spawn(move || follow(stderr, &said, &tell));
        listening.map_err(|error| cannot_start(&error))?;
    }
    let why = match heard.recv_timeout(START) {
        Ok(address) => return Ok((child, address)),
        Err(RecvTimeoutError::Disconnected) => "the relay did not start",
        Err(RecvTimeoutError::Timeout) => "the relay did not start in time",
    };
    let _ = child.kill();
    let _ = child.wait();
    let lines = said.lock().clone();
    Err(Failure::new(Exit::Unavailable, why).because(lines))
}

/// Reads what the relay says, to the end: it must never wait for somebody to read.
fn follow(stderr: ChildStderr, said: &Mutex<Vec<String>>, tell: &SyncSender<SocketAddr>) {
    let mut tell = Some(tell);
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if let Some(address) = listening(&line)
            && let Some(tell) = tell.take()
        {
            let _ = tell.send(address);
        }
        let mut said = said.lock();
        if said.len() < MOST_LINES {
            said.push(line);
        }
    }
}

/// The address in the line of the log that tells it.
fn listening(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    if fields.get("message")? != "listening" {
        return None;
    }
    fields.get("addr")?.as_str()?.parse().ok()
}

fn cannot_start(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failure, "the relay cannot be started").caused_by(error)
}

/// Budgets that are not what is measured.
const GENEROUS: [&str; 16] = [
    "--connect-rate",
    "0",
    "--max-sessions",
    "10000000",
    "--send-rate",
    "1000000",
    "--send-burst",
    "1000000",
    "--claim-pair-burst",
    "1000000",
    "--claim-target-hourly",
    "100000000",
    "--claim-caller-minute",
    "100000000",
    "--drain-window",
    "0s",
];
/// Room for mail that waits while nobody is there.
const LIMITS: &str =
    r#"{"mailbox_envelopes":10000000,"mailbox_bytes":1099511627776,"max_one_time_keys":100000}"#;
const KEYS: &str = "keys.json";
const NO_CONFIG: &str = "empty.toml";
/// How long a relay may take to start: a store that was large at a crash is read first.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines of its log that are kept for when it does not start.
const MOST_LINES: usize = 20;
