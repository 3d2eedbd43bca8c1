//! What the clients of one worker share: the clock, the tally, each other's desks.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::clock::{Nanos, RunClock};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run::bodies::Bodies;
use crate::run::desk::Desk;
use crate::run::gauges::{Gauges, Turn};
use crate::run::rules::{Hours, Rules};
use crate::run::slice::Slice;
use crate::run::trail::Trail;
use crate::tally::{Latency, Tally};
use crate::wire::{Passes, Trouble};

/// What all workers of a run are given.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) plan: Arc<Plan>,
    pub(super) passes: Arc<dyn Passes>,
    pub(super) rules: Arc<Rules>,
    /// By the place of the sender.
    pub(super) trails: Arc<HashMap<u32, Arc<Trail>>>,
    pub(super) sources: Arc<[IpAddr]>,
    pub(super) run: u64,
    pub(super) clock: RunClock,
    pub(super) gauges: Arc<Gauges>,
    pub(super) progress: Arc<Progress>,
}

/// A shop.
pub(super) struct Shop {
    pub(super) common: Common,
    /// By place on this worker.
    pub(super) desks: Vec<Rc<Desk>>,
    pub(super) bodies: RefCell<Bodies>,
    pub(super) hours: Cell<Hours>,
    /// When clients were let in.
    pub(super) opened: Cell<Instant>,
    /// Connections that are made at once, where there is no rate for them.
    pub(super) entrance: Semaphore,
    /// Messages that were due and will never leave.
    pub(super) missed: Cell<u64>,
    pub(super) slice: RefCell<Box<Slice>>,
}

impl Shop {
    pub(super) fn new(common: Common, clients: usize, bodies: Bodies) -> Self {
        Self {
            common,
            desks: (0..clients).map(|_| Rc::new(Desk::default())).collect(),
            bodies: RefCell::new(bodies),
            hours: Cell::default(),
            opened: Cell::new(Instant::now()),
            entrance: Semaphore::new(AT_ONCE),
            missed: Cell::new(0),
            slice: RefCell::default(),
        }
    }

    pub(super) fn now(&self) -> Nanos {
        self.common.clock.now()
    }

    /// The tally for messages that are measured, or not. Not to be kept.
    pub(super) fn tally(&self, measured: bool) -> RefMut<'_, Tally> {
        RefMut::map(self.slice.borrow_mut(), |slice| slice.of(measured))
    }

    /// Notes a latency that belongs to no message.
    pub(super) fn record(&self, latency: Latency, took: Nanos) {
        self.tally(true).record(latency, took);
    }

    /// Counts an error.
    pub(super) fn went_wrong(&self, trouble: &Trouble) {
        self.tally(true).error(&trouble.class);
        self.common.gauges.went_wrong(trouble, &self.common.progress);
    }

    pub(super) fn missed(&self, devices: u64) {
        self.missed.set(self.missed.get() + devices);
    }

    pub(super) fn turn(&self, turn: &Turn) {
        self.common.gauges.turn(turn, &self.common.progress);
    }

    /// Whether it is in the measured part now.
    pub(super) fn is_measured(&self, now: Nanos) -> bool {
        let hours = self.hours.get();
        (hours.measured..hours.ends).contains(&now)
    }
}

/// Few enough for a listener's queue.
const AT_ONCE: usize = 64;
