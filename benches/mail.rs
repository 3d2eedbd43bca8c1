//! What a message costs inside the relay, from the sender's session to the recipient's ack: without
//! sockets and frames, over the store in memory and over each durable one.
//!
//! `live` has every recipient here: most envelopes are acked before their commit, and how many is
//! printed. `away` has none of them here until everything is safe: each envelope is stored, read back
//! and deleted.

#![expect(clippy::expect_used, reason = "a measurement; what is wrong should stop it")]

mod place;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chatctl_protocol::{AccountId, Address};
use chatctl_relay::committer::{Outcome, Receipts};
use chatctl_relay::hub::Wake;
use chatctl_relay::mailbox::Window;
use chatctl_relay::metrics::Metrics;
use chatctl_relay::model::{Clock, MailboxId};
use chatctl_relay::store::model::Model;
use chatctl_relay::store::{Registered, Registration, Store};
use chatctl_relay::switchboard::{Sender, Switchboard};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use tokio::runtime::{Builder, Runtime};

use place::{Place, address};

/// Enough that the shortest time between two commits is not what is measured.
const PAIRS: u64 = 128;
/// Sends that a sender has out.
const SENDS_OUT: u64 = 64;
const WINDOW: Window = Window {
    envelopes: 64,
    bytes: 1 << 20,
};
/// Messages that wait for a recipient who is away, at most: a tenth of what a sender may leave there.
const MAIL_AWAY: u64 = 500;

/// A relay without doors, and pairs of devices that talk.
struct Desk {
    switchboard: Arc<Switchboard>,
    metrics: Arc<Metrics>,
    pairs: Vec<Pair>,
}

/// A sender and a recipient.
struct Pair {
    sender: Sender,
    to: AccountId,
    mailbox: MailboxId,
}

impl Desk {
    async fn over(store: Arc<dyn Store>) -> Self {
        let config = place::config();
        let parts = place::parts(store, &config).await;
        let metrics = Arc::clone(&parts.metrics);
        let switchboard = Arc::new(Switchboard::new(parts, &config).await.expect("a switchboard"));
        let pairs = join_all((0..PAIRS).map(|number| pair(&switchboard, number))).await;
        Self {
            switchboard,
            metrics,
            pairs,
        }
    }

    /// Every pair exchanges `each` messages at once.
    async fn live(&self, each: u64) {
        join_all(self.pairs.iter().map(async |pair| {
            tokio::join!(self.send(pair, each), self.take(pair, each));
        }))
        .await;
    }

    /// First everything is sent and safe, then the recipients come.
    async fn away(&self, mut each: u64) {
        while each > 0 {
            let mail = each.min(MAIL_AWAY);
            join_all(self.pairs.iter().map(|pair| self.send(pair, mail))).await;
            join_all(self.pairs.iter().map(|pair| self.take(pair, mail))).await;
            each -= mail;
        }
    }

    /// Sends as a session does, and waits until every message is safe.
    async fn send(&self, pair: &Pair, count: u64) {
        let mut sender = pair.sender.clone();
        let wake = Arc::new(Wake::default());
        let receipts = Receipts::new(Arc::clone(&wake));
        let mut answers = Vec::new();
        let (mut sent, mut safe) = (0, 0);
        while safe < count {
            while sent < count && sent - safe < SENDS_OUT {
                let send = place::message(&pair.to);
                let accepted = self
                    .switchboard
                    .send(&mut sender, send, receipts.ticket(sent))
                    .await;
                accepted.expect("an accepted send");
                sent += 1;
            }
            wake.rung().await;
            receipts.take(&mut answers);
            for (_, outcome) in answers.drain(..) {
                assert!(matches!(outcome, Outcome::Safe { duplicate: false, .. }));
                safe += 1;
            }
        }
    }

    /// Reads and acks as a session does.
    async fn take(&self, pair: &Pair, count: u64) {
        let here = self
            .switchboard
            .sign_on(pair.mailbox)
            .await
            .expect("a sign-on")
            .expect("a device");
        let mut mailbox = self.switchboard.open(pair.mailbox, WINDOW);
        let mut taken = 0;
        while taken < count {
            let page = mailbox.next().await.expect("a page");
            if page.is_empty() {
                here.presence.rung().await;
                continue;
            }
            let ids: Vec<u64> = page.iter().map(|mail| mail.envelope.id.as_u64()).collect();
            taken += mailbox.ack(&ids).await as u64;
        }
    }
}

async fn pair(switchboard: &Switchboard, number: u64) -> Pair {
    let (from, to) = (
        address(&format!("sender-{number}")),
        address(&format!("recipient-{number}")),
    );
    Pair {
        sender: Sender::new(Arc::new(from.clone()), register(switchboard, &from).await),
        mailbox: register(switchboard, &to).await,
        to: to.account,
    }
}

async fn register(switchboard: &Switchboard, address: &Address) -> MailboxId {
    let registration = Registration {
        registration_id: 1,
        attributes: None,
        max_devices: 1,
        now: Clock::system().now(),
    };
    match switchboard.register(address, registration).await {
        Ok(Registered::Created(device)) => device.mailbox,
        other => unreachable!("{other:?}"),
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

#[expect(clippy::print_stderr, reason = "criterion has no place for another figure")]
fn mail(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mail");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    group.throughput(Throughput::Elements(PAIRS));
    for name in ["model"].into_iter().chain(place::names()) {
        for is_live in [true, false] {
            let runtime = runtime();
            let place = (name != "model").then(|| runtime.block_on(Place::open(name)));
            let store = place.as_ref().map_or_else(
                || Model::new() as Arc<dyn Store>,
                |place| Arc::clone(&place.store),
            );
            let desk = runtime.block_on(Desk::over(store));
            let who = if is_live { "live" } else { "away" };
            group.bench_function(format!("{name}/{who}/{PAIRS} messages"), |bencher| {
                bencher.iter_custom(|each| {
                    let started = Instant::now();
                    runtime.block_on(async {
                        match is_live {
                            true => desk.live(each).await,
                            false => desk.away(each).await,
                        }
                    });
                    started.elapsed()
                });
            });
            let metrics = &desk.metrics;
            let (elided, accepted) = (metrics.envelopes_elided.get(), metrics.envelopes_accepted.get());
            let commits = metrics.commits.get();
            eprintln!("{name}/{who}: {elided} of {accepted} envelopes elided, {commits} commits");
            if let Some(place) = place {
                runtime.block_on(place.clear());
            }
        }
    }
    group.finish();
}

criterion_group!(benches, mail);
criterion_main!(benches);
