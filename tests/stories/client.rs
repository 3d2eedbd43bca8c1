//! The client library against a whole relay: what an app developer writes, and what comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chatctl_client::{
    Claimed, ClaimedKeys, DeviceList, Directory, DirectoryError, Http, Item, KeyUpload, ListedDevice,
    PoolCount, PoolUpload, Token,
};
use chatctl_protocol::{AccountId, Code, DeviceId, PoolName, Suite};

use crate::relay::{ALICE, BOB, BOBS_TABLET, Person, TestRelay};

fn doors(relay: &TestRelay) -> Http {
    Http::new(&format!("http://{}", relay.address())).unwrap()
}

fn directory(relay: &TestRelay, person: Person) -> Directory {
    doors(relay).directory(Token::new(&relay.keys().token(person)))
}

fn account(person: Person) -> AccountId {
    AccountId::parse(person.account).unwrap()
}

fn device(person: Person) -> DeviceId {
    DeviceId::parse(person.device_id).unwrap()
}

fn suite() -> Suite {
    Suite::parse("x-test").unwrap()
}

fn pool() -> PoolName {
    PoolName::parse("pool").unwrap()
}

fn item(id: &str) -> Item {
    Item {
        id: id.to_owned(),
        data: Bytes::from(format!("{id}\u{0}\u{fb}")),
        signature: Some(Bytes::from_static(b"\xff\xfe")),
    }
}

/// Two one-time items and a fallback.
fn keys() -> KeyUpload {
    let pools = PoolUpload {
        add: vec![item("a"), item("b")],
        replace: None,
        fallback: Some(item("last")),
    };
    KeyUpload {
        identity: Some(Bytes::from_static(b"identity")),
        statement: Some(Bytes::from_static(b"statement")),
        pools: BTreeMap::from([(pool(), pools)]),
    }
}

fn holds(count: u32, fallback_used: bool) -> BTreeMap<PoolName, PoolCount> {
    let count = PoolCount {
        count,
        fallback: true,
        fallback_used,
    };
    BTreeMap::from([(pool(), count)])
}

fn refusal(error: &DirectoryError) -> (u16, Option<Code>) {
    match error {
        DirectoryError::Refused { status, code, .. } => (*status, *code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_device_publishes_is_what_another_one_claims() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (directory(&relay, ALICE), directory(&relay, BOB));
    alice
        .register(&device(ALICE), ALICE.registration_id)
        .await
        .unwrap();
    bob.register(&device(BOB), BOB.registration_id).await.unwrap();
    // The same installation once more.
    bob.register(&device(BOB), BOB.registration_id).await.unwrap();

    for _ in 0..2 {
        assert_eq!(bob.upload(&suite(), &keys()).await.unwrap(), holds(2, false));
    }
    let listed = ListedDevice {
        device_id: device(BOB),
        registration_id: BOB.registration_id,
        identity: Some(Bytes::from_static(b"identity")),
        statement: Some(Bytes::from_static(b"statement")),
    };
    let list = alice.devices(&account(BOB), Some(&suite())).await.unwrap();
    assert_eq!(
        list,
        DeviceList {
            version: 1,
            devices: vec![listed]
        }
    );

    let mut claimed = Vec::new();
    for _ in 0..3 {
        let answer = alice
            .claim(&suite(), &[pool()], (&account(BOB), &[]))
            .await
            .unwrap();
        claimed.push(answer);
    }
    let expected = ["a", "b", "last"].map(|id| Claimed {
        devices: BTreeMap::from([(
            device(BOB),
            ClaimedKeys {
                registration_id: BOB.registration_id,
                identity: Bytes::from_static(b"identity"),
                statement: Some(Bytes::from_static(b"statement")),
                items: BTreeMap::from([(pool(), Some(item(id)))]),
            },
        )]),
        missing: Vec::new(),
    });
    assert_eq!(claimed, expected);
    assert_eq!(bob.counts(&suite()).await.unwrap(), holds(0, true));

    relay.stop().await;
}

#[tokio::test]
async fn a_device_that_is_not_there_has_nothing_to_claim() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let (alice, bob) = (directory(&relay, ALICE), directory(&relay, BOB));
    let absent = [device(BOBS_TABLET)];
    let nothing = alice
        .claim(&suite(), &[pool()], (&account(BOB), &absent))
        .await
        .unwrap();
    assert_eq!(
        nothing,
        Claimed {
            devices: BTreeMap::new(),
            missing: absent.to_vec()
        }
    );
    bob.remove(&device(BOB)).await.unwrap();
    let gone = alice.devices(&account(BOB), None).await.unwrap_err();
    assert_eq!(refusal(&gone), (404, Some(Code::UnknownAccount)));
    relay.stop().await;
}

#[tokio::test]
async fn a_queue_whose_private_parts_are_lost_is_dropped() {
    let relay = TestRelay::start_for(&[BOB]).await;
    let bob = directory(&relay, BOB);
    bob.upload(&suite(), &keys()).await.unwrap();
    bob.drop_queue(&suite(), &pool()).await.unwrap();
    assert_eq!(bob.counts(&suite()).await.unwrap(), holds(0, false));
    relay.stop().await;
}

#[tokio::test]
async fn a_caller_over_its_budget_is_told_when_to_come_back() {
    let relay = TestRelay::start_with(|config| config.directory.claim_caller_minute = 1).await;
    let relay = relay.for_these(&[ALICE]).await;
    let alice = directory(&relay, ALICE);
    let nobody = AccountId::parse("nobody").unwrap();
    let claim = async || alice.claim(&suite(), &[pool()], (&nobody, &[])).await;
    assert_eq!(claim().await.unwrap(), Claimed::default());
    let refused = claim().await.unwrap_err();
    assert_eq!(refusal(&refused), (429, Some(Code::RateLimited)));
    assert!(refused.retryable());
    let wait = refused.retry_after().unwrap();
    assert!(
        (Duration::from_secs(1)..=Duration::from_secs(60)).contains(&wait),
        "{wait:?}"
    );
    relay.stop().await;
}

#[tokio::test]
async fn the_source_is_asked_again_once_when_the_relay_refuses_a_token() {
    let relay = TestRelay::start().await;
    let good = Token::new(&relay.keys().token(BOB));
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let renewing = move |refused: Option<Token>| {
        counter.fetch_add(1, Ordering::Relaxed);
        let token = refused.map_or_else(|| Token::new("stale"), |_| good.clone());
        async move { Ok(token) }
    };
    let bob = doors(&relay).directory(renewing);
    bob.register(&device(BOB), BOB.registration_id).await.unwrap();
    bob.counts(&suite()).await.unwrap();
    assert_eq!(
        asked.load(Ordering::Relaxed),
        2,
        "once at first, once after the refusal"
    );

    let stale = doors(&relay).directory(Token::new("stale"));
    let refused = stale.counts(&suite()).await.unwrap_err();
    assert_eq!(refusal(&refused), (401, Some(Code::Unauthorized)));
    assert!(!format!("{stale:?} {refused:?} {refused}").contains("stale"));
    relay.stop().await;
}
