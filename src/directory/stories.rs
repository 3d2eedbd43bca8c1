//! The directory as its callers see it, over a store in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, DeviceId, PoolName, Suite};

use crate::config::{Config, DirectoryConfig};
use crate::directory::fake::Fake;
use crate::directory::{
    ClaimRequest, Directory, Error, KeyNotice, KeyUpload, Missing, NewItem, NewPool, Published,
};
use crate::hub::{Hub, Notices};
use crate::metrics::{Metrics, Reason};
use crate::model::{Clock, MailboxId, UnixMs};
use crate::store::{self, PoolCount, Registered, Registration};

struct House {
    store: Arc<Fake>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    directory: Arc<Directory>,
    hand: Arc<std::sync::atomic::AtomicU64>,
}

fn house(directory: &DirectoryConfig) -> House {
    let config = Config {
        directory: directory.clone(),
        ..Config::default()
    };
    let (store, hub, metrics) = (Fake::new(), Hub::new(), Arc::new(Metrics::new()));
    let (clock, hand) = Clock::manual(UnixMs(1_000_000));
    let directory = Directory::new(store.clone(), hub.clone(), &config, clock, metrics.clone());
    House {
        store,
        hub,
        metrics,
        directory: Arc::new(directory),
        hand,
    }
}

fn lenient() -> DirectoryConfig {
    DirectoryConfig {
        key_lint: false,
        keys_low: 2,
        ..DirectoryConfig::default()
    }
}

fn address(account: &str, device: &str) -> Address {
    Address {
        account: AccountId::parse(account).unwrap(),
        device_id: DeviceId::parse(device).unwrap(),
    }
}

fn registration(registration_id: u32) -> Registration {
    Registration {
        registration_id,
        attributes: None,
        max_devices: 8,
        now: UnixMs(1),
    }
}

fn otk() -> PoolName {
    PoolName::parse("otk").unwrap()
}

fn item(name: &str) -> NewItem {
    NewItem {
        id: Some(name.into()),
        data: Bytes::copy_from_slice(name.as_bytes()),
        signature: None,
    }
}

fn keys(items: &[&str], fallback: Option<&str>) -> KeyUpload {
    let pool = NewPool {
        add: items.iter().map(|name| item(name)).collect(),
        replace: None,
        fallback: fallback.map(item),
    };
    KeyUpload {
        identity: Some(Bytes::from_static(b"identity")),
        statement: None,
        pools: BTreeMap::from([(otk(), pool)]),
    }
}

fn from(accounts: &[&str]) -> ClaimRequest {
    let targets = accounts
        .iter()
        .map(|name| (AccountId::parse(name).unwrap(), None));
    ClaimRequest {
        suite: Suite::Olm,
        pools: vec![otk()],
        targets: targets.collect(),
    }
}

impl House {
    async fn register(&self, device: &Address) -> MailboxId {
        match self.directory.register(device, registration(1)).await.unwrap() {
            Registered::Created(device) | Registered::Updated(device) => device.mailbox,
            other @ (Registered::Replaced { .. } | Registered::TooMany) => panic!("{other:?}"),
        }
    }

    async fn publish(&self, device: &Address, upload: KeyUpload) -> Published {
        self.directory.upload(device, Suite::Olm, upload).await.unwrap()
    }

    /// The names of what a claim brought, `-` for nothing.
    async fn claim(&self, caller: &Address, accounts: &[&str]) -> Vec<String> {
        let answer = self.directory.claim(caller, from(accounts)).await.unwrap();
        let devices = answer.accounts.into_iter().flat_map(|account| account.devices);
        let items = devices.flat_map(|device| device.items);
        items
            .map(|item| item.map_or("-".into(), |item| item.id.to_string()))
            .collect()
    }

    fn claims(&self, reason: &'static str) -> u64 {
        self.metrics.claims.get_or_create(&Reason { reason }).get()
    }
}

#[tokio::test]
async fn a_list_is_loaded_once_and_anew_after_a_change() {
    let house = house(&lenient());
    let alice = address("alice", "1");
    assert_eq!(house.directory.devices(&alice.account).await.unwrap().version, 0);
    house.register(&alice).await;
    for _ in 0..3 {
        assert_eq!(house.directory.devices(&alice.account).await.unwrap().version, 1);
    }
    assert_eq!(house.store.loads.load(Ordering::Relaxed), 2);
    house.hand.fetch_add(60_000, Ordering::Relaxed);
    house.directory.devices(&alice.account).await.unwrap();
    assert_eq!(house.store.loads.load(Ordering::Relaxed), 3);
    house.hand.fetch_sub(90_000, Ordering::Relaxed);
    house.directory.devices(&alice.account).await.unwrap();
    assert_eq!(house.store.loads.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_load_that_began_before_a_change_is_not_kept() {
    let house = house(&lenient());
    let alice = address("alice", "1");
    let pause = house.store.pause_next_load();
    let directory = house.directory.clone();
    let account = alice.account.clone();
    let early = async { directory.devices(&account).await.unwrap().version };
    let change = async {
        pause.began.notified().await;
        // The ring after the change loads too; it must not wait for, nor take, what the early load reads.
        house.register(&alice).await;
        pause.go.notify_one();
    };
    let (early, ()) = tokio::join!(early, change);
    assert_eq!(early, 0);
    assert_eq!(house.directory.devices(&alice.account).await.unwrap().version, 1);
}

#[tokio::test]
async fn a_list_is_kept_until_a_change_is_answered() {
    let house = house(&lenient());
    let (directory, now) = (&house.directory, UnixMs(1_000_000));
    let (alice, bob) = (address("alice", "1"), address("bob", "1"));
    assert!(directory.kept("alice", now).is_none());
    house.register(&alice).await;
    let kept = directory.keep(&alice.account).await.unwrap();
    assert!(directory.still(&kept, "alice", now) && !directory.still(&kept, "bob", now));
    assert!(directory.still(&directory.kept("alice", now).unwrap(), "alice", now));
    // As old as it may be, older, and from after the clock has stepped back.
    let times = [30_000, 30_001, -1].map(|ms| UnixMs(now.0.saturating_add_signed(ms)));
    assert_eq!(
        times.map(|now| directory.still(&kept, "alice", now)),
        [true, false, false]
    );
    assert_eq!(
        times.map(|now| directory.kept("alice", now).is_some()),
        [true, false, false]
    );
    for change in [
        directory
            .register(&address("alice", "2"), registration(1))
            .await
            .map(drop),
        directory.remove(&address("alice", "2")).await.map(drop),
        directory.register(&bob, registration(1)).await.map(drop),
    ] {
        change.unwrap();
    }
    assert!(!directory.still(&kept, "alice", now));
    assert_eq!(directory.kept("alice", now).unwrap().list().version, 3);
}

#[tokio::test]
async fn each_way_to_change_a_list_ends_the_keeping() {
    let house = house(&lenient());
    let (directory, now) = (&house.directory, UnixMs(1_000_000));
    let alice = address("alice", "1");
    let kept = directory.keep(&alice.account).await.unwrap();
    let mailbox = house.register(&alice).await;
    assert!(!directory.still(&kept, "alice", now), "registered");
    let kept = directory.keep(&alice.account).await.unwrap();
    house.directory.removed(&alice, mailbox).await;
    assert!(!directory.still(&kept, "alice", now), "removed by a chore");
    let kept = directory.keep(&alice.account).await.unwrap();
    house.directory.remove(&alice).await.unwrap();
    assert!(!directory.still(&kept, "alice", now), "removed");
    let kept = directory.keep(&alice.account).await.unwrap();
    house.store.lose_answer.store(true, Ordering::Relaxed);
    house
        .directory
        .register(&alice, registration(1))
        .await
        .unwrap_err();
    assert!(!directory.still(&kept, "alice", now), "changed or not");
}

#[tokio::test]
async fn a_list_that_was_looked_for_before_a_change_is_not_kept_after_it() {
    let house = house(&lenient());
    let (alice, now) = (address("alice", "1"), UnixMs(1_000_000));
    let pause = house.store.pause_next_load();
    let early = async { house.directory.keep(&alice.account).await.unwrap() };
    let change = async {
        pause.began.notified().await;
        house.register(&alice).await;
        pause.go.notify_one();
    };
    let (early, ()) = tokio::join!(early, change);
    assert_eq!(early.list().version, 0);
    assert!(!house.directory.still(&early, "alice", now));
}

#[tokio::test]
async fn a_change_with_an_unknown_outcome_forgets_the_list() {
    let house = house(&lenient());
    let alice = address("alice", "1");
    assert_eq!(house.directory.devices(&alice.account).await.unwrap().version, 0);
    house.store.lose_answer.store(true, Ordering::Relaxed);
    let lost = house.directory.register(&alice, registration(1)).await;
    assert!(
        matches!(lost, Err(Error::Store(store::Error::Unavailable(_)))),
        "{lost:?}"
    );
    assert_eq!(house.directory.devices(&alice.account).await.unwrap().version, 1);
}

#[tokio::test]
async fn a_change_rings_the_old_mailbox_and_the_other_devices() {
    let house = house(&lenient());
    let (phone, laptop) = (address("alice", "phone"), address("alice", "laptop"));
    let old = house.hub.sign_on(house.register(&phone).await);
    let other = house.hub.sign_on(house.register(&laptop).await);
    assert_eq!(old.take().notices, Notices::DEVICES);
    assert_eq!(other.take().notices, Notices::NONE);
    house.register(&phone).await;
    assert_eq!(other.take().notices, Notices::NONE);
    house.directory.register(&phone, registration(2)).await.unwrap();
    assert_eq!(old.take().notices, Notices::REREGISTERED);
    assert_eq!(other.take().notices, Notices::DEVICES);
    let new = house.hub.sign_on(house.directory.mailbox(&phone).await.unwrap());
    house.directory.remove(&laptop).await.unwrap().unwrap();
    assert_eq!(other.take().notices, Notices::REMOVED);
    assert_eq!(new.take().notices, Notices::DEVICES);
    assert_eq!(house.directory.remove(&laptop).await.unwrap(), None);
}

#[tokio::test]
async fn attributes_have_a_bound() {
    let house = house(&lenient());
    let registration = Registration {
        attributes: Some("x".repeat(1025).into()),
        ..registration(1)
    };
    let refused = house
        .directory
        .register(&address("alice", "1"), registration)
        .await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "bytes of attributes: at most 1024"
    );
}

#[tokio::test]
async fn items_leave_in_upload_order_then_the_fallback_then_nothing() {
    let house = house(&lenient());
    let (alice, bob) = (address("alice", "1"), address("bob", "1"));
    house.register(&alice).await;
    house.register(&bob).await;
    house.publish(&bob, keys(&["10", "9"], Some("f"))).await;
    house.publish(&bob, keys(&["1"], None)).await;
    let mut took = Vec::new();
    for _ in 0..5 {
        took.extend(house.claim(&alice, &["bob"]).await);
    }
    assert_eq!(took, ["10", "9", "1", "f", "f"]);
    assert_eq!([house.claims("item"), house.claims("fallback")], [3, 2]);
    let again = house.publish(&bob, keys(&["9", "2"], None)).await;
    assert_eq!(again.ignored, [(otk(), "9".into())]);
    assert_eq!(again.counts[0].count, 1);
}

#[tokio::test]
async fn past_its_share_a_pair_gets_the_fallback_and_spares_the_queue() {
    let house = house(&DirectoryConfig {
        claim_pair_burst: 1,
        ..lenient()
    });
    let (alice, bob, carol) = (address("alice", "1"), address("bob", "1"), address("carol", "1"));
    for device in [&alice, &bob, &carol] {
        house.register(device).await;
    }
    house.publish(&bob, keys(&["1", "2"], Some("f"))).await;
    assert_eq!(house.claim(&alice, &["bob"]).await, ["1"]);
    assert_eq!(house.claim(&alice, &["bob"]).await, ["f"]);
    // A new installation of the caller is the same caller.
    house.directory.register(&alice, registration(2)).await.unwrap();
    assert_eq!(house.claim(&alice, &["bob"]).await, ["f"]);
    assert_eq!(house.claim(&carol, &["bob"]).await, ["2"]);
    assert_eq!([house.claims("item"), house.claims("fallback")], [2, 2]);
}

#[tokio::test]
async fn past_its_share_a_pair_gets_nothing_where_there_is_no_fallback() {
    let house = house(&DirectoryConfig {
        claim_pair_burst: 1,
        ..lenient()
    });
    let (alice, bob) = (address("alice", "1"), address("bob", "1"));
    house.register(&alice).await;
    house.register(&bob).await;
    house.publish(&bob, keys(&["1", "2"], None)).await;
    assert_eq!(house.claim(&alice, &["bob"]).await, ["1"]);
    assert_eq!(house.claim(&alice, &["bob"]).await, ["-"]);
}

#[tokio::test]
async fn a_caller_past_the_hard_budget_is_refused_and_uses_nothing_up() {
    let house = house(&DirectoryConfig {
        claim_caller_minute: 2,
        ..lenient()
    });
    let (alice, bob) = (address("alice", "1"), address("bob", "1"));
    house.register(&alice).await;
    house.register(&bob).await;
    house.publish(&bob, keys(&["1", "2", "3"], None)).await;
    house.claim(&alice, &["bob"]).await;
    house.claim(&alice, &["nobody"]).await;
    let refused = house.directory.claim(&alice, from(&["bob"])).await;
    assert!(matches!(refused, Err(Error::OverBudget { .. })), "{refused:?}");
    let keyset = house.directory.keyset(&bob, &Suite::Olm).await.unwrap();
    assert_eq!(keyset.counts[0].count, 2);
}

#[tokio::test]
async fn an_answer_says_who_is_missing_and_leaves_the_caller_out() {
    let house = house(&lenient());
    let (phone, laptop, bob) = (address("alice", "1"), address("alice", "2"), address("bob", "1"));
    for device in [&phone, &laptop, &bob] {
        house.register(device).await;
        house.publish(device, keys(&["1"], None)).await;
    }
    house.register(&address("bob", "2")).await;
    let mut request = from(&["alice", "nobody"]);
    let ids = ["1", "2", "3"].map(|id| DeviceId::parse(id).unwrap());
    request
        .targets
        .insert(bob.account.clone(), Some(BTreeSet::from(ids)));
    let answer = house.directory.claim(&phone, request).await.unwrap();
    let found: Vec<_> = answer
        .accounts
        .iter()
        .map(|account| {
            let ids: Vec<_> = account
                .devices
                .iter()
                .map(|device| device.device_id.as_str())
                .collect();
            (account.account.as_str(), account.list_version, ids)
        })
        .collect();
    assert_eq!(found, [("alice", 2, vec!["2"]), ("bob", 2, vec!["1"])]);
    let missing = |account: &str, device: Option<&str>| Missing {
        account: AccountId::parse(account).unwrap(),
        device_id: device.map(|id| DeviceId::parse(id).unwrap()),
    };
    assert_eq!(
        answer.missing,
        [
            missing("bob", Some("2")),
            missing("bob", Some("3")),
            missing("nobody", None)
        ]
    );
}

#[tokio::test]
async fn a_claim_has_its_bounds() {
    let house = house(&lenient());
    let alice = address("alice", "1");
    let refusal = async |request| {
        house
            .directory
            .claim(&alice, request)
            .await
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refusal(from(&["bob"])).await, "the device is not registered");
    house.register(&alice).await;
    assert_eq!(refusal(from(&[])).await, "targets must be at least one account");
    let mut twice = from(&["bob"]);
    twice.pools.push(otk());
    assert_eq!(
        refusal(twice).await,
        "pools must be at least one, each named once"
    );
    let mut many = from(&[]);
    let ids = (0..65).map(|n| DeviceId::parse(&n.to_string()).unwrap());
    many.targets.insert(alice.account.clone(), Some(ids.collect()));
    assert_eq!(refusal(many).await, "devices in a claim: at most 64");
}

#[tokio::test]
async fn the_owner_is_rung_when_it_gets_worse_and_not_at_every_claim() {
    let house = house(&lenient());
    let (alice, bob) = (address("alice", "1"), address("bob", "1"));
    house.register(&alice).await;
    let bell = house.hub.sign_on(house.register(&bob).await);
    let mailbox = house.directory.mailbox(&bob).await.unwrap();
    house.publish(&bob, keys(&["1", "2", "3", "4"], Some("f"))).await;
    assert_eq!(house.directory.key_notices(mailbox).await.unwrap(), []);
    let mut rung = Vec::new();
    for _ in 0..6 {
        house.claim(&alice, &["bob"]).await;
        rung.push(bell.take().notices == Notices::KEYS);
    }
    // Four items, low at two: low, empty, and the fallback for the first time.
    assert_eq!(rung, [false, true, false, true, true, false]);
    let low = |remaining| KeyNotice::Low {
        suite: Suite::Olm,
        pool: otk(),
        remaining,
    };
    let used = KeyNotice::FallbackUsed {
        suite: Suite::Olm,
        pool: otk(),
    };
    assert_eq!(
        house.directory.key_notices(mailbox).await.unwrap(),
        [used, low(0)]
    );
    house.publish(&bob, keys(&["5", "6", "7"], Some("g"))).await;
    assert_eq!(house.directory.key_notices(mailbox).await.unwrap(), []);
    house.register(&address("carol", "1")).await;
    house.claim(&address("carol", "1"), &["bob"]).await;
    assert_eq!(bell.take().notices, Notices::KEYS);
    assert_eq!(house.directory.key_notices(mailbox).await.unwrap(), [low(2)]);
}

#[tokio::test]
async fn a_claim_that_reports_late_does_not_hide_the_next_shortage() {
    let house = house(&lenient());
    let (alice, bob) = (address("alice", "1"), address("bob", "1"));
    house.register(&alice).await;
    let mailbox = house.register(&bob).await;
    let bell = house.hub.sign_on(mailbox);
    house.publish(&bob, keys(&["1", "2", "3"], None)).await;
    let late = PoolCount {
        pool: otk(),
        count: 2,
        fallback: false,
        fallback_used: false,
    };
    house.directory.ring_owner(mailbox, &Suite::Olm, &[late]);
    assert_eq!(bell.take().notices, Notices::KEYS);
    assert_eq!(house.directory.key_notices(mailbox).await.unwrap(), []);
    house.claim(&alice, &["bob"]).await;
    assert_eq!(bell.take().notices, Notices::KEYS);
}

#[tokio::test]
async fn a_signed_prekey_that_is_used_is_no_news() {
    let house = house(&lenient());
    let (alice, bob) = (address("alice", "1"), address("bob", "1"));
    house.register(&alice).await;
    let mailbox = house.register(&bob).await;
    let bell = house.hub.sign_on(mailbox);
    let spk = PoolName::parse("spk").unwrap();
    let mut upload = keys(&[], None);
    let fallback = Some(item("7"));
    upload.pools = BTreeMap::from([(
        spk.clone(),
        NewPool {
            fallback,
            ..NewPool::default()
        },
    )]);
    house.directory.upload(&bob, Suite::Signal, upload).await.unwrap();
    let mut request = from(&["bob"]);
    (request.suite, request.pools) = (Suite::Signal, vec![spk]);
    house.directory.claim(&alice, request).await.unwrap();
    assert_eq!(bell.take().notices, Notices::NONE);
    assert_eq!(house.directory.key_notices(mailbox).await.unwrap(), []);
    assert_eq!(house.claims("fallback"), 1);
}

#[tokio::test]
async fn counts_have_explicit_zeros_and_an_unpublished_suite_too() {
    let house = house(&lenient());
    let bob = address("bob", "1");
    house.register(&bob).await;
    let keyset = house.directory.keyset(&bob, &Suite::Signal).await.unwrap();
    let zero = |pool: &str| PoolCount {
        pool: PoolName::parse(pool).unwrap(),
        count: 0,
        fallback: false,
        fallback_used: false,
    };
    assert_eq!(keyset.counts, [zero("ec"), zero("kem"), zero("spk")]);
    assert_eq!(keyset.identity_version, 0);
    let mut nothing = keys(&[], None);
    nothing.pools.clear();
    assert_eq!(house.publish(&bob, nothing).await.counts, [zero("otk")]);
}

#[tokio::test]
async fn suites_and_pools_of_a_device_have_bounds() {
    let house = house(&lenient());
    let bob = address("bob", "1");
    house.register(&bob).await;
    let upload = async |suite: &str, pools: std::ops::Range<u32>| {
        let pools = pools.map(|n| (PoolName::parse(&n.to_string()).unwrap(), NewPool::default()));
        let upload = KeyUpload {
            pools: pools.collect(),
            ..keys(&[], None)
        };
        let done = house
            .directory
            .upload(&bob, Suite::parse(suite).unwrap(), upload)
            .await;
        done.map_err(|error| error.to_string())
            .map(|done| done.counts.len())
    };
    assert_eq!(upload("x-1", 0..8).await, Ok(8));
    assert_eq!(
        upload("x-1", 8..9).await,
        Err("pools in a keyset: at most 8".into())
    );
    for suite in ["x-2", "x-3", "x-4"] {
        assert_eq!(upload(suite, 0..0).await, Ok(0));
    }
    assert_eq!(
        upload("x-5", 0..0).await,
        Err("suites of a device: at most 4".into())
    );
}

#[tokio::test]
async fn an_upload_without_an_identity_is_checked_against_the_stored_one() {
    use ed25519_dalek::{Signer, SigningKey};
    let house = house(&DirectoryConfig::default());
    let bob = address("bob", "1");
    house.register(&bob).await;
    let key = SigningKey::from_bytes(&[9; 32]);
    let sign = |mut upload: KeyUpload, with: &SigningKey| {
        for item in upload.pools.values_mut().flat_map(|pool| &mut pool.add) {
            item.signature = Some(with.sign(&item.data).to_bytes().to_vec().into());
        }
        upload
    };
    let mut first = sign(keys(&["1"], None), &key);
    first.identity = Some([[1; 32], key.verifying_key().to_bytes()].concat().into());
    house.publish(&bob, first).await;
    let names: Vec<String> = (2..52).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut more = keys(&names, None);
    more.identity = None;
    house.publish(&bob, sign(more.clone(), &key)).await;
    let wrong = sign(more, &SigningKey::from_bytes(&[8; 32]));
    let refused = house.directory.upload(&bob, Suite::Olm, wrong).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the signature of item 2 of pool otk is not one of the identity"
    );
}

#[tokio::test]
async fn a_changed_identity_rings_the_other_devices() {
    let house = house(&lenient());
    let (phone, laptop) = (address("bob", "1"), address("bob", "2"));
    house.register(&phone).await;
    let bell = house.hub.sign_on(house.register(&laptop).await);
    assert_eq!(house.publish(&phone, keys(&[], None)).await.identity_version, 1);
    assert_eq!(bell.take().notices, Notices::DEVICES);
    house.publish(&phone, keys(&["1"], None)).await;
    assert_eq!(bell.take().notices, Notices::NONE);
}

#[test]
fn bytes_of_keys_never_print() {
    let item = item("secret");
    assert_eq!(format!("{item:?}"), "NewItem(6 bytes)");
}
