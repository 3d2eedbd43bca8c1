//! Which relay is measured: one that is started for the run, or one that runs.
//!
//! Owns the rule that nobody is measured who did not agree: another machine has to be named by the person and to
//! say by itself that it may be.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;

use chatctl_client::Http;
use chatctl_loadgen::scenario::Scenario;
use chatctl_loadgen::server::{self, Introduction, IntroductionError, Pid, listener_on};
use chatctl_loadgen::wire::Passes;
use chatctl_loadgen::wire::chatctl::RelayPlace;
use chatctl_relay::auth::Keyset;
use hyper::Uri;

use super::own::{OwnRelay, Wishes};
use super::passes::Signed;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Which relay.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Where")]
pub(super) struct Where {
    /// Relay to measure, as http://127.0.0.1:8480; without it one is started for the run, and removed at its end
    #[arg(id = "bench_url", long = "url", value_name = "URL", requires = "bench_keys")]
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

    /// The relay's process on this machine: its number, or auto
    #[arg(long, value_name = "PID", default_value = "auto", value_parser = process)]
    server_pid: Process,
}

/// Whose `/proc` is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Auto,
    Number(u32),
}

/// A relay that can be measured.
pub(super) struct Target {
    /// Its address, for people.
    pub(super) url: String,
    /// For the clients.
    pub(super) place: RelayPlace,
    /// Their tokens.
    pub(super) passes: Arc<dyn Passes>,
    /// What it says of itself.
    pub(super) introduction: Introduction,
    /// Where its figures are.
    pub(super) watched: server::Target,
    /// Whether it is on this machine.
    pub(super) is_here: bool,
    /// The one that was started for this, which goes with it.
    pub(super) own: Option<OwnRelay>,
}

impl Where {
    /// Finds out whether the relay may be measured, as far as that is seen without asking anybody.
    ///
    /// # Errors
    ///
    /// [`Exit::NoPerm`] for another machine that was not named; [`Exit::Usage`] for what is no address;
    /// [`Exit::NoInput`] for files that are not there.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if let Some(url) = &self.url {
            allowed(url, self.allow_remote.as_deref())?;
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

    /// Reaches the relay, or starts one. Blocks a while.
    ///
    /// # Errors
    ///
    /// [`Exit::Unavailable`] when nobody answers; [`Exit::NoPerm`] when it does not want to be measured; as
    /// [`Self::check`] and [`OwnRelay::start`].
    pub(super) async fn open(&self, out: &Out) -> Result<Target, Failure> {
        match &self.url {
            Some(url) => self.reach(url).await,
            None => self.start(out).await,
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
            place: place(&url)?,
            passes: Arc::new(passes),
            introduction: introduce(&url).await?,
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
        let is_here = allowed(url, self.allow_remote.as_deref())?;
        let keys = self
            .keys
            .as_deref()
            .ok_or_else(|| Failure::new(Exit::Usage, "--url needs --keys"))?;
        let passes = Signed::with(&Keyset::load(keys)?, &self.issuer, &self.audience)?;
        let text = url.to_string().trim_end_matches('/').to_owned();
        let introduction = introduce(&text).await?;
        agreed(is_here, &introduction, &text)?;
        let address = match url.scheme_str() {
            Some("http") => address(url),
            Some(_) | None => None,
        };
        let pid = match (self.server_pid, address) {
            (Process::Number(pid), _) => Pid::of(pid),
            (Process::Auto, Some(address)) if is_here => {
                listener_on(address.port()).map(Pid::of).unwrap_or_default()
            }
            (Process::Auto, _) => Pid::default(),
        };
        Ok(Target {
            place: place(&text)?,
            url: text,
            passes: Arc::new(passes),
            introduction,
            watched: server::Target {
                metrics: address,
                pid,
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
        let (largest, limit) = (scenario.payload.max.0, self.introduction.max_payload);
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

/// Whether the host is this machine.
///
/// # Errors
///
/// [`Exit::NoPerm`] when it is another one that was not named; [`Exit::Usage`] for what is no address.
pub(super) fn allowed(url: &Uri, allow_remote: Option<&str>) -> Result<bool, Failure> {
    let bad = |message: &str| Err(Failure::new(Exit::Usage, message));
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return bad("--url takes an http:// or https:// address");
    }
    if url
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return bad("--url takes no login");
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        return bad("--url takes an address without a path");
    }
    let Some(host) = url.host() else {
        return bad("--url names no host");
    };
    if is_loopback(host) {
        return Ok(true);
    }
    if allow_remote == Some(host) {
        return Ok(false);
    }
    Err(Failure::new(
        Exit::NoPerm,
        format!("{host} is another machine, and a bench is hard on it"),
    )
    .hint(format!(
        "where you may measure it: --allow-remote {host}, and `allow_bench = true` in its [server]"
    )))
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
pub(super) fn place(url: &str) -> Result<RelayPlace, Failure> {
    let http = Http::new(url).map_err(|error| Failure::from_error(Exit::Usage, &error))?;
    let socket = match url.strip_prefix("https") {
        Some(rest) => format!("wss{rest}/v1/ws"),
        None => format!("ws{}/v1/ws", url.trim_start_matches("http")),
    };
    Ok(RelayPlace::new(&socket, http))
}

/// What a relay says of itself.
///
/// # Errors
///
/// [`Exit::Unavailable`] when nobody answers; [`Exit::Protocol`] when it is no relay.
pub(super) async fn introduce(url: &str) -> Result<Introduction, Failure> {
    Introduction::of(url).await.map_err(|error| {
        let failure = match &error {
            IntroductionError::Unreachable { .. } => Failure::from_error(Exit::Unavailable, &error),
            IntroductionError::Stranger { .. } => Failure::from_error(Exit::Protocol, &error),
        };
        failure.hint("is it running? without --url a relay is started for the run")
    })
}

/// The address behind a plain URL. A name is looked up.
fn address(url: &Uri) -> Option<SocketAddr> {
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    (host, url.port_u16().unwrap_or(80))
        .to_socket_addrs()
        .ok()?
        .next()
}

fn is_loopback(host: &str) -> bool {
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        place: Where,
    }

    fn allowed(args: &[&str]) -> Result<bool, Exit> {
        let place = Line::parse_from([&["bench", "--keys", "k", "--url"], args].concat()).place;
        let url = place.url.clone().unwrap();
        super::allowed(&url, place.allow_remote.as_deref()).map_err(|failure| failure.exit)
    }

    #[test]
    fn this_machine_may_be_measured_and_another_one_only_by_its_exact_name() {
        for here in [
            "http://127.0.0.1:8480",
            "http://localhost:1/",
            "http://[::1]:1",
            "https://127.1.2.3",
        ] {
            assert_eq!(allowed(&[here]), Ok(true), "{here}");
        }
        for there in [
            "http://192.0.2.1:1",
            "http://localhost.example.org",
            "http://[::ffff:192.0.2.1]:1",
        ] {
            assert_eq!(allowed(&[there]), Err(Exit::NoPerm), "{there}");
            assert_eq!(
                allowed(&[there, "--allow-remote", "example.org"]),
                Err(Exit::NoPerm),
                "{there}"
            );
        }
        assert_eq!(
            allowed(&["http://192.0.2.1:1", "--allow-remote", "192.0.2.1"]),
            Ok(false)
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "ftp://127.0.0.1",
            "http://me:secret@127.0.0.1",
            "http://127.0.0.1/v1",
            "127.0.0.1",
        ] {
            assert_eq!(allowed(&[bad]), Err(Exit::Usage), "{bad}");
        }
    }
}
