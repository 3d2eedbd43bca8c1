//! `chatctl serve`: the relay.
//!
//! Owns its command line and its log. What a relay is, and how it stops, is the library's business.

mod signals;
mod start;

use std::path::PathBuf;
use std::sync::Arc;

use chatctl_relay::auth::{Keyset, self_test};
use chatctl_relay::config::Config;
use chatctl_relay::http::reload::Reload;
use chatctl_relay::model::Clock;
use chatctl_relay::server::{self, AdminSocketError, Inherited, Outfit, Server, Supervisor};
use chatctl_relay::tls::Certificate;
use tokio::sync::oneshot;

use self::signals::{Asked, Signals};
use super::dev::Dev;
use super::follow::{Follower, keyset_summary};
use crate::config::problem::{Problem, Severity};
use crate::config::told::Told;
use crate::config::{self, certificate, checks};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::log::{self, Level, LogConfig};
use crate::out::Out;
use crate::relay;
use crate::store;
use crate::telemetry::{TelemetryConfig, Traces};

/// Run the relay
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl serve --dev
  chatctl serve --keys /etc/chatctl/keys.json --data-dir /var/lib/chatctl --listen 127.0.0.1:8480
  chatctl serve --keys /etc/chatctl/keys.json --store-uri-file /etc/chatctl/store-uri --apply")]
pub(crate) struct Serve {
    /// First: what reads an argument takes it away from those that come after.
    #[command(flatten)]
    told: Told,

    #[command(flatten)]
    config: Config,

    /// Try it out: keys in memory, a temporary store, and two demo accounts; on this machine only
    #[arg(long)]
    dev: bool,

    /// Set a new database up, or bring an older one up to date, before serving: `chatctl seed apply`
    #[arg(long)]
    apply: bool,

    /// Write the address and the demo accounts to a file (JSON, mode 0600) once the relay listens
    #[arg(long, value_name = "FILE", requires = "dev")]
    dev_info: Option<PathBuf>,

    /// End when stdin ends, as at a signal: for a relay that must not outlive the program that started it
    #[arg(long, hide = true)]
    end_with_stdin: bool,

    #[command(flatten)]
    log: LogConfig,

    #[command(flatten)]
    telemetry: TelemetryConfig,
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
    applies: bool,
    ends_with_stdin: bool,
    told: Told,
}

/// What a serve's command line says when it is read again.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) config: Config,
    pub(super) log: LogConfig,
    pub(super) told: Told,
    /// Nothing for a demo whose keys are in memory alone: there is nothing to read.
    pub(super) keyset: Option<Keyset>,
    /// Nothing for a relay that speaks without TLS.
    pub(super) certificate: Option<Certificate>,
}

impl Serve {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        // First: it changes the environment, and there must be no other threads yet.
        let inherited = Inherited::take().map_err(|error| start::handed(&error))?;
        start::leave_no_core();
        let (traces, listener) = Traces::start(&self.telemetry)?;
        let level = log::start(&self.log, listener, out);
        let exit = self
            .launch(out)
            .and_then(|launch| run(launch, inherited, level, &traces, out));
        traces.finish();
        exit
    }

    /// The settings again, checked as at the start. Reads files.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub(super) fn read_again(self) -> Result<Reading, Vec<String>> {
        let problems = checks::all(&self.config);
        let errors: Vec<_> = problems.iter().filter(|problem| is_error(problem)).collect();
        if !errors.is_empty() {
            return Err(errors.into_iter().map(Problem::line).collect());
        }
        warn_of(&problems);
        let keyset = self.config.auth.keys.as_deref().map(Keyset::load).transpose();
        let certificate = Certificate::of(&self.config.server);
        Ok(Reading {
            certificate: certificate.map_err(|error| vec![format!("{}: {error}", error.key())])?,
            keyset: keyset.map_err(|error| vec![format!("auth.keys: {error}")])?,
            config: self.config,
            log: self.log,
            told: self.told,
        })
    }

    fn launch(self, out: &Out) -> Result<Launch, Failure> {
        let now = Clock::system().now();
        self_test(&mut rand::rng()).map_err(|error| Failure::from_error(Exit::Failure, &error))?;
        let mut problems = checks::contradictions(&self.config);
        problems.extend(certificate::problems(&self.config.server));
        warn_of(&problems);
        if problems.iter().any(is_error) {
            return Err(config::failure(&problems));
        }
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
            applies: self.apply,
            ends_with_stdin: self.end_with_stdin,
            told: self.told,
        })
    }
}

/// Logs what a relay lives with.
fn warn_of(problems: &[Problem]) {
    for problem in problems.iter().filter(|problem| !is_error(problem)) {
        tracing::warn!("{}", problem.line());
    }
}

fn is_error(problem: &Problem) -> bool {
    problem.severity == Severity::Error
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
fn run(
    launch: Launch,
    inherited: Inherited,
    level: Level,
    traces: &Traces,
    out: &Out,
) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failure, "cannot start").caused_by(&error))?;
    let exit = runtime.block_on(serve(launch, inherited, level, traces, out));
    // What still runs after a drain waits for nothing that matters.
    runtime.shutdown_background();
    exit
}

async fn serve(
    mut launch: Launch,
    inherited: Inherited,
    level: Level,
    traces: &Traces,
    out: &Out,
) -> Result<Exit, Failure> {
    // Before anything that takes time: a signal during the start must end it in order, too.
    let mut signals = Signals::listen(launch.ends_with_stdin)?;
    let supervisor = Supervisor::of_environment();
    let opening = start::open_store(&launch, &supervisor);
    let Some(store) = start::unless_ended(opening, &mut signals).await else {
        tracing::info!("stopped before it served");
        return Ok(Exit::Ok);
    };
    let keys = keyset_summary(&launch.keyset);
    let outfit = Outfit {
        store: store?,
        keyset: launch.keyset,
        clock: Clock::system(),
    };
    let bound = Server::bind_on(inherited, launch.config.clone(), outfit);
    let server = start::reading_store(&supervisor, bound)
        .await
        .map_err(|error| start_failure(&error))?;
    traces.counted_by(&server.metrics());
    if let Some(dev) = &mut launch.dev {
        dev.register(&server.switchboard()).await?;
        if let Some(path) = &launch.dev_info {
            dev.write_info(path, server.address())?;
        }
        dev.announce(server.address(), out)?;
    }
    start::announce(&server, &launch.config, &keys);
    let follower = Follower::new(server.live(), level, launch.told, keys);
    let follower = Arc::new(follower.supervised_by(Arc::clone(&supervisor)));
    let server = server
        .reload_with(Arc::clone(&follower) as Arc<dyn Reload>)
        .supervised_by(supervisor);
    let (stop, stopped) = oneshot::channel();
    let served = server.run(async {
        // Resolves also when the sender is gone.
        let _ = stopped.await;
    });
    let mut served = std::pin::pin!(served);
    loop {
        tokio::select! {
            ended = &mut served => return finished(ended),
            asked = signals.next() => match asked {
                Asked::End(_) => break,
                // What came of it is in the log.
                Asked::Reload => drop(follower.reload().await),
            },
        }
    }
    // Only the receiver inside `served` could be gone, and it is not.
    let _ = stop.send(());
    loop {
        tokio::select! {
            ended = &mut served => return finished(ended),
            asked = signals.next() => match asked {
                Asked::End(second) => {
                    tracing::warn!("a second signal: stopping at once");
                    return Ok(second);
                }
                Asked::Reload => {}
            },
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
        server::Error::Adopt(_) => Failure::from_error(Exit::Config, error)
            .hint("the socket unit has to be of TCP: ListenStream=8480"),
        server::Error::Keys(_) | server::Error::Certificate(_) => Failure::from_error(Exit::Config, error),
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
}
