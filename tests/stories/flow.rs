//! Slow and greedy clients: windows, big backlogs, peers that do not read or do not ack.

use std::time::Duration;

use bytes::Bytes;
use chatctl_protocol::v1::{Ack, Hello, QueueEmpty, frame::Body};
use chatctl_protocol::{CloseCode, Encoding};
use tokio::net::TcpSocket;

use crate::letters::{letter, texts};
use crate::relay::{ALICE, BOB, CAROL, TestRelay, eventually, still_works};
use crate::socket::RawSocket;

const QUEUE_EMPTY: Body = Body::QueueEmpty(QueueEmpty {});

/// Bob's hello, with a window.
fn windowed(relay: &TestRelay, window: u32, window_bytes: u32) -> Hello {
    Hello {
        token: relay.keys().token(BOB),
        window,
        window_bytes,
        ..Hello::default()
    }
}

#[tokio::test]
async fn no_more_envelopes_are_out_than_the_window_has_room_for() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_for(&[ALICE, BOB]).await;
        let mut alice = relay.connect(ALICE, Encoding::Proto).await;
        for number in 1..=5 {
            alice.post(letter(number, &[BOB], format!("{number}"))).await;
        }
        let (mut bob, _) = relay.connect_with(windowed(&relay, 2, 0), encoding).await;
        let mut out = bob.mail(2).await;
        for next in ["3", "4", "5"] {
            assert_eq!(bob.settled().await, []);
            bob.ack(&out[..1]).await;
            out.remove(0);
            let mail = bob.mail(1).await;
            assert_eq!(texts(&mail), [(next, 1)]);
            out.extend(mail);
        }
        assert_eq!(bob.settled().await, []);
        bob.ack(&out).await;
        assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
        drop((alice, bob));
        relay.stop().await;
    }
}

#[tokio::test]
async fn no_more_bytes_are_out_than_the_window_has_room_for() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let mut bytes = Vec::new();
    let sizes = [600, 300, 600, 2000, 400, 600, 1];
    for (number, size) in (1..).zip(sizes) {
        alice.post(letter(number, &[BOB], vec![b'x'; size])).await;
    }
    let (mut bob, _) = relay
        .connect_with(windowed(&relay, 64, 1000), Encoding::Proto)
        .await;
    // A single one passes whatever its size.
    for together in [&[600, 300][..], &[600], &[2000], &[400, 600], &[1]] {
        let mail = bob.mail(together.len()).await;
        bytes.extend(mail.iter().map(|envelope| envelope.payload.len()));
        assert_eq!(bob.settled().await, [], "after {together:?}");
        bob.ack(&mail).await;
    }
    assert_eq!(bytes, sizes);
    assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
    // Live mail as well: it waits for the window, and then comes.
    alice.post(letter(8, &[BOB], vec![b'x'; 600])).await;
    alice.post(letter(9, &[BOB], vec![b'x'; 601])).await;
    let mail = bob.mail(1).await;
    assert_eq!(bob.settled().await, []);
    bob.ack(&mail).await;
    assert_eq!(bob.mail(1).await[0].payload.len(), 601);
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn a_big_backlog_drains_completely_in_bounded_memory() {
    let count: u64 = std::env::var("CHATCTL_STORY_BACKLOG").map_or(100_000, |count| count.parse().unwrap());
    let relay = TestRelay::start_with(|config| {
        config.limits.mailbox_envelopes = 1_000_000;
        config.limits.mailbox_bytes = 1 << 30;
        config.mail.send_rate = 1_000_000;
        config.mail.send_burst = 1_000_000;
        config.mail.tail_bytes = 4 << 20;
    })
    .await;
    let relay = relay.for_these(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let payload = Bytes::from(vec![b'x'; 500]);
    let mut answered = 0;
    for number in 1..=count {
        alice
            .send(Body::Send(letter(number, &[BOB], payload.clone())))
            .await;
        if number - answered == 200 {
            answered += 1;
            alice.answer(answered).await.unwrap();
        }
    }
    for number in answered + 1..=count {
        alice.answer(number).await.unwrap();
    }
    let before = resident();
    let (mut bob, hello_ok) = relay
        .connect_with(windowed(&relay, 256, 4 << 20), Encoding::Proto)
        .await;
    assert_eq!(hello_ok.pending, count);
    let (mut taken, mut last) = (0, 0);
    while taken < count {
        let mail = bob
            .find(|body| match body {
                Body::Deliver(deliver) => Some(deliver.envelopes.clone()),
                _ => None,
            })
            .await;
        for envelope in &mail {
            assert!(envelope.id > last, "out of order, or twice");
            assert_eq!(envelope.attempt, 1);
            last = envelope.id;
        }
        taken += mail.len() as u64;
        bob.ack(&mail).await;
    }
    assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
    // The whole backlog would be more; other stories run in this process as well.
    let grown = resident().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes");
    bob.leave().await;
    let (bob, hello_ok) = relay.connect_with(windowed(&relay, 0, 0), Encoding::Proto).await;
    assert_eq!(hello_ok.pending, 0);
    drop((alice, bob));
    relay.stop().await;
}

/// Bytes of memory that this process holds.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn whoever_never_acks_at_a_full_window_is_closed() {
    let relay =
        TestRelay::start_with(|config| config.server.slow_consumer = Duration::from_millis(100)).await;
    let relay = relay.for_these(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    for number in 1..=3 {
        alice.post(letter(number, &[BOB], format!("{number}"))).await;
    }
    for encoding in Encoding::ALL {
        let (bob, _) = relay.connect_with(windowed(&relay, 2, 0), encoding).await;
        let parting = bob.ended().await;
        assert_eq!(parting.code, Some(CloseCode::SlowConsumer));
        let goodbye = parting.goodbye.unwrap();
        assert_eq!((goodbye.code, goodbye.reconnect), (4490, true));
    }
    // Whoever acks something may go on, and a window that is not full is nobody's fault.
    let (mut bob, _) = relay.connect_with(windowed(&relay, 2, 0), Encoding::Proto).await;
    let mail = bob.mail(2).await;
    bob.ack(&mail).await;
    assert_eq!(texts(&bob.mail(1).await), [("3", 1)]);
    still_works(&mut alice).await;
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn whoever_never_reads_is_closed_and_nobody_else_notices() {
    let relay = TestRelay::start_with(|config| {
        config.server.slow_consumer = Duration::from_millis(200);
        config.limits.max_window_bytes = 64 << 20;
    })
    .await;
    let relay = relay.for_these(&[ALICE, BOB, CAROL]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    for number in 1..=150 {
        alice.post(letter(number, &[BOB], vec![b'x'; 96 * 1024])).await;
    }
    // A small receive buffer, so that the kernel does not read for Bob.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(relay.address()).await.unwrap();
    let mut bob = RawSocket::over(stream, Encoding::Json).await;
    bob.send(Body::Hello(windowed(&relay, 256, 64 << 20))).await;
    let mut carol = relay.connect(CAROL, Encoding::Proto).await;
    let closed = r#"chatctl_sessions_closed_total{reason="slow_consumer"} 1"#;
    while !relay.metrics().exposition().unwrap().contains(closed) {
        still_works(&mut carol).await;
    }
    // Its mail waits for a better one.
    let (bob_again, hello_ok) = relay.connect_with(windowed(&relay, 1, 0), Encoding::Proto).await;
    assert_eq!(hello_ok.pending, 150);
    drop((alice, bob, bob_again, carol));
    eventually("everybody is gone", || relay.metrics().sessions.get() == 0).await;
    relay.stop().await;
}

#[tokio::test]
async fn acks_in_any_form_are_taken_and_nonsense_in_them_is_ignored() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let mut bob = relay.connect(BOB, Encoding::Json).await;
    for number in 1..=3 {
        alice.post(letter(number, &[BOB], format!("{number}"))).await;
    }
    let mail = bob.mail(3).await;
    let ids = [2, 2, 0].map(|place: usize| mail[place].id).to_vec();
    bob.send(Body::Ack(Ack { ids })).await;
    bob.send(Body::Ack(Ack { ids: Vec::new() })).await;
    bob.send(Body::Ack(Ack {
        ids: (0..1000).collect(),
    }))
    .await;
    bob.settled().await;
    bob.leave().await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    assert_eq!(texts(&bob.mail(1).await), [("2", 2)]);
    drop((alice, bob));
    relay.stop().await;
}
