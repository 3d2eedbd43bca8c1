//! Everything that is wrong with a keyset file, at once.
//!
//! Owns no rule about single keys (`key`, `parts`): it asks them all, where loading stops at the first.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::key::{Entry, Key, KeyFacts, KeyState};
use super::keyset::Keyset;
use super::rotation::{Phase, Waits};
use crate::model::UnixMs;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// A relay refuses the file.
    Error,
    /// It works, and should not stay so.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// With which key, if it is one key's.
    pub kid: Option<String>,
    /// What.
    pub message: String,
}

/// Reads a keyset and finds everything that is wrong with it; the errors first.
#[must_use]
pub fn review(json: &[u8], waits: &Waits, now: UnixMs) -> Vec<Finding> {
    let mut found = Vec::new();
    let refused = Keyset::from_json(json).err();
    let entries = entries(json);
    let mut keys = Vec::new();
    for entry in entries {
        let kid = entry.kid.clone();
        match Key::parse(entry) {
            Ok(key) => keys.push(key),
            Err(error) => found.push(Finding::of(Severity::Error, Some(&kid), error.to_string())),
        }
    }
    let facts: Vec<_> = keys.iter().map(Key::facts).collect();
    found.extend(duplicates(&facts));
    found.extend(signers(&facts));
    if let Some(error) = refused
        && !found.iter().any(|finding| finding.severity == Severity::Error)
    {
        found.push(Finding::of(Severity::Error, None, error.to_string()));
    }
    let old = Duration::from_secs(OLD * DAY);
    found.extend(facts.iter().flat_map(|key| ages(key, waits, old, now)));
    found.sort_by_key(|finding| finding.severity == Severity::Warning);
    found
}

/// What should be done about keys that were loaded, since time has passed: the one that signs is older than
/// `old`, one waits to sign or to be retired.
#[must_use]
pub fn overdue(keys: &[KeyFacts], waits: &Waits, old: Duration, now: UnixMs) -> Vec<Finding> {
    keys.iter().flat_map(|key| ages(key, waits, old, now)).collect()
}

impl Finding {
    fn of(severity: Severity, kid: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            severity,
            kid: kid.filter(|kid| !kid.is_empty()).map(str::to_owned),
            message: message.into(),
        }
    }
}

/// The keys that can be read at all.
fn entries(json: &[u8]) -> Vec<Entry> {
    let set: Value = serde_json::from_slice(json).unwrap_or_default();
    let keys = set
        .get("keys")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let read = |key| serde_json::from_value(key).ok();
    keys.into_iter().filter_map(read).collect()
}

fn duplicates(keys: &[KeyFacts]) -> Vec<Finding> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key.kid.as_str()).or_insert(0_usize) += 1;
    }
    let several = counts.into_iter().filter(|(_, count)| *count > 1);
    let found = several
        .map(|(kid, count)| Finding::of(Severity::Error, Some(kid), format!("{count} keys have this kid")));
    found.collect()
}

fn signers(keys: &[KeyFacts]) -> Option<Finding> {
    let active = keys
        .iter()
        .filter(|key| key.state == KeyState::Active && key.has_private_part);
    let kids: Vec<_> = active.map(|key| key.kid.as_str()).collect();
    match kids.as_slice() {
        [] => {
            let message = "no key is active and can sign: tokens are checked here, and none are issued";
            Some(Finding::of(Severity::Warning, None, message))
        }
        [_] => None,
        several => {
            let message = format!(
                "{} keys are active and can sign: {}",
                several.len(),
                several.join(", ")
            );
            Some(Finding::of(Severity::Error, None, message))
        }
    }
}

fn ages(key: &KeyFacts, waits: &Waits, old: Duration, now: UnixMs) -> Vec<Finding> {
    let warn = |message: String| Finding::of(Severity::Warning, Some(&key.kid), message);
    let age = key
        .since
        .map(|since| Duration::from_millis(now.0.saturating_sub(since.0)));
    let days = age.map_or(0, |age| age.as_secs() / DAY);
    let mut found = Vec::new();
    match (key.state, waits.next(key)) {
        (KeyState::Next | KeyState::Retiring, Some((_, None))) => {
            found.push(warn(format!(
                "the file does not say since when it is {}, so that a rotation has to be forced",
                key.state.as_str()
            )));
        }
        (KeyState::Retiring, Some((Phase::Retire, Some(until)))) if until <= now => {
            found.push(warn(
                "it could be retired: no token of it can be good any more".to_owned(),
            ));
        }
        (KeyState::Next, _) if days >= STALE_NEXT => {
            found.push(warn(format!(
                "it has been published for {days} days and does not sign yet"
            )));
        }
        (KeyState::Active, _) if age.is_some_and(|age| age >= old) => {
            found.push(warn(format!(
                "it has been active for {days} days: time to rotate"
            )));
        }
        (KeyState::Next | KeyState::Active | KeyState::Retiring | KeyState::Retired, _) => {}
    }
    if key.since.is_some_and(|since| since > now) {
        found.push(warn(format!(
            "it is {} since a time that lies ahead",
            key.state.as_str()
        )));
    }
    found
}

const DAY: u64 = 24 * 3600;

/// Days after which a key should not sign any more.
const OLD: u64 = 365;

/// Days after which a published key was probably forgotten.
const STALE_NEXT: u64 = 30;
