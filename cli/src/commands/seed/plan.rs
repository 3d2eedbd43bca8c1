//! `chatctl seed plan`.

use chatctl_relay::config::StoreConfig;
use chatctl_relay::store::upkeep::Plan as Differences;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Line, failure, line, premises};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Show what `apply` would change; write nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl seed plan --store mongodb://db1,db2,db3/chat?replicaSet=rs0
  chatctl seed plan --store-uri-file /etc/chatctl/store-uri --exit-code")]
pub(super) struct Plan {
    #[command(flatten)]
    store: StoreConfig,

    /// End with 1 when something is to be done
    #[arg(long)]
    exit_code: bool,
}

/// What is to be done.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Planned {
    /// The database, or the directory.
    store: String,
    /// The version of the layout that is there; none in an empty store.
    found: Option<u32>,
    /// The version that this chatctl needs.
    wanted: u32,
    /// How many steps `apply` would take.
    pending: usize,
    steps: Vec<Line>,
}

impl Document for Planned {
    const SCHEMA: &'static str = "chatctl.seed.plan/v1";
}

impl Plan {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let premises = premises(&self.store).await?;
        let plan = premises
            .plan()
            .await
            .map_err(|error| failure(&self.store, &error))?;
        let pending = plan.pending().count();
        let document = Planned {
            store: premises.name(),
            found: plan.found,
            wanted: plan.wanted,
            pending,
            steps: plan.steps.iter().map(Line::from).collect(),
        };
        let shown = out.result(&text(&plan, pending), &document);
        match self.exit_code && pending > 0 {
            // Whether or not anybody read the list.
            true => Ok(Exit::Failure),
            false => shown.map(|()| Exit::Ok),
        }
    }
}

fn text(plan: &Differences, pending: usize) -> String {
    let lines = plan.steps.iter().map(|step| line(step) + "\n");
    let end = match pending {
        0 => "nothing to do\n".to_owned(),
        pending => format!("{pending} to do: `chatctl seed apply` does it\n"),
    };
    lines.chain([end]).collect()
}
