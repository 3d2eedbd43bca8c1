//! `chatctl seed demo`: accounts to try a relay with, as clients would have made them.
//!
//! Owns the command line, the order of the work and what is told of it. No private half of a key and no
//! token goes anywhere but into the files of `--state-dir`.

mod cast;
mod keys;
mod newcomers;
mod progress;
mod report;
mod stage;
mod state;
mod talk;

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use chatctl_protocol::{AccountId, Limits};
use chatctl_relay::auth::{Keyset, Signer};
use chatctl_relay::config::{AuthConfig, StoreConfig};
use chatctl_relay::model::Clock;
use chatctl_relay::store::upkeep::{PRODUCTION, UpkeepError};
use futures_util::StreamExt as _;
use futures_util::stream;

use self::cast::{Role, Script, Talk};
use self::progress::Progress;
pub(crate) use self::report::Demonstrated;
use self::report::Report;
use self::stage::{Stage, Tokens};
use self::state::StateDir;
pub(crate) use self::state::adopt;
use self::talk::Ids;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
use crate::store::{self, Fresh, store_failure};

/// Fill the store with demo accounts
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl seed demo --users 50 --rng-seed 7 --data-dir ./data --state-dir ./demo
  chatctl seed demo --users 50 --devices 1..3 --conversations 20 --keys keys.json \\
    --store mongodb://127.0.0.1/chat?replicaSet=rs0 --state-dir ./demo
  chatctl seed demo --users 3 --dry-run")]
pub(super) struct Demo {
    #[command(flatten)]
    store: StoreConfig,

    /// Accounts
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: u32,

    /// Devices of each account: a number, or a range as in 1..3
    #[arg(long, value_name = "N[..N]", default_value = "1", value_parser = devices)]
    devices: RangeInclusive<u8>,

    /// One-time keys of each device
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100))]
    prekeys: u32,

    /// What every account begins with
    #[arg(long, value_name = "TEXT", default_value = "demo-", value_parser = prefix)]
    prefix: String,

    /// Accounts, device ids, registration ids and who talks to whom are drawn from this; keys never are
    #[arg(long, value_name = "N", default_value_t = 0)]
    rng_seed: u64,

    /// Directory of the private halves, one file for each device (made if missing, mode 0700)
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    state_dir: Option<PathBuf>,

    /// Conversations to store, encrypted from one demo device to another
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    conversations: u32,

    /// With a keyset, each state file gets a token.
    #[command(flatten)]
    auth: AuthConfig,

    /// How long the tokens live
    #[arg(long, value_name = "DURATION", default_value = "24h", requires = "auth.keys", value_parser = humantime::parse_duration)]
    token_ttl: Duration,

    /// Install devices anew that are in the store with other keys than in the state files, or without a file
    #[arg(long)]
    reinstall: bool,

    /// Show who would be there; open and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Demo {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let script = Script {
            seed: self.rng_seed,
            prefix: self.prefix.clone(),
            devices: self.devices.clone(),
        };
        let bad = |error| Failure::from_error(Exit::Usage, &error).hint("another --prefix");
        let cast = script.cast(self.users).map_err(bad)?;
        let talks = script.talks(&cast, self.conversations).map_err(bad)?;
        let mut report = Report::new(self.rng_seed, self.state_dir.clone());
        if self.dry_run {
            report.would_be(&cast, &talks);
            report.tell(out)?;
            return Ok(Exit::Ok);
        }
        let stage = self.stage(script).await?;
        let played = play(&stage, &cast, &talks, &mut report, out).await;
        // What is stored is stored; an error of the work says more than one of the end.
        let closed = stage.store.close().await;
        let exit = played?;
        closed.map_err(|error| store_failure(&error))?;
        report.tell(out)?;
        match exit {
            Exit::Ok if report.conflicts() > 0 => Err(report.refusal()),
            exit => Ok(exit),
        }
    }

    async fn stage(&self, script: Script) -> Result<Stage, Failure> {
        let clock = Clock::system();
        let tokens = match &self.auth.keys {
            None => None,
            Some(path) => Some(Tokens {
                signer: Signer::new(&Keyset::load(path)?)?,
                issuer: self.auth.issuer.clone(),
                audience: self.auth.audience.clone(),
                life: self.token_ttl,
            }),
        };
        let failed = |error| super::failure(&self.store, &error);
        let environment = super::premises(&self.store).await?.environment().await;
        if let Some(environment) = environment.map_err(failed)?.filter(|name| name == PRODUCTION) {
            return Err(failed(UpkeepError::Protected(environment)));
        }
        // Before the store: it costs nothing, and a store is not to be made for a directory that will not do.
        let states = StateDir::open(self.state_dir.as_deref().unwrap_or_else(|| ".".as_ref()))?;
        let store = store::open(&self.store, Fresh::Refuse).await?;
        Ok(Stage {
            store,
            states,
            script,
            prekeys: self.prekeys,
            reinstall: self.reinstall,
            tokens,
            limits: Limits::default(),
            clock,
        })
    }
}

/// Accounts, then conversations, until Ctrl-C. What is under way then is left as it is: the next run
/// completes it.
async fn play(
    stage: &Stage,
    cast: &[Role],
    talks: &[Talk],
    report: &mut Report,
    out: &Out,
) -> Result<Exit, Failure> {
    let work = async {
        enter(stage, cast, report, out).await?;
        converse(stage, talks, report, out).await
    };
    match interruptible(work).await {
        Some(done) => done.map(|()| Exit::Ok),
        None => {
            out.warn("stopped; the same command goes on from here");
            report.stop();
            Ok(Exit::Interrupted)
        }
    }
}

async fn enter(stage: &Stage, cast: &[Role], report: &mut Report, out: &Out) -> Result<(), Failure> {
    let mut progress = Progress::begin(out, "accounts", cast.len() as u64);
    let groups = stream::iter(cast.chunks(GROUP));
    let entered = groups.map(|group| async move { (group, stage.enter_all(group).await) });
    let mut entered = std::pin::pin!(entered.buffer_unordered(AT_ONCE / GROUP));
    while let Some((group, outcomes)) = entered.next().await {
        for (role, outcomes) in group.iter().zip(outcomes?) {
            report.entered(role, &outcomes);
            progress.step();
        }
    }
    Ok(())
}

async fn converse(stage: &Stage, talks: &[Talk], report: &mut Report, out: &Out) -> Result<(), Failure> {
    if talks.is_empty() {
        return Ok(());
    }
    let ids = Ids::begin(stage).await?;
    let ids = &ids;
    // A sender's file has one writer at a time.
    let mut senders = BTreeMap::<_, Vec<&Talk>>::new();
    for talk in talks {
        senders.entry(&talk.from).or_default().push(talk);
    }
    let mut progress = Progress::begin(out, "conversations", talks.len() as u64);
    let held = stream::iter(senders.into_values()).map(|talks| async move {
        let mut held = Vec::with_capacity(talks.len());
        for talk in talks {
            held.push(stage.hold(talk, ids).await);
        }
        held
    });
    let mut held = std::pin::pin!(held.buffer_unordered(AT_ONCE));
    while let Some(of_one) = held.next().await {
        for held in of_one {
            report.held(held?);
            progress.step();
        }
    }
    Ok(())
}

/// Does work until its end or Ctrl-C, whichever is first.
async fn interruptible<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        // Without a handler the signal ends the process, and the next run completes that, too.
        Ok(()) = tokio::signal::ctrl_c() => None,
    }
}

fn devices(text: &str) -> Result<RangeInclusive<u8>, String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let most = most.strip_prefix('=').unwrap_or(most);
    let number = |text: &str| text.parse::<u8>().map_err(|error| error.to_string());
    let range = number(least)?..=number(most)?;
    let allowed = Limits::default().max_devices;
    if *range.start() == 0 || range.is_empty() || u32::from(*range.end()) > allowed {
        return Err(format!("must be 1 to {allowed}, or a range as in 1..3"));
    }
    Ok(range)
}

fn prefix(text: &str) -> Result<String, String> {
    // Room for what follows the prefix; the longest name has six letters.
    AccountId::parse(&format!("{text}{}", "a".repeat(16)))
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

/// Accounts that are made together.
const GROUP: usize = 32;

/// Accounts under way at once: enough to keep the cores and the store busy.
const AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_a_number_or_a_range() {
        assert_eq!(devices("2"), Ok(2..=2));
        assert_eq!(devices("1..3"), Ok(1..=3));
        assert_eq!(devices("1..=8"), Ok(1..=8));
        for bad in ["0", "0..2", "3..1", "1..9", "x", ".."] {
            assert!(devices(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_is_part_of_an_account_id() {
        assert_eq!(prefix("x."), Ok("x.".into()));
        assert!(prefix("a b").is_err());
        assert!(prefix(&"a".repeat(120)).is_err());
    }
}
