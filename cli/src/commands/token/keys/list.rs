//! `chatctl token keys list`.

use std::fmt::Write as _;

use chatctl_relay::auth::{KeyFacts, Keyset, Waits};
use chatctl_relay::config::AuthConfig;
use chatctl_relay::model::{Clock, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Cache, coming};
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::when::rfc3339;

/// List the keys, their states, and what comes next for each
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl token keys list --keys keys.json")]
pub(super) struct List {
    #[command(flatten)]
    auth: AuthConfig,

    #[command(flatten)]
    cache: Cache,
}

/// The keys of a keyset.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ListedKeys {
    /// Where they are.
    file: String,
    /// In the order of the file.
    keys: Vec<Listed>,
}

#[derive(Serialize, JsonSchema)]
struct Listed {
    kid: String,
    alg: &'static str,
    /// next, active, retiring, retired.
    state: &'static str,
    /// Whether the file holds its private part.
    has_private_part: bool,
    /// If the file says it.
    created_at: Option<String>,
    /// Since when it is in its state, if the file says it.
    since: Option<String>,
    /// What comes next for it.
    next: Option<Next>,
}

/// A step of a rotation.
#[derive(Serialize, JsonSchema)]
pub(super) struct Next {
    /// activate, retire.
    phase: &'static str,
    /// From when on; null when the file does not say since when the key waits.
    at: Option<String>,
}

impl Next {
    pub(super) fn of(key: &KeyFacts, waits: &Waits) -> Option<Self> {
        let (phase, at) = waits.next(key)?;
        let phase = phase.as_str();
        let at = at.map(rfc3339);
        Some(Self { phase, at })
    }
}

impl Document for ListedKeys {
    const SCHEMA: &'static str = "chatctl.token.keys.list/v1";
}

impl List {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let now = Clock::system().now();
        let path = super::super::keys_file(&self.auth)?;
        let waits = self.cache.waits(&self.auth);
        let facts: Vec<_> = Keyset::load(path)?.facts().collect();
        let keys = facts.iter().map(|key| Listed::of(key, &waits)).collect();
        let file = path.display().to_string();
        out.result(&text(&facts, &waits, now), &ListedKeys { file, keys })
    }
}

impl Listed {
    fn of(key: &KeyFacts, waits: &Waits) -> Self {
        Self {
            kid: key.kid.clone(),
            alg: key.algorithm.as_str(),
            state: key.state.as_str(),
            has_private_part: key.has_private_part,
            created_at: key.created_at.map(rfc3339),
            since: key.since.map(rfc3339),
            next: Next::of(key, waits),
        }
    }
}

fn text(keys: &[KeyFacts], waits: &Waits, now: UnixMs) -> String {
    let width = keys.iter().map(|key| key.kid.len()).max().unwrap_or(0).max(3);
    let time = |time: Option<UnixMs>| time.map_or("-".to_owned(), rfc3339);
    let mut text = format!(
        "{:<width$}  ALG    STATE     CREATED               SINCE                 NEXT\n",
        "KID"
    );
    for key in keys {
        let (alg, state) = (key.algorithm.as_str(), key.state.as_str());
        let (created, since) = (time(key.created_at), time(key.since));
        let next = waits.next(key);
        let next = next.map_or("-".to_owned(), |(phase, at)| coming(phase, at, now));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<width$}  {alg:<5}  {state:<8}  {created:<20}  {since:<20}  {next}",
            super::super::plain(&key.kid)
        );
    }
    text
}
