//! Changing keys without refusing anybody: publish, wait, activate, wait, retire.
//!
//! Owns the waits. Pure: the time is an argument; nothing is read or written. A key that is published signs
//! only when everybody who caches the public set has seen it; one that has stopped signing is believed until
//! the last token that it signed is over.

use std::time::Duration;

use rand::CryptoRng;

use super::LEEWAY;
use super::error::KeysetError;
use super::key::{Algorithm, Key, KeyFacts, KeyState};
use super::keyset::Keyset;
use super::new_key::NewKey;
use crate::model::UnixMs;

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A new key becomes known.
    Publish,
    /// The new key signs, the old one does no more.
    Activate,
    /// The old key's tokens are refused.
    Retire,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Activate => "activate",
            Self::Retire => "retire",
        }
    }
}

/// How long a rotation has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// The longest time for which somebody may believe in an old public set.
    pub verifier_cache: Duration,
    /// The longest life of a token.
    pub token_life: Duration,
}

impl Waits {
    /// From publish to activate: never less than the relay itself allows caches.
    #[must_use]
    pub fn before_activate(&self) -> Duration {
        self.verifier_cache.max(JWKS_CACHE) + MARGIN
    }

    /// From activate to retire.
    #[must_use]
    pub fn before_retire(&self) -> Duration {
        self.token_life + LEEWAY + MARGIN
    }

    /// What comes next for a key, and when. `None` when nothing does; a time of `None` when the file does not
    /// say since when the key is what it is.
    #[must_use]
    pub fn next(&self, key: &KeyFacts) -> Option<(Phase, Option<UnixMs>)> {
        let after = |wait| key.since.map(|since| later(since, wait));
        match key.state {
            KeyState::Next => Some((Phase::Activate, after(self.before_activate()))),
            KeyState::Retiring => Some((Phase::Retire, after(self.before_retire()))),
            KeyState::Active | KeyState::Retired => None,
        }
    }
}

/// Whether a step waits for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// It does.
    Wait,
    /// It does not: tokens may be refused that are good.
    Override,
}

/// What a step changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which step.
    pub phase: Phase,
    /// The keys that changed their states, and their states now.
    pub keys: Vec<(String, KeyState)>,
}

/// Why a step is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Its time has not come.
    #[error("key {kid} cannot be {done} yet: {why}", done = match phase { Phase::Publish => "published", Phase::Activate => "made active", Phase::Retire => "retired" })]
    NotDue {
        /// Which step.
        phase: Phase,
        /// For which key.
        kid: String,
        /// When its time comes; unknown when the file does not say since when the key is what it is.
        until: Option<UnixMs>,
        /// Why it waits.
        why: &'static str,
    },
    /// A key is published already.
    #[error("key {kid} is published already and waits to be made active")]
    Published {
        /// Which.
        kid: String,
    },
    /// There is no key that this could be done to.
    #[error("there is nothing to {}: no key is {}", phase.as_str(), match phase { Phase::Publish => "missing", Phase::Activate => "next and can sign", Phase::Retire => "retiring" })]
    Nothing {
        /// Which step.
        phase: Phase,
    },
    /// The keys do not go together.
    #[error(transparent)]
    Keyset(#[from] KeysetError),
}

/// A rotation of a keyset, at a time.
#[derive(Debug)]
pub struct Rotation<'a> {
    /// The keys as they are.
    pub keyset: &'a Keyset,
    /// How long steps have to wait.
    pub waits: Waits,
    /// Whether they do.
    pub patience: Patience,
    /// Now.
    pub now: UnixMs,
}

impl Rotation<'_> {
    /// The step that comes next: the first of retire, activate and publish that can be taken. While a key is
    /// published or retiring, no other is published.
    ///
    /// # Errors
    ///
    /// [`RotationError::NotDue`] with the earliest time at which there is something to do.
    pub fn due(&self) -> Result<Phase, RotationError> {
        let phases = [
            self.retirable().map(|_| Phase::Retire),
            self.activatable().map(|_| Phase::Activate),
        ];
        let mut waiting: Option<(Option<UnixMs>, RotationError)> = None;
        for phase in phases {
            match phase {
                Ok(phase) => return Ok(phase),
                Err(RotationError::Nothing { .. }) => {}
                Err(error) => {
                    let until = match &error {
                        RotationError::NotDue { until, .. } => *until,
                        RotationError::Published { .. }
                        | RotationError::Nothing { .. }
                        | RotationError::Keyset(_) => None,
                    };
                    let sooner = waiting.as_ref().is_none_or(|(other, _)| match (until, other) {
                        (Some(until), Some(other)) => until < *other,
                        (Some(_), None) => true,
                        (None, _) => false,
                    });
                    if sooner {
                        waiting = Some((until, error));
                    }
                }
            }
        }
        waiting.map_or(Ok(Phase::Publish), |(_, error)| Err(error))
    }

    /// Makes a key known, which signs later.
    ///
    /// # Errors
    ///
    /// [`RotationError::Published`] while another one waits, and [`RotationError::Keyset`].
    pub fn publish(&self, key: NewKey) -> Result<(Keyset, Change), RotationError> {
        if let Some(next) = self.in_state(KeyState::Next).find(|key| key.signing.is_some()) {
            let kid = next.entry.kid.clone();
            return Err(RotationError::Published { kid });
        }
        let keys = vec![(key.kid().to_owned(), KeyState::Next)];
        let keyset = self.keyset.with(key, KeyState::Next, self.now)?;
        let phase = Phase::Publish;
        Ok((keyset, Change { phase, keys }))
    }

    /// A key of the kind that signs now, or Ed25519.
    ///
    /// # Errors
    ///
    /// As [`NewKey::generate`].
    pub fn new_key(
        &self,
        algorithm: Option<Algorithm>,
        kid: Option<&str>,
        random: &mut impl CryptoRng,
    ) -> Result<NewKey, KeysetError> {
        let like = self
            .keyset
            .signing()
            .map_or(Algorithm::EdDsa, |key| key.algorithm);
        NewKey::generate(algorithm.unwrap_or(like), kid, random, self.now)
    }

    /// Lets the published key sign, and the one that signed so far retire.
    ///
    /// # Errors
    ///
    /// [`RotationError::NotDue`], [`RotationError::Nothing`].
    pub fn activate(&self) -> Result<(Keyset, Change), RotationError> {
        let next = self.activatable()?.entry.kid.clone();
        let old = self.keyset.signing().map(|key| key.entry.kid.clone());
        let states = old.into_iter().map(|old| (old, KeyState::Retiring));
        self.enter(
            Phase::Activate,
            states.chain([(next, KeyState::Active)]).collect(),
        )
    }

    /// Refuses the tokens of keys that stopped signing long enough ago.
    ///
    /// # Errors
    ///
    /// [`RotationError::NotDue`], [`RotationError::Nothing`].
    pub fn retire(&self) -> Result<(Keyset, Change), RotationError> {
        let old = self.retirable()?.into_iter();
        let states = old.map(|key| (key.entry.kid.clone(), KeyState::Retired));
        self.enter(Phase::Retire, states.collect())
    }

    fn enter(&self, phase: Phase, keys: Vec<(String, KeyState)>) -> Result<(Keyset, Change), RotationError> {
        let keyset = self.keyset.changed(|entries| {
            for entry in entries {
                if let Some((_, state)) = keys.iter().find(|(kid, _)| *kid == entry.kid) {
                    entry.enter(*state, self.now);
                }
            }
        })?;
        Ok((keyset, Change { phase, keys }))
    }

    fn in_state(&self, state: KeyState) -> impl Iterator<Item = &Key> {
        self.keyset
            .keys()
            .iter()
            .filter(move |key| key.entry.state == state)
    }

    /// The published key that has waited longest.
    fn activatable(&self) -> Result<&Key, RotationError> {
        let phase = Phase::Activate;
        let keys = self.in_state(KeyState::Next).filter(|key| key.signing.is_some());
        let first = keys.min_by_key(|key| key.facts().since.map_or(u64::MAX, |since| since.0));
        let key = first.ok_or(RotationError::Nothing { phase })?;
        self.waited(phase, key).map(|()| key)
    }

    fn retirable(&self) -> Result<Vec<&Key>, RotationError> {
        let phase = Phase::Retire;
        let (mut due, mut waiting) = (Vec::new(), Vec::new());
        for key in self.in_state(KeyState::Retiring) {
            match self.waited(phase, key) {
                Ok(()) => due.push(key),
                Err(error) => waiting.push((key.facts().since, error)),
            }
        }
        if !due.is_empty() {
            return Ok(due);
        }
        let soonest = waiting
            .into_iter()
            .min_by_key(|(since, _)| since.map_or(u64::MAX, |since| since.0));
        Err(soonest.map_or(RotationError::Nothing { phase }, |(_, error)| error))
    }

    fn waited(&self, phase: Phase, key: &Key) -> Result<(), RotationError> {
        let facts = key.facts();
        let until = self.waits.next(&facts).and_then(|(_, until)| until);
        let is_due = until.is_some_and(|until| until <= self.now);
        if is_due || self.patience == Patience::Override {
            return Ok(());
        }
        let why = match (until, phase) {
            (None, _) => "the file does not say since when it waits",
            (Some(_), Phase::Publish | Phase::Activate) => "verifiers may not have seen it",
            (Some(_), Phase::Retire) => "tokens that it signed may still be in use",
        };
        let kid = facts.kid;
        Err(RotationError::NotDue {
            phase,
            kid,
            until,
            why,
        })
    }
}

fn later(time: UnixMs, wait: Duration) -> UnixMs {
    UnixMs(
        time.0
            .saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    )
}

/// For how long the relay lets others keep its public set (`Cache-Control` of `/.well-known/jwks.json`).
const JWKS_CACHE: Duration = Duration::from_secs(300);

/// For clocks that differ, and for the time that a reload takes.
const MARGIN: Duration = Duration::from_secs(60);
