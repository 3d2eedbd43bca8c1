//! `chatctl seed plan`.

use chatctl_relay::config::StoreConfig;
use chatctl_relay::store::upkeep::Plan as Differences;
use serde_json::json;

use super::{Line, failure, line, premises};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

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

impl Plan {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let premises = premises(&self.store).await?;
        let plan = premises
            .plan()
            .await
            .map_err(|error| failure(&self.store, &error))?;
        let pending = plan.pending().count();
        let document = json!({
            "schema": "chatctl.seed.plan/v1",
            "store": premises.name(),
            "found": plan.found,
            "wanted": plan.wanted,
            "pending": pending,
            "steps": plan.steps.iter().map(Line::from).collect::<Vec<_>>(),
        });
        let shown = out.untyped(&text(&plan, pending), &document);
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
