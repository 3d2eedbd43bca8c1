//! A worker: a thread with a runtime of its own, and a share of the clients.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep_until};

use crate::clock::Nanos;
use crate::crypto::Keyring;
use crate::run::bodies::Bodies;
use crate::run::cast::clients_of;
use crate::run::client::Client;
use crate::run::hand::Hand;
use crate::run::integrity::{Sent, Strand};
use crate::run::load::{LoadOf, break_some};
use crate::run::pacer::Timer;
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
        whole(alive.into_iter().chain(others)).await?;
        let last = hand.last();
        Ok(harvest(&shop, &clients, (last, took)))
    }
}

/// Whether nobody has panicked: figures without them would be wrong, and look right.
async fn whole(tasks: impl Iterator<Item = JoinHandle<()>>) -> io::Result<()> {
    for task in tasks {
        if task.await.is_err_and(|error| error.is_panic()) {
            return Err(io::Error::other("a client panicked"));
        }
    }
    Ok(())
}

/// Remembers how much of the processor was used when the measured part began.
async fn note_cpu(shop: Rc<Shop>, measured: Nanos, cpu: Rc<Cell<Option<f64>>>) {
    sleep_until(Instant::from_std(shop.common.clock.instant(measured))).await;
    cpu.set(Some(thread_cpu()));
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
