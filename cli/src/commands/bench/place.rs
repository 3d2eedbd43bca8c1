//! What is measured: a relay that is started for the run, one that runs, or a peer that runs.
//!
//! Owns the rule that nobody is measured who did not agree: another machine has to be named by the person and to
//! say by itself that it may be. A peer cannot say so, and is measured on this machine only.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chatctl_client::{Dial, Http};
use chatctl_loadgen::scenario::Scenario;
use chatctl_loadgen::server::{self, Introduction, IntroductionError, Pid, listener_on};
use chatctl_loadgen::wire::Passes;
use chatctl_loadgen::wire::chatctl::RelayPlace;
use chatctl_relay::auth::Keyset;
use hyper::Uri;
use tokio::net::TcpStream;

use super::address::{allowed, resolve};
use super::own::{OwnRelay, Wishes};
use super::passes::Signed;
use super::peer::{Peer, Place, Whom};
use crate::authority::Authority;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Which relay.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Where")]
pub(super) struct Where {
    #[command(flatten)]
    whom: Whom,

    #[command(flatten)]
    authority: Authority,

    /// Relay to measure, as http://127.0.0.1:8480 (with --keys), or the other --target, as nats://127.0.0.1:4222;
    /// without it a relay is started for the run, and removed at its end
    #[arg(id = "bench_url", long = "url", value_name = "URL")]
    url: Option<Uri>,

    /// Keyset file of that relay (mode 0600), to sign the clients' tokens with
    #[arg(id = "bench_keys", long = "keys", value_name = "FILE", requires = "bench_url")]
    keys: Option<PathBuf>,

    /// `iss` of the tokens
    #[arg(long, value_name = "TEXT", default_value = "chatctl", requires = "bench_url")]
    issuer: String,

    /// `aud` of the tokens
    #[arg(long, value_name = "TEXT", default_value = "chatctl", requires = "bench_url")]
    audience: String,

    /// Host other than this machine that may be measured; the relay there has to allow it, too (server.allow_bench)
    #[arg(long, value_name = "HOST", requires = "bench_url")]
    allow_remote: Option<String>,

    /// Folder for the store of a relay that is started (default: where temporary files are, if that is a disk)
    #[arg(
        id = "bench_data_dir",
        long = "data-dir",
        value_name = "DIR",
        conflicts_with = "bench_url"
    )]
    data_dir: Option<PathBuf>,

    /// Configuration of a relay that is started; its addresses, keys, store and rate limits stay the bench's
    #[arg(long, value_name = "FILE", conflicts_with = "bench_url")]
    relay_config: Option<PathBuf>,

    /// File with a MongoDB URI: the database of a relay that is started (mode 0600)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bench_url", "bench_data_dir"])]
    relay_store_uri_file: Option<PathBuf>,

    /// The server's process on this machine: its number, or auto
    #[arg(long, value_name = "PID", default_value = "auto", value_parser = process)]
    server_pid: Process,
}

/// Whose `/proc` is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Auto,
    Number(u32),
}

/// A relay or peer that can be measured.
pub(super) struct Target {
    /// What it is called in reports.
    pub(super) name: &'static str,
    /// Its address, for people.
    pub(super) url: String,
    /// For the clients.
    pub(super) place: Place,
    /// Their tokens.
    pub(super) passes: Arc<dyn Passes>,
    /// What it says of itself, if it is a relay.
    pub(super) introduction: Option<Introduction>,
    /// Where its figures are.
    pub(super) watched: server::Target,
    /// Whether it is on this machine.
    pub(super) is_here: bool,
    /// The one that was started for this, which goes with it.
    pub(super) own: Option<OwnRelay>,
}

impl Where {
    /// Finds out whether the target may be measured, and can do what a scenario asks for, as far as that is seen
    /// without asking anybody.
    ///
    /// # Errors
    ///
    /// [`Exit::NoPerm`] for another machine that was not named; [`Exit::Usage`] for what is no address, or makes no sense
    /// with a peer; [`Exit::NoInput`] for files that are not there.
    pub(super) fn check(&self, scenario: &Scenario) -> Result<(), Failure> {
        let peer = self.whom.peer()?;
        if let Some(peer) = &peer {
            peer.takes(scenario)?;
            self.complete(peer)?;
        } else if self.url.is_some() && self.keys.is_none() {
            return Err(Failure::new(Exit::Usage, "--url needs --keys")
                .hint("the keyset file of that relay, or --target for what is no relay"));
        }
        if let Some(url) = &self.url {
            allowed(url, peer.as_ref(), self.allow_remote.as_deref())?;
        }
        let files = [&self.keys, &self.relay_config, &self.relay_store_uri_file];
        match files.into_iter().flatten().find(|file| !file.is_file()) {
            Some(file) => Err(Failure::new(
                Exit::NoInput,
                format!("{} is not there", file.display()),
            )),
            None => Ok(()),
        }
    }

    /// Whether a relay is started for the run.
    pub(super) const fn is_own(&self) -> bool {
        self.url.is_none()
    }

    /// Whether it is a relay, and no peer.
    pub(super) fn is_relay(&self) -> bool {
        self.whom.is_relay()
    }

    /// Reaches what is measured, or starts a relay. Blocks a while.
    ///
    /// # Errors
    ///
    /// [`Exit::Unavailable`] when nobody answers; [`Exit::NoPerm`] when it does not want to be measured; as
    /// [`Self::check`] and [`OwnRelay::start`].
    pub(super) async fn open(&self, out: &Out) -> Result<Target, Failure> {
        match (&self.url, self.whom.peer()?) {
            (Some(url), Some(peer)) => self.visit(url, &peer).await,
            (Some(url), None) => self.reach(url).await,
            (None, Some(peer)) => Err(no_address(&peer)),
            (None, None) => self.start(out).await,
        }
    }

    /// What is to be said of a peer, and nothing else.
    fn complete(&self, peer: &Peer) -> Result<(), Failure> {
        if self.url.is_none() {
            return Err(no_address(peer));
        }
        let relays = [
            ("--keys", self.keys.is_some()),
            ("--allow-remote", self.allow_remote.is_some()),
        ];
        match relays.iter().find(|(_, is_said)| *is_said) {
            Some((flag, _)) => Err(Failure::new(Exit::Usage, format!("{flag} is for relays"))
                .hint(format!("{} has no use for it", peer.name()))),
            None => Ok(()),
        }
    }

    /// Reaches a peer.
    async fn visit(&self, url: &Uri, peer: &Peer) -> Result<Target, Failure> {
        let is_here = allowed(url, Some(peer), None)?;
        let text = url.to_string().trim_end_matches('/').to_owned();
        let port = url.scheme_str().and_then(|scheme| peer.port(scheme));
        let address = port.and_then(|port| resolve(url, port));
        let silent = || {
            Failure::new(Exit::Unavailable, format!("nobody answers at {text}")).hint(format!(
                "is {} running? a bench starts none but the relay",
                peer.name()
            ))
        };
        let address = address.ok_or_else(silent)?;
        let reached = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        reached
            .map_err(|_| silent())?
            .map_err(|error| silent().caused_by(&error))?;
        Ok(Target {
            name: peer.name(),
            place: peer.at(&text)?,
            url: text,
            passes: peer.passes(),
            introduction: None,
            watched: server::Target {
                metrics: None,
                pid: self.pid(Some(address), is_here),
            },
            is_here,
            own: None,
        })
    }

    /// The process behind an address of this machine.
    fn pid(&self, address: Option<SocketAddr>, is_here: bool) -> Pid {
        match (self.server_pid, address) {
            (Process::Number(pid), _) => Pid::of(pid),
            (Process::Auto, Some(address)) if is_here => {
                listener_on(address.port()).map(Pid::of).unwrap_or_default()
            }
            (Process::Auto, _) => Pid::default(),
        }
    }

    async fn start(&self, out: &Out) -> Result<Target, Failure> {
        let wishes = Wishes {
            beside: self.data_dir.clone(),
            config: self.relay_config.clone(),
            store_uri_file: self.relay_store_uri_file.clone(),
        };
        let voice = out.clone();
        let own = tokio::task::spawn_blocking(move || OwnRelay::start(wishes, &voice)).await;
        let own = own.map_err(|error| {
            Failure::new(Exit::Failure, "the relay cannot be started").caused_by(&error)
        })??;
        let passes = Signed::with(own.keyset(), "chatctl", "chatctl")?;
        let url = format!("http://{}", own.address());
        Ok(Target {
            name: RELAY,
            place: Place::Relay(place(&url, &Dial::default())?),
            passes: Arc::new(passes),
            introduction: Some(introduce(&url, &Dial::default()).await?),
            watched: server::Target {
                metrics: Some(own.address()),
                pid: match self.server_pid {
                    Process::Auto => own.pid(),
                    Process::Number(pid) => Pid::of(pid),
                },
            },
            is_here: true,
            own: Some(own),
            url,
        })
    }

    async fn reach(&self, url: &Uri) -> Result<Target, Failure> {
        let is_here = allowed(url, None, self.allow_remote.as_deref())?;
        let keys = self
            .keys
            .as_deref()
            .ok_or_else(|| Failure::new(Exit::Usage, "--url needs --keys"))?;
        let passes = Signed::with(&Keyset::load(keys)?, &self.issuer, &self.audience)?;
        let text = url.to_string().trim_end_matches('/').to_owned();
        let dial = self.authority.dial()?;
        let introduction = introduce(&text, &dial).await?;
        agreed(is_here, &introduction, &text)?;
        let address = match url.scheme_str() {
            Some("http") => resolve(url, 80),
            Some(_) | None => None,
        };
        Ok(Target {
            name: RELAY,
            place: Place::Relay(place(&text, &dial)?),
            url: text,
            passes: Arc::new(passes),
            introduction: Some(introduction),
            watched: server::Target {
                metrics: address,
                pid: self.pid(address, is_here),
            },
            is_here,
            own: None,
        })
    }
}

impl Target {
    /// Finds what the relay would refuse every time.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`].
    pub(super) fn takes(&self, scenario: &Scenario) -> Result<(), Failure> {
        let Some(introduction) = &self.introduction else {
            return Ok(());
        };
        let (largest, limit) = (scenario.payload.max.0, introduction.max_payload);
        match scenario.load.writes() && largest > limit {
            true => Err(Failure::new(
                Exit::Usage,
                format!("payloads have up to {largest} bytes, the relay takes {limit}"),
            )
            .hint(format!(
                "--max-size {limit}; or a larger `max_payload_bytes` in the relay's [limits]"
            ))),
            false => Ok(()),
        }
    }
}

/// Whether a relay agrees to be measured: on this machine, it is not asked.
///
/// # Errors
///
/// [`Exit::NoPerm`].
pub(super) fn agreed(is_here: bool, introduction: &Introduction, url: &str) -> Result<(), Failure> {
    if is_here || introduction.allows_bench {
        return Ok(());
    }
    let message = format!("the relay at {url} does not allow to be measured");
    Err(Failure::new(Exit::NoPerm, message)
        .hint("whoever runs it can allow it: `allow_bench = true` in [server], or --allow-bench"))
}

/// The doors of a relay.
///
/// # Errors
///
/// [`Exit::Usage`] for what is no address.
pub(super) fn place(url: &str, dial: &Dial) -> Result<RelayPlace, Failure> {
    let http = doors(url, dial)?;
    let socket = match url.strip_prefix("https") {
        Some(rest) => format!("wss{rest}/v1/ws"),
        None => format!("ws{}/v1/ws", url.trim_start_matches("http")),
    };
    Ok(RelayPlace::new(&socket, http).by(dial.clone()))
}

fn doors(url: &str, dial: &Dial) -> Result<Http, Failure> {
    Http::with(dial, url).map_err(|error| Failure::from_error(Exit::Usage, &error))
}

/// What a relay says of itself.
///
/// # Errors
///
/// [`Exit::Unavailable`] when nobody answers; [`Exit::Protocol`] when it is no relay.
pub(super) async fn introduce(url: &str, dial: &Dial) -> Result<Introduction, Failure> {
    Introduction::of(&doors(url, dial)?, url).await.map_err(|error| {
        let failure = match &error {
            IntroductionError::Unreachable { .. } => Failure::from_error(Exit::Unavailable, &error),
            IntroductionError::Stranger { .. } => Failure::from_error(Exit::Protocol, &error),
        };
        failure.hint("is it running? without --url a relay is started for the run")
    })
}

fn no_address(peer: &Peer) -> Failure {
    Failure::new(Exit::Usage, format!("--target {} needs --url", peer.name()))
        .hint(format!("--url {}", peer.example()))
}

fn process(text: &str) -> Result<Process, String> {
    match text {
        "auto" => Ok(Process::Auto),
        text => match text.parse() {
            Ok(pid) if pid > 0 => Ok(Process::Number(pid)),
            Ok(_) | Err(_) => Err("must be auto, or the number of a process".to_owned()),
        },
    }
}

/// What a relay is called in reports.
const RELAY: &str = "chatctl";
/// How long a peer may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
