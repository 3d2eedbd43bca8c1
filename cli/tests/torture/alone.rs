//! The embedded store alone when the power goes: over checkpoints, which a relay's crowd is too slow to reach, and with
//! rows of acked mail that wait. And the negative control: without a sync at each commit the same run loses mail.
//!
//! The store lives in a process of its own, this very binary once more. It says in a file what it was answered.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, EnvelopeId};
use chatctl_relay::model::{Envelope, MailboxId, UnixMs};
use chatctl_relay::store::embedded::{Embedded, Options};
use chatctl_relay::store::{
    Batch, Deletion, DeviceStore as _, MailStore as _, Posting, Registered, Registration, Room, SendKey,
    SendRecord, Span,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

use crate::{number_from, powerloss};

#[test]
fn a_store_keeps_its_word_when_the_power_goes_during_checkpoints() {
    let mut stage = Stage::new("durable");
    let mut rounds = 0;
    for life in 0..5 {
        let child = stage.spawn();
        // The first checkpoint comes after 128 MiB; a log that was left is copied early in the next life.
        stage.wait_until(|stage| match life {
            0 => stage.database() > 16 * MIB,
            _ => stage.said().rounds >= rounds + 30,
        });
        let delay = stage.random.random_range(0..400);
        sleep(Duration::from_millis(delay));
        let chance = [0.0, 0.2, 0.5, 0.8][stage.random.random_range(0..4)];
        stage.cut_power(child, chance);
        let said = stage.said();
        let there = stage.look();
        let lost: Vec<_> = said.kept.difference(&there).collect();
        let back: Vec<_> = said.acked.intersection(&there).collect();
        assert!(
            lost.is_empty() && back.is_empty(),
            "seed {}, life {life}, chance {chance}: lost {lost:?}, came back {back:?}",
            stage.seed
        );
        rounds = said.rounds;
    }
}

#[test]
fn without_a_sync_at_each_commit_the_power_takes_mail_back() {
    let mut stage = Stage::new("not-durable");
    let child = stage.spawn();
    stage.wait_until(|stage| stage.said().rounds >= 20);
    stage.cut_power(child, 0.0);
    let lost = stage.said().kept.difference(&stage.look()).count();
    assert!(lost > 0, "this test could not tell a store that loses mail");
}

#[test]
#[ignore = "the process that the others start"]
fn as_a_process() {
    let Some(root) = std::env::var_os("CHATCTL_TORTURE_ALONE") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(work(Path::new(&root)));
}

/// Where it all happens.
struct Stage {
    folder: TempDir,
    library: PathBuf,
    life: u32,
    seed: u64,
    random: StdRng,
}

/// What the store has answered, over all its lives.
#[derive(Default)]
struct Said {
    rounds: u64,
    /// Put, and no ack was begun.
    kept: BTreeSet<u64>,
    /// Acked, with an answer.
    acked: BTreeSet<u64>,
}

impl Stage {
    fn new(kind: &str) -> Self {
        let seed = number_from("CHATCTL_TORTURE_SEED").unwrap_or_else(rand::random);
        eprintln!("CHATCTL_TORTURE_SEED={seed}");
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kind"), kind).unwrap();
        let stage = Self {
            library: powerloss::build_shim(folder.path()),
            folder,
            life: 0,
            seed,
            random: StdRng::seed_from_u64(seed),
        };
        fs::create_dir(stage.data()).unwrap();
        fs::create_dir(stage.shadow()).unwrap();
        stage
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn data(&self) -> PathBuf {
        self.root().join(format!("data-{}", self.life))
    }

    fn shadow(&self) -> PathBuf {
        self.root().join(format!("shadow-{}", self.life))
    }

    /// Bytes of the database, without the log.
    fn database(&self) -> u64 {
        fs::metadata(self.data().join("chatctl.sqlite")).map_or(0, |file| file.len())
    }

    fn spawn(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "alone::as_a_process", "--ignored", "--nocapture"])
            .env("CHATCTL_TORTURE_ALONE", self.root())
            .env("CHATCTL_TORTURE_ALONE_DATA", self.data())
            .env("LD_PRELOAD", &self.library)
            .env("PL_LIVE", self.data())
            .env("PL_SHADOW", self.shadow())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn wait_until(&self, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "seed {}: it does nothing", self.seed);
            sleep(Duration::from_millis(10));
        }
    }

    /// Kills the process, and goes on with what a disk without power may have.
    fn cut_power(&mut self, mut child: Child, chance: f64) {
        child.kill().unwrap();
        child.wait().unwrap();
        let (data, shadow) = (self.data(), self.shadow());
        self.life += 1;
        let pages = powerloss::tear(&data, &shadow, &self.data(), chance, &mut self.random);
        eprintln!("{pages} pages that were not synced survived (chance {chance})");
        powerloss::shadow_of(&self.data(), &self.shadow());
        for old in [data, shadow] {
            fs::remove_dir_all(old).unwrap();
        }
    }

    fn said(&self) -> Said {
        let text = fs::read_to_string(self.root().join("said")).unwrap_or_default();
        let mut said = Said::default();
        for line in text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
        {
            let (word, numbers) = line.split_once(' ').unwrap();
            let numbers = numbers.split(' ').map(|number| number.parse::<u64>().unwrap());
            match word {
                "put" => {
                    said.rounds += 1;
                    said.kept.extend(numbers);
                }
                "acking" => {
                    for number in numbers {
                        said.kept.remove(&number);
                    }
                }
                "acked" => said.acked.extend(numbers),
                other => panic!("{other}"),
            }
        }
        said
    }

    /// The mail that a store finds, in a copy of what there is.
    fn look(&self) -> BTreeSet<u64> {
        let copy = self.root().join("copy");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(self.data()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let there = runtime.block_on(async {
            let store = Embedded::open(&copy, &Options::default()).unwrap();
            let mailbox = register(&store).await;
            let there = numbers(&store, mailbox).await;
            store.close().await.unwrap();
            there
        });
        fs::remove_dir_all(copy).unwrap();
        there
    }
}

/// Puts mail and acks it, for ever.
async fn work(root: &Path) {
    let data = PathBuf::from(std::env::var_os("CHATCTL_TORTURE_ALONE_DATA").unwrap());
    let store = match &*fs::read_to_string(root.join("kind")).unwrap() {
        "durable" => Embedded::open(&data, &Options::default()),
        _ => Embedded::open_not_durable(&data, &Options::default()),
    };
    let store = store.unwrap();
    let mailbox = register(&store).await;
    let mut said = File::options()
        .create(true)
        .append(true)
        .open(root.join("said"))
        .unwrap();
    let mut say = |word: &str, numbers: &[u64]| {
        let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
        let line = format!("{word} {}\n", numbers.join(" "));
        said.write_all(line.as_bytes()).unwrap();
    };
    let mut there = numbers(&store, mailbox).await;
    // Above whatever an earlier life may have put without an answer.
    let start = store.start().await.unwrap().id_floor.as_u64();
    for first in (start + 1..).step_by(AT_ONCE as usize) {
        let new: Vec<_> = (first..first + AT_ONCE).collect();
        let postings = new.iter().map(|number| posting(*number, mailbox)).collect();
        let batch = Batch {
            postings,
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
        say("put", &new);
        there.extend(new);
        let surplus = there.len().saturating_sub(WAITING);
        let old: Vec<_> = there
            .iter()
            .copied()
            .filter(|n| n % 9 != 0)
            .take(surplus)
            .collect();
        if old.is_empty() {
            continue;
        }
        say("acking", &old);
        let deletions = old.iter().map(|number| Deletion {
            mailbox,
            id: EnvelopeId::from_u64(*number),
        });
        let batch = Batch {
            deletions: deletions.collect(),
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
        say("acked", &old);
        there.retain(|number| !old.contains(number));
    }
}

async fn register(store: &Embedded) -> MailboxId {
    let registration = Registration {
        registration_id: 1,
        attributes: None,
        max_devices: 1,
        now: NOW,
    };
    match store.register(&address(), registration).await.unwrap() {
        Registered::Created(device) | Registered::Updated(device) => device.mailbox,
        other => panic!("{other:?}"),
    }
}

/// The mail of a mailbox, whole.
async fn numbers(store: &Embedded, mailbox: MailboxId) -> BTreeSet<u64> {
    let span = Span {
        after: EnvelopeId::ZERO,
        up_to: EnvelopeId::MAX,
        now: NOW,
    };
    let room = Room {
        envelopes: usize::MAX,
        bytes: usize::MAX,
    };
    let mail = store.read(mailbox, span, room).await.unwrap();
    for envelope in &mail {
        assert_eq!(envelope.payload, payload(envelope.id.as_u64()));
    }
    mail.iter().map(|envelope| envelope.id.as_u64()).collect()
}

fn posting(number: u64, mailbox: MailboxId) -> Posting {
    let id = EnvelopeId::from_u64(number);
    let client_msg_id = ClientMsgId::parse(Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
    let envelope = Envelope {
        id,
        mailbox,
        sender: mailbox,
        from: Arc::new(address()),
        client_msg_id,
        kind: 1,
        sent_at: 0,
        accepted_at: NOW,
        expires_at: NOW.plus_seconds(86400),
        urgent: false,
        ephemeral: false,
        payload: payload(number),
    };
    let record = SendRecord {
        key: SendKey {
            sender: mailbox,
            client_msg_id,
        },
        digest: number.to_be_bytes(),
        envelope_ids: vec![id],
        accepted_at: NOW,
    };
    Posting {
        record,
        envelopes: vec![Arc::new(envelope)],
    }
}

fn payload(number: u64) -> Bytes {
    Bytes::from(number.to_be_bytes().repeat(PAYLOAD / 8))
}

fn address() -> Address {
    Address {
        account: AccountId::parse("alone").unwrap(),
        device_id: DeviceId::parse("1").unwrap(),
    }
}

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const MIB: u64 = 1 << 20;
const PAYLOAD: usize = 32 * 1024;
/// Messages in a commit: 1 MiB.
const AT_ONCE: u64 = 32;
/// Messages that are not acked yet.
const WAITING: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(120);
