//! Sends: retries that add nothing, device lists that must match, refusals that store nothing.

use chatctl_protocol::Encoding;
use chatctl_protocol::v1::{QueueEmpty, Send, SendErr, SendOk, frame::Body};

use crate::letters::{letter, texts};
use crate::relay::{ALICE, BOB, BOBS_TABLET, CAROL, Person, TestRelay};

const QUEUE_EMPTY: Body = Body::QueueEmpty(QueueEmpty {});

fn refused(id: u64, code: &str) -> SendErr {
    SendErr {
        id,
        code: code.to_owned(),
        ..SendErr::default()
    }
}

fn duplicate_of(ok: &SendOk) -> SendOk {
    SendOk {
        duplicate: true,
        ..ok.clone()
    }
}

#[tokio::test]
async fn a_retry_is_never_a_second_message_away_online_or_after_a_restart() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_for(&[ALICE, BOB]).await;
        let mut alice = relay.connect(ALICE, encoding).await;
        let away = alice.post(letter(1, &[BOB], "away")).await;
        assert_eq!(alice.post(letter(1, &[BOB], "away")).await, duplicate_of(&away));

        let mut bob = relay.connect(BOB, encoding).await;
        let waited = bob.mail(1).await;
        alice.send(Body::Send(letter(2, &[BOB], "online"))).await;
        let live = bob.mail(1).await;
        bob.ack(&live).await;
        let online = alice.answer(2).await.unwrap();
        assert_eq!(
            alice.post(letter(2, &[BOB], "online")).await,
            duplicate_of(&online)
        );
        assert_eq!(bob.settled().await, []);
        bob.ack(&waited).await;
        assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
        bob.leave().await;
        let kept = alice.post(letter(3, &[BOB], "kept")).await;
        drop(alice);

        let relay = relay.restart().await;
        let mut alice = relay.connect(ALICE, encoding).await;
        // Acked long ago, and still not a second message.
        assert_eq!(alice.post(letter(1, &[BOB], "away")).await, duplicate_of(&away));
        assert_eq!(alice.post(letter(3, &[BOB], "kept")).await, duplicate_of(&kept));
        let mut bob = relay.connect(BOB, encoding).await;
        let mail = bob.mail(1).await;
        assert_eq!(texts(&mail), [("kept", 1)]);
        bob.ack(&mail).await;
        assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
        drop((alice, bob));
        relay.stop().await;
    }
}

#[tokio::test]
async fn two_tries_in_one_breath_are_one_message() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let first = letter(1, &[BOB], "once");
    let again = Send {
        id: 2,
        ..first.clone()
    };
    alice.send(Body::Send(first)).await;
    alice.send(Body::Send(again)).await;
    let first = alice.answer(1).await.unwrap();
    let again = alice.answer(2).await.unwrap();
    assert_eq!(
        again,
        SendOk {
            id: 2,
            ..duplicate_of(&first)
        }
    );
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    assert_eq!(texts(&bob.mail(1).await), [("once", 1)]);
    assert_eq!(bob.settled().await, []);
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn the_same_name_for_another_message_is_a_conflict() {
    let relay = TestRelay::start_for(&[ALICE, BOB, CAROL]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    alice.post(letter(1, &[BOB], "one")).await;
    let conflict = Err(refused(1, "conflict"));
    assert_eq!(alice.try_post(letter(1, &[BOB], "two")).await, conflict);
    assert_eq!(alice.try_post(letter(1, &[CAROL], "one")).await, conflict);
    // The name is the sender's own: Carol's first letter has nothing to do with it.
    let mut carol = relay.connect(CAROL, Encoding::Json).await;
    carol.post(letter(1, &[BOB], "three")).await;
    drop((alice, carol));
    let relay = relay.restart().await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    assert_eq!(alice.try_post(letter(1, &[BOB], "two")).await, conflict);
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    assert_eq!(texts(&bob.mail(2).await), [("one", 1), ("three", 1)]);
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn a_send_goes_to_all_devices_of_an_account_or_to_none() {
    let relay = TestRelay::start_for(&[ALICE, BOB, BOBS_TABLET]).await;
    let mut alice = relay.connect(ALICE, Encoding::Json).await;
    let mismatch = |id, [missing, extra, stale]: [&[&str]; 3]| {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Err(SendErr {
            missing: names(missing),
            extra: names(extra),
            stale: names(stale),
            ..refused(id, "device_mismatch")
        })
    };
    let old_phone = Person {
        registration_id: 99,
        ..BOB
    };
    let watch = Person {
        device_id: "watch",
        ..BOB
    };
    let to: [(&[Person], _); 4] = [
        (&[BOB], [&["2"][..], &[], &[]]),
        (&[BOB, BOBS_TABLET, watch], [&[], &["watch"], &[]]),
        (&[old_phone, BOBS_TABLET], [&[], &[], &["1"]]),
        (&[old_phone, watch], [&["2"], &["watch"], &["1"]]),
    ];
    for (to, differs) in to {
        assert_eq!(alice.try_post(letter(1, to, "x")).await, mismatch(1, differs));
    }
    assert_eq!(
        alice.try_post(letter(1, &[BOB, BOB, BOBS_TABLET], "x")).await,
        Err(refused(1, "bad_request"))
    );
    let ok = alice.post(letter(1, &[BOBS_TABLET, BOB], "all")).await;
    assert_eq!(ok.envelope_ids.len(), 2);
    // Nothing of what was refused is there.
    for (person, id) in [(BOBS_TABLET, ok.envelope_ids[0]), (BOB, ok.envelope_ids[1])] {
        let mut device = relay.connect(person, Encoding::Proto).await;
        let mail = device.mail(1).await;
        assert_eq!((texts(&mail), mail[0].id), (vec![("all", 1)], id));
        assert_eq!(device.settled().await, []);
    }
    drop(alice);
    relay.stop().await;
}

#[tokio::test]
async fn a_device_sends_to_the_other_devices_of_its_own_account() {
    let relay = TestRelay::start_for(&[ALICE, BOB, BOBS_TABLET]).await;
    let mut phone = relay.connect(BOB, Encoding::Proto).await;
    let mut tablet = relay.connect(BOBS_TABLET, Encoding::Json).await;
    phone.post(letter(1, &[BOBS_TABLET], "note")).await;
    let mail = tablet.mail(1).await;
    assert_eq!(texts(&mail), [("note", 1)]);
    assert_eq!(mail[0].from.as_ref().unwrap().device_id, "1");
    assert_eq!(phone.settled().await, [QUEUE_EMPTY]);
    drop((phone, tablet));
    relay.stop().await;
}

#[tokio::test]
async fn what_is_refused_says_why() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let nobody = Person {
        account: "nobody",
        ..BOB
    };
    for encoding in Encoding::ALL {
        let mut alice = relay.connect(ALICE, encoding).await;
        let unnamed = Send {
            client_msg_id: Vec::new().into(),
            ..letter(1, &[BOB], "x")
        };
        let to_a_bad_name = Send {
            to_account: "b b".to_owned(),
            ..letter(1, &[BOB], "x")
        };
        for (letter, code) in [
            (letter(1, &[nobody], "x"), "unknown_account"),
            (letter(1, &[BOB], vec![0; 96 * 1024 + 1]), "payload_too_large"),
            (letter(1, &[BOB; 65], "x"), "bad_request"),
            (unnamed, "bad_request"),
            (to_a_bad_name, "bad_request"),
            (Send::default(), "bad_request"),
        ] {
            let id = letter.id;
            assert_eq!(alice.try_post(letter).await, Err(refused(id, code)));
        }
        // The largest payload passes, in both encodings.
        alice.post(letter(9, &[BOB], vec![b'x'; 96 * 1024])).await;
        drop(alice);
    }
    let mut bob = relay.connect(BOB, Encoding::Json).await;
    assert_eq!(bob.mail(1).await[0].payload.len(), 96 * 1024);
    drop(bob);
    relay.stop().await;
}
