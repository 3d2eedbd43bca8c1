//! Outside issuers: whose tokens are good besides our own, and with which public keys.
//!
//! Owns their key sets, and when a set behind a URL is asked for again: at the start, when its time is over,
//! and at most once a minute because a token names a key that it does not have. An old set is kept until
//! there is a new one. Must not know what is asked (`fetch`) or how tokens are judged (`verifier`).

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::error::KeysetError;
use super::fetch::{self, Fetched};
use super::key::{Entry, Key};
use crate::config::{AuthConfig, Trust, TrustedKeys};

/// The outside issuers of a policy.
#[derive(Debug, Default)]
pub(super) struct Outside {
    issuers: Vec<Arc<Issuer>>,
}

/// An outside issuer.
pub(super) struct Issuer {
    trust: Trust,
    keys: RwLock<Arc<Vec<Key>>>,
    schedule: Mutex<Schedule>,
    /// Rings when a token names a key that is not there.
    bell: Notify,
    /// Counts the times that the URL was asked, with success or without.
    rounds: watch::Sender<u64>,
}

/// When a URL is asked.
#[derive(Debug)]
struct Schedule {
    due: Instant,
    failures: u32,
    asking: bool,
    /// A token has named a key that is not there.
    wanted: bool,
    /// The last time that this was so.
    forced_at: Option<Instant>,
}

impl Outside {
    /// The issuers that the settings name. Files are read now; URLs are asked by [`Self::ask_due`].
    ///
    /// # Errors
    ///
    /// [`KeysetError`] for a file that cannot be used, and for an issuer that is named twice or is the relay.
    pub(super) fn of(config: &AuthConfig) -> Result<Self, KeysetError> {
        let mut issuers: Vec<Arc<Issuer>> = Vec::new();
        for trust in &config.trust {
            let wrong = |reason| {
                let issuer = trust.issuer.clone();
                Err(KeysetError::Issuer { issuer, reason })
            };
            if trust.issuer == config.issuer {
                return wrong("it is the relay's own issuer, whose keys are in the keyset");
            }
            if issuers.iter().any(|other| other.trust.issuer == trust.issuer) {
                return wrong("it is named twice");
            }
            issuers.push(Arc::new(Issuer::of(trust)?));
        }
        Ok(Self { issuers })
    }

    /// Takes over what is known about URLs that were trusted before, too.
    pub(super) fn inherit(&mut self, before: &Self) {
        for issuer in &mut self.issuers {
            let same = |old: &&Arc<Issuer>| old.is_remote() && old.trust == issuer.trust;
            if let Some(old) = before.issuers.iter().find(same) {
                *issuer = Arc::clone(old);
            }
        }
    }

    pub(super) fn issuer(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.trust.issuer == name)
    }

    /// Asks every URL that is due, once. Cancel safe.
    pub(super) async fn ask_due(&self) {
        join_all(self.remote().map(|issuer| issuer.ask_if_due())).await;
    }

    /// Asks every URL when it is due, for ever; none waits for another. Cancel safe.
    pub(super) async fn keep_fresh(&self) {
        join_all(self.remote().map(|issuer| issuer.keep_fresh())).await;
        // Nobody is to be asked.
        std::future::pending().await
    }

    fn remote(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.iter().filter(|issuer| issuer.is_remote())
    }

    /// The URLs that have given no keys yet.
    pub(super) fn silent(&self) -> Vec<String> {
        let silent = self.issuers.iter().filter(|issuer| issuer.keys.read().is_empty());
        silent.map(|issuer| issuer.trust.to_string()).collect()
    }
}

impl Schedule {
    fn next(&self) -> Instant {
        match self.wanted {
            true => Instant::now(),
            false => self.due,
        }
    }
}

impl Issuer {
    fn of(trust: &Trust) -> Result<Self, KeysetError> {
        let keys = match &trust.keys {
            TrustedKeys::File(path) => {
                let fail = |source| KeysetError::Io {
                    what: "read",
                    path: path.clone(),
                    source,
                };
                let file = std::fs::File::open(path).map_err(fail)?;
                let mut json = Vec::new();
                let most = fetch::MAX_BYTES as u64;
                file.take(most + 1).read_to_end(&mut json).map_err(fail)?;
                public_keys(&json)?
            }
            TrustedKeys::Url(_) => Vec::new(),
        };
        Ok(Self {
            trust: trust.clone(),
            keys: RwLock::new(Arc::new(keys)),
            schedule: Mutex::new(Schedule {
                due: Instant::now(),
                failures: 0,
                asking: false,
                wanted: false,
                forced_at: None,
            }),
            bell: Notify::new(),
            rounds: watch::Sender::new(0),
        })
    }

    const fn is_remote(&self) -> bool {
        matches!(self.trust.keys, TrustedKeys::Url(_))
    }

    pub(super) fn name(&self) -> &str {
        &self.trust.issuer
    }

    pub(super) fn keys(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.keys.read())
    }

    /// Wishes for a newer set than the one that is there. `None` when there will not be one soon; else what
    /// tells that the URL was asked. Everybody who wishes at the same time waits for the same answer.
    pub(super) fn want(&self) -> Option<watch::Receiver<u64>> {
        if !self.is_remote() {
            return None;
        }
        let mut schedule = self.schedule.lock();
        let now = Instant::now();
        let recent = schedule
            .forced_at
            .is_some_and(|at| now.duration_since(at) < FORCED_EVERY);
        if !schedule.asking && !schedule.wanted {
            if recent {
                return None;
            }
            schedule.wanted = true;
            schedule.forced_at = Some(now);
            self.bell.notify_one();
        }
        // Subscribed under the lock: an answer between the two would be missed.
        Some(self.rounds.subscribe())
    }

    async fn keep_fresh(&self) {
        loop {
            self.ask_if_due().await;
            let next = self.schedule.lock().next();
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.bell.notified() => {}
            }
        }
    }

    async fn ask_if_due(&self) {
        let TrustedKeys::Url(url) = &self.trust.keys else {
            return;
        };
        let forced = {
            let mut schedule = self.schedule.lock();
            if schedule.next() > Instant::now() {
                return;
            }
            schedule.asking = true;
            schedule.wanted
        };
        let _asking = Asking { issuer: self, forced };
        let answer = fetch::get(url).await.map_err(|error| error.to_string());
        let keys = answer.and_then(|Fetched { body, max_age }| {
            let keys = public_keys(&body).map_err(|error| error.to_string())?;
            Ok((keys, max_age))
        });
        let now = Instant::now();
        let mut schedule = self.schedule.lock();
        match keys {
            Ok((keys, max_age)) => {
                info!(
                    issuer = self.trust.issuer,
                    keys = keys.len(),
                    "an outside issuer's keys were fetched"
                );
                *self.keys.write() = Arc::new(keys);
                schedule.failures = 0;
                let fresh = max_age.map_or(REFRESH, |age| age.clamp(REFRESH_LEAST, REFRESH_MOST));
                schedule.due = now + fresh;
            }
            Err(error) => {
                let pause = RETRY_FIRST * 2_u32.pow(schedule.failures.min(6));
                warn!(issuer = self.trust.issuer, error, retry = ?pause, "an outside issuer's keys cannot be fetched; the old ones stay");
                schedule.failures = schedule.failures.saturating_add(1);
                schedule.due = now + pause.min(REFRESH_LEAST);
            }
        }
    }
}

/// Names only.
impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issuer").field(&self.trust.issuer).finish()
    }
}

/// A URL that is being asked. Dropped when it was, or when nobody waits for it any more.
struct Asking<'a> {
    issuer: &'a Issuer,
    forced: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut schedule = self.issuer.schedule.lock();
        schedule.asking = false;
        // A wish that came meanwhile may be about a key that is newer than this answer.
        if self.forced {
            schedule.wanted = false;
        }
        drop(schedule);
        self.issuer.rounds.send_modify(|rounds| *rounds += 1);
    }
}

/// The keys of a public JWK set that can verify tokens here. Others are other people's and are passed over;
/// a private part among them is an accident that is not built upon.
///
/// # Errors
///
/// [`KeysetError::Malformed`], and [`KeysetError::BadKey`] for a key that should not be public.
pub(super) fn public_keys(json: &[u8]) -> Result<Vec<Key>, KeysetError> {
    let malformed = |line, column| KeysetError::Malformed { line, column };
    if json.len() > fetch::MAX_BYTES {
        return Err(malformed(0, 0));
    }
    let set: Value = serde_json::from_slice(json).map_err(|error| malformed(error.line(), error.column()))?;
    let keys = set.get("keys").and_then(Value::as_array).ok_or(malformed(0, 0))?;
    let mut found: Vec<Key> = Vec::new();
    for key in keys {
        let text = |name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
        let kid = text("kid").unwrap_or_default();
        let bad = |reason| KeysetError::BadKey {
            kid: kid.chars().take(64).collect(),
            reason,
        };
        if text("kty").as_deref() == Some("oct") {
            return Err(bad("an outside issuer's key must not be a shared secret"));
        }
        if PRIVATE.iter().any(|part| key.get(part).is_some()) {
            return Err(bad("a private part in a public key set"));
        }
        if text("use").is_some_and(|purpose| purpose != "sig") {
            continue;
        }
        // Member by member: a `state` here would be the issuer's word, with its own meaning.
        let entry = Entry {
            kid: kid.clone(),
            kty: text("kty").unwrap_or_default(),
            crv: text("crv"),
            alg: text("alg"),
            x: text("x"),
            y: text("y"),
            n: text("n"),
            e: text("e"),
            ..Entry::default()
        };
        let Ok(key) = Key::parse(entry) else { continue };
        if found.iter().any(|other| other.entry.kid == kid) {
            return Err(KeysetError::DuplicateKid(kid));
        }
        found.push(key);
    }
    Ok(found)
}

/// Members of a JWK that only its owner may know (RFC 7518, section 6).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// How often a URL is asked when it does not say how long its answer is good.
const REFRESH: Duration = Duration::from_secs(600);

/// The shortest time that an answer is good for, and the longest pause between failures.
const REFRESH_LEAST: Duration = Duration::from_secs(60);

/// The longest time that an answer is good for.
const REFRESH_MOST: Duration = Duration::from_secs(24 * 3600);

/// How often an unknown kid may make a URL be asked.
const FORCED_EVERY: Duration = Duration::from_secs(60);

/// The pause after a first failure; it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(1);
