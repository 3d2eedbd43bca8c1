//! The built relay under something that starts it, hands it sockets, is told how it goes, and restarts it.
//!
//! Everything here waits for datagrams, answers and ends, never for time.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

use std::time::Duration;

use rustix::process::Signal;

#[path = "service/manager.rs"]
mod manager;

use manager::{Client, Hearing, House, Socket};

/// Watched every second.
const WATCHED: &[(&str, &str)] = &[("WATCHDOG_USEC", "1000000")];

#[test]
fn it_says_what_it_does_from_the_start_to_the_end() {
    let house = House::new();
    for hearing in [Hearing::at_path(house.folder()), Hearing::abstractly()] {
        let mut relay = house.start(&hearing, WATCHED);
        let opening = hearing.until(|said| said.has("STATUS=opening the store"));
        assert!(opening.last().has("EXTEND_TIMEOUT_USEC=10000000"), "{opening:?}");
        let ready = hearing.until(|said| said.has("READY=1"));
        assert!(ready.last().starts("STATUS=listening on 127.0.0.1:"), "{ready:?}");
        // Ready means that clients are taken.
        assert_eq!(house.get(relay.address(), "/readyz"), "HTTP/1.1 200 OK");
        let alive = hearing.until(|said| said.has("WATCHDOG=1"));
        assert!(!alive.iter().any(|said| said.has("STOPPING=1")));
        let told = hearing.until(|said| said.starts("STATUS=0 sessions"));
        assert!(told.last().has("STATUS=0 sessions, 0 messages/s"), "{told:?}");
        relay.terminate();
        let stopping = hearing.until(|said| said.has("STOPPING=1"));
        assert!(
            stopping.last().has("STATUS=draining: 0 sessions left"),
            "{stopping:?}"
        );
        assert!(!stopping.iter().any(|said| said.has("READY=1")), "{stopping:?}");
        assert_eq!(relay.end().0, Some(0));
    }
}

#[test]
fn a_reload_is_told_with_its_time_and_a_refused_one_ends_ready_too() {
    let house = House::new();
    let hearing = Hearing::at_path(house.folder());
    let relay = house.start(&hearing, &[]);
    hearing.until(|said| said.has("READY=1"));
    let reload = house.chatctl("reload --wait 30s --data-dir data");
    assert!(reload.status.success(), "{reload:?}");
    let began = hearing.until(|said| said.has("RELOADING=1"));
    assert!(began.last().starts("MONOTONIC_USEC="), "{began:?}");
    let done = hearing.until(|said| said.has("READY=1"));
    assert!(done.last().has("STATUS=reloaded, generation 2"), "{done:?}");

    house.configure("[mail]\nsend_rate = \"many\"\n");
    let reload = house.chatctl("reload --wait 30s --data-dir data -c nowhere.toml");
    assert!(!reload.status.success(), "a file that is named has to be there");
    let reload = house.chatctl("reload --wait 30s --admin-socket data/admin.sock");
    let said = String::from_utf8(reload.stderr).unwrap();
    assert_eq!(reload.status.code(), Some(78), "{said}");
    assert!(said.contains("kept the old configuration"), "{said}");
    hearing.until(|said| said.has("RELOADING=1"));
    let done = hearing.until(|said| said.has("READY=1"));
    assert!(
        done.last()
            .starts("STATUS=the configuration is not good; the old one is kept"),
        "{done:?}"
    );
    drop(relay);
}

#[test]
fn nobody_is_refused_while_one_relay_goes_and_the_next_comes() {
    let house = House::new();
    let hearing = Hearing::at_path(house.folder());
    let socket = Socket::listen();
    let mut first = house.start_on(&socket, "relay", &hearing);
    hearing.until(|said| said.has("READY=1"));
    assert_eq!(house.get(socket.address(), "/readyz"), "HTTP/1.1 200 OK");
    let log = first.log_until("starting version=");
    assert!(
        log.contains(&format!("{} (inherited)", socket.address())),
        "{log}"
    );
    first.terminate();
    hearing.until(|said| said.has("STOPPING=1"));
    assert_eq!(first.end().0, Some(0));
    // Nobody takes it yet, and it is not refused.
    let waiting = socket.connect();
    let second = house.start_on(&socket, "chatctl.socket", &hearing);
    assert_eq!(waiting.get("/readyz"), "HTTP/1.1 200 OK");
    drop(second);
}

#[test]
fn what_is_handed_over_and_is_no_relays_socket_ends_the_start() {
    let house = House::new();
    let hearing = Hearing::at_path(house.folder());
    let socket = Socket::listen();
    let metrics = house.start_on(&socket, "metrics", &hearing).end();
    assert_eq!(metrics.0, Some(78), "{}", metrics.1);
    let wrong = house.start_on(&Socket::datagrams(), "relay", &hearing).end();
    assert_eq!(wrong.0, Some(78), "{}", wrong.1);
}

#[test]
fn a_stopped_process_gives_no_sign_of_life() {
    let house = House::new();
    let hearing = Hearing::at_path(house.folder());
    let relay = house.start(&hearing, WATCHED);
    hearing.until(|said| said.has("WATCHDOG=1"));
    relay.freeze();
    hearing.clear();
    // Longer than the watchdog waits.
    assert_eq!(hearing.next_within(Duration::from_millis(1_500)), None);
    relay.signal(Signal::CONT);
    hearing.until(|said| said.has("WATCHDOG=1"));
}

#[test]
fn another_processs_watchdog_and_a_socket_of_nobody_are_none_of_ours() {
    let house = House::new();
    let hearing = Hearing::at_path(house.folder());
    let others = [("WATCHDOG_USEC", "20000"), ("WATCHDOG_PID", "1")];
    let relay = house.start(&hearing, &others);
    hearing.until(|said| said.has("READY=1"));
    relay.terminate();
    let all = hearing.until(|said| said.has("STOPPING=1"));
    assert!(!all.iter().any(|said| said.has("WATCHDOG=1")), "{all:?}");
    assert_eq!(relay.end().0, Some(0));
    for nobody in ["/nowhere/notify", "@nobody", "", "vsock:2:1"] {
        let mut relay = house.start_with(&[("NOTIFY_SOCKET", nobody), WATCHED[0]]);
        relay.log_until("listening addr");
        relay.terminate();
        assert_eq!(relay.end().0, Some(0), "{nobody}");
    }
}

#[test]
fn with_few_descriptors_who_is_too_many_is_told_so() {
    let house = House::new();
    let hearing = Hearing::at_path(house.folder());
    let mut relay = house.start_limited(200, &hearing);
    hearing.until(|said| said.has("READY=1"));
    let log = relay.log_until("LimitNOFILE=").to_owned();
    assert!(log.contains("most_sessions=100"), "{log}");
    let address = relay.address();
    let mut clients: Vec<_> = (0..120).map(|_| Client::connect(address)).collect();
    let said: Vec<_> = clients
        .iter_mut()
        .map(|client| client.ask("/v1/ws", UPGRADE))
        .collect();
    let (sessions, others) = said.split_at(100);
    assert!(
        sessions
            .iter()
            .all(|said| said == "HTTP/1.1 101 Switching Protocols"),
        "{sessions:?}"
    );
    assert!(
        others
            .iter()
            .all(|said| said == "HTTP/1.1 503 Service Unavailable"),
        "{others:?}"
    );
    drop(clients);
    assert_eq!(house.get(address, "/healthz"), "HTTP/1.1 200 OK");
    relay.terminate();
    let (code, log) = relay.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("could not be accepted"), "{log}");
}

#[test]
fn apply_has_nothing_to_do_on_a_directory_and_no_database_is_unreachable() {
    let house = House::new();
    let hearing = Hearing::at_path(house.folder());
    let relay = house.start_more("--data-dir data --apply", &hearing);
    hearing.until(|said| said.has("READY=1"));
    relay.terminate();
    assert_eq!(relay.end().0, Some(0));
    let store = "--store mongodb://127.0.0.1:9/chat?replicaSet=rs0 --store-timeout 1s --apply";
    let relay = house.start_more(store, &hearing);
    let applying = hearing.until(|said| said.starts("STATUS=applying"));
    assert!(
        applying.last().has("EXTEND_TIMEOUT_USEC=10000000"),
        "{applying:?}"
    );
    assert_eq!(relay.end().0, Some(69));
}

/// What an upgrade asks for.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chatctl.v1.json\r\n";
