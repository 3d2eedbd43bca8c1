//! Two relays on one MongoDB, without anything between them: nothing is lost, doubled or taken twice.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chatctl_protocol::v1::{Envelope, Mode, frame::Body};
use chatctl_protocol::{CloseCode, Encoding};
use serde_json::{Value, json};

use crate::letters::{letter, texts};
use crate::relay::{ALICE, BOB, BOBS_TABLET, CAROL, Person, TestRelay, still_works};
use crate::socket::RawSocket;
use crate::store::{Place, database};

/// Two relays on a database of their own.
async fn pair() -> [TestRelay; 2] {
    let place = Place::Database(database());
    let start = || {
        TestRelay::start_on(place.clone(), |config| {
            config.mail.look_again = Duration::from_millis(150)
        })
    };
    // One after the other: the first one lays the database out.
    [start().await, start().await]
}

async fn stop(relays: [TestRelay; 2]) {
    for relay in relays {
        relay.stop().await;
    }
}

/// The next envelopes, as they come; acked on the way.
async fn read(socket: &mut RawSocket, count: usize) -> Vec<Envelope> {
    let mut mail = Vec::new();
    while mail.len() < count {
        let some = socket
            .find(|body| match body {
                Body::Deliver(deliver) => Some(deliver.envelopes.clone()),
                _ => None,
            })
            .await;
        socket.ack(&some).await;
        mail.extend(some);
    }
    mail
}

#[tokio::test]
async fn the_newest_session_wins_wherever_it_is() {
    let [a, b] = pair().await;
    let a = a.for_these(&[ALICE, BOB]).await;
    let old = a.connect(BOB, Encoding::Proto).await;
    let mut new = b.connect(BOB, Encoding::Json).await;
    let parting = old.ended().await;
    assert_eq!(parting.code, Some(CloseCode::Displaced));
    assert!(parting.goodbye.unwrap().retry_after_ms >= 30_000);
    still_works(&mut new).await;
    // And back again.
    let mut newest = a.connect(BOB, Encoding::Proto).await;
    assert_eq!(new.ended().await.code, Some(CloseCode::Displaced));
    still_works(&mut newest).await;
    drop(newest);
    stop([a, b]).await;
}

#[tokio::test]
async fn mail_of_the_other_relay_is_found_and_acked_for_good() {
    let [a, b] = pair().await;
    let a = a.for_these(&[ALICE, BOB]).await;
    let mut bob = b.connect(BOB, Encoding::Proto).await;
    let mut alice = a.connect(ALICE, Encoding::Proto).await;
    for number in 0..3 {
        alice.post(letter(number, &[BOB], format!("{number}"))).await;
    }
    let mail = bob.mail(3).await;
    assert_eq!(texts(&mail), [("0", 1), ("1", 1), ("2", 1)]);
    bob.ack(&mail[..2]).await;
    bob.leave().await;
    // An ack is deleted with one of the next commits.
    let mut waiting = Value::Null;
    while waiting.as_array().is_none_or(|waiting| waiting.len() != 1) {
        let shown = a.ask(BOB, "GET /v1/messages", &Value::Null).await;
        waiting = shown.body["envelopes"].clone();
    }
    // What was not acked is all there is, on either relay.
    for relay in [&a, &b] {
        let mut bob = relay.connect(BOB, Encoding::Proto).await;
        assert_eq!(texts(&bob.mail(1).await)[0].0, "2");
        bob.leave().await;
    }
    drop(alice);
    stop([a, b]).await;
}

#[tokio::test]
async fn a_key_is_handed_out_once_by_both_together() {
    let [a, b] = pair().await;
    let a = a.for_these(&[ALICE, BOB, CAROL]).await;
    let items = (0..40).map(|number| json!({"id": format!("k{number}"), "data": format!("{number:04}")}));
    let keys = json!({"identity": "YQ==", "pools": {"otk": {"add": items.collect::<Vec<_>>()}}});
    let uploaded = a.ask(BOB, "PUT /v1/keys/x-test", &keys).await;
    assert_eq!(uploaded.status, 200, "{uploaded:?}");
    let wanted =
        json!({"suite": "x-test", "pools": ["otk"], "targets": [{"account": "bob", "devices": ["1"]}]});
    let claim = async |relay: &TestRelay, caller: Person| {
        let claimed = relay.ask(caller, "POST /v1/keys/claim", &wanted).await;
        assert_eq!(claimed.status, 200, "{claimed:?}");
        let item = &claimed.body["results"]["bob"]["devices"]["1"]["items"]["otk"];
        item["id"].as_str().map(str::to_owned)
    };
    // Both callers at once, each through a relay of its own, until nothing is left.
    let mut issued = Vec::new();
    loop {
        let (one, other) = tokio::join!(claim(&a, ALICE), claim(&b, CAROL));
        let none = one.is_none() && other.is_none();
        issued.extend(one.into_iter().chain(other));
        if none {
            break;
        }
    }
    let distinct: HashSet<&String> = issued.iter().collect();
    assert_eq!(
        distinct.len(),
        issued.len(),
        "a key was handed out twice: {issued:?}"
    );
    // A caller gets six keys of one device, then nothing: the rest stays.
    assert_eq!(issued.len(), 12, "{issued:?}");
    stop([a, b]).await;
}

#[tokio::test]
async fn a_watcher_and_a_caller_without_a_socket_see_mail_of_the_other_relay() {
    let [a, b] = pair().await;
    let a = a.for_these(&[ALICE, BOB]).await;
    let hello = chatctl_protocol::v1::Hello {
        token: b.keys().token(BOB),
        mode: Mode::Notify as i32,
        ..Default::default()
    };
    let (mut watcher, _) = b.connect_with(hello, Encoding::Proto).await;
    let mut alice = a.connect(ALICE, Encoding::Proto).await;
    alice.post(letter(1, &[BOB], "one")).await;
    let pending = watcher.find(|body| match body {
        Body::MailWaiting(waiting) => Some(waiting.pending),
        _ => None,
    });
    assert_eq!(pending.await, 1);
    let shown = b.ask(BOB, "GET /v1/messages", &Value::Null).await;
    let id = shown.body["envelopes"][0]["id"].clone();
    let acked = b.ask(BOB, "POST /v1/messages/ack", &json!({ "ids": [id] })).await;
    assert_eq!(acked.body, json!({ "acked": 1 }));
    drop((alice, watcher));
    stop([a, b]).await;
}

#[tokio::test]
async fn a_device_that_was_registered_on_the_other_relay_is_known_at_once() {
    let [a, b] = pair().await;
    let a = a.for_these(&[ALICE, BOB]).await;
    let mut alice = b.connect(ALICE, Encoding::Proto).await;
    alice.post(letter(1, &[BOB], "to one device")).await;
    // Unknown there a moment ago, and asked for.
    let unknown = alice.try_post(letter(2, &[CAROL], "nobody")).await.unwrap_err();
    assert_eq!(unknown.code, "unknown_account");
    a.register(CAROL).await;
    alice.post(letter(3, &[CAROL], "somebody")).await;
    a.register(BOBS_TABLET).await;
    alice.post(letter(4, &[BOB, BOBS_TABLET], "to both")).await;
    let reinstalled = Person {
        registration_id: 77,
        ..CAROL
    };
    let old = b.connect(CAROL, Encoding::Proto).await;
    a.register(reinstalled).await;
    let mut new = b.connect(reinstalled, Encoding::Proto).await;
    alice.post(letter(5, &[reinstalled], "to the new one")).await;
    assert_eq!(texts(&new.mail(1).await), [("to the new one", 1)]);
    let parting = old.ended().await;
    let codes = [Some(CloseCode::Reregistered), Some(CloseCode::Displaced)];
    assert!(codes.contains(&parting.code), "{parting:?}");
    drop((alice, new));
    stop([a, b]).await;
}

#[tokio::test]
async fn both_relays_send_to_one_mailbox_and_everything_arrives_once_in_its_senders_order() {
    const EACH: u64 = 400;
    let [a, b] = pair().await;
    let a = a.for_these(&[ALICE, BOB, CAROL]).await;
    let mut bob = b.connect(BOB, Encoding::Proto).await;
    let send = async |relay: &TestRelay, sender: Person, from: u64| {
        let mut socket = relay.connect(sender, Encoding::Proto).await;
        let mut ids = Vec::new();
        for number in from..from + EACH {
            socket
                .send(Body::Send(letter(number, &[BOB], format!("{number}"))))
                .await;
        }
        for number in from..from + EACH {
            ids.extend(socket.answer(number).await.unwrap().envelope_ids);
        }
        ids
    };
    let count = usize::try_from(2 * EACH).unwrap();
    let (mut ids, more, mail) =
        tokio::join!(send(&a, ALICE, 0), send(&b, CAROL, EACH), read(&mut bob, count));
    ids.extend(more);
    assert_eq!(
        ids.iter().collect::<HashSet<_>>().len(),
        count,
        "an id was minted twice"
    );
    let mut order: BTreeMap<bool, Vec<u64>> = BTreeMap::new();
    for (text, attempt) in texts(&mail) {
        let number: u64 = text.parse().unwrap();
        assert_eq!(attempt, 1);
        order.entry(number < EACH).or_default().push(number);
    }
    assert_eq!(order[&true], Vec::from_iter(0..EACH));
    assert_eq!(order[&false], Vec::from_iter(EACH..2 * EACH));
    // And nothing comes again: three looks from now what was acked is deleted.
    let rest = bob.settled().await;
    assert!(
        !rest.iter().any(|body| matches!(body, Body::Deliver(_))),
        "{rest:?}"
    );
    bob.leave().await;
    stop([a, b]).await;
}

#[tokio::test]
async fn a_sender_that_moves_between_the_relays_keeps_its_order() {
    let relays = pair().await;
    for person in [ALICE, BOB] {
        relays[0].register(person).await;
    }
    let mut bob = relays[0].connect(BOB, Encoding::Proto).await;
    let mut number = 0;
    for turn in 0..10 {
        let mut alice = relays[turn % 2].connect(ALICE, Encoding::Proto).await;
        for _ in 0..3 {
            alice.post(letter(number, &[BOB], format!("{number}"))).await;
            number += 1;
        }
        alice.leave().await;
    }
    let mail = read(&mut bob, 30).await;
    let texts: Vec<u64> = texts(&mail)
        .iter()
        .map(|(text, _)| text.parse().unwrap())
        .collect();
    assert_eq!(texts, Vec::from_iter(0..number));
    bob.leave().await;
    stop(relays).await;
}

#[tokio::test]
async fn a_mailbox_that_the_other_relay_empties_does_not_stay_full() {
    let place = Place::Database(database());
    let start = || {
        TestRelay::start_on(place.clone(), |config| {
            config.mail.look_again = Duration::from_millis(150);
            config.limits.mailbox_envelopes = 8;
            (config.mail.send_rate, config.mail.send_burst) = (u32::MAX, u32::MAX);
        })
    };
    let (a, b) = (start().await, start().await);
    let a = a.for_these(&[ALICE, BOB]).await;
    let mut alice = a.connect(ALICE, Encoding::Proto).await;
    let mut bob = b.connect(BOB, Encoding::Proto).await;
    // Far more than the mailbox holds, one by one: refused sends are tried again.
    for number in 0..24 {
        loop {
            match alice.try_post(letter(number, &[BOB], format!("{number}"))).await {
                Ok(_) => break,
                Err(error) => assert_eq!(error.code, "mailbox_full"),
            }
            read_what_is_there(&mut bob).await;
        }
    }
    drop((alice, bob));
    stop([a, b]).await;
}

async fn read_what_is_there(socket: &mut RawSocket) {
    for body in socket.settled().await {
        if let Body::Deliver(deliver) = body {
            socket.ack(&deliver.envelopes).await;
        }
    }
}
