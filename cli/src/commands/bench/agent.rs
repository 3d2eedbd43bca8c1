//! `chatctl bench agent`: simulates a share of the clients of runs that are led from elsewhere.
//!
//! It does what anybody who knows the secret tells it, except measuring machines that its own operator did not name.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chatctl_client::Dial;
use chatctl_loadgen::agent::{self, News, Part, Perform, Secret};
use chatctl_loadgen::outcome::Outcome;
use chatctl_loadgen::run::{Stage, run};
use chatctl_loadgen::wire::Passes;
use chatctl_loadgen::wire::chatctl::RelayWire;
use chatctl_relay::auth::private_file;
use hyper::Uri;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::address::allowed;
use super::host;
use super::place::{agreed, introduce, place};
use crate::authority::Authority;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::runtime::wait_for;
use crate::signals::Signals;

/// What an agent is told.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:
  chatctl bench agent --listen 10.0.0.7:8490 --secret-file agents.secret --allow-remote chat.example.org")]
pub(crate) struct Agent {
    /// Address to listen on, for the coordinator: `--agents` of a bench
    #[arg(
        id = "agent_listen",
        long = "listen",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8490"
    )]
    listen: SocketAddr,

    /// File with the secret that coordinators know, too (mode 0600, 16 characters or more)
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,

    /// Host other than this machine that may be measured from here; the relay there has to allow it, too
    #[arg(id = "agent_remote", long = "allow-remote", value_name = "HOST")]
    allow_remote: Option<String>,

    #[command(flatten)]
    authority: Authority,

    /// Threads that generate load, where the coordinator does not say (default: one for each two processors)
    #[arg(id = "agent_workers", long = "workers", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: Option<u32>,
}

/// Where an agent is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Listening {
    /// Its address, for `--agents`.
    address: String,
}

impl Document for Listening {
    const SCHEMA: &'static str = "chatctl.bench.agent/v1";
}

impl Agent {
    /// Serves coordinators until a signal comes. Says where once it listens.
    ///
    /// # Errors
    ///
    /// [`Exit::NoPerm`] or [`Exit::DataErr`] for the secret; [`Exit::Unavailable`] for an address that is not free.
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let secret = read_secret(&self.secret_file)?;
        let dial = self.authority.dial()?;
        wait_for(self.serve(secret, dial, out))
    }

    async fn serve(self, secret: Secret, dial: Dial, out: &Out) -> Result<Exit, Failure> {
        let listener = TcpListener::bind(self.listen).await.map_err(|error| {
            Failure::new(Exit::Unavailable, format!("cannot listen on {}", self.listen)).caused_by(&error)
        })?;
        let address = listener.local_addr().unwrap_or(self.listen);
        let mut signals = Signals::listen()?;
        let listening = Listening {
            address: address.to_string(),
        };
        out.result(&format!("listening on {address}\n"), &listening)?;
        let tell = |news| match news {
            News::Came(from) => out.note(&format!("{from}: leads a run")),
            News::Ran => out.note("the run is over"),
            News::Refused(from) => out.warn(&format!("{from}: sent away, it does not know the secret")),
            News::Failed(why) => out.warn(&format!("the run failed: {why}")),
        };
        let stop = CancellationToken::new();
        let serving = agent::serve(listener, &secret, self.perform(dial), tell, stop.clone());
        tokio::pin!(serving);
        let exit = tokio::select! {
            () = &mut serving => Exit::Ok,
            exit = signals.next() => exit,
        };
        // A run under way ends early, and its coordinator is told what was found.
        stop.cancel();
        let _ = tokio::time::timeout(FAREWELL, serving).await;
        Ok(exit)
    }

    fn perform(&self, dial: Dial) -> Arc<Perform> {
        let (allow_remote, workers) = (self.allow_remote.clone(), self.workers);
        Arc::new(move |part, passes| {
            let done = perform(part, passes, allow_remote.as_deref(), workers, &dial);
            done.map_err(|failure| failure.sentence())
        })
    }
}

fn perform(
    part: Part,
    passes: Arc<dyn Passes>,
    allow_remote: Option<&str>,
    workers: Option<u32>,
    dial: &Dial,
) -> Result<Outcome, Failure> {
    let url: Uri = part
        .url
        .parse()
        .map_err(|_| Failure::new(Exit::Usage, "the coordinator named no address"))?;
    let is_here = allowed(&url, None, allow_remote)?;
    wait_for(async { agreed(is_here, &introduce(&part.url, dial).await?, &part.url) })?;
    host::make_room(part.plan.clients.len(), &part.sources)?;
    let stage = Stage::<RelayWire> {
        place: place(&part.url, dial)?,
        plan: part.plan,
        passes,
        run: part.run,
        clock: part.clock,
        agent: part.share,
        gate: Some(part.gate),
        workers: part
            .workers
            .or(workers)
            .unwrap_or_else(|| host::cores().div_ceil(2)),
        sources: part.sources,
        progress: part.progress,
        stop: part.stop,
    };
    run(&part.scenario, stage).map_err(|error| super::measure::failure(&error, true))
}

/// Reads the secret that agents and coordinator know.
///
/// # Errors
///
/// [`Exit::NoPerm`] when others may read it; [`Exit::DataErr`] when it is too short.
pub(super) fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let bytes = private_file::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    Secret::parse(&text).map_err(|error| {
        Failure::from_error(Exit::DataErr, &error)
            .hint(format!("`openssl rand -hex 16 >{}` makes one", path.display()))
    })
}

/// For the last words to a coordinator.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(30);
