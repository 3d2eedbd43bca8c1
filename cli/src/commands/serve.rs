//! `chatctl serve`: the relay.
//!
//! Owns its command line and its log. What a relay is, and how it stops, is the library's business.

use std::io;
use std::path::PathBuf;

use chatctl_relay::auth::Keyset;
use chatctl_relay::config::Config;
use chatctl_relay::model::Clock;
use chatctl_relay::server::{self, AdminSocketError, Outfit, Server};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::dev::Dev;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
use crate::relay;
use crate::store::{self, Fresh};

/// Run the relay
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl serve --dev
  chatctl serve --keys /etc/chatctl/keys.json --data-dir /var/lib/chatctl --listen 127.0.0.1:8480")]
pub(crate) struct Serve {
    #[command(flatten)]
    config: Config,

    /// Try it out: keys in memory, a temporary store, and two demo accounts; on this machine only
    #[arg(long)]
    dev: bool,

    /// Write the address and the demo accounts to a file (JSON, mode 0600) once the relay listens
    #[arg(long, value_name = "FILE", requires = "dev")]
    dev_info: Option<PathBuf>,

    /// How the log is written, on stderr
    #[arg(
        long,
        env = "CHATCTL_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,

    /// What is logged: a level, or levels by module as in `info,chatctl_relay::session=debug`
    #[arg(long, env = "CHATCTL_LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    log_level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Everything that is decided before the relay starts.
#[derive(Debug)]
struct Launch {
    config: Config,
    /// What the relay believes.
    keyset: Keyset,
    /// The demo, if this is one. Dropping it removes its temporary store.
    dev: Option<Dev>,
    dev_info: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        self.start_log(out);
        run(self.launch(out)?, out)
    }

    fn launch(self, out: &Out) -> Result<Launch, Failure> {
        let now = Clock::system().now();
        let mut config = self.config;
        let keyset = match (&config.auth.keys, self.dev) {
            (Some(path), _) => Keyset::load(path)?,
            (None, true) => Keyset::generate(&mut rand::rng(), now)?,
            (None, false) => {
                return Err(
                    Failure::new(Exit::Config, "the relay needs a keyset: --keys FILE").hint(
                        "`chatctl token keys generate -o FILE` makes one; `chatctl serve --dev` does without",
                    ),
                );
            }
        };
        let dev = match self.dev {
            true => Some(Dev::prepare(&mut config, &keyset, now)?),
            false => None,
        };
        store::place(&config.store)?;
        choose_socket(&mut config, out);
        Ok(Launch {
            config,
            keyset,
            dev,
            dev_info: self.dev_info,
        })
    }

    fn start_log(&self, out: &Out) {
        let log = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(&self.log_level))
            .with_ansi(out.colors_stderr())
            .with_writer(io::stderr);
        // Set already only where a test runs two commands in one process.
        let _ = match self.log_format {
            LogFormat::Text => log.try_init(),
            LogFormat::Json => log.json().try_init(),
        };
    }
}

/// Where operators reach the relay, when the settings do not say it.
fn choose_socket(config: &mut Config, out: &Out) {
    if config.server.admin_socket.is_some() {
        return;
    }
    let chosen = relay::default_socket(config.store.data_dir.as_deref());
    if let Some(path) = chosen.as_ref().filter(|path| !relay::is_possible(path)) {
        let path = path.display();
        out.warn(&format!(
            "warning: no admin socket, its name would be too long for the system: {path} (--admin-socket names a shorter one)"
        ));
    }
    config.server.admin_socket = chosen.filter(|path| relay::is_possible(path));
}

/// Opens the store, binds, tells the demo's owner, and serves until a signal.
fn run(launch: Launch, out: &Out) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failure, "cannot start").caused_by(&error))?;
    let exit = runtime.block_on(serve(launch, out));
    // What still runs after a drain waits for nothing that matters.
    runtime.shutdown_background();
    exit
}

async fn serve(mut launch: Launch, out: &Out) -> Result<Exit, Failure> {
    // Before anything that takes time: a signal during the start must end it in order, too.
    let mut signals = Signals::listen()?;
    let fresh = match launch.dev {
        Some(_) => Fresh::SetUp,
        None => Fresh::Refuse,
    };
    let store = store::open(&launch.config.store, fresh).await?;
    let outfit = Outfit {
        store,
        keyset: launch.keyset,
        clock: Clock::system(),
    };
    let server = Server::bind(launch.config.clone(), outfit)
        .await
        .map_err(|error| start_failure(&error))?;
    if let Some(dev) = &mut launch.dev {
        dev.register(&server.switchboard()).await?;
        if let Some(path) = &launch.dev_info {
            dev.write_info(path, server.address())?;
        }
        dev.announce(server.address(), out)?;
    }
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let served = server.run(async {
        // Resolves also when the sender is gone.
        let _ = stopped.await;
    });
    let mut served = std::pin::pin!(served);
    tokio::select! {
        ended = &mut served => return finished(ended),
        _ = signals.next() => {}
    }
    // Only the receiver inside `served` could be gone, and it is not.
    let _ = stop.send(());
    tokio::select! {
        ended = &mut served => finished(ended),
        second = signals.next() => {
            tracing::warn!("a second signal: stopping at once");
            Ok(second)
        }
    }
}

fn finished(ended: Result<(), server::Error>) -> Result<Exit, Failure> {
    match ended {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => Err(Failure::from_error(Exit::Failure, &error)
            .hint("what was answered OK is on the disk; look at the disk, then start the relay again")),
    }
}

fn start_failure(error: &server::Error) -> Failure {
    match error {
        server::Error::Listen { .. } => Failure::from_error(Exit::CantCreate, error)
            .hint("is another program there? --listen 127.0.0.1:0 picks a free port"),
        server::Error::AdminSocket(admin) => {
            let (exit, hint) = match admin {
                AdminSocketError::InUse { .. } => (
                    Exit::TempFail,
                    "stop that relay, or give this one another --admin-socket",
                ),
                AdminSocketError::TooLong { .. } => (
                    Exit::Config,
                    "name a shorter one: --admin-socket /run/chatctl/admin.sock",
                ),
                AdminSocketError::InTheWay { .. } | AdminSocketError::Listen { .. } => (
                    Exit::CantCreate,
                    "--admin-socket FILE names another, in a folder that the relay may write to",
                ),
            };
            Failure::from_error(exit, error).hint(hint)
        }
        server::Error::Store(_) => Failure::from_error(Exit::Unavailable, error),
    }
}

/// The signals that end a relay.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::new(Exit::Failure, "cannot listen for signals").caused_by(&error);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    /// Waits for the next signal; the exit of a process that it ends at once. Cancel safe.
    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

fn log_level(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    fn launch(args: &[&str]) -> Result<Launch, Failure> {
        Line::parse_from([&["serve"], args].concat())
            .serve
            .launch(&Out::default())
    }

    #[test]
    fn without_keys_or_a_store_there_is_no_relay_unless_it_is_a_demo() {
        assert_eq!(launch(&[]).unwrap_err().exit, Exit::Config);
        let missing = launch(&["--keys", "/nowhere/keys.json"]).unwrap_err();
        assert_eq!(missing.exit, Exit::NoInput);
        let demo = launch(&["--dev", "--listen", "127.0.0.1:0"]).unwrap();
        assert!(demo.dev.is_some());
        assert!(demo.config.store.data_dir.unwrap().is_dir());
    }

    #[test]
    fn a_log_level_that_means_nothing_is_refused() {
        assert!(log_level("info,chatctl_relay::session=debug").is_ok());
        assert!(log_level("a=b=c").is_err());
    }
}
