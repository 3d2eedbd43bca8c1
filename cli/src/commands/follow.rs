//! A running relay reads its configuration again: the same command line, over what the file says now.
//!
//! Owns what changed and what that means: applied, or deferred until a restart. Which settings are live is
//! [`crate::config::is_live`]'s business, and how the relay follows them the library's.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chatctl_relay::auth::{Keyset, Policy};
use chatctl_relay::http::reload::{Change, Refused, Reload, Reloaded};
use chatctl_relay::server::Supervisor;
use chatctl_relay::server::live::Live;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::Command;
use super::serve::Reading;
use crate::config::told::{Told, plain};
use crate::config::{Refusal, is_live};
use crate::log::Level;

/// Follows the configuration of a running relay.
#[derive(Debug)]
pub(super) struct Follower {
    live: Live,
    level: Level,
    supervisor: Arc<Supervisor>,
    running: Mutex<Running>,
    read: fn() -> Result<Reading, Vec<String>>,
}

/// What the relay follows at the moment.
#[derive(Debug)]
struct Running {
    generation: u64,
    values: BTreeMap<String, Value>,
    keys: String,
}

impl Follower {
    /// For a relay that was started with these settings, and with a keyset that has this summary.
    pub(super) fn new(live: Live, level: Level, told: Told, keys: String) -> Self {
        Self {
            live,
            level,
            supervisor: Supervisor::nobody(),
            running: Mutex::new(Running {
                generation: 1,
                values: told.values,
                keys,
            }),
            read: read_again,
        }
    }

    /// With somebody who is told when a configuration is read, and what came of it.
    pub(super) fn supervised_by(self, supervisor: Arc<Supervisor>) -> Self {
        Self { supervisor, ..self }
    }
}

#[async_trait]
impl Reload for Follower {
    async fn reload(&self) -> Result<Reloaded, Refused> {
        // One after the other, and the supervisor hears of each from its beginning to its end.
        let mut running = self.running.lock().await;
        self.supervisor.reloading().await;
        let done = self.read_and_follow(&mut running).await;
        let status = match &done {
            Ok(reloaded) => format!("reloaded, generation {}", reloaded.generation),
            Err(refused) => refused.to_string(),
        };
        self.supervisor.reloaded(&status).await;
        done
    }
}

impl Follower {
    async fn read_and_follow(&self, running: &mut Running) -> Result<Reloaded, Refused> {
        let read = tokio::task::spawn_blocking(self.read).await;
        let read = read.unwrap_or_else(|_| Err(vec!["reading it failed".to_owned()]));
        let reading = read.map_err(|problems| self.refuse(problems))?;
        // Before anything is followed: what outside issuers' files hold may be refused, too.
        let summary = reading.keyset.as_ref().map(keyset_summary);
        let policy = reading
            .keyset
            .map(|keyset| Policy::of(keyset, &reading.config.auth))
            .transpose()
            .map_err(|error| self.refuse(vec![sentence(&error)]))?;
        let reloaded = running.follow(&reading.told, summary);
        self.live.follow(&reading.config, policy);
        self.level.follow(&reading.log);
        let (applied, deferred) = (keys(&reloaded.applied), keys(&reloaded.deferred));
        info!(generation = reloaded.generation, %applied, %deferred, "reloaded");
        Ok(reloaded)
    }

    /// Keeps what was.
    fn refuse(&self, problems: Vec<String>) -> Refused {
        self.live.keep();
        let refused = Refused { problems };
        warn!(error = %refused, "reload refused");
        refused
    }
}

impl Running {
    /// Notes what is followed from now on, and tells what that changes.
    fn follow(&mut self, told: &Told, keys: Option<String>) -> Reloaded {
        let newer = &told.values;
        let mut names: Vec<_> = self.values.keys().chain(newer.keys()).cloned().collect();
        names.sort();
        names.dedup();
        let (mut applied, mut deferred) = (Vec::new(), Vec::new());
        for key in names {
            let (from, to) = (self.values.get(&key).cloned(), newer.get(&key).cloned());
            if from == to {
                continue;
            }
            let change = Change {
                key: key.clone(),
                from: from.as_ref().map(plain),
                to: to.as_ref().map(plain),
            };
            // A demo's keys are in memory alone: nothing about tokens changes under them.
            if !is_live(&key) || key.starts_with("auth.") && keys.is_none() {
                deferred.push(change);
                continue;
            }
            match to {
                Some(value) => self.values.insert(key, value),
                None => self.values.remove(&key),
            };
            applied.push(change);
        }
        applied.extend(self.follow_keys(keys));
        self.generation += 1;
        Reloaded {
            generation: self.generation,
            applied,
            deferred,
        }
    }

    /// Other keys, in the same file or in another.
    fn follow_keys(&mut self, keys: Option<String>) -> Option<Change> {
        let keys = keys?;
        if keys == self.keys {
            return None;
        }
        let from = std::mem::replace(&mut self.keys, keys.clone());
        Some(Change {
            key: "auth.keys (content)".to_owned(),
            from: Some(from),
            to: Some(keys),
        })
    }
}

/// The names of the keys that are believed, in one line. Public.
pub(super) fn keyset_summary(keyset: &Keyset) -> String {
    let jwks = keyset.jwks();
    let believed = jwks["keys"].as_array().into_iter().flatten();
    let mut kids: Vec<_> = believed.filter_map(|key| key["kid"].as_str()).collect();
    // A symmetric key is in no public set.
    let signing = keyset.signing_kid();
    kids.extend(signing.filter(|signing| !kids.contains(signing)));
    let named = kids.into_iter().map(|kid| match signing == Some(kid) {
        true => format!("{kid} (signs)"),
        false => kid.to_owned(),
    });
    named.collect::<Vec<_>>().join(", ")
}

fn keys(changes: &[Change]) -> String {
    let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
    keys.join(" ")
}

/// The command line of this process again.
fn read_again() -> Result<Reading, Vec<String>> {
    let args: Vec<_> = std::env::args_os().collect();
    match crate::parse(&args) {
        Ok(cli) => match cli.command {
            Command::Serve(serve) => serve.read_again(),
            Command::Seed(_)
            | Command::Token(_)
            | Command::Chat(_)
            | Command::Jobs(_)
            | Command::Bench(_)
            | Command::Config(_)
            | Command::OpenApi(_)
            | Command::AsyncApi(_)
            | Command::Reload(_)
            | Command::Schema(_)
            | Command::Commands(_)
            | Command::Completions(_)
            | Command::Man(_) => Err(vec!["this process is no relay".to_owned()]),
        },
        Err(Refusal::Line(error)) => Err(vec![first_line(&error.to_string())]),
        Err(Refusal::NoFile(failure)) => {
            let report = failure.report(crate::out::Format::Text);
            Err(vec![first_line(&report)])
        }
        Err(Refusal::Problems(problems)) => Err(problems.iter().map(|problem| problem.line()).collect()),
    }
}

/// What an error says, and what is behind it, in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}
