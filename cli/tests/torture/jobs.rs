//! Three relays with the same jobs on one database, one of them killed in the middle of a run.
//!
//! Every tick is answered by one of them, whoever is there; the run that was cut off is seen to be abandoned, and another relay
//! does its work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, EnvelopeId};
use chatctl_relay::model::{Clock, Envelope, MailboxId, UnixMs};
use chatctl_relay::store::mongodb::{MongoDb, Options, Uri};
use chatctl_relay::store::{
    Batch, ChoreStore as _, DeviceStore as _, JobStore as _, Litter, MailStore as _, Outcome, Posting,
    Registered, Registration, Run, RunQuery, SendKey, SendRecord,
};
use tokio::time::sleep;

use crate::ALONE;
use crate::relay::Relay;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_relays_answer_each_tick_once_and_do_what_a_killed_one_left() {
    let _alone = ALONE.lock().await;
    let server = std::env::var("CHATCTL_TEST_MONGODB").expect("CHATCTL_TEST_MONGODB names a replica set");
    let uri = server.replacen("/?", &format!("/jobs_{:016x}?", rand::random::<u64>()), 1);
    let place = Uri::parse(&uri).unwrap();
    let store = MongoDb::open_fresh(&place, &Options::default()).await.unwrap();
    let mailboxes = fill(&store).await;

    let expiry = format!("{EXPIRY}={}; jitter=0s", once_in_ten_seconds());
    let mut relays: [Relay; 3] = std::array::from_fn(|_| Relay::new());
    for relay in &mut relays {
        relay.keep_state_in(&["--store", &uri]);
        relay.set_flags(&["--job", &expiry, "--job", TICKING_EACH_SECOND]);
        relay.start().await;
    }
    let cut = kill_who_expires(&store, &mut relays).await;
    let crashed = wait_for(&store, |run| run.outcome == Outcome::Crashed).await;
    assert_eq!((&crashed.id, crashed.id.attempt), (&cut.id, 1));
    let again = wait_for(&store, |run| run.id.tick == cut.id.tick && run.id.attempt == 2).await;
    assert_eq!((again.outcome, again.after), (Outcome::Done, cut.after));
    assert_ne!(again.holder, cut.holder);

    let left = store
        .due(Litter::Mail {
            now: Clock::system().now(),
        })
        .await
        .unwrap();
    assert_eq!(left.count, 0);
    let mut told = 0;
    for mailbox in mailboxes {
        told += store
            .gaps(mailbox)
            .await
            .unwrap()
            .iter()
            .map(|gap| gap.dropped)
            .sum::<u64>();
    }
    assert_eq!(told, ENVELOPES, "every loss is told, and once");

    let counted = runs(&store, TICKING).await;
    assert_each_tick_once(&counted);
    let holders: BTreeSet<_> = counted.iter().map(|run| &run.holder).collect();
    eprintln!(
        "{} runs of {TICKING} by {} relays; the killed one's {} of {ENVELOPES} envelopes were made up for",
        counted.len(),
        holders.len(),
        again.work.affected
    );
    drop(relays);
    store.drop_database().await.unwrap();
}

/// Once today: nobody else's tick makes up for what the killed relay leaves.
fn once_in_ten_seconds() -> String {
    let second = Clock::system().now().0 / 1000 + 10;
    format!(
        "{} {} {} * * *",
        second % 60,
        second / 60 % 60,
        second / 3600 % 24
    )
}

/// Waits until a relay is in the middle of dropping mail, and kills it. Its run, as it was.
async fn kill_who_expires(store: &MongoDb, relays: &mut [Relay]) -> Run {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let run = runs(store, EXPIRY)
            .await
            .into_iter()
            .find(|run| run.outcome == Outcome::Running);
        let left = store
            .due(Litter::Mail {
                now: Clock::system().now(),
            })
            .await
            .unwrap();
        if let Some(run) = run.filter(|_| left.count < ENVELOPES) {
            assert!(left.count > 0, "it was too quick to be cut off");
            let relay = relays.iter_mut().find(|relay| holds(relay, &run));
            relay.expect("a relay of ours runs it").kill();
            return run;
        }
        assert!(Instant::now() < deadline, "nobody drops what is over");
        sleep(Duration::from_millis(20)).await;
    }
}

fn holds(relay: &Relay, run: &Run) -> bool {
    let process = relay.process();
    process.is_some_and(|process| run.holder.contains(&format!(":{process}/")))
}

async fn wait_for(store: &MongoDb, is_it: impl Fn(&Run) -> bool) -> Run {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let runs = runs(store, EXPIRY).await;
        if let Some(run) = runs.iter().find(|run| is_it(run) && run.ended_at.is_some()) {
            return run.clone();
        }
        assert!(Instant::now() < deadline, "it does not come: {runs:#?}");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn runs(store: &MongoDb, job: &str) -> Vec<Run> {
    let query = RunQuery {
        job: Some(job.into()),
        outcome: None,
        since: UnixMs(0),
        limit: 1_000,
    };
    store.runs(&query).await.unwrap()
}

/// From the first tick to the last, none was left out and none was run twice.
fn assert_each_tick_once(runs: &[Run]) {
    let ticks: Vec<u64> = runs.iter().map(|run| run.id.tick.0).collect();
    let (first, last) = (ticks.iter().min().unwrap(), ticks.iter().max().unwrap());
    assert!(last - first >= 10_000, "hardly any ticks: {ticks:?}");
    for tick in (*first..=*last).step_by(1_000) {
        let of: Vec<_> = runs
            .iter()
            .filter(|run| run.id.attempt == 1 && run.after.0 < tick && tick <= run.id.tick.0)
            .collect();
        assert_eq!(of.len(), 1, "tick {tick}: {of:#?}");
    }
}

/// Mail that is over for a few devices that are away.
async fn fill(store: &MongoDb) -> Vec<MailboxId> {
    let mut mailboxes = Vec::new();
    for number in 0..MAILBOXES {
        let registration = Registration {
            registration_id: 1,
            attributes: None,
            max_devices: 1,
            now: Clock::system().now(),
        };
        let registered = store
            .register(&address(&format!("away-{number}")), registration)
            .await;
        let Ok(Registered::Created(device)) = registered else {
            panic!("{registered:?}");
        };
        mailboxes.push(device.mailbox);
    }
    let from = Arc::new(address("somebody"));
    for start in (0..ENVELOPES).step_by(2_000) {
        let postings = (start..start + 2_000).map(|number| {
            let mailbox = mailboxes[usize::try_from(number % MAILBOXES).unwrap()];
            over(number + 1, mailbox, &from)
        });
        let batch = Batch {
            postings: postings.collect(),
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
    }
    mailboxes
}

fn over(number: u64, mailbox: MailboxId, from: &Arc<Address>) -> Posting {
    let id = EnvelopeId::from_u64(number);
    let name = u128::from(number).to_be_bytes();
    let client_msg_id = ClientMsgId::parse(Bytes::copy_from_slice(&name)).unwrap();
    let long_ago = UnixMs(Clock::system().now().0 - 60_000);
    Posting {
        record: SendRecord {
            key: SendKey {
                sender: NOBODY,
                client_msg_id,
            },
            digest: [0; 8],
            envelope_ids: vec![id],
            accepted_at: long_ago,
        },
        envelopes: vec![Arc::new(Envelope {
            id,
            mailbox,
            sender: NOBODY,
            from: Arc::clone(from),
            client_msg_id,
            kind: 1,
            sent_at: 0,
            accepted_at: long_ago,
            expires_at: long_ago,
            urgent: false,
            ephemeral: false,
            payload: Bytes::from_static(&[7; 64]),
        })],
    }
}

fn address(account: &str) -> Address {
    Address {
        account: AccountId::parse(account).unwrap(),
        device_id: DeviceId::parse("1").unwrap(),
    }
}

const EXPIRY: &str = "expire-mail";

/// A job that is quick, and due each second.
const TICKING: &str = "prune-revocations";

const TICKING_EACH_SECOND: &str = "prune-revocations=every 1s; jitter=0s";

const ENVELOPES: u64 = 60_000;
const MAILBOXES: u64 = 10;
const NOBODY: MailboxId = MailboxId(1 << 40);

/// Longer than a lease holds without a word.
const PATIENCE: Duration = Duration::from_secs(120);
