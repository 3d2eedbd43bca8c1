//! What the embedded store writes and takes: accepting mail for devices that are away, draining it, opening again.
//!
//! `store_cost MESSAGES DEVICES BATCH [STORED]`: accepts so many messages in batches, drains them, device by device in
//! rounds, and opens a store that holds `STORED` envelopes. Prints bytes, CPU and time for each phase.
//! `STORE_COST_AT=DIRECTORY` with `STORED`: leaves a store there as a killed process does; when there is one already, it
//! is opened and nothing else. The commit that took longest is told with each phase that commits.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement; what is wrong should stop it"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, EnvelopeId};
use chatctl_relay::model::{Envelope, MailboxId, UnixMs};
use chatctl_relay::store::embedded::{Embedded, Options};
use chatctl_relay::store::{
    Batch, Deletion, DeviceStore as _, MailStore as _, Posting, Registered, Registration, Room, SendKey,
    SendRecord, Span,
};
use futures_util::StreamExt as _;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
/// Messages that one millisecond brings.
const PER_MS: u64 = 100;

fn address(name: &str) -> Address {
    Address {
        account: AccountId::parse(name).expect("a name"),
        device_id: DeviceId::parse("1").expect("a name"),
    }
}

/// Bytes that this process has handed to `write`, and its CPU time in microseconds.
fn spent() -> (u64, u64) {
    let io = std::fs::read_to_string("/proc/self/io").expect("procfs");
    let wchar = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    let usage = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let fields: Vec<&str> = usage
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks: u64 = [11, 12]
        .iter()
        .filter_map(|at| fields.get(*at)?.parse::<u64>().ok())
        .sum();
    (
        wchar.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0),
        ticks * 10_000,
    )
}

struct Phase(&'static str, Instant, (u64, u64));

impl Phase {
    fn begin(name: &'static str) -> Self {
        Self(name, Instant::now(), spent())
    }

    fn end(self, count: u64) {
        let (bytes, cpu) = spent();
        let (bytes, cpu) = (bytes - self.2.0, cpu - self.2.1);
        let time = self.1.elapsed();
        println!(
            "{:10} {count:8}: {:7.1} B, {:6.2} us CPU each; {:9.0}/s, {:.3} s",
            self.0,
            bytes as f64 / count as f64,
            cpu as f64 / count as f64,
            count as f64 / time.as_secs_f64(),
            time.as_secs_f64(),
        );
    }
}

fn posting(number: u64, mailbox: MailboxId, from: &Arc<Address>) -> Posting {
    let id = EnvelopeId::at(NOW.0 + number / PER_MS, 3).as_u64() + ((number % PER_MS) << 10);
    let id = EnvelopeId::from_u64(id);
    let name = u128::from(number)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        .to_be_bytes();
    let client_msg_id = ClientMsgId::parse(Bytes::copy_from_slice(&name)).expect("16 bytes");
    let envelope = Envelope {
        id,
        mailbox,
        sender: MailboxId(1 + number % 50),
        from: Arc::clone(from),
        client_msg_id,
        kind: 1,
        sent_at: 1_800_000_000_000,
        accepted_at: NOW,
        expires_at: NOW.plus_seconds(30 * 86400),
        urgent: false,
        ephemeral: false,
        payload: Bytes::from_static(&[0x5a; 256]),
    };
    let record = SendRecord {
        key: SendKey {
            sender: envelope.sender,
            client_msg_id,
        },
        digest: name[..8].try_into().expect("8 bytes"),
        envelope_ids: vec![id],
        accepted_at: NOW,
    };
    Posting {
        record,
        envelopes: vec![Arc::new(envelope)],
    }
}

async fn register(store: &Embedded, devices: u64) -> Vec<MailboxId> {
    let registered = futures_util::stream::iter(0..devices).map(async |number| {
        let registration = Registration {
            registration_id: 1,
            attributes: None,
            max_devices: 1,
            now: NOW,
        };
        match store
            .register(&address(&format!("account-{number}")), registration)
            .await
        {
            Ok(Registered::Created(device)) => device.mailbox,
            other => unreachable!("{other:?}"),
        }
    });
    registered.buffer_unordered(256).collect().await
}

/// Returns how long the longest commit took.
async fn accept(store: &Embedded, mailboxes: &[MailboxId], from: u64, count: u64, size: u64) -> Duration {
    let mut longest = Duration::ZERO;
    let sender = Arc::new(address("account-1"));
    let mut next = from;
    while next < from + count {
        let postings = (next..(next + size).min(from + count)).map(|number| {
            posting(
                number,
                mailboxes[(number * 7919) as usize % mailboxes.len()],
                &sender,
            )
        });
        let batch = Batch {
            postings: postings.collect(),
            ..Batch::default()
        };
        next += size;
        let begun = Instant::now();
        let committed = store.commit(batch).await.expect("a commit");
        assert!(committed.refused.is_empty());
        longest = longest.max(begun.elapsed());
    }
    longest
}

/// Every device fetches a page and acks it, in rounds, until nothing is left.
async fn drain(store: &Embedded, mailboxes: &[MailboxId], size: usize) -> u64 {
    let (mut drained, mut waiting) = (0, Vec::new());
    let mut after = vec![EnvelopeId::ZERO; mailboxes.len()];
    loop {
        let mut found = false;
        for (mailbox, after) in mailboxes.iter().zip(&mut after) {
            let span = Span {
                after: *after,
                up_to: EnvelopeId::MAX,
                now: NOW,
            };
            let page = store
                .read(
                    *mailbox,
                    span,
                    Room {
                        envelopes: 32,
                        bytes: 1 << 20,
                    },
                )
                .await
                .expect("a page");
            let Some(last) = page.last() else { continue };
            (found, *after) = (true, last.id);
            waiting.extend(page.iter().map(|e| Deletion {
                mailbox: e.mailbox,
                id: e.id,
            }));
            drained += page.len() as u64;
            if waiting.len() >= size {
                let deletions = std::mem::take(&mut waiting);
                store
                    .commit(Batch {
                        deletions,
                        ..Batch::default()
                    })
                    .await
                    .expect("a commit");
            }
        }
        if !found {
            store
                .commit(Batch {
                    deletions: waiting,
                    ..Batch::default()
                })
                .await
                .expect("a commit");
            return drained;
        }
    }
}

async fn leave_or_open(place: &Path, devices: u64, stored: u64) {
    let is_there = place.join("chatctl.sqlite").exists();
    let phase = Phase::begin("open");
    let store = Embedded::open(place, &Options::default()).expect("a store");
    phase.end(stored.max(1));
    if !is_there {
        let mailboxes = register(&store, devices).await;
        let longest = accept(&store, &mailboxes, 0, stored, 2000).await;
        println!("longest commit {longest:?}");
    }
    // Not a word to the store.
    std::process::abort();
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|word| word.parse::<u64>().expect("a number"));
    let messages = arguments.next().unwrap_or(200_000);
    let devices = arguments.next().unwrap_or(1000);
    let size = arguments.next().unwrap_or(1000);
    let stored = arguments.next().unwrap_or(0);
    if let Some(place) = std::env::var_os("STORE_COST_AT") {
        return leave_or_open(Path::new(&place), devices, stored).await;
    }
    let folder = tempfile::TempDir::new_in(Path::new("target")).expect("a directory");
    let options = Options::default();
    let store = Embedded::open(folder.path(), &options).expect("a store");
    let mailboxes = register(&store, devices).await;
    let mut next = 0;
    if stored > 0 {
        let phase = Phase::begin("fill");
        let longest = accept(&store, &mailboxes, 0, stored, 2000).await;
        phase.end(stored);
        println!("longest commit {longest:?}");
        drop(store);
        let phase = Phase::begin("open");
        let again = Embedded::open(folder.path(), &options).expect("a store");
        phase.end(stored);
        drop(again);
        next = stored;
    } else {
        drop(store);
    }
    let store = Embedded::open(folder.path(), &options).expect("a store");
    let phase = Phase::begin("accept");
    let longest = accept(&store, &mailboxes, next, messages, size).await;
    phase.end(messages);
    println!("longest commit {longest:?}");
    if stored == 0 {
        let phase = Phase::begin("drain");
        let drained = drain(&store, &mailboxes, size as usize).await;
        phase.end(drained);
    }
    let phase = Phase::begin("close");
    store.close().await.expect("closed");
    phase.end(messages);
    let size = std::fs::metadata(folder.path().join("chatctl.sqlite")).map_or(0, |file| file.len());
    println!("file {} MiB", size >> 20);
}
