//! A database that is not there: at the start, and later.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chatctl_client::{Device, Event, Message, SendOutcome};
use chatctl_protocol::{AccountId, Code, DeviceId};
use tokio::time::{sleep, timeout};

use crate::app::{connected, device};
use crate::crowd::REGISTRATION_ID;
use crate::relay::{Relay, free_port};
use crate::replica_set::ReplicaSet;
use crate::{A_MOMENT, ALONE, PATIENCE, member};

#[tokio::test]
async fn without_its_database_the_relay_says_so_and_does_not_start() {
    let _alone = ALONE.lock().await;
    let mut relay = Relay::new();
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
    let uri = format!("mongodb://chat:{SECRET}@{hosts}/chat?replicaSet=rs0");
    relay.keep_secret_store(&uri);
    let began = Instant::now();
    relay.spawn();
    let (code, said) = relay.ended().await;
    assert_eq!(code, 69, "{said}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error")).collect();
    assert!(matches!(errors[..], [error] if error.contains(&hosts)), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_is_waited_for() {
    let _alone = ALONE.lock().await;
    let mut scene = Scene::start().await;
    scene.expect_accepted().await;
    let before = scene.relay.memory();

    scene.set.pause(0);
    scene.expect_absence().await;
    scene.set.resume(0);
    scene.expect_presence().await;

    scene.set.kill(0);
    scene.expect_absence().await;
    let grown = scene.relay.memory().saturating_sub(before);
    eprintln!("{} MiB more memory after two absences", grown / MIB);
    assert!(
        grown < 64 * MIB,
        "memory grows: {grown} bytes more\n{}",
        scene.relay.log()
    );
    scene.set.restart(0);
    scene.expect_presence().await;
    scene.expect_sessions_stayed().await;
}

/// A relay on a replica set of one member, somebody who sends, and somebody who reads.
struct Scene {
    set: ReplicaSet,
    relay: Relay,
    sender: Device,
    reader: Device,
    /// Answers that nobody has looked at.
    outcomes: VecDeque<SendOutcome>,
    /// Names of what came.
    arrived: HashSet<Vec<u8>>,
}

impl Scene {
    async fn start() -> Self {
        let set = ReplicaSet::start(1).await;
        let mut relay = Relay::new();
        relay.keep_state_in(&["--store", &set.uri("absence"), "--store-timeout", "2s"]);
        relay.start().await;
        for account in [SENDER, READER] {
            member(&relay, account).await;
        }
        let mut sender = device(&relay, SENDER);
        let mut reader = device(&relay, READER);
        connected(&mut sender).await;
        connected(&mut reader).await;
        Self {
            set,
            relay,
            sender,
            reader,
            outcomes: VecDeque::new(),
            arrived: HashSet::new(),
        }
    }

    /// The relay says that it is not ready, refuses sends for now, and goes on refusing them.
    async fn expect_absence(&mut self) {
        let began = Instant::now();
        self.wait_for_readiness(503).await;
        eprintln!("not ready after {:.1} s", began.elapsed().as_secs_f32());
        let until = Instant::now() + AWHILE;
        let mut refused = 0;
        while Instant::now() < until {
            let began = Instant::now();
            for _ in 0..PIPELINE {
                self.sender.post(message()).unwrap();
            }
            for _ in 0..PIPELINE {
                match self.next_outcome().await {
                    SendOutcome::Refused(refusal) => {
                        let is_unavailable = refusal.code == Some(Code::Unavailable) && refusal.retryable;
                        assert!(is_unavailable, "{refusal:?}{}", self.story());
                    }
                    accepted => panic!("{accepted:?} without a database{}", self.story()),
                }
                refused += 1;
            }
            assert!(
                began.elapsed() < BOUND,
                "answered only after {:?}",
                began.elapsed()
            );
        }
        eprintln!("{refused} sends refused while the database was away");
    }

    /// The relay is ready, and mail comes.
    async fn expect_presence(&mut self) {
        let began = Instant::now();
        self.wait_for_readiness(200).await;
        let ready = began.elapsed().as_secs_f32();
        self.expect_accepted().await;
        let accepted = began.elapsed().as_secs_f32();
        eprintln!("the database is back: ready after {ready:.1} s, mail after {accepted:.1} s");
    }

    /// A send is accepted before long, and it arrives.
    async fn expect_accepted(&mut self) {
        let message = message();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.sender.post(message.clone()).unwrap();
            match self.next_outcome().await {
                SendOutcome::Accepted { .. } => break,
                SendOutcome::Refused(refusal) => {
                    let may_come = refusal.retryable && Instant::now() < deadline;
                    assert!(may_come, "{refusal:?}{}", self.story());
                }
            }
        }
        while !self.arrived.contains(&message.id()[..]) {
            assert!(
                Instant::now() < deadline,
                "accepted mail does not come{}",
                self.story()
            );
            self.live().await;
        }
    }

    async fn next_outcome(&mut self) -> SendOutcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(outcome) = self.outcomes.pop_front() {
                return outcome;
            }
            assert!(Instant::now() < deadline, "no answer{}", self.story());
            self.live().await;
        }
    }

    async fn wait_for_readiness(&mut self, status: u16) {
        let deadline = Instant::now() + PATIENCE;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        loop {
            let page = client.get(format!("{}/readyz", self.relay.http())).send();
            let answer = timeout(PATIENCE, page).await.expect("/readyz answers").unwrap();
            let found = answer.status().as_u16();
            if found == status {
                return;
            }
            assert!(Instant::now() < deadline, "/readyz stays {found}{}", self.story());
            self.live().await;
        }
    }

    /// A moment in the life of both, whose sessions are those that they began with.
    async fn live(&mut self) {
        let event = tokio::select! {
            event = self.sender.next_event() => event,
            event = self.reader.next_event() => event,
            () = sleep(A_MOMENT) => return,
        };
        match event.unwrap() {
            Event::Sent { outcome, .. } => self.outcomes.push_back(outcome),
            Event::Mail(mail) => {
                self.reader.ack(mail.iter().map(|mail| mail.id));
                let names = mail.iter().map(|mail| mail.message_id.as_bytes().to_vec());
                self.arrived.extend(names);
            }
            Event::Disconnected { why, .. } => panic!("a session ended: {why:?}{}", self.story()),
            _ => {}
        }
    }

    async fn expect_sessions_stayed(&mut self) {
        for device in [&mut self.sender, &mut self.reader] {
            let ping = device.ping();
            loop {
                let event = timeout(PATIENCE, device.next_event()).await;
                match event.expect("a ping is answered").unwrap() {
                    Event::Pong(id) if id == ping => break,
                    Event::Disconnected { why, .. } => panic!("a session ended: {why:?}"),
                    _ => {}
                }
            }
        }
        assert!(!self.relay.has_ended(), "{}", self.relay.log());
    }

    /// What helps to find out why.
    fn story(&self) -> String {
        format!("\nthe relay said:\n{}", self.relay.log())
    }
}

fn message() -> Message {
    let to = AccountId::parse(READER).unwrap();
    let payload = Bytes::from(vec![7; 1024]);
    Message::new(to).device(DeviceId::parse("1").unwrap(), REGISTRATION_ID, 1, payload)
}

const SENDER: &str = "sender";
const READER: &str = "reader";
const SECRET: &str = "hunter2";
const PIPELINE: usize = 64;
/// How long sends are tried without a database.
const AWHILE: Duration = Duration::from_secs(4);
/// Longest time to the answer of a send: the store's time, and again so much on a busy machine.
const BOUND: Duration = Duration::from_secs(15);
const MIB: u64 = 1024 * 1024;
