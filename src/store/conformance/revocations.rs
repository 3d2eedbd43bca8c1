//! Facts about revocations and their numbers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use chatctl_protocol::{AccountId, DeviceId};
use futures_util::future::join_all;

use super::{LATER, NOW, Subject};
use crate::model::{Revocation, Revoked, UnixMs};
use crate::store::Store;

pub(crate) fn token(jti: &str) -> Revocation {
    Revocation {
        what: Revoked::Token(jti.into()),
        revoked_at: NOW,
        expires_at: LATER,
        reason: "".into(),
    }
}

pub(crate) fn issued(account: &str, device: Option<&str>, up_to: UnixMs) -> Revocation {
    let account = AccountId::parse(account).unwrap();
    let device = device.map(|device| DeviceId::parse(device).unwrap());
    Revocation {
        what: Revoked::Issued {
            account,
            device,
            up_to,
        },
        revoked_at: NOW,
        expires_at: LATER,
        reason: "the phone was lost: ✆".into(),
    }
}

/// After `NOW`.
const fn after(ms: u64) -> UnixMs {
    UnixMs(NOW.0 + ms)
}

fn until(expires_at: UnixMs, revocation: Revocation) -> Revocation {
    Revocation {
        expires_at,
        ..revocation
    }
}

async fn all(store: &dyn Store) -> Vec<(u64, Revocation)> {
    store.revocations(0, 1000).await.unwrap()
}

async fn jtis(store: &dyn Store) -> Vec<String> {
    let of = |(_, revocation): (u64, Revocation)| match revocation.what {
        Revoked::Token(jti) => jti.to_string(),
        Revoked::Issued { .. } => panic!("no token"),
    };
    all(store).await.into_iter().map(of).collect()
}

pub(crate) async fn revocations_survive_a_crash_whole_and_in_order(subject: &mut dyn Subject) {
    // An account and its devices are apart, and so is a token that has an account's name.
    let said = [
        issued("bob", Some("1"), NOW),
        token("bob"),
        issued("bob", None, after(5)),
        issued("bob", Some("2"), UnixMs(0)),
        issued("alice@example.org", Some("1"), NOW),
        token(&"j".repeat(128)),
    ];
    let mut numbers = Vec::new();
    for revocation in &said {
        numbers.push(subject.store().revoke(revocation).await.unwrap());
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let said: Vec<_> = numbers.into_iter().zip(said).collect();
    assert_eq!(all(subject.store()).await, said);
    subject.crash().await;
    assert_eq!(all(subject.store()).await, said);
}

pub(crate) async fn a_later_revocation_takes_the_place_of_the_earlier_one(subject: &mut dyn Subject) {
    let store = subject.store();
    let mut last = store.revoke(&token("other")).await.unwrap();
    let other = (last, token("other"));
    let said = Revocation {
        revoked_at: after(1),
        reason: "again".into(),
        ..issued("bob", None, NOW)
    };
    // Up to a moment and until a moment: what is said, and what holds then.
    for ((up_to, end), (up_to_then, end_then)) in [
        ((after(5), after(50)), (after(5), after(50))),
        ((after(3), after(70)), (after(5), after(70))),
        ((after(8), after(60)), (after(8), after(70))),
        ((after(1), after(10)), (after(8), after(70))),
    ] {
        let of = |up_to, end| Revocation {
            what: issued("bob", None, up_to).what,
            expires_at: end,
            ..said.clone()
        };
        let number = store.revoke(&of(up_to, end)).await.unwrap();
        assert!(number > last, "{number} after {last}");
        last = number;
        let holds = (number, of(up_to_then, end_then));
        assert_eq!(all(store).await, [other.clone(), holds]);
    }
    let number = store.revoke(&until(after(9), token("other"))).await.unwrap();
    assert_eq!(all(store).await.pop(), Some((number, token("other"))));
    subject.crash().await;
    assert_eq!(all(subject.store()).await.pop(), Some((number, token("other"))));
}

pub(crate) async fn pages_of_revocations_miss_nothing(subject: &mut dyn Subject) {
    let store = subject.store();
    for number in 0..7 {
        store.revoke(&token(&number.to_string())).await.unwrap();
    }
    let whole = all(store).await;
    for limit in 1..9 {
        let (mut read, mut after) = (Vec::new(), 0);
        loop {
            let page = store.revocations(after, limit).await.unwrap();
            assert!(page.len() <= limit);
            let Some((number, _)) = page.last() else { break };
            after = *number;
            read.extend(page);
        }
        assert_eq!(read, whole, "{limit} at a time");
    }
    assert_eq!(store.revocations(0, 0).await.unwrap(), []);
    assert_eq!(store.revocations(u64::MAX, 9).await.unwrap(), []);
    // One that is read already and said again comes after what was read.
    let number = store.revoke(&token("0")).await.unwrap();
    let (last, _) = whole[6];
    assert_eq!(store.revocations(last, 9).await.unwrap(), [(number, token("0"))]);
}

pub(crate) async fn what_is_over_is_pruned_and_nothing_else(subject: &mut dyn Subject) {
    let store = subject.store();
    for (jti, end) in [("a", 0), ("b", 3), ("c", 2), ("d", 4), ("e", 1), ("f", 3)] {
        store.revoke(&until(after(end), token(jti))).await.unwrap();
    }
    // It was over sooner before it was said again.
    store.revoke(&until(after(9), token("a"))).await.unwrap();
    let prune = async |end, limit| store.prune_revocations(after(end), limit).await.unwrap();
    assert_eq!(prune(0, 9).await, 0);
    assert_eq!(prune(3, 0).await, 0);
    assert_eq!(prune(3, 3).await, 3);
    assert_eq!(jtis(store).await.len(), 3);
    assert_eq!(prune(3, 3).await, 1);
    assert_eq!(prune(3, 3).await, 0);
    assert_eq!(jtis(store).await, ["d", "a"]);
    subject.crash().await;
    assert_eq!(jtis(subject.store()).await, ["d", "a"]);
}

pub(crate) async fn a_number_of_what_was_pruned_is_not_given_again(subject: &mut dyn Subject) {
    let mut last = 0;
    for _ in 0..3 {
        let number = subject.store().revoke(&token("a")).await.unwrap();
        assert!(number > last, "{number} after {last}");
        last = number;
        assert_eq!(subject.store().prune_revocations(LATER, 9).await.unwrap(), 1);
        assert_eq!(all(subject.store()).await, []);
        subject.crash().await;
    }
}

pub(crate) async fn who_follows_the_numbers_misses_nothing_while_others_revoke(subject: &mut dyn Subject) {
    const EACH: u64 = 8;
    let store = subject.store();
    let done = AtomicBool::new(false);
    let revoking = async {
        let revokers = (0..6u64).map(|revoker| async move {
            let mut numbers = Vec::new();
            for round in 0..EACH {
                let jti = (revoker * EACH + round).to_string();
                numbers.push(store.revoke(&token(&jti)).await.unwrap());
                // All say something about bob, over and over.
                let bob = issued("bob", None, after(round));
                numbers.push(store.revoke(&bob).await.unwrap());
                // Who has revoked sees it.
                let seen = jtis_among(&all(store).await);
                assert!(seen.contains(&jti), "{jti} in {seen:?}");
            }
            numbers
        });
        let numbers = join_all(revokers).await;
        done.store(true, Ordering::Release);
        numbers
    };
    let following = async {
        let (mut seen, mut last) = (Vec::new(), 0);
        loop {
            let is_last = done.load(Ordering::Acquire);
            let page = store.revocations(last, 3).await.unwrap();
            last = page.last().map_or(last, |(number, _)| *number);
            match page.is_empty() {
                true if is_last => return seen,
                true => tokio::task::yield_now().await,
                false => seen.extend(page),
            }
        }
    };
    let (numbers, seen) = tokio::join!(revoking, following);
    assert!(numbers.iter().all(|of| of.is_sorted_by(|one, next| one < next)));
    let distinct: BTreeSet<u64> = numbers.iter().flatten().copied().collect();
    assert_eq!(distinct.len(), 6 * 2 * EACH as usize);
    assert_eq!(
        jtis_among(&seen),
        (0..6 * EACH).map(|jti| jti.to_string()).collect()
    );
    let whole = all(store).await;
    assert_eq!(whole.len(), 6 * EACH as usize + 1);
    // Whatever took another's place, the last word about bob was read.
    let bob = |read: &[(u64, Revocation)]| {
        let mut about = read.iter().rev().map(|(_, revocation)| revocation.clone());
        about.find(|revocation| {
            revocation
                .what
                .is_about_the_same_as(&issued("bob", None, NOW).what)
        })
    };
    assert_eq!(bob(&seen), Some(issued("bob", None, after(EACH - 1))));
    assert_eq!(bob(&seen), bob(&whole));
}

fn jtis_among(read: &[(u64, Revocation)]) -> BTreeSet<String> {
    let of = |(_, revocation): &(u64, Revocation)| match &revocation.what {
        Revoked::Token(jti) => Some(jti.to_string()),
        Revoked::Issued { .. } => None,
    };
    read.iter().filter_map(of).collect()
}
