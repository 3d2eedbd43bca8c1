//! A disk that fills up: mail is refused and none is lost, everything else lives on, and room heals it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chatctl_client::{Device, Event, Message, Refusal, SendOutcome};
use chatctl_protocol::{AccountId, Code, DeviceId, EnvelopeId};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::app::{connected, device};
use crate::crowd::REGISTRATION_ID;
use crate::http::{Answer, Http};
use crate::relay::Relay;
use crate::{ALONE, PATIENCE};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_mail_fills_heals_when_the_mail_is_read() {
    let _alone = ALONE.lock().await;
    Scene::start("4194304").await.filled_by_mail().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_mail_fills_heals_when_the_mail_is_read_even_without_a_reserve() {
    let _alone = ALONE.lock().await;
    Scene::start("0").await.filled_by_mail().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_others_fill_to_the_last_byte_heals_when_they_leave() {
    let _alone = ALONE.lock().await;
    Scene::start("0").await.filled_by_others().await;
}

/// A relay on a small disk, one who sends, and who is told what.
struct Scene {
    relay: Relay,
    sender: Device,
    /// Connected, and has nothing to do with the mail.
    witness: Device,
    caller: Http,
    last: u32,
    /// What was answered OK and not read yet, by recipient.
    accepted: HashMap<&'static str, BTreeMap<EnvelopeId, u32>>,
    /// What was refused, to be sent again.
    refused: Vec<(u32, Message)>,
    claimed: HashSet<String>,
}

impl Scene {
    async fn start(reserve: &str) -> Self {
        let mut relay = Relay::new();
        relay.move_to_small_disk(DISK);
        relay.set_flags(&["--disk-reserve", reserve]);
        relay.start().await;
        for account in [AWAY, READER, SENDER, LATE, WITNESS] {
            crate::member(&relay, account).await;
        }
        let owner = crate::member(&relay, OWNER).await;
        let items: Vec<_> = (0..50u8)
            .map(|n| json!({"id": format!("k{n}"), "data": STANDARD.encode([n])}))
            .collect();
        let keys = json!({"identity": "YQ==", "pools": {"otk": {"add": items}}});
        let uploaded = owner.put("/v1/keys/x-test", &keys).await;
        assert!(matches!(uploaded, Answer::Ok(_)), "{uploaded:?}");
        let caller = crate::member(&relay, "caller").await;
        let mut scene = Self {
            sender: device(&relay, SENDER),
            witness: device(&relay, WITNESS),
            relay,
            caller,
            last: 0,
            accepted: HashMap::new(),
            refused: Vec::new(),
            claimed: HashSet::new(),
        };
        connected(&mut scene.witness).await;
        scene
    }

    async fn filled_by_mail(mut self) {
        for _ in 0..100 {
            self.send(READER).await;
        }
        self.flood(AWAY).await;
        let stored = self.accepted[AWAY].len();
        eprintln!("{stored} accepted before the disk was full");
        assert!(
            stored > 400,
            "{stored}: a disk should be used{}",
            self.relay.log()
        );
        self.expect_life(5).await;
        // Acks make room, and are written though there is none.
        let before = self.commits().await;
        self.expect_mail(READER).await;
        self.wait_for_commit(before).await;
        self.send(AWAY).await;
        self.flood(AWAY).await;
        eprintln!("{} more after acks", self.accepted[AWAY].len() - stored);
        self.expect_life(5).await;

        self.crash().await;
        assert_eq!(connected(&mut device(&self.relay, READER)).await.pending, 0);
        self.flood(AWAY).await;
        self.expect_life(5).await;
        self.expect_mail(AWAY).await;
        self.expect_recovery().await;
    }

    async fn filled_by_others(mut self) {
        for _ in 0..200 {
            self.send(AWAY).await;
        }
        self.relay.disk().fill();
        self.flood(AWAY).await;
        self.expect_life(0).await;
        self.crash().await;
        self.flood(AWAY).await;
        self.expect_life(0).await;
        self.expect_mail(AWAY).await;
        self.relay.disk().make_room();
        self.expect_recovery().await;
    }

    /// What was refused is accepted now, and what was read does not come again.
    async fn expect_recovery(&mut self) {
        for (number, message) in std::mem::take(&mut self.refused) {
            self.insist(AWAY, number, message).await;
        }
        self.crash().await;
        self.expect_mail(AWAY).await;
        self.expect_life(1).await;
    }

    /// Sends until a send is refused, for the one reason that there can be.
    async fn flood(&mut self, to: &'static str) {
        let mut under_way = HashMap::new();
        let mut is_full = false;
        while !is_full || !under_way.is_empty() {
            while !is_full && under_way.len() < PIPELINE {
                let (number, message) = self.message(to);
                under_way.insert(self.sender.post(message.clone()).unwrap(), (number, message));
            }
            let event = timeout(PATIENCE, self.sender.next_event()).await;
            let event = event.unwrap_or_else(|_| panic!("no answer:\n{}", self.relay.log()));
            if let Event::Sent { id, outcome } = event.unwrap() {
                let (number, message) = under_way.remove(&id).unwrap();
                if let Some(refusal) = self.note(to, number, outcome) {
                    self.expect_full(&refusal);
                    self.refused.push((number, message));
                    is_full = true;
                }
            }
        }
    }

    /// Sends one message until it is accepted.
    async fn send(&mut self, to: &'static str) {
        let (number, message) = self.message(to);
        self.insist(to, number, message).await;
    }

    async fn insist(&mut self, to: &'static str, number: u32, message: Message) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcome = timeout(PATIENCE, self.sender.send(message.clone())).await;
            let outcome = outcome.unwrap_or_else(|_| panic!("no answer:\n{}", self.relay.log()));
            let Some(refusal) = self.note(to, number, outcome.unwrap()) else {
                return;
            };
            self.expect_full(&refusal);
            assert!(
                Instant::now() < deadline,
                "it stays full though there is room:\n{}",
                self.relay.log()
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn message(&mut self, to: &str) -> (u32, Message) {
        self.last += 1;
        let payload = payload_of(self.last);
        let to = AccountId::parse(to).unwrap();
        let message = Message::new(to).device(DeviceId::parse("1").unwrap(), REGISTRATION_ID, 1, payload);
        (self.last, message)
    }

    /// Writes an acceptance down; a refusal is the caller's.
    fn note(&mut self, to: &'static str, number: u32, outcome: SendOutcome) -> Option<Refusal> {
        match outcome {
            SendOutcome::Accepted { envelope_ids, .. } => {
                let accepted = self.accepted.entry(to).or_default();
                accepted.insert(envelope_ids[0], number);
                None
            }
            SendOutcome::Refused(refusal) => Some(refusal),
        }
    }

    fn expect_full(&self, refusal: &Refusal) {
        assert!(
            refusal.code == Some(Code::StorageFull) && refusal.retryable,
            "{refusal:?}\n{}",
            self.relay.log()
        );
    }

    /// All mail that was accepted comes once, whole and in order; it is acked.
    async fn expect_mail(&mut self, account: &'static str) {
        let expected: Vec<_> = self
            .accepted
            .remove(account)
            .unwrap_or_default()
            .into_iter()
            .collect();
        let mut reader = device(&self.relay, account);
        let mut arrived = Vec::new();
        loop {
            let event = timeout(PATIENCE, reader.next_event()).await;
            match event
                .unwrap_or_else(|_| panic!("no mail:\n{}", self.relay.log()))
                .unwrap()
            {
                Event::Mail(mail) => {
                    reader.ack(mail.iter().map(|mail| mail.id));
                    arrived.extend(mail.into_iter().map(|mail| (mail.id, number_of(&mail.payload))));
                }
                Event::QueueEmpty => break,
                Event::Connected(_) => {}
                other => panic!("{other:?}\n{}", self.relay.log()),
            }
        }
        assert_eq!(arrived, expected, "{}", self.relay.log());
        reader.flush().await;
    }

    /// What needs no room on the disk goes on, and so many claims.
    async fn expect_life(&mut self, claims: usize) {
        let ping = self.witness.ping();
        loop {
            let event = timeout(PATIENCE, self.witness.next_event()).await;
            match event.expect("the witness is answered").unwrap() {
                Event::Pong(id) if id == ping => break,
                Event::Disconnected { why, .. } => panic!("{why:?}\n{}", self.relay.log()),
                _ => {}
            }
        }
        connected(&mut device(&self.relay, LATE)).await;
        let wanted = json!({
            "suite": "x-test", "pools": ["otk"], "targets": [{"account": OWNER, "devices": ["1"]}],
        });
        for _ in 0..claims {
            let Answer::Ok(answer) = self.caller.post("/v1/keys/claim", &wanted).await else {
                panic!("no claim:\n{}", self.relay.log());
            };
            let item = &answer["results"][OWNER]["devices"]["1"]["items"]["otk"];
            let id = item["id"].as_str().expect("an item").to_owned();
            assert!(self.claimed.insert(id), "handed out twice: {item}");
        }
        assert!(!self.relay.has_ended(), "{}", self.relay.log());
    }

    /// Kills the process, and starts it on what it left.
    async fn crash(&mut self) {
        self.relay.kill();
        self.relay.start().await;
        self.sender = device(&self.relay, SENDER);
        self.witness = device(&self.relay, WITNESS);
        connected(&mut self.witness).await;
    }

    async fn commits(&self) -> u64 {
        self.caller.metric("chatctl_commits_total").await
    }

    /// Waits until something was written since.
    async fn wait_for_commit(&self, before: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.commits().await == before {
            assert!(
                Instant::now() < deadline,
                "acks are not written:\n{}",
                self.relay.log()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The number, over and over.
fn payload_of(number: u32) -> Bytes {
    Bytes::from(number.to_be_bytes().repeat(PAYLOAD / 4))
}

fn number_of(payload: &Bytes) -> u32 {
    let number = u32::from_be_bytes(payload[..4].try_into().unwrap());
    assert!(
        *payload == payload_of(number),
        "message {number} came with other bytes"
    );
    number
}

const DISK: u64 = 24 * 1024 * 1024;
const PAYLOAD: usize = 16 * 1024;
const PIPELINE: usize = 16;
const AWAY: &str = "away";
const READER: &str = "reader";
const SENDER: &str = "sender";
const LATE: &str = "late";
const WITNESS: &str = "witness";
const OWNER: &str = "owner";
