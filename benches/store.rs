//! What the embedded store carries: commits of mail at several batch sizes, and claims under contention.

#![expect(clippy::expect_used, reason = "a measurement; what is wrong should stop it")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, EnvelopeId, PoolName, Suite};
use chatctl_relay::model::{Envelope, MailboxId, UnixMs};
use chatctl_relay::store::embedded::{Embedded, Options};
use chatctl_relay::store::{
    Batch, Claim, ClaimTarget, DeviceStore as _, Item, KeyStore as _, MailStore as _, PoolUpload, Posting,
    Registered, Registration, SendKey, SendRecord, Upload,
};
use criterion::{BatchSize, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const MAILBOXES: usize = 10_000;
const PAYLOAD: &[u8] = &[0x5a; 300];
/// Claims that wait at the same time.
const IN_FLIGHT: usize = 32;

fn address(number: usize) -> Address {
    Address {
        account: AccountId::parse(&format!("account-{number}")).expect("a name"),
        device_id: DeviceId::parse("1").expect("a name"),
    }
}

/// A store on the disk that the build is on, and its mailboxes.
async fn store(mailboxes: usize) -> (Arc<Embedded>, Vec<MailboxId>, TempDir) {
    let directory = TempDir::new_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a directory");
    let store = Embedded::open(directory.path(), &Options::default()).expect("a store");
    let registered = join_all((0..mailboxes).map(async |number| {
        let registration = Registration {
            registration_id: 1,
            attributes: None,
            max_devices: 1,
            now: NOW,
        };
        store.register(&address(number), registration).await
    }));
    let mailboxes = registered
        .await
        .into_iter()
        .filter_map(|registered| match registered {
            Ok(Registered::Created(device)) => Some(device.mailbox),
            Ok(Registered::Updated(_) | Registered::Replaced { .. } | Registered::TooMany) | Err(_) => None,
        })
        .collect();
    (store, mailboxes, directory)
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

fn commits(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    for size in [1, 16, 256, 2048] {
        let (store, mailboxes, _directory) = runtime.block_on(store(MAILBOXES));
        let from = Arc::new(address(1));
        let mut next = 0u64;
        group.throughput(Throughput::Elements(size));
        group.bench_function(size.to_string(), |bencher| {
            bencher.to_async(&runtime).iter_batched(
                || {
                    let mut postings = Vec::new();
                    for _ in 0..size {
                        next += 1;
                        // Far apart, as the recipients of a busy relay are.
                        let mailbox = mailboxes[(next * 7919) as usize % mailboxes.len()];
                        postings.push(posting(next, mailbox, &from));
                    }
                    Batch {
                        postings,
                        ..Batch::default()
                    }
                },
                |batch| async {
                    black_box(store.commit(batch).await).expect("a commit");
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn pool() -> PoolName {
    PoolName::parse("ec").expect("a name")
}

/// Publishes `count` items of 1,632 bytes in one upload; `first` keeps them apart.
async fn publish(store: &Embedded, mailbox: MailboxId, first: u64, count: u64) {
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
async fn claim(store: &Embedded, mailboxes: &[MailboxId], count: u64) -> Duration {
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
    for (devices, items) in [(1, 200), (100, 100)] {
        let (store, mailboxes, _directory) = runtime.block_on(store(devices));
        let mut next = 0;
        // One iteration empties every pool.
        let claims = items * devices as u64;
        group.throughput(Throughput::Elements(claims));
        group.bench_function(format!("{devices} devices"), |bencher| {
            bencher.iter_custom(|iterations| {
                runtime.block_on(async {
                    let mut time = Duration::ZERO;
                    for _ in 0..iterations {
                        let uploads = mailboxes.iter().map(|mailbox| {
                            next += items;
                            publish(&store, *mailbox, next, items)
                        });
                        join_all(uploads).await;
                        time += claim(&store, &mailboxes, claims).await;
                    }
                    time
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, commits, claims);
criterion_main!(benches);
