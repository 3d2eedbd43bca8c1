//! `chatctl status`: how a relay is, on one screen.

mod document;
mod screen;

use std::path::PathBuf;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
use crate::relay::{Relay, RelayOptions};
use crate::runtime::wait_for;

pub(crate) use self::document::{Job, Status};
pub(super) use self::screen::{moment, percent};

/// Show how a running relay is, on one screen
///
/// Ends with 0 when the relay takes new clients, with 75 when it answers and does not (it drains, or its store does
/// not answer), and with 69 when no relay answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl status
  chatctl status --data-dir /var/lib/chatctl --json
  chatctl status --url http://127.0.0.1:8480 --token-file admin.jwt")]
pub(crate) struct Show {
    #[command(flatten)]
    place: Place,
}

/// Which relay.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    #[command(flatten)]
    relay: RelayOptions,

    /// Data directory of the relay, whose admin socket is in it
    #[arg(
        id = "store.data_dir",
        long = "data-dir",
        env = "CHATCTL_STORE__DATA_DIR",
        value_name = "DIR"
    )]
    data_dir: Option<PathBuf>,
}

impl Place {
    /// The relay, which listens.
    ///
    /// # Errors
    ///
    /// As [`Relay::reach`], with a word on how to start one.
    pub(super) async fn reach(&self) -> Result<Relay, Failure> {
        let reached = Relay::reach(&self.relay, self.data_dir.as_deref()).await;
        reached.map_err(|failure| match failure.exit {
            Exit::Unavailable => failure.hint(HOW_TO_START),
            _ => failure,
        })
    }
}

/// Asks a relay how it is.
///
/// # Errors
///
/// As [`Relay::get`], and [`Exit::Protocol`] for an answer that makes no sense.
pub(super) async fn ask(relay: &Relay) -> Result<Status, Failure> {
    let answer = relay.get("/v1/admin/status").await?;
    serde_json::from_value(answer)
        .map_err(|error| Failure::new(Exit::Protocol, "the relay's answer makes no sense").caused_by(&error))
}

impl Show {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let status = wait_for(async {
            let relay = self.place.reach().await?;
            ask(&relay).await
        })?;
        out.result(&screen::text(&status), &status)?;
        Ok(match status.ready {
            true => Exit::Ok,
            false => Exit::TempFail,
        })
    }
}

const HOW_TO_START: &str = "`systemctl start chatctl` starts an installed relay, `chatctl serve --dev` one to try out; \
    --data-dir DIR, --admin-socket FILE or --url URL --token-file FILE say where one runs";
