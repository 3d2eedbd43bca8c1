//! `chatctl seed reset`.

use chatctl_relay::config::StoreConfig;
use chatctl_relay::store::upkeep::{Amount, PRODUCTION, UpkeepError};
use schemars::JsonSchema;
use serde::Serialize;

use super::{failure, premises};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Delete everything of chatctl's in the store
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl seed reset --data-dir ./data --dry-run
  chatctl seed reset --store mongodb://127.0.0.1/try?replicaSet=rs0 --confirm try")]
pub(super) struct Reset {
    #[command(flatten)]
    store: StoreConfig,

    /// The name of the database, or of the directory, that is to be emptied
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,

    /// Show what would be deleted; delete nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What is gone, or would be.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Emptied {
    /// The database, or the directory.
    store: String,
    /// Whether nothing was deleted.
    dry_run: bool,
    deleted: Vec<Deleted>,
}

impl Document for Emptied {
    const SCHEMA: &'static str = "chatctl.seed.reset/v1";
}

#[derive(Debug, Serialize, JsonSchema)]
struct Deleted {
    /// Of what.
    name: String,
    /// How many.
    count: u64,
}

impl Reset {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let failed = |error| failure(&self.store, &error);
        let premises = premises(&self.store).await?;
        let name = premises.name();
        if self.confirm.as_ref() != Some(&name) && !self.dry_run {
            let message = match &self.confirm {
                None => "reset deletes every account, device, key and message",
                Some(_) => "--confirm names something else than the store",
            };
            return Err(Failure::new(Exit::Usage, message)
                .hint(format!("--confirm {name} does it; --dry-run shows what there is")));
        }
        // Said by a dry run, too: it shows what would happen.
        let environment = premises.environment().await.map_err(failed)?;
        if let Some(environment) = environment.filter(|environment| environment == PRODUCTION) {
            return Err(failed(UpkeepError::Protected(environment)));
        }
        let amounts = match self.dry_run {
            true => premises.contents().await,
            false => premises.reset().await,
        };
        let amounts = amounts.map_err(failed)?;
        let deleted = amounts.iter().map(|amount| Deleted {
            name: amount.name.to_string(),
            count: amount.count,
        });
        let document = Emptied {
            store: name,
            dry_run: self.dry_run,
            deleted: deleted.collect(),
        };
        out.result(&text(&amounts, self.dry_run), &document)
            .map(|()| Exit::Ok)
    }
}

fn text(amounts: &[Amount], dry_run: bool) -> String {
    if amounts.is_empty() {
        return "nothing to delete\n".to_owned();
    }
    let lines = amounts
        .iter()
        .map(|amount| format!("- {:<14}{}\n", amount.name, amount.count));
    let end = match dry_run {
        true => "nothing was deleted: a dry run\n",
        false => "deleted\n",
    };
    lines.chain([end.to_owned()]).collect()
}
