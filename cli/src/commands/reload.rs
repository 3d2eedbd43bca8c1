//! `chatctl reload`: a running relay reads its configuration again.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::relay::{Relay, RelayOptions};
use crate::runtime::wait_for;

/// Make a running relay read its configuration and keys again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl config check && chatctl reload
  chatctl reload --data-dir /var/lib/chatctl --json
  chatctl reload --wait 30s")]
pub(crate) struct Reload {
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

    /// How long the relay may take: reading keys of outside issuers is its slowest part
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

/// What the relay did.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Answered {
    /// How many configurations it has followed; the one that it was started with is 1.
    generation: u64,
    /// What is different from now on.
    applied: Vec<Change>,
    /// What needs a restart.
    deferred: Vec<Change>,
}

/// A setting with another value.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Change {
    key: String,
    from: Option<String>,
    to: Option<String>,
}

impl Document for Answered {
    const SCHEMA: &'static str = "chatctl.reload/v1";
}

impl Reload {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let answered = wait_for(async {
            let relay = Relay::reach(&self.relay, self.data_dir.as_deref()).await?;
            relay
                .patient(self.wait)
                .post("/v1/admin/reload", &Value::Null)
                .await
        })?;
        let answered: Answered = serde_json::from_value(answered).map_err(|error| {
            Failure::new(Exit::Protocol, "the relay's answer makes no sense").caused_by(&error)
        })?;
        out.result(&text(&answered), &answered)
    }
}

fn text(answered: &Answered) -> String {
    let mut text = format!("reloaded, generation {}\n", answered.generation);
    for (word, changes) in [("applied", &answered.applied), ("deferred", &answered.deferred)] {
        for Change { key, from, to } in changes {
            let (from, to) = (from.as_deref().unwrap_or("-"), to.as_deref().unwrap_or("-"));
            let note = if word == "deferred" {
                " (needs a restart)"
            } else {
                ""
            };
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {word:<8}  {key} {from} → {to}{note}");
        }
    }
    if answered.applied.is_empty() && answered.deferred.is_empty() {
        text.push_str("  nothing has changed\n");
    }
    text
}
