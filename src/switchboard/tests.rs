//! What a sender meets, over a store in memory.

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::{AccountId, Address, ClientMsgId, Code, DeviceId, EnvelopeId};
use sha2::{Digest as _, Sha256};
use smallvec::smallvec;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use crate::committer::{Committer, Outcome, Pace, Receipts};
use crate::config::{Config, MailConfig};
use crate::directory::Directory;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::model::{Clock, MailboxId, UnixMs};
use crate::store::model::Model;
use crate::store::{Batch, MailStore as _, Posting, Registered, Registration, SendKey, SendRecord};
use crate::switchboard::{DeviceMessage, Mismatch, Parts, Refusal, Send, Sender, Switchboard};

const NOW: UnixMs = UnixMs(1_800_000_000_000);

struct House {
    store: Arc<Model>,
    switchboard: Switchboard,
    _stop: DropGuard,
}

async fn house(mail: MailConfig) -> House {
    let config = Config {
        mail,
        ..Config::default()
    };
    let store = Model::new();
    let (clock, metrics, hub) = (Clock::manual(NOW).0, Arc::new(Metrics::new()), Hub::new());
    let pace = Pace {
        interval: Duration::ZERO,
        tail_bytes: 1 << 20,
        limits: config.limits.clone(),
    };
    let committer = Committer::new(store.clone(), pace, clock.clone(), metrics.clone()).await;
    let committer = Arc::new(committer.unwrap());
    let (stop, running) = (CancellationToken::new(), committer.clone());
    let stopped = stop.clone();
    TaskTracker::new().spawn(async move { running.run(stopped).await });
    let directory = Directory::new(
        store.clone(),
        hub.clone(),
        &config,
        clock.clone(),
        metrics.clone(),
    );
    let parts = Parts {
        store: store.clone(),
        hub,
        committer,
        directory: Arc::new(directory),
        clock,
        metrics,
    };
    House {
        store,
        switchboard: Switchboard::new(parts, &config).await.unwrap(),
        _stop: stop.drop_guard(),
    }
}

impl House {
    async fn register(&self, account: &str, device: &str, registration_id: u32) -> MailboxId {
        let registration = Registration {
            registration_id,
            attributes: None,
            max_devices: 8,
            now: NOW,
        };
        let registered = self
            .switchboard
            .register(&address(account, device), registration)
            .await;
        match registered.unwrap() {
            Registered::Created(device) | Registered::Replaced { device, .. } => device.mailbox,
            other @ (Registered::Updated(_) | Registered::TooMany) => panic!("{other:?}"),
        }
    }

    async fn sender(&self, account: &str) -> Sender {
        let mailbox = self.register(account, "1", 1).await;
        Sender::new(Arc::new(address(account, "1")), mailbox)
    }

    /// Sends to Bob's first device, and says what becomes of it.
    async fn send(&self, sender: &mut Sender, name: u8, payload: &[u8]) -> Result<Outcome, Refusal> {
        let send = Send {
            to: "bob",
            messages: smallvec![DeviceMessage {
                device_id: "1",
                registration_id: 1,
                kind: 0,
                payload,
            }],
            client_msg_id: ClientMsgId::parse([name]).unwrap(),
            ttl_seconds: 0,
            urgent: false,
            ephemeral: false,
            sent_at: 0,
        };
        let receipts = Receipts::new(Arc::default());
        self.switchboard.send(sender, send, receipts.ticket(0)).await?;
        Ok(receipts.next().await)
    }

    /// How many sends pass until one is over the rate.
    async fn burst(&self, sender: &mut Sender, names: std::ops::Range<u8>) -> usize {
        let mut passed = 0;
        for name in names {
            match self.send(sender, name, b"").await {
                Ok(_) => passed += 1,
                Err(refusal) => {
                    assert_eq!(refusal.code, Code::RateLimited);
                    break;
                }
            }
        }
        passed
    }
}

fn address(account: &str, device: &str) -> Address {
    Address {
        account: AccountId::parse(account).unwrap(),
        device_id: DeviceId::parse(device).unwrap(),
    }
}

fn is_safe(sent: &Result<Outcome, Refusal>) -> bool {
    matches!(sent, Ok(Outcome::Safe { duplicate: false, .. }))
}

fn names(names: &[&str]) -> Vec<DeviceId> {
    names.iter().map(|name| DeviceId::parse(name).unwrap()).collect()
}

#[tokio::test]
async fn a_change_of_devices_between_two_sends_is_seen_by_the_second() {
    let house = house(Config::default().mail).await;
    let mut alice = house.sender("alice").await;
    let mismatch = |mismatch| Refusal {
        mismatch,
        ..Code::DeviceMismatch.into()
    };
    let sent = house.send(&mut alice, 1, b"to nobody").await;
    assert_eq!(sent, Err(Code::UnknownAccount.into()));
    house.register("bob", "1", 1).await;
    // Twice: the second time by the list that was kept at the first.
    assert!(is_safe(&house.send(&mut alice, 2, b"to one").await));
    assert!(is_safe(&house.send(&mut alice, 3, b"to one again").await));
    house.register("bob", "2", 1).await;
    let missing = Mismatch {
        missing: names(&["2"]),
        ..Mismatch::default()
    };
    let sent = house.send(&mut alice, 4, b"to one of two").await;
    assert_eq!(sent, Err(mismatch(missing)));
    house
        .switchboard
        .remove_device(&address("bob", "2"))
        .await
        .unwrap();
    assert!(is_safe(&house.send(&mut alice, 5, b"to one").await));
    house.register("bob", "1", 9).await;
    let stale = Mismatch {
        stale: names(&["1"]),
        ..Mismatch::default()
    };
    let sent = house.send(&mut alice, 6, b"to one before").await;
    assert_eq!(sent, Err(mismatch(stale)));
    house
        .switchboard
        .remove_device(&address("bob", "1"))
        .await
        .unwrap();
    let sent = house.send(&mut alice, 7, b"to nobody").await;
    assert_eq!(sent, Err(Code::UnknownAccount.into()));
}

#[tokio::test]
async fn who_writes_to_two_accounts_in_turn_meets_the_devices_of_each() {
    let house = house(Config::default().mail).await;
    let mut alice = house.sender("alice").await;
    house.register("bob", "1", 1).await;
    house.register("carol", "7", 1).await;
    for name in [1, 3] {
        assert!(is_safe(&house.send(&mut alice, name, b"to bob").await));
        let send = Send {
            to: "carol",
            messages: smallvec![DeviceMessage {
                device_id: "1",
                registration_id: 1,
                kind: 0,
                payload: b"to none of hers",
            }],
            client_msg_id: ClientMsgId::parse([name + 1]).unwrap(),
            ttl_seconds: 0,
            urgent: false,
            ephemeral: false,
            sent_at: 0,
        };
        let receipts = Receipts::new(Arc::default());
        let refused = house.switchboard.send(&mut alice, send, receipts.ticket(0)).await;
        let both = Mismatch {
            missing: names(&["7"]),
            extra: names(&["1"]),
            ..Mismatch::default()
        };
        assert_eq!(refused.unwrap_err().mismatch, both);
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_and_requests_of_a_device_share_its_rate_and_follow_new_settings() {
    let settings = |send_burst| MailConfig {
        // Never again within this test: time stands still.
        send_rate: 1,
        send_burst,
        ..Config::default().mail
    };
    let house = house(settings(3)).await;
    house.register("bob", "1", 1).await;
    let mut session = house.sender("alice").await;
    let mut request = Sender::new(Arc::clone(&session.address), session.mailbox);
    assert!(is_safe(&house.send(&mut session, 1, b"").await));
    assert!(is_safe(&house.send(&mut request, 2, b"").await));
    assert_eq!(house.burst(&mut session, 3..9).await, 1);
    assert_eq!(house.burst(&mut request, 10..19).await, 0);
    // Who is quiet is forgotten, but nobody who is here.
    house.switchboard.forget_quiet_senders();
    assert_eq!(house.burst(&mut request, 20..29).await, 0);
    house.switchboard.follow(&settings(5));
    assert_eq!(house.burst(&mut session, 30..39).await, 5);
    assert_eq!(house.burst(&mut request, 40..49).await, 0);
}

#[tokio::test]
async fn a_retry_is_answered_as_its_first_try_and_another_message_of_its_name_is_refused() {
    let house = house(Config::default().mail).await;
    let mut alice = house.sender("alice").await;
    house.register("bob", "1", 1).await;
    let Ok(Outcome::Safe {
        ids,
        duplicate: false,
    }) = house.send(&mut alice, 1, b"one").await
    else {
        panic!("the first try is safe");
    };
    let again = house.send(&mut alice, 1, b"one").await;
    assert_eq!(again, Ok(Outcome::Safe { ids, duplicate: true }));
    let other = house.send(&mut alice, 1, b"two").await;
    assert_eq!(other, Ok(Outcome::Refused(Code::Conflict)));
}

/// A relay before wrote the record with eight bytes of SHA-256 over each field's length and bytes.
#[tokio::test]
async fn a_retry_of_a_send_from_before_an_upgrade_is_a_retry() {
    let house = house(Config::default().mail).await;
    let mut alice = house.sender("alice").await;
    let mut hash = Sha256::new();
    for field in [&b"bob"[..], b"1", &[0; 4], b"one"] {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field);
    }
    let id = EnvelopeId::at(NOW.0 - 1, 1);
    let record = SendRecord {
        key: SendKey {
            sender: alice.mailbox,
            client_msg_id: ClientMsgId::parse([1]).unwrap(),
        },
        digest: hash.finalize()[..8].try_into().unwrap(),
        envelope_ids: vec![id],
        accepted_at: NOW,
    };
    let batch = Batch {
        postings: vec![Posting {
            record,
            envelopes: Vec::new(),
        }],
        ..Batch::default()
    };
    house.store.commit(batch).await.unwrap();
    let first_try = Ok(Outcome::Safe {
        ids: smallvec![id],
        duplicate: true,
    });
    // Bob's device is gone by now, then there: a retry is answered the same.
    assert_eq!(house.send(&mut alice, 1, b"one").await, first_try);
    house.register("bob", "1", 1).await;
    assert_eq!(house.send(&mut alice, 1, b"one").await, first_try);
    let other = house.send(&mut alice, 1, b"two").await;
    assert_eq!(other, Ok(Outcome::Refused(Code::Conflict)));
}
