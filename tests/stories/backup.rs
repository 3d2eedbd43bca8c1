//! Two people write to each other, a backup is taken meanwhile, and another relay goes on from it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chatctl_client::e2ee::{Installation, Pickle, Vault};
use chatctl_client::{Device, Event, Http, Options, Token};
use chatctl_protocol::v1::{Gap, GapReason};
use chatctl_protocol::{AccountId, Address, DeviceId};
use chatctl_relay::model::Clock;
use chatctl_relay::store::embedded::backup::{self, Order};

use crate::keys::{claims, header};
use crate::relay::{ALICE, BOB, Person, TestRelay};
use crate::store::Place;

/// One-time keys that a device wants to have at the relay.
const WANTED: u32 = 30;

fn vault(person: Person) -> Vault {
    let address = Address {
        account: AccountId::parse(person.account).unwrap(),
        device_id: DeviceId::parse(person.device_id).unwrap(),
    };
    Vault::new(address, person.registration_id)
}

fn installation(relay: &TestRelay, person: Person, vault: Vault) -> Installation {
    let token = Token::new(&relay.keys().token(person));
    let url = format!("http://{}", relay.address());
    let directory = Http::new(&url).unwrap().directory(token.clone());
    let sockets = format!("ws://{}/v1/ws", relay.address());
    let device = Device::new(Options::new(&sockets), token);
    Installation::new(device, directory, vault, Box::new(|_| Ok(())))
}

/// Takes a backup as an operator does.
async fn take(relay: &TestRelay, file: &Path) {
    let mut operator = claims(ALICE);
    operator["scope"] = "admin".into();
    let token = relay.keys().signed(&header("EdDSA"), &operator);
    let request = relay
        .http()
        .post(format!("http://{}/v1/admin/backup", relay.address()));
    let answer = request.bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/vnd.sqlite3");
    std::fs::write(file, answer.bytes().await.unwrap()).unwrap();
}

fn account(person: Person) -> AccountId {
    AccountId::parse(person.account).unwrap()
}

async fn start(folder: &Path) -> TestRelay {
    TestRelay::start_on(Place::Directory(folder.to_owned()), |config| {
        config.directory.keys_low_jitter = Duration::ZERO;
    })
    .await
}

/// What somebody hears until everything was said: words, gaps, and whether keys are asked for.
async fn hear(me: &mut Installation) -> (Vec<String>, Vec<Gap>, bool) {
    let (mut words, mut gaps, mut is_low) = (Vec::new(), Vec::new(), false);
    let (mut is_empty, mut patience) = (false, 0);
    while !(is_empty && (is_low || patience > 0)) {
        match tokio::time::timeout(Duration::from_secs(5), me.next_event()).await {
            Ok(event) => match event.unwrap() {
                Event::Mail(mail) => {
                    for mail in mail {
                        let opened = me.open(&mail).unwrap();
                        words.extend(opened.map(|opened| String::from_utf8(opened.words).unwrap()));
                        me.ack([mail.id]).unwrap();
                    }
                }
                Event::Gap(gap) => gaps.push(gap),
                Event::KeysLow(_) => is_low = true,
                Event::QueueEmpty => is_empty = true,
                _ => {}
            },
            Err(_) => patience += 1,
        }
    }
    (words, gaps, is_low)
}

/// Makes a store out of a backup, as `chatctl restore` does.
async fn restore(file: PathBuf, directory: &Path) -> backup::Restored {
    let order = Order {
        backup: file,
        directory: directory.to_owned(),
        at: Clock::system().now(),
        replace: false,
    };
    let restored =
        tokio::task::spawn_blocking(move || backup::restore(&order, &|_| ControlFlow::Continue(())).unwrap());
    restored.await.unwrap()
}

/// Reads on until there is mail, opens it and acks it.
async fn next_words(device: &mut Installation) -> Vec<u8> {
    loop {
        let Event::Mail(mail) = device.next_event().await.unwrap() else {
            continue;
        };
        let words = device.open(&mail[0]).unwrap().unwrap().words;
        device.ack([mail[0].id]).unwrap();
        return words.to_vec();
    }
}

#[tokio::test]
async fn nothing_that_was_in_the_backup_is_lost_and_everybody_is_told_of_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (file, first, second) = (
        folder.path().join("backup"),
        folder.path().join("first"),
        folder.path().join("second"),
    );
    let relay = start(&first).await;
    let mut alice = installation(&relay, ALICE, vault(ALICE));
    let mut bob = installation(&relay, BOB, vault(BOB));
    alice.enrol(WANTED).await.unwrap();
    bob.enrol(WANTED).await.unwrap();
    let kept: Pickle = bob.vault().pickle().unwrap();
    drop(bob);

    // Bob is away. What is safe before the backup is asked for is in it.
    let mut highest = 0;
    for number in 0..5 {
        let ids = alice
            .send(&account(BOB), format!("before {number}").as_bytes())
            .await
            .unwrap();
        highest = highest.max(ids[0].as_u64());
    }
    let writing = async {
        for number in 0..20 {
            let words = format!("meanwhile {number}");
            let ids = alice.send(&account(BOB), words.as_bytes()).await.unwrap();
            highest = highest.max(ids[0].as_u64());
        }
    };
    tokio::join!(take(&relay, &file), writing);
    let alices = alice.vault().pickle().unwrap();
    alice.close().await.unwrap();
    relay.stop().await;

    let restored = restore(file, &second).await;
    assert_eq!(restored.told, 2);
    assert!(restored.burned > 0);

    let relay = start(&second).await;
    let mut bob = installation(&relay, BOB, Vault::from_pickle(&kept).unwrap());
    let (words, gaps, is_low) = hear(&mut bob).await;
    let before: Vec<_> = (0..5).map(|number| format!("before {number}")).collect();
    assert_eq!(words[..5], before);
    let gap = Gap {
        reason: GapReason::Restore.into(),
        dropped: 0,
    };
    assert_eq!(gaps, [gap]);
    assert!(is_low, "nobody asked for keys");

    // Keys are there again, and mail goes on above everything that was.
    bob.publish(WANTED).await.unwrap();
    let mut alice = installation(&relay, ALICE, Vault::from_pickle(&alices).unwrap());
    let ids = alice.send(&account(BOB), b"after").await.unwrap();
    assert!(ids[0].as_u64() > highest);
    assert_eq!(next_words(&mut bob).await, b"after");
    // Told once.
    let kept = bob.vault().pickle().unwrap();
    bob.close().await.unwrap();
    let mut bob = installation(&relay, BOB, Vault::from_pickle(&kept).unwrap());
    while bob.next_event().await.unwrap() != (Event::QueueEmpty {}) {}
    alice.close().await.unwrap();
    bob.close().await.unwrap();
    relay.stop().await;
}
