//! What a message costs inside the relay, from the sender's session to the recipient's ack: without
//! sockets and frames, over the store in memory and over each durable one.
//!
//! `live` has every recipient here: most envelopes are acked before their commit, and how many is
//! printed. `away` has none of them here until everything is safe: each envelope is stored, read back
//! and deleted. `elided` has neither switchboard nor waiting: it is the code of committer and mailbox alone.

#![expect(clippy::expect_used, reason = "a measurement; what is wrong should stop it")]

mod place;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId};
use chatctl_relay::committer::{Mail, Outcome, Part, Receipts};
use chatctl_relay::hub::Wake;
use chatctl_relay::mailbox::{Mailbox, Window};
use chatctl_relay::metrics::Metrics;
use chatctl_relay::model::{Clock, MailboxId, UnixMs};
use chatctl_relay::store::model::Model;
use chatctl_relay::store::{Registered, Registration, SendKey, Store};
use chatctl_relay::switchboard::{Sender, Switchboard};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use smallvec::smallvec;
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

/// What the committer and the mailbox take of a message that is acked before its commit: accepted, read, acked,
/// left out of the batch and answered; in runs of 32 for each of 16 recipients.
fn elided(criterion: &mut Criterion) {
    const RUN: u64 = 32;
    let mut group = criterion.benchmark_group("mail");
    group.throughput(Throughput::Elements(1));
    let runtime = runtime();
    let (parts, mut pairs) = runtime.block_on(async {
        let mut config = place::config();
        // What is waited for is not what is measured.
        config.mail.commit_interval = Duration::ZERO;
        let parts = place::parts(Model::new(), &config).await;
        let pairs = (0..16).map(|turn| (MailboxId(100 + turn), MailboxId(200 + turn)));
        let pairs = join_all(pairs.map(async |(sender, recipient)| {
            parts.committer.recount(recipient).await.expect("a count");
            let mut mailbox = Mailbox::open(Arc::clone(&parts.committer), recipient, WINDOW);
            mailbox.next().await.expect("a page");
            (sender, recipient, mailbox, Receipts::new(Arc::default()))
        }));
        let pairs = pairs.await;
        (parts, pairs)
    });
    let from = Arc::new(address("sender"));
    let (mut name, mut answers) = (0_u64, Vec::new());
    group.bench_function("elided/1 message", |bencher| {
        bencher.iter_custom(|each| {
            let mut left = each;
            let started = Instant::now();
            while left > 0 {
                let mut out = 0;
                for (sender, recipient, mailbox, receipts) in &mut pairs {
                    for _ in 0..RUN {
                        name += 1;
                        let mail = letter(*sender, *recipient, name, &from);
                        let now = parts.clock.now();
                        let put = parts.committer.try_accept(mail, receipts.ticket(name), now);
                        put.expect("a send that needs no waiting");
                    }
                    let page = mailbox.try_next().expect("a page that needs no waiting");
                    let ids: Vec<u64> = page.iter().map(|mail| mail.envelope.id.as_u64()).collect();
                    drop(page);
                    out += mailbox.try_ack(&ids).expect("acks that need no waiting") as u64;
                }
                while (answers.len() as u64) < out {
                    runtime.block_on(tokio::task::yield_now());
                    pairs
                        .iter()
                        .for_each(|(.., receipts)| receipts.take(&mut answers));
                }
                answers.clear();
                left = left.saturating_sub(out);
            }
            // Whole rounds: a fraction of one costs as much.
            started
                .elapsed()
                .mul_f64(each as f64 / each.next_multiple_of(16 * RUN) as f64)
        });
    });
    group.finish();
}

fn letter(sender: MailboxId, recipient: MailboxId, name: u64, from: &Arc<Address>) -> Mail {
    Mail {
        key: SendKey {
            sender,
            client_msg_id: ClientMsgId::parse(name.to_be_bytes()).expect("a name"),
        },
        digest: name.to_be_bytes().into(),
        from: Arc::clone(from),
        sent_at: 0,
        expires_at: UnixMs(u64::MAX),
        urgent: false,
        ephemeral: false,
        parts: smallvec![Part {
            mailbox: recipient,
            kind: 1,
            payload: Bytes::from_static(place::PAYLOAD),
            is_here: true,
        }],
    }
}

criterion_group!(benches, mail, elided);
criterion_main!(benches);
