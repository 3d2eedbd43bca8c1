//! `chatctl token revocations`: what was taken back, and what of it may be forgotten.

use chatctl_relay::config::StoreConfig;
use chatctl_relay::model::{Clock, Revocation, Revoked};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::relay::{Relay, RelayOptions};
use crate::store;
use crate::when::rfc3339;

/// List tokens that were taken back, or forget those that are over
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl token revocations list --data-dir /var/lib/chatctl")]
pub(super) struct Revocations {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List what is revoked
    List(List),
    /// Forget the revocations of tokens that are over by themselves
    Prune(Prune),
}

/// List what is revoked
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl token revocations list --data-dir /var/lib/chatctl --json")]
struct List {
    #[command(flatten)]
    relay: RelayOptions,

    #[command(flatten)]
    store: StoreConfig,
}

/// Forget the revocations of tokens that are over by themselves
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl token revocations prune --data-dir /var/lib/chatctl")]
struct Prune {
    #[command(flatten)]
    relay: RelayOptions,

    #[command(flatten)]
    store: StoreConfig,
}

/// What is revoked.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RevocationList {
    /// In the order in which it was said.
    revocations: Vec<Entry>,
}

impl Document for RevocationList {
    const SCHEMA: &'static str = "chatctl.token.revocations.list/v1";
}

/// A revocation: of one token, or of an account's.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Entry {
    number: u64,
    jti: Option<String>,
    account: Option<String>,
    device_id: Option<String>,
    issued_before: Option<String>,
    revoked_at: String,
    expires_at: String,
    reason: String,
}

/// What was forgotten.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PrunedRevocations {
    /// How many there were.
    pruned: u64,
}

impl Document for PrunedRevocations {
    const SCHEMA: &'static str = "chatctl.token.revocations.prune/v1";
}

impl Revocations {
    pub(super) async fn run(self, out: &Out) -> Result<(), Failure> {
        match self.verb {
            Verb::List(list) => list.run(out).await,
            Verb::Prune(prune) => prune.run(out).await,
        }
    }
}

impl List {
    async fn run(self, out: &Out) -> Result<(), Failure> {
        let revocations = match Relay::find(&self.relay, self.store.data_dir.as_deref()).await? {
            Some(relay) => asked(&relay).await?,
            None => read(&self.store).await?,
        };
        let document = RevocationList { revocations };
        out.result(&text(&document.revocations), &document)
    }
}

impl Prune {
    async fn run(self, out: &Out) -> Result<(), Failure> {
        let pruned = match Relay::find(&self.relay, self.store.data_dir.as_deref()).await? {
            Some(relay) => {
                let answer = relay.delete("/v1/admin/revocations/expired").await?;
                let pruned = answer.get("pruned").and_then(Value::as_u64);
                pruned.ok_or_else(|| strange(&relay))?
            }
            None => prune(&self.store).await?,
        };
        let text = format!("{pruned} revocations were over, and are forgotten\n");
        out.result(&text, &PrunedRevocations { pruned })
    }
}

async fn asked(relay: &Relay) -> Result<Vec<Entry>, Failure> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.number);
        let path = format!("/v1/admin/revocations?after={after}&limit={PAGE}");
        let mut answer = relay.get(&path).await?;
        let page = answer.get_mut("revocations").map(Value::take).unwrap_or_default();
        let page: Vec<Entry> = serde_json::from_value(page).map_err(|_| strange(relay))?;
        let is_last = page.len() < PAGE;
        entries.extend(page);
        if is_last {
            return Ok(entries);
        }
    }
}

async fn read(config: &StoreConfig) -> Result<Vec<Entry>, Failure> {
    let store = super::revoke::open(config).await?;
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.number);
        let page = store.revocations(after, PAGE).await;
        let page = page.map_err(|error| store::store_failure(&error))?;
        let is_last = page.len() < PAGE;
        entries.extend(page.into_iter().map(entry));
        if is_last {
            break;
        }
    }
    store
        .close()
        .await
        .map_err(|error| store::store_failure(&error))?;
    Ok(entries)
}

async fn prune(config: &StoreConfig) -> Result<u64, Failure> {
    let store = super::revoke::open(config).await?;
    let now = Clock::system().now();
    let mut pruned = 0;
    loop {
        let some = store.prune_revocations(now, PAGE).await;
        let some = some.map_err(|error| store::store_failure(&error))?;
        pruned += some as u64;
        if some < PAGE {
            break;
        }
    }
    store
        .close()
        .await
        .map_err(|error| store::store_failure(&error))?;
    Ok(pruned)
}

fn entry((number, revocation): (u64, Revocation)) -> Entry {
    let (jti, account, device_id, issued_before) = match revocation.what {
        Revoked::Token(jti) => (Some(jti.to_string()), None, None, None),
        Revoked::Issued {
            account,
            device,
            up_to,
        } => (
            None,
            Some(account.to_string()),
            device.map(|device| device.to_string()),
            Some(rfc3339(up_to)),
        ),
    };
    Entry {
        number,
        jti,
        account,
        device_id,
        issued_before,
        revoked_at: rfc3339(revocation.revoked_at),
        expires_at: rfc3339(revocation.expires_at),
        reason: revocation.reason.to_string(),
    }
}

fn text(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "nothing is revoked\n".to_owned();
    }
    let lines = entries.iter().map(|entry| {
        let what = match (&entry.jti, &entry.account, &entry.device_id) {
            (Some(jti), _, _) => format!("token {jti}"),
            (None, account, device) => {
                let device = device.as_ref().map(|device| format!(" device {device}"));
                let up_to = entry.issued_before.as_deref().unwrap_or_default();
                format!(
                    "account {}{} issued up to {up_to}",
                    account.as_deref().unwrap_or_default(),
                    device.unwrap_or_default()
                )
            }
        };
        // What an operator wrote is shown without what a terminal would act on.
        let reason = match entry.reason.as_str() {
            "" => String::new(),
            reason => format!("  {reason:?}"),
        };
        format!(
            "{:>6}  {what:?}  until {}{reason}\n",
            entry.number, entry.expires_at
        )
    });
    lines.collect()
}

fn strange(relay: &Relay) -> Failure {
    Failure::new(
        Exit::Protocol,
        format!("{} answers, but not as a relay does", relay.name()),
    )
    .hint("is it a relay of this version?")
}

const PAGE: usize = 1_000;
