//! What all actors of a run share: where the relay is, which life it lives, what is going on, the books.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chatctl_client::{Backoff, Options};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::watch;

use crate::keyring::Keyring;
use crate::ledger::Ledger;

/// What the actors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Send, claim, come and go.
    Load,
    /// Send nothing new; finish what was begun; stay and read.
    Drain,
    /// Leave.
    Over,
}

pub(crate) struct World {
    ws: String,
    seed: u64,
    life: AtomicU64,
    phase: watch::Sender<Phase>,
    ledger: Mutex<Ledger>,
    keyring: Mutex<Keyring>,
}

impl World {
    pub(crate) fn new(ws: String, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            ws,
            seed,
            life: AtomicU64::new(0),
            phase: watch::Sender::new(Phase::Load),
            ledger: Mutex::default(),
            keyring: Mutex::default(),
        })
    }

    /// The number of the present life of the process; a new one begins when the old one is dead for sure.
    pub(crate) fn life(&self) -> u64 {
        self.life.load(Ordering::SeqCst)
    }

    pub(crate) fn next_life(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(crate) fn is_loading(&self) -> bool {
        *self.phase.borrow() == Phase::Load
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub(crate) fn keyring(&self) -> MutexGuard<'_, Keyring> {
        self.keyring.lock().unwrap()
    }

    /// Everything that broke a promise so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut violations = self.ledger().violations().to_vec();
        violations.extend_from_slice(self.keyring().violations());
        violations
    }

    /// An actor's own randomness: the same for the same seed.
    pub(crate) fn random(&self, actor: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ (actor << 48))
    }

    /// How actors connect: impatient, since the relay is never away for long.
    pub(crate) fn options(&self) -> Options {
        Options {
            backoff: Backoff {
                base: Duration::from_millis(10),
                cap: Duration::from_millis(100),
                steady: Duration::from_secs(1),
            },
            ..Options::new(&self.ws)
        }
    }
}
