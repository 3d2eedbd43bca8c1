//! What the durable stores carry: commits of mail at several batch sizes, draining, and claims under contention.

#![expect(clippy::expect_used, reason = "a measurement; what is wrong should stop it")]

mod place;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chatctl_protocol::{Address, ClientMsgId, EnvelopeId, PoolName, Suite};
use chatctl_relay::model::{Envelope, MailboxId, UnixMs};
use chatctl_relay::store::{
    Batch, Claim, ClaimTarget, Deletion, Item, PoolUpload, Posting, Registered, Registration, Room, SendKey,
    SendRecord, Span, Store, Upload,
};
use criterion::{BatchSize, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tokio::runtime::Runtime;

use place::{Place, address};

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const MAILBOXES: usize = 10_000;
const PAYLOAD: &[u8] = &[0x5a; 300];
/// Claims that wait at the same time.
const IN_FLIGHT: usize = 32;

/// A store and its mailboxes.
async fn furnished(name: &str, mailboxes: usize) -> (Place, Vec<MailboxId>) {
    let place = Place::open(name).await;
    let store = &place.store;
    let registered = futures_util::stream::iter(0..mailboxes)
        .map(async |number| {
            let registration = Registration {
                registration_id: 1,
                attributes: None,
                max_devices: 1,
                now: NOW,
            };
            store
                .register(&address(&format!("account-{number}")), registration)
                .await
        })
        .buffer_unordered(IN_FLIGHT);
    let mailboxes = registered
        .map(|registered| match registered {
            Ok(Registered::Created(device)) => device.mailbox,
            other => unreachable!("{other:?}"),
        })
        .collect()
        .await;
    (place, mailboxes)
}

fn posting(number: u64, mailbox: MailboxId, from: &Arc<Address>) -> Posting {
    let id = EnvelopeId::from_u64(number);
    let name = Bytes::copy_from_slice(&u128::from(number).to_be_bytes());
    let client_msg_id = ClientMsgId::parse(name).expect("16 bytes");
    let envelope = Envelope {
        id,
        mailbox,
        sender: MailboxId(1),
        from: Arc::clone(from),
        client_msg_id,
        kind: 1,
        sent_at: 1_800_000_000_000,
        accepted_at: NOW,
        expires_at: NOW.plus_seconds(3600),
        urgent: false,
        ephemeral: false,
        payload: Bytes::from_static(PAYLOAD),
    };
    let record = SendRecord {
        key: SendKey {
            sender: MailboxId(1),
            client_msg_id,
        },
        digest: [1; 8],
        envelope_ids: vec![id],
        accepted_at: NOW,
    };
    Posting {
        record,
        envelopes: vec![Arc::new(envelope)],
    }
}

/// Batches of postings whose ids go on from those before.
struct Load {
    mailboxes: Vec<MailboxId>,
    from: Arc<Address>,
    next: u64,
}

impl Load {
    fn new(mailboxes: Vec<MailboxId>) -> Self {
        let from = Arc::new(address("account-1"));
        Self {
            mailboxes,
            from,
            next: 0,
        }
    }

    fn batch(&mut self, size: u64) -> Batch {
        let postings = (0..size).map(|_| {
            self.next += 1;
            // Far apart, as the recipients of a busy relay are.
            let mailbox = self.mailboxes[(self.next * 7919) as usize % self.mailboxes.len()];
            posting(self.next, mailbox, &self.from)
        });
        Batch {
            postings: postings.collect(),
            ..Batch::default()
        }
    }
}

fn commits(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    for name in place::names() {
        let (place, mailboxes) = runtime.block_on(furnished(name, MAILBOXES));
        let mut load = Load::new(mailboxes);
        for size in [1, 16, 256, 2048] {
            group.throughput(Throughput::Elements(size));
            group.bench_function(format!("{name}/{size}"), |bencher| {
                bencher.to_async(&runtime).iter_batched(
                    || load.batch(size),
                    |batch| async {
                        black_box(place.store.commit(batch).await).expect("a commit");
                    },
                    BatchSize::PerIteration,
                );
            });
        }
        runtime.block_on(place.clear());
    }
    group.finish();
}

/// Reads what waits in every mailbox by pages, and deletes it with the commits of other mailboxes.
async fn drain(store: &dyn Store, mailboxes: &[MailboxId]) -> usize {
    let mut drained = 0;
    for some in mailboxes.chunks(IN_FLIGHT) {
        let pages = join_all(some.iter().map(|mailbox| {
            let span = Span {
                after: EnvelopeId::ZERO,
                up_to: EnvelopeId::MAX,
                now: NOW,
            };
            let room = Room {
                envelopes: 64,
                bytes: 1 << 20,
            };
            store.read(*mailbox, span, room)
        }));
        let pages: Vec<_> = pages.await.into_iter().collect::<Result<_, _>>().expect("pages");
        let deletions = pages.iter().flatten().map(|envelope| Deletion {
            mailbox: envelope.mailbox,
            id: envelope.id,
        });
        let deletions: Vec<_> = deletions.collect();
        drained += deletions.len();
        let batch = Batch {
            deletions,
            ..Batch::default()
        };
        store.commit(batch).await.expect("a commit");
    }
    drained
}

/// Mailboxes of 64 envelopes each, emptied 32 at a time.
fn drains(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("drain");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    let total = 64 * 256;
    group.throughput(Throughput::Elements(total));
    for name in place::names() {
        let (place, mailboxes) = runtime.block_on(furnished(name, 256));
        let mut load = Load::new(mailboxes.clone());
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                runtime.block_on(async {
                    let mut time = Duration::ZERO;
                    for _ in 0..iterations {
                        for _ in 0..total / 1024 {
                            place.store.commit(load.batch(1024)).await.expect("a commit");
                        }
                        let started = Instant::now();
                        let drained = drain(&*place.store, &mailboxes).await;
                        assert_eq!(drained as u64, total);
                        time += started.elapsed();
                    }
                    time
                })
            });
        });
        runtime.block_on(place.clear());
    }
    group.finish();
}

fn pool() -> PoolName {
    PoolName::parse("ec").expect("a name")
}

/// Publishes `count` items of 1,632 bytes in one upload; `first` keeps them apart.
async fn publish(store: &dyn Store, mailbox: MailboxId, first: u64, count: u64) {
    let add = (first..first + count).map(|number| {
        let mut data = vec![0x5a; 1632];
        data[..8].copy_from_slice(&number.to_be_bytes());
        Item {
            id: number.to_string().into(),
            data: data.into(),
            signature: None,
        }
    });
    let pools = PoolUpload {
        add: add.collect(),
        ..PoolUpload::default()
    };
    let upload = Upload {
        mailbox,
        suite: Suite::Signal,
        identity: Some(Bytes::from_static(b"identity")),
        statement: None,
        pools: vec![(pool(), pools)],
        max_items: 200,
        now: NOW,
    };
    store.upload(upload).await.expect("an upload");
}

/// The time that `count` claims take over these devices, each of which has enough to give.
async fn claim(store: &dyn Store, mailboxes: &[MailboxId], count: u64) -> Duration {
    let started = Instant::now();
    let claims = (0..count as usize).map(|number| Claim {
        suite: Suite::Signal,
        pools: vec![pool()],
        targets: vec![ClaimTarget {
            mailbox: mailboxes[number % mailboxes.len()],
            spare_queue: false,
        }],
        now: NOW,
    });
    let mut claims = futures_util::stream::iter(claims)
        .map(|claim| store.claim(claim))
        .buffer_unordered(IN_FLIGHT);
    while let Some(claimed) = claims.next().await {
        let claimed = claimed.expect("a claim");
        assert!(claimed[0].items[0].is_some(), "the pools have enough");
    }
    started.elapsed()
}

fn claims(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("claim");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for name in place::names() {
        for (devices, items) in [(1, 200), (100, 100)] {
            let (place, mailboxes) = runtime.block_on(furnished(name, devices));
            let mut next = 0;
            // One iteration empties every pool.
            let claims = items * devices as u64;
            group.throughput(Throughput::Elements(claims));
            group.bench_function(format!("{name}/{devices} devices"), |bencher| {
                bencher.iter_custom(|iterations| {
                    runtime.block_on(async {
                        let mut time = Duration::ZERO;
                        for _ in 0..iterations {
                            for some in mailboxes.chunks(IN_FLIGHT) {
                                let uploads = some.iter().map(|mailbox| {
                                    next += items;
                                    publish(&*place.store, *mailbox, next, items)
                                });
                                join_all(uploads).await;
                            }
                            time += claim(&*place.store, &mailboxes, claims).await;
                        }
                        time
                    })
                });
            });
            runtime.block_on(place.clear());
        }
    }
    group.finish();
}

criterion_group!(benches, commits, drains, claims);
criterion_main!(benches);
