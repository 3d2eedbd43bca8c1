//! `chatctl bench echo`: the bare relay, for `--target ws-echo` and `--target ws-frames`.
//!
//! It forwards for whoever comes, so that it listens to this machine only.

use std::net::SocketAddr;

use chatctl_loadgen::bare::{self, Speech};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::net::TcpListener;

use super::host;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::runtime::wait_for;
use crate::signals::Signals;

/// Relay over bare WebSockets, to compare with: no accounts, no store, no acks
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl bench echo --listen 127.0.0.1:8080
  chatctl bench echo --speech frames")]
pub(super) struct Echo {
    /// Where; 0 is a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// What its clients say: bare is for --target ws-echo, frames for --target ws-frames
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Says::Bare)]
    speech: Says,
}

/// As it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Says {
    /// Names and bytes: one message in, one message out
    Bare,
    /// The relay's own frames: a message in, a message and an OK out, an ack in
    Frames,
}

impl From<Says> for Speech {
    fn from(says: Says) -> Self {
        match says {
            Says::Bare => Self::Bare,
            Says::Frames => Self::Frames,
        }
    }
}

/// Where it is.
#[derive(Debug, Serialize, JsonSchema)]
struct Listening {
    /// For `--url`.
    url: String,
}

impl Document for Listening {
    const SCHEMA: &'static str = "chatctl.bench.echo/v1";
}

impl Echo {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        if !self.listen.ip().to_canonical().is_loopback() {
            return Err(
                Failure::new(Exit::Usage, format!("{} is not only this machine", self.listen))
                    .hint("--listen 127.0.0.1:0: it asks nobody who they are"),
            );
        }
        host::files(CONNECTIONS)?;
        wait_for(self.serve(out))
    }

    async fn serve(self, out: &Out) -> Result<Exit, Failure> {
        let mut signals = Signals::listen()?;
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Unavailable, format!("cannot listen on {}", self.listen)).caused_by(&error)
        };
        let listener = TcpListener::bind(self.listen).await.map_err(failed)?;
        let url = format!("ws://{}", listener.local_addr().map_err(failed)?);
        out.line(&url.clone(), &Listening { url })?;
        tokio::select! {
            () = bare::serve(listener, self.speech.into()) => {}
            _ = signals.next() => {}
        }
        Ok(Exit::Ok)
    }
}

/// Open files that it has at least; it takes as many as it may have.
const CONNECTIONS: u64 = 64;
