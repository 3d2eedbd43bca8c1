//! The load of one worker: where its senders' messages come from, and until when.

use std::rc::Rc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::Nanos;
use crate::run::client::Client;
use crate::run::desk::{Desk, Feed};
use crate::run::gauges::Turn;
use crate::run::pacer::{Pacer, Timer};
use crate::run::rules::Hours;
use crate::run::shop::Shop;
use crate::schedule::Schedule;

/// The load of a worker's clients.
pub(super) struct LoadOf<'a> {
    pub(super) clients: &'a [Rc<Client>],
    pub(super) shop: &'a Rc<Shop>,
    pub(super) pacing: Option<(Schedule, Timer)>,
    pub(super) pacer: Option<JoinHandle<()>>,
}

impl LoadOf<'_> {
    /// Begins, and says so once everything is handed out, or there is nothing to hand out.
    pub(super) fn begin(&mut self, hours: Hours) {
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
                pacer.run(hours.starts, hours.gives_up).await;
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
    pub(super) fn end(&mut self, early: bool) {
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
            let devices = client
                .outbox
                .as_ref()
                .map_or(0, |outbox| outbox.borrow().devices());
            self.shop.missed(feed.waiting() * devices);
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

/// Breaks connections, as the scenario wants it, while there is load.
pub(super) async fn break_some(shop: Rc<Shop>) {
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

/// The load may have ended meanwhile.
const LONGEST_GAP: f64 = 60.0;
