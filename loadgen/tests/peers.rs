//! Wires to other servers: the bare relay and an echo always, the rest where
//! `eval "$(scripts/peers env)"` has started them: `cargo nextest run -p chatctl-loadgen --test peers --run-ignored all`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "tests; what is unexpected should stop them, there and then"
)]

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use chatctl_client::Token;
use chatctl_loadgen::bare::Speech;
use chatctl_loadgen::outcome::Integrity;
use chatctl_loadgen::plan::{Account, Client, Plan};
use chatctl_loadgen::progress::Progress;
use chatctl_loadgen::run::Stage;
use chatctl_loadgen::scenario::{Clients, Faults, Load, Payload, Phases, SCHEMA, Scenario, Topology, Until};
use chatctl_loadgen::tally::Count;
use chatctl_loadgen::units::Span;
use chatctl_loadgen::wire::mqtt::{self, Mqtt};
use chatctl_loadgen::wire::nats::{self, Nats};
use chatctl_loadgen::wire::ws_echo::{self, WsEcho};
use chatctl_loadgen::wire::xmpp::{self, Xmpp};
use chatctl_loadgen::wire::{Heard, Parcel, Part, Passes, Post, Trouble, Who, Wire};
use chatctl_protocol::{AccountId, ClientMsgId, DeviceId};
use futures_util::{SinkExt as _, StreamExt as _};
use smallvec::smallvec;
use tokio::net::TcpListener;

#[tokio::test]
async fn the_bare_relay_carries_mail_in_order() {
    let place = ws_echo::Place::new(&bare_relay().await, ws_echo::Kind::Relay).unwrap();
    talk::<WsEcho>(&place, "bare").await;
    pairs::<WsEcho>(place, Until::Delivered).await;
}

#[tokio::test]
async fn the_bare_relay_drops_mail_to_nobody_and_gives_a_name_to_its_newest_client() {
    let place = ws_echo::Place::new(&bare_relay().await, ws_echo::Kind::Relay).unwrap();
    let (alice, bob) = (account("alice"), account("bob"));
    let mut writer = join::<WsEcho>(&place, &alice).await;
    send(&mut writer, &bob, 1..2).await;
    let mut old = join::<WsEcho>(&place, &bob).await;
    send(&mut writer, &bob, 2..3).await;
    assert_eq!(mail(&mut old, 1).await, [letter(2)]);
    let mut new = join::<WsEcho>(&place, &bob).await;
    send(&mut writer, &bob, 3..4).await;
    assert_eq!(mail(&mut new, 1).await, [letter(3)]);
    drop(old);
    send(&mut writer, &bob, 4..5).await;
    assert_eq!(mail(&mut new, 1).await, [letter(4)]);
}

#[tokio::test]
async fn an_echo_answers_each_message_and_brings_it_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let echo = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut web = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = web.next().await {
            web.send(message).await.unwrap();
        }
    };
    let story = async {
        let place = ws_echo::Place::new(&url, ws_echo::Kind::Echo).unwrap();
        let mut alice = join::<WsEcho>(&place, &account("alice")).await;
        post(&mut alice, &account("bob"), 7).await;
        assert!(matches!(hear(&mut alice).await, Heard::Ok { serial: 7 }));
        assert_eq!(mail(&mut alice, 1).await, [letter(7)]);
    };
    tokio::select! {
        () = echo => panic!("the echo ended"),
        () = story => {}
    }
}

#[tokio::test]
#[ignore = "needs a NATS server: scripts/peers env"]
async fn nats_core_carries_mail_over_tcp_and_websocket() {
    for variable in ["CHATCTL_TEST_NATS", "CHATCTL_TEST_NATS_WEB"] {
        let url = peer(variable);
        let place = nats::Place::new(&url, nats::Mode::Core).unwrap();
        talk::<Nats>(&place, variable).await;
        pairs::<Nats>(place, Until::Delivered).await;
    }
}

#[tokio::test]
#[ignore = "needs a NATS server: scripts/peers env"]
async fn jetstream_keeps_mail_until_it_is_acked() {
    let url = peer("CHATCTL_TEST_NATS");
    let place = nats::Place::new(&url, nats::Mode::JetStream).unwrap();
    keep::<Nats>(&place, "jetstream").await;
    pairs::<Nats>(place, Until::Ok).await;
}

#[tokio::test]
#[ignore = "needs Mosquitto: scripts/peers env"]
async fn mqtt_carries_mail_at_most_once_over_tcp_and_websocket() {
    for variable in ["CHATCTL_TEST_MQTT", "CHATCTL_TEST_MQTT_WEB"] {
        let place = mqtt::Place::new(&peer(variable), mqtt::Mode::AtMostOnce).unwrap();
        talk::<Mqtt>(&place, variable).await;
        pairs::<Mqtt>(place, Until::Delivered).await;
    }
}

#[tokio::test]
#[ignore = "needs Mosquitto: scripts/peers env"]
async fn mqtt_keeps_mail_until_it_is_acked() {
    for variable in ["CHATCTL_TEST_MQTT", "CHATCTL_TEST_MQTT_WEB"] {
        let url = peer(variable);
        let place = mqtt::Place::new(&url, mqtt::Mode::AtLeastOnce).unwrap();
        keep::<Mqtt>(&place, variable).await;
        pairs::<Mqtt>(place, Until::Ok).await;
    }
}

#[tokio::test]
#[ignore = "needs Prosody: scripts/peers env"]
async fn prosody_keeps_mail_until_it_is_acked() {
    let url = peer("CHATCTL_TEST_PROSODY");
    let place = xmpp::Place::new(&url, "localhost").unwrap();
    keep::<Xmpp>(&place, "prosody").await;
    pairs::<Xmpp>(place, Until::Ok).await;
}

#[tokio::test]
#[ignore = "needs ejabberd: scripts/peers env"]
async fn ejabberd_keeps_mail_until_it_is_acked() {
    let url = peer("CHATCTL_TEST_EJABBERD");
    let place = xmpp::Place::new(&url, "localhost").unwrap();
    keep::<Xmpp>(&place, "ejabberd").await;
    pairs::<Xmpp>(place, Until::Ok).await;
}

#[tokio::test]
async fn nobody_there_is_a_trouble_with_a_class() {
    // Bound and not listened to: nothing else gets this port meanwhile.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let place = nats::Place::new(&format!("nats://{address}"), nats::Mode::Core).unwrap();
    let refused = Nats::connect(&place, &who(&account("alice"))).await.unwrap_err();
    assert_eq!(
        refused,
        Trouble {
            class: "connect.refused".to_owned(),
            fatal: false
        }
    );
}

/// Two clients; everything that one posts is OK, and arrives at the other in order, with its kind.
async fn talk<W: Wire>(place: &W::Place, what: &str) {
    let what = &format!("{what}-{}", std::process::id());
    let (alice, bob) = (account(&format!("{what}-alice")), account(&format!("{what}-bob")));
    let plan = plan(&[&alice, &bob]);
    let progress = Progress::default();
    W::prepare(place, &plan, &NoPasses, &progress).await.unwrap();
    let mut writer = join::<W>(place, &alice).await;
    let mut reader = join::<W>(place, &bob).await;
    send(&mut writer, &bob, 0..500).await;
    assert_eq!(
        mail(&mut reader, 500).await,
        (0..500).map(letter).collect::<Vec<_>>(),
        "{what}"
    );
    send(&mut reader, &alice, 0..1).await;
    assert_eq!(mail(&mut writer, 1).await, [letter(0)], "{what}");
    leave(writer).await;
    leave(reader).await;
    W::tidy(place, &plan, &NoPasses).await;
}

/// Mail to somebody who is away waits in order, goes once it was acked, and is not lost while it was not.
async fn keep<W: Wire>(place: &W::Place, what: &str) {
    talk::<W>(place, what).await;
    let what = &format!("{what}-{}", std::process::id());
    let (alice, bob) = (account(&format!("{what}-anna")), account(&format!("{what}-bert")));
    let plan = plan(&[&alice, &bob]);
    let progress = Progress::default();
    W::prepare(place, &plan, &NoPasses, &progress).await.unwrap();
    assert_eq!(progress.prepared.load(Ordering::Relaxed), 2);
    let mut writer = join::<W>(place, &alice).await;
    send(&mut writer, &bob, 0..50).await;

    let mut reader = W::connect(place, &who(&bob)).await.unwrap();
    assert_eq!(
        mail(&mut reader, 50).await,
        (0..50).map(letter).collect::<Vec<_>>(),
        "{what}"
    );
    assert!(matches!(next(&mut reader).await, Heard::Empty), "{what}");
    leave(reader).await;

    let mut reader = W::connect(place, &who(&bob)).await.unwrap();
    assert!(
        matches!(next(&mut reader).await, Heard::Empty),
        "{what}: it comes again"
    );
    drop(reader);
    W::tidy(place, &plan, &NoPasses).await;
}

/// The engine over this wire: pairs, closed, until all has arrived. What was posted arrives once, whole and in order.
async fn pairs<W: Wire>(place: W::Place, until: Until) {
    let scenario = Scenario {
        schema: SCHEMA.to_owned(),
        name: "pairs".to_owned(),
        seed: 1,
        clients: Clients {
            count: 8,
            ..Clients::default()
        },
        topology: Topology::Pairs,
        load: Load::Closed {
            in_flight: 32,
            until,
            duration: Span(Duration::from_secs(1)),
        },
        phases: Phases {
            warmup: Span(Duration::from_millis(100)),
            ..Phases::default()
        },
        payload: Payload::default(),
        faults: Faults::default(),
        thresholds: Vec::new(),
    };
    let run = std::process::id().into();
    let plan = Plan::new(&scenario, run, (0, 1)).unwrap();
    let stage = Stage::<W>::alone(place, plan, Arc::new(NoPasses), run);
    let running = tokio::task::spawn_blocking(move || chatctl_loadgen::run::run(&scenario, stage));
    let outcome = running.await.unwrap().unwrap();
    let arrived = outcome.measured.count(Count::Delivered);
    let kind = std::any::type_name::<W>().rsplit("::").next().unwrap();
    let (cpu, seconds) = (outcome.cpu, outcome.seconds);
    eprintln!(
        "{kind}: {arrived} messages in {seconds:.2} s, {:.2} us each",
        cpu / arrived as f64 * 1e6
    );
    assert!(arrived > 0);
    let good = Integrity {
        streams: 4,
        ..Integrity::default()
    };
    assert_eq!(outcome.integrity, good);
    assert!(outcome.whole.errors().is_empty(), "{:?}", outcome.whole.errors());
}

/// Connects, and waits until nothing waits.
async fn join<W: Wire>(place: &W::Place, account: &AccountId) -> W {
    let mut wire = W::connect(place, &who(account)).await.unwrap();
    assert!(matches!(next(&mut wire).await, Heard::Empty));
    wire
}

/// Posts letters and waits until all of them are OK.
async fn send<W: Wire>(wire: &mut W, to: &AccountId, letters: std::ops::Range<u64>) {
    for serial in letters.clone() {
        post(wire, to, serial).await;
    }
    for serial in letters {
        let heard = next(wire).await;
        assert!(
            matches!(heard, Heard::Ok { serial: safe } if safe == serial),
            "{heard:?} is not OK {serial}"
        );
    }
}

async fn post<W: Wire>(wire: &mut W, to: &AccountId, serial: u64) {
    poll_fn(|cx| wire.poll_ready(cx)).await.unwrap();
    let (kind, payload) = letter(serial);
    let part = Part {
        device_id: DeviceId::parse("1").unwrap(),
        registration_id: 1,
        kind,
        payload,
    };
    let name = ClientMsgId::parse(serial.to_le_bytes()).unwrap();
    wire.post(Post {
        serial,
        to,
        name,
        parts: smallvec![part],
    })
    .unwrap();
}

/// So many parcels, each acked.
async fn mail<W: Wire>(wire: &mut W, count: usize) -> Vec<(u32, Bytes)> {
    let mut mail = Vec::new();
    while mail.len() < count {
        match next(wire).await {
            Heard::Mail(Parcel {
                receipt,
                kind,
                payload,
                again,
            }) => {
                assert!(!again);
                wire.ack(receipt);
                mail.push((kind, payload));
            }
            other => panic!("{other:?} is no mail, after {}", mail.len()),
        }
    }
    poll_fn(|cx| wire.poll_flush(cx)).await.unwrap();
    mail
}

/// Goes once the server has had time to take the acks: it answers to what is written after them.
async fn leave<W: Wire>(mut wire: W) {
    let nobody = account("nobody");
    post(&mut wire, &nobody, 1).await;
    next(&mut wire).await;
}

/// What comes next and means something.
async fn next<W: Wire>(wire: &mut W) -> Heard {
    loop {
        match hear(wire).await {
            Heard::Nothing => {}
            heard => return heard,
        }
    }
}

async fn hear<W: Wire>(wire: &mut W) -> Heard {
    let heard = poll_fn(|cx| {
        if let Poll::Ready(Err(trouble)) = wire.poll_flush(cx) {
            return Poll::Ready(Err(trouble));
        }
        wire.poll_next(cx)
    });
    tokio::time::timeout(Duration::from_secs(20), heard)
        .await
        .expect("nothing was heard")
        .unwrap()
}

/// A payload of the size of its number, with bytes that text protocols trip over.
fn letter(number: u64) -> (u32, Bytes) {
    let odd = b"\r\n<&>\0\xff"
        .iter()
        .cycle()
        .take(usize::try_from(number).unwrap());
    let payload = number.to_le_bytes().iter().chain(odd).copied().collect();
    (u32::try_from(number % 3).unwrap(), payload)
}

async fn bare_relay() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = listener.into_std().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            chatctl_loadgen::bare::serve(listener, Speech::Bare).await;
        });
    });
    url
}

fn peer(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: eval \"$(scripts/peers env)\" starts servers and sets it")
    })
}

fn account(name: &str) -> AccountId {
    AccountId::parse(&name.to_lowercase()).unwrap()
}

fn who(account: &AccountId) -> Who {
    Who {
        account: account.clone(),
        device_id: DeviceId::parse("1").unwrap(),
        token: Token::new(""),
        source: None,
    }
}

fn plan(accounts: &[&AccountId]) -> Plan {
    let places = 0..u32::try_from(accounts.len()).unwrap();
    let client = |account| Client {
        account,
        device_id: DeviceId::parse("1").unwrap(),
        registration_id: 1,
    };
    Plan {
        clients: places.clone().map(client).collect(),
        accounts: places
            .zip(accounts)
            .map(|(at, name)| Account {
                name: AccountId::clone(name),
                devices: at..at + 1,
            })
            .collect(),
        senders: Vec::new(),
        first: 0,
        group: 2,
    }
}

struct NoPasses;

impl Passes for NoPasses {
    fn token(&self, _account: &AccountId, _device_id: &DeviceId) -> Result<Token, String> {
        Ok(Token::new(""))
    }
}
