//! Limits of senders: rates, full mailboxes, the reserve for small envelopes, the fair share.

use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{CloseCode, Encoding};

use crate::letters::letter;
use crate::relay::{ALICE, BOB, CAROL, TestRelay, still_works};

#[tokio::test]
async fn a_sender_over_its_rate_is_told_when_to_come_back() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_with(|config| {
            config.mail.send_rate = 1;
            config.mail.send_burst = 3;
        })
        .await;
        let relay = relay.for_these(&[ALICE, BOB, CAROL]).await;
        let mut alice = relay.connect(ALICE, encoding).await;
        for number in 1..=3 {
            alice.post(letter(number, &[BOB], "x")).await;
        }
        let refused = alice.try_post(letter(4, &[BOB], "x")).await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.retryable), ("rate_limited", true));
        assert!((1..=1000).contains(&refused.retry_after_ms), "{refused:?}");
        // The rate is the device's, not the session's; others have their own.
        alice.leave().await;
        let mut alice = relay.connect(ALICE, encoding).await;
        let refused = alice.try_post(letter(4, &[BOB], "x")).await.unwrap_err();
        assert_eq!(refused.code, "rate_limited");
        relay
            .connect(CAROL, encoding)
            .await
            .post(letter(1, &[BOB], "x"))
            .await;
        drop(alice);
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_sender_that_goes_on_over_its_rate_is_closed_though_some_sends_pass() {
    let relay = TestRelay::start_with(|config| {
        config.mail.send_rate = 50;
        config.mail.send_burst = 5;
    })
    .await;
    let relay = relay.for_these(&[ALICE, BOB, CAROL]).await;
    let mut carol = relay.connect(CAROL, Encoding::Proto).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let (mut taken, mut refused) = (0, 0);
    // A flood: the next send never waits for an answer.
    let goodbye = 'flood: loop {
        for number in 0..50 {
            let letter = letter(taken + refused + number + 1, &[BOB], "x");
            if alice.try_send(Body::Send(letter)).await.is_err() {
                break;
            }
        }
        for _ in 0..50 {
            match alice.frame().await {
                Body::SendOk(_) => taken += 1,
                Body::SendErr(error) => {
                    assert_eq!(error.code, "rate_limited");
                    refused += 1;
                }
                Body::QueueEmpty(_) => {}
                Body::Goodbye(goodbye) => break 'flood goodbye,
                other => panic!("{other:?}"),
            }
        }
        still_works(&mut carol).await;
    };
    assert_eq!((goodbye.code, goodbye.reconnect), (4429, true));
    assert!(goodbye.retry_after_ms > 0);
    assert_eq!(alice.ended().await.code, Some(CloseCode::RateLimited));
    // It had its chances.
    assert!(refused >= 1000, "{refused}");
    still_works(&mut carol).await;
    drop(carol);
    relay.stop().await;
}

#[tokio::test]
async fn a_full_mailbox_refuses_with_a_fair_share_and_a_reserve_for_small_ones() {
    let relay = TestRelay::start_with(|config| config.limits.mailbox_envelopes = 10).await;
    let relay = relay.for_these(&[ALICE, BOB, CAROL]).await;
    let mut alice = relay.connect(ALICE, Encoding::Json).await;
    let mut carol = relay.connect(CAROL, Encoding::Proto).await;
    let large = vec![b'x'; 1025];
    let small = vec![b'x'; 1024];
    for number in 1..=5 {
        alice.post(letter(number, &[BOB], large.clone())).await;
    }
    // Half of it is hers, and no more, however small.
    let refused = alice.try_post(letter(6, &[BOB], "x")).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.retryable), ("mailbox_full", true));
    for number in 1..=4 {
        carol.post(letter(number, &[BOB], large.clone())).await;
    }
    let refused = carol
        .try_post(letter(5, &[BOB], large.clone()))
        .await
        .unwrap_err();
    assert_eq!(refused.code, "mailbox_full");
    carol.post(letter(5, &[BOB], small)).await;
    let refused = carol.try_post(letter(6, &[BOB], "x")).await.unwrap_err();
    assert_eq!(refused.code, "mailbox_full");
    // A retry of what is in there is no new envelope.
    assert!(alice.post(letter(1, &[BOB], large.clone())).await.duplicate);
    drop((alice, carol));

    // All of it holds after a restart, and an ack makes room.
    let relay = relay.restart().await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let refused = alice.try_post(letter(6, &[BOB], "x")).await.unwrap_err();
    assert_eq!(refused.code, "mailbox_full");
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    let mail = bob.mail(10).await;
    bob.ack(&mail[..2]).await;
    bob.settled().await;
    alice.post(letter(6, &[BOB], large.clone())).await;
    bob.ack(&mail[2..]).await;
    bob.settled().await;
    for number in 7..=10 {
        alice.post(letter(number, &[BOB], large.clone())).await;
    }
    let refused = alice.try_post(letter(11, &[BOB], "x")).await.unwrap_err();
    assert_eq!(refused.code, "mailbox_full");
    drop((alice, bob));
    relay.stop().await;
}
