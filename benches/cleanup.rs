//! What cleaning up costs those who send meanwhile: expired mail goes, and space is given back, while messages are
//! accepted at a steady rate.
//!
//! A message's time runs from the moment at which it was to be sent to its OK, so that a store that stops for a
//! while is not flattered. Recipients are away: every message is stored. The times during the jobs are printed next to
//! those before, as a factor, with how much room the store takes.
//!
//! `CHATCTL_BENCH_ENVELOPES` and `CHATCTL_BENCH_MAILBOXES` say how much is over (1,000,000 in 10,000),
//! `CHATCTL_BENCH_RATE` how many messages are sent per second (2,000).

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement; what is wrong should stop it, and it says what it found"
)]

mod place;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, EnvelopeId};
use chatctl_relay::committer::{Outcome, Receipts};
use chatctl_relay::config::jobs::JobName;
use chatctl_relay::hub::Wake;
use chatctl_relay::jobs::hand::{self, Ran, Wish};
use chatctl_relay::jobs::residents::Residents;
use chatctl_relay::jobs::{Desk, Terms};
use chatctl_relay::model::{Clock, Envelope, MailboxId, UnixMs};
use chatctl_relay::store::{Batch, Litter, Posting, Registered, Registration, SendKey, SendRecord, Store};
use chatctl_relay::switchboard::{Sender, Switchboard};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use place::{Place, address};

/// Devices that send, and as many that are sent to.
const PAIRS: u64 = 200;
/// How long is measured before the jobs.
const BEFORE: Duration = Duration::from_secs(20);

/// What is measured.
#[derive(Clone, Copy)]
struct Size {
    envelopes: u64,
    mailboxes: u64,
    rate: u64,
}

/// A relay without doors.
struct Relay {
    switchboard: Arc<Switchboard>,
    desk: Desk,
    pairs: Vec<(Sender, AccountId)>,
}

/// Times from the intended moment to the OK, in order.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, share: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a few thousand"
        )]
        let place = (last as f64 * share) as usize;
        self.0.get(place).copied().unwrap_or_default()
    }
}

fn main() {
    // `cargo test --benches` asks whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let number = |name: &str, otherwise| {
        let set = std::env::var(name).ok();
        set.map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let size = Size {
        envelopes: number("CHATCTL_BENCH_ENVELOPES", 1_000_000),
        mailboxes: number("CHATCTL_BENCH_MAILBOXES", 10_000),
        rate: number("CHATCTL_BENCH_RATE", 2_000),
    };
    for name in place::names() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let place = Place::open(name).await;
            measure(name, &place, size).await;
            place.clear().await;
        });
    }
}

async fn measure(name: &str, place: &Place, size: Size) {
    let store = Arc::clone(&place.store);
    fill(&store, size).await;
    let relay = relay(store).await;
    let room = |when: &str| {
        let bytes = place.folder().map(bytes_below);
        let text = bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
        println!("{name}: {when}: {text} on the disk");
    };
    room("with everything that is over");
    let ((), before) = relay.during(size.rate, tokio::time::sleep(BEFORE)).await;
    tell(name, "without jobs", &before, &before);
    for job in [JobName::ExpireMail, JobName::CompactStore] {
        let (ran, times) = relay.during(size.rate, relay.run(job)).await;
        tell(name, job.as_str(), &times, &before);
        println!(
            "{name}: {job}: {:?}, {} in {:.1} s, {} tries again",
            ran.outcome,
            ran.findings.work.affected,
            ran.took.as_secs_f64(),
            ran.findings.work.retries
        );
        room(job.as_str());
    }
    let left = relay
        .desk
        .store
        .due(Litter::Mail { now: NOW })
        .await
        .expect("a count");
    println!("{name}: {} envelopes are over and still there", left.count);
}

fn tell(name: &str, when: &str, times: &Times, before: &Times) {
    let ms = |share| times.at(share).as_secs_f64() * 1000.0;
    println!(
        "{name}: {when}: {} sends, OK after p50 {:.1} ms, p99 {:.1} ms (x{:.2}), p99.9 {:.1} ms, longest {:.1} ms",
        times.0.len(),
        ms(0.5),
        ms(0.99),
        times.at(0.99).as_secs_f64() / before.at(0.99).as_secs_f64(),
        ms(0.999),
        ms(1.0)
    );
}

/// Mail that is over, by mailbox in turn, as time brings it.
async fn fill(store: &Arc<dyn Store>, size: Size) {
    let mut mailboxes = Vec::new();
    for some in (0..size.mailboxes).collect::<Vec<_>>().chunks(256) {
        let registered = some
            .iter()
            .map(|number| register(&**store, format!("away-{number}")));
        mailboxes.extend(join_all(registered).await);
    }
    let from = Arc::new(address("somebody"));
    for start in (0..size.envelopes).step_by(2_000) {
        let numbers = start..(start + 2_000).min(size.envelopes);
        let postings = numbers.map(|number| {
            let mailbox = mailboxes.get((number % size.mailboxes) as usize);
            over(number + 1, *mailbox.expect("a mailbox"), &from)
        });
        let batch = Batch {
            postings: postings.collect(),
            ..Batch::default()
        };
        store.commit(batch).await.expect("a commit");
    }
}

fn over(number: u64, mailbox: MailboxId, from: &Arc<Address>) -> Posting {
    let id = EnvelopeId::from_u64(number);
    let name = u128::from(number).to_be_bytes();
    let client_msg_id = ClientMsgId::parse(Bytes::copy_from_slice(&name)).expect("16 bytes");
    let key = SendKey {
        sender: MailboxId(u64::MAX >> 1),
        client_msg_id,
    };
    Posting {
        record: SendRecord {
            key,
            digest: [0; 8],
            envelope_ids: vec![id],
            accepted_at: NOW,
        },
        envelopes: vec![Arc::new(Envelope {
            id,
            mailbox,
            sender: MailboxId(u64::MAX >> 1),
            from: Arc::clone(from),
            client_msg_id,
            kind: 1,
            sent_at: 0,
            accepted_at: NOW,
            expires_at: NOW,
            urgent: false,
            ephemeral: false,
            payload: Bytes::from_static(place::PAYLOAD),
        })],
    }
}

async fn register(store: &dyn Store, account: String) -> MailboxId {
    let registration = Registration {
        registration_id: 1,
        attributes: None,
        max_devices: 1,
        now: Clock::system().now(),
    };
    match store.register(&address(&account), registration).await {
        Ok(Registered::Created(device)) => device.mailbox,
        other => unreachable!("{other:?}"),
    }
}

async fn relay(store: Arc<dyn Store>) -> Relay {
    let config = place::config();
    let parts = place::parts(Arc::clone(&store), &config).await;
    let audience = Residents {
        hub: Arc::clone(&parts.hub),
        committer: Arc::clone(&parts.committer),
        directory: Arc::clone(&parts.directory),
        metrics: Arc::clone(&parts.metrics),
    };
    let desk = Desk {
        store: Arc::clone(&store),
        audience: Arc::new(audience),
        clock: parts.clock.clone(),
        terms: Terms::of(&config),
        keys: Arc::new(Vec::new),
    };
    let pairs = pairs(&*store).await;
    let switchboard = Switchboard::new(parts, &config).await;
    Relay {
        switchboard: Arc::new(switchboard.expect("a switchboard")),
        desk,
        pairs,
    }
}

/// Devices that send, each to one that is away.
async fn pairs(store: &dyn Store) -> Vec<(Sender, AccountId)> {
    let mut pairs = Vec::new();
    for number in 0..PAIRS {
        let sender = address(&format!("sender-{number}"));
        let mailbox = register(store, sender.account.to_string()).await;
        let to = address(&format!("recipient-{number}"));
        register(store, to.account.to_string()).await;
        let sender = Sender::new(Arc::new(sender), mailbox);
        pairs.push((sender, to.account));
    }
    pairs
}

impl Relay {
    /// Sends at a steady rate while some work is done.
    async fn during<T>(&self, rate: u64, work: impl Future<Output = T>) -> (T, Times) {
        let stop = CancellationToken::new();
        let step = Duration::from_secs(PAIRS) / u32::try_from(rate).expect("a rate");
        let start = Instant::now();
        let sends = self.pairs.iter().enumerate().map(|(place, pair)| {
            let offset = step * u32::try_from(place).expect("a few") / u32::try_from(PAIRS).expect("a few");
            self.send(pair, (start + offset, step), stop.clone())
        });
        let (done, times) = tokio::join!(
            async {
                let done = work.await;
                stop.cancel();
                done
            },
            join_all(sends)
        );
        let mut times: Vec<Duration> = times.into_iter().flatten().collect();
        times.sort_unstable();
        (done, Times(times))
    }

    /// One sender, whatever the answers do: the next message leaves at its time.
    async fn send(
        &self,
        (sender, to): &(Sender, AccountId),
        (start, step): (Instant, Duration),
        stop: CancellationToken,
    ) -> Vec<Duration> {
        let mut sender = sender.clone();
        let wake = Arc::new(Wake::default());
        let receipts = Receipts::new(Arc::clone(&wake));
        let (mut intended, mut answers, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = start;
        loop {
            tokio::select! {
                () = sleep_until(next), if !stop.is_cancelled() => {
                    let ticket = receipts.ticket(intended.len() as u64);
                    intended.push(next);
                    let accepted = self.switchboard.send(&mut sender, place::message(to), ticket).await;
                    accepted.expect("an accepted send");
                    next += step;
                }
                () = wake.rung() => {}
                () = stop.cancelled(), if times.len() == intended.len() => return times,
            }
            receipts.take(&mut answers);
            for (number, outcome) in answers.drain(..) {
                assert!(matches!(outcome, Outcome::Safe { duplicate: false, .. }));
                let due = usize::try_from(number)
                    .ok()
                    .and_then(|number| intended.get(number));
                times.push(due.expect("a send").elapsed());
            }
        }
    }

    /// Runs a job as an operator does.
    async fn run(&self, job: JobName) -> Ran {
        let wish = Wish {
            job,
            timeout: Duration::from_secs(3600),
            holder: "bench".into(),
        };
        let ran = hand::run(wish, self.desk.clone(), &|_| {}, CancellationToken::new()).await;
        ran.expect("a run")
    }
}

/// What the files in a folder take.
fn bytes_below(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).expect("a folder");
    files
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|file| file.len())
        .sum()
}

/// When everything was over that is over: some time ago, and within the idempotency window.
const NOW: UnixMs = UnixMs(1_795_000_000_000);
