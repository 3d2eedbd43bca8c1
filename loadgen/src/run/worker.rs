//! A worker: a thread with a runtime of its own, and a share of the clients.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use rand::RngExt as _;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::Nanos;
use crate::crypto::Keyring;
use crate::ledger::Ledger;
use crate::run::bodies::Bodies;
use crate::run::client::Client;
use crate::run::desk::{Desk, Feed};
use crate::run::gauges::Turn;
use crate::run::inbox::{Inbox, Incoming};
use crate::run::integrity::{Sent, Strand};
use crate::run::outbox::{Limits, Outbox};
use crate::run::pacer::{Pacer, Timer};
use crate::run::rules::Hours;
use crate::run::shop::{Common, Shop};
use crate::run::slice::{Handed, Slice};
use crate::schedule::Schedule;
use crate::wire::Wire;

/// What a worker is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cue {
    /// Load, at these hours.
    Load(Hours),
    /// Those who stayed away may come.
    Come,
    /// Everybody drops the connection.
    Throw,
    /// No more load. What is due and has not left is not sent any more when it ends early.
    Drain {
        /// Whether it ends before its time.
        early: bool,
    },
    /// The end.
    Close,
}

/// What a worker is made of.
pub(super) struct Worker<W: Wire> {
    pub(super) index: usize,
    pub(super) place: W::Place,
    pub(super) common: Common,
    /// Places in the plan, with what each of these can decrypt.
    pub(super) share: Vec<(u32, Keyring)>,
    pub(super) bodies: Bodies,
    /// Its part of an open load.
    pub(super) schedule: Option<Schedule>,
    pub(super) cues: mpsc::Receiver<Cue>,
    pub(super) slices: mpsc::Sender<Handed>,
    pub(super) back: mpsc::Receiver<Box<Slice>>,
}

/// What a worker leaves.
#[derive(Debug)]
pub(super) struct Harvest {
    pub(super) last: Handed,
    pub(super) sent: Vec<Sent>,
    pub(super) arrived: Vec<Strand>,
    pub(super) missed: u64,
    /// Processor time of the measured part, in seconds.
    pub(super) cpu: f64,
}

impl<W: Wire> Worker<W> {
    /// Works until it is told that it is over.
    pub(super) fn run(self) -> io::Result<Harvest> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = LocalSet::new();
        runtime.block_on(local.run_until(self.work()))
    }

    async fn work(self) -> io::Result<Harvest> {
        let timer = Timer::new()?;
        let clients = self.share.len();
        let shop = Rc::new(Shop::new(self.common, clients, self.bodies));
        let clients = clients_of(&shop, self.share);
        let alive: Vec<_> = clients
            .iter()
            .map(|client| spawn_local(client.clone().live::<W>(self.place.clone())))
            .collect();
        let hand = Hand {
            worker: self.index,
            began: Rc::new(Cell::new(shop.now())),
            shop: shop.clone(),
        };
        let mut others = vec![spawn_local(hand.clone().every_second(self.slices, self.back))];
        let cpu = Rc::new(Cell::new(None));
        for client in &clients {
            if client.outbox.is_some() || !shop.common.rules.is_offline() {
                client.desk.open();
            }
        }
        let mut load = LoadOf {
            clients: &clients,
            shop: &shop,
            pacing: self.schedule.map(|schedule| (schedule, timer)),
            pacer: None,
        };
        let mut cues = self.cues;
        let mut took = 0.0;
        while let Some(cue) = cues.recv().await {
            match cue {
                Cue::Load(hours) => {
                    load.begin(hours);
                    others.push(spawn_local(note_cpu(shop.clone(), hours.measured, cpu.clone())));
                    others.push(spawn_local(break_some(shop.clone())));
                }
                Cue::Come => {
                    shop.opened.set(Instant::now());
                    clients.iter().for_each(|client| client.desk.open());
                }
                Cue::Throw => clients.iter().for_each(|client| client.desk.throw()),
                Cue::Drain { early } => {
                    took = cpu.take().map_or(0.0, |before: f64| thread_cpu() - before);
                    load.end(early);
                }
                Cue::Close => break,
            }
        }
        alive
            .iter()
            .chain(&others)
            .chain(&load.pacer)
            .for_each(JoinHandle::abort);
        let last = hand.last();
        Ok(harvest(&shop, &clients, (last, took)))
    }
}

/// The clients of a share, and whom they know.
fn clients_of(shop: &Rc<Shop>, share: Vec<(u32, Keyring)>) -> Vec<Rc<Client>> {
    let plan = shop.common.plan.clone();
    let desks: HashMap<u32, usize> = share.iter().map(|(place, _)| *place).zip(0..).collect();
    let mut incoming: HashMap<u32, Vec<Incoming>> = HashMap::new();
    let mut outboxes = HashMap::new();
    let writers = plan
        .senders
        .iter()
        .filter(|sender| desks.contains_key(&sender.client))
        .count();
    let limits = Limits::shared_by(writers);
    for sender in &plan.senders {
        let Some(trail) = shop.common.trails.get(&sender.client) else {
            continue;
        };
        if desks.contains_key(&sender.client) {
            outboxes.insert(sender.client, Outbox::new(&plan, sender, trail.clone(), limits));
        }
        let accounts = sender.to.iter().filter_map(|to| plan.accounts.get(*to as usize));
        let devices = accounts.map(|account| account.devices.len() as u64).sum();
        for (stream, to) in (sender.first_stream..).zip(&sender.to) {
            let readers = plan
                .accounts
                .get(*to as usize)
                .map(|account| account.devices.clone());
            for device in readers
                .into_iter()
                .flatten()
                .filter(|device| desks.contains_key(device))
            {
                incoming.entry(device).or_default().push(Incoming {
                    stream,
                    ledger: Ledger::default(),
                    from: sender.client,
                    desk: desks.get(&sender.client).copied(),
                    devices,
                    trail: trail.clone(),
                });
            }
        }
    }
    let desks = shop.desks.iter().cloned();
    let clients = share.into_iter().zip(desks).map(|((place, keyring), desk)| {
        let streams = incoming.remove(&place).unwrap_or_default();
        Rc::new(Client {
            shop: shop.clone(),
            desk,
            place,
            inbox: RefCell::new(Inbox::new(streams, shop.common.rules.is_slow(place))),
            outbox: outboxes.remove(&place).map(RefCell::new),
            keyring: RefCell::new(keyring),
            draining: Cell::new(None),
        })
    });
    clients.collect()
}

/// The load of a worker's clients.
struct LoadOf<'a> {
    clients: &'a [Rc<Client>],
    shop: &'a Rc<Shop>,
    pacing: Option<(Schedule, Timer)>,
    pacer: Option<JoinHandle<()>>,
}

impl LoadOf<'_> {
    /// Begins, and says so once everything is handed out, or there is nothing to hand out.
    fn begin(&mut self, hours: Hours) {
        self.shop.hours.set(hours);
        let guard = Pacing(self.shop.clone());
        let rules = &self.shop.common.rules;
        if let Some((schedule, timer)) = self.pacing.take() {
            let pacer = Pacer {
                shop: self.shop.clone(),
                schedule,
                senders: self.senders(),
                timer,
            };
            self.pacer = Some(spawn_local(async move {
                let _guard = guard;
                pacer.run(hours.starts).await;
            }));
            return;
        }
        let mut turn = Turn::default();
        for client in self.clients.iter().filter(|client| client.outbox.is_some()) {
            let feed = match (rules.each, rules.in_flight) {
                (Some(each), _) => Feed::Some(quota(self.shop, client.place, each)),
                (None, Some(_)) => Feed::Endless(hours),
                (None, None) => Feed::Nothing,
            };
            turn.queued += i64::try_from(feed.waiting()).unwrap_or(i64::MAX);
            *client.desk.feed.borrow_mut() = feed;
        }
        self.shop.turn(&turn);
        drop(guard);
        self.wake_at(hours.starts);
    }

    /// Ends. What is due already still leaves.
    fn end(&mut self, early: bool) {
        let mut hours = self.shop.hours.get();
        hours.ends = hours.ends.min(self.shop.now());
        self.shop.hours.set(hours);
        if !early {
            return;
        }
        if let Some(pacer) = &self.pacer {
            pacer.abort();
        }
        let mut turn = Turn::default();
        for client in self.clients {
            let feed = client.desk.feed.take();
            turn.queued -= i64::try_from(feed.waiting()).unwrap_or(0);
        }
        self.shop.turn(&turn);
    }

    fn senders(&self) -> Vec<(usize, u64)> {
        let clients = self.clients.iter().enumerate();
        let senders = clients.filter_map(|(desk, client)| {
            let outbox = client.outbox.as_ref()?;
            Some((desk, outbox.borrow().devices()))
        });
        senders.collect()
    }

    /// Senders that are always due have nobody else who wakes them.
    fn wake_at(&self, starts: Nanos) {
        let at = Instant::from_std(self.shop.common.clock.instant(starts));
        let desks: Vec<Rc<Desk>> = self.shop.desks.clone();
        spawn_local(async move {
            sleep_until(at).await;
            desks.iter().for_each(|desk| desk.wake());
        });
    }
}

/// Everything due was handed out, on whatever path.
struct Pacing(Rc<Shop>);

impl Drop for Pacing {
    fn drop(&mut self) {
        self.0.common.gauges.ended_pacing();
    }
}

/// What one of the senders to an account puts into its mailbox, so that all of them together put `each`.
fn quota(shop: &Shop, place: u32, each: u64) -> u64 {
    let plan = &shop.common.plan;
    let own = plan.senders.iter().find(|sender| sender.client == place);
    let Some(account) = own.and_then(|sender| sender.to.first()) else {
        return 0;
    };
    let (mut before, mut all) = (0, 0);
    for sender in plan.senders.iter().filter(|sender| sender.to.contains(account)) {
        before += u64::from(sender.client < place);
        all += 1;
    }
    each / all + u64::from(before < each % all)
}

/// Hands over what was counted.
#[derive(Clone)]
struct Hand {
    worker: usize,
    began: Rc<Cell<Nanos>>,
    shop: Rc<Shop>,
}

impl Hand {
    /// Once a second. When the collector is late, the slice is of several seconds.
    async fn every_second(self, slices: mpsc::Sender<Handed>, mut back: mpsc::Receiver<Box<Slice>>) {
        let mut spare = vec![Box::<Slice>::default()];
        loop {
            let next = (self.shop.now() / SECOND + 1) * SECOND;
            sleep_until(Instant::from_std(self.shop.common.clock.instant(next))).await;
            while let Ok(slice) = back.try_recv() {
                spare.push(slice);
            }
            let Ok(permit) = slices.try_reserve() else {
                continue;
            };
            let Some(empty) = spare.pop() else { continue };
            permit.send(Handed {
                worker: self.worker,
                began: self.began.replace(next),
                slice: self.shop.slice.replace(empty),
            });
        }
    }

    fn last(self) -> Handed {
        Handed {
            worker: self.worker,
            began: self.began.get(),
            slice: self.shop.slice.take(),
        }
    }
}

/// Remembers how much of the processor was used when the measured part began.
async fn note_cpu(shop: Rc<Shop>, measured: Nanos, cpu: Rc<Cell<Option<f64>>>) {
    sleep_until(Instant::from_std(shop.common.clock.instant(measured))).await;
    cpu.set(Some(thread_cpu()));
}

/// Breaks connections, as the scenario wants it, while there is load.
async fn break_some(shop: Rc<Shop>) {
    let per_second = shop.common.rules.break_share * shop.desks.len() as f64;
    if per_second <= 0.0 {
        return;
    }
    while shop.now() < shop.hours.get().ends {
        let gap = -(1.0 - rand::random_range(0.0..1.0_f64)).ln() / per_second;
        sleep(Duration::from_secs_f64(gap.min(LONGEST_GAP))).await;
        let unlucky = rand::rng().random_range(0..shop.desks.len());
        if let Some(desk) = shop.desks.get(unlucky) {
            desk.throw();
        }
    }
}

fn harvest(shop: &Shop, clients: &[Rc<Client>], (last, cpu): (Handed, f64)) -> Harvest {
    let (mut sent, mut arrived, mut missed) = (Vec::new(), Vec::new(), shop.missed.get());
    for client in clients {
        if let Some(outbox) = &client.outbox {
            let outbox = outbox.borrow();
            missed += client.desk.feed.borrow().waiting() * outbox.devices();
            sent.extend(outbox.sent());
        }
        let mut inbox = client.inbox.borrow_mut();
        arrived.extend(inbox.take_incoming().into_iter().map(|incoming| Strand {
            stream: incoming.stream,
            device: client.place,
            ledger: incoming.ledger,
        }));
    }
    Harvest {
        last,
        sent,
        arrived,
        missed,
        cpu,
    }
}

fn thread_cpu() -> f64 {
    seconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// A time of the system in seconds.
pub(super) fn seconds(time: rustix::time::Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

const SECOND: Nanos = 1_000_000_000;
/// The load may have ended meanwhile.
const LONGEST_GAP: f64 = 60.0;
