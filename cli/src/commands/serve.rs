//! `chatctl serve`: the relay.
//!
//! Owns its command line and its log. What a relay is, and how it stops, is the library's business.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use chatctl_relay::auth::Keyset;
use chatctl_relay::config::Config;
use chatctl_relay::model::Clock;
use tracing_subscriber::EnvFilter;

use super::dev::Dev;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

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
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        self.start_log();
        run(self.launch()?, out)
    }

    fn launch(self) -> Result<Launch, Failure> {
        let now = Clock::system().now();
        let mut config = self.config;
        let keyset = match (&config.keys, self.dev) {
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
        if config.data_dir.is_none() {
            return Err(Failure::new(
                Exit::Config,
                "the relay needs a place for its store: --data-dir DIR",
            )
            .hint("`chatctl serve --dev` uses a temporary one"));
        }
        Ok(Launch {
            config,
            keyset,
            dev,
            dev_info: self.dev_info,
        })
    }

    fn start_log(&self) {
        let log = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(&self.log_level))
            .with_writer(io::stderr);
        // Set already only where a test runs two commands in one process.
        let _ = match self.log_format {
            LogFormat::Text => log.try_init(),
            LogFormat::Json => log.json().try_init(),
        };
    }
}

/// Binds, registers the demo's devices, tells their owner, and serves until a signal.
fn run(launch: Launch, out: Out) -> Result<Exit, Failure> {
    let at = bind(&launch)?;
    if let Some(dev) = &launch.dev {
        for (address, registration_id) in dev.registrations() {
            tracing::debug!(?address, registration_id, "registers");
        }
        if let Some(path) = &launch.dev_info {
            dev.write_info(path, at)?;
        }
        dev.announce(at, out)?;
    }
    Ok(Exit::Ok)
}

/// PLACEHOLDER: this build has no server to bind. Whoever brings it puts it into [`run`], registers each
/// of the demo's devices where that says so, and serves and drains after the announcement.
fn bind(launch: &Launch) -> Result<SocketAddr, Failure> {
    tracing::debug!(keyset = ?launch.keyset, listen = %launch.config.listen, "prepared");
    Err(Failure::new(
        Exit::Unavailable,
        "this build has no server to start",
    ))
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
        Line::parse_from([&["serve"], args].concat()).serve.launch()
    }

    #[test]
    fn without_keys_or_a_store_there_is_no_relay_unless_it_is_a_demo() {
        assert_eq!(launch(&[]).unwrap_err().exit, Exit::Config);
        let missing = launch(&["--keys", "/nowhere/keys.json"]).unwrap_err();
        assert_eq!(missing.exit, Exit::NoInput);
        let demo = launch(&["--dev", "--listen", "127.0.0.1:0"]).unwrap();
        assert!(demo.dev.is_some());
        assert!(demo.config.data_dir.unwrap().is_dir());
    }

    #[test]
    fn a_log_level_that_means_nothing_is_refused() {
        assert!(log_level("info,chatctl_relay::session=debug").is_ok());
        assert!(log_level("a=b=c").is_err());
    }
}
