//! Runs against a whole relay: what was sent, accepted and delivered, and that nothing was lost on the way. Counts are
//! asserted, never times.

#![expect(clippy::unwrap_used, reason = "a test")]

mod agents;
mod cut;
mod meddler;
mod relay;
mod truth;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chatctl_loadgen::outcome::Integrity;
use chatctl_loadgen::plan::Plan;
use chatctl_loadgen::progress::Progress;
use chatctl_loadgen::run::{self, Outcome, RunError, Stage};
use chatctl_loadgen::scenario::Scenario;
use chatctl_loadgen::tally::{Count, Latency};
use chatctl_loadgen::wire::chatctl::RelayWire;
use tokio_util::sync::CancellationToken;

use crate::cut::Cut;
use crate::relay::{TestPasses, TestRelay};

#[test]
fn open_pairs_lose_nothing_and_send_what_is_due() {
    let relay = TestRelay::start();
    let outcome = relay.run(&scenario(
        "clients.count = 20
         load = {model = 'open', stages = [{rate = '500/s', for = '1s'}]}
         phases = {warmup = '200ms'}",
    ));
    assert_counts(&outcome, 500, 600, 10);
    let latencies = [Latency::E2e, Latency::Service, Latency::Ok, Latency::Late];
    for latency in latencies {
        assert_eq!(
            outcome.measured.latency(latency).unwrap().len(),
            500,
            "{latency:?}"
        );
        assert_eq!(outcome.whole.latency(latency).unwrap().len(), 600, "{latency:?}");
    }
    assert_eq!(outcome.measured.count(Count::Connected), 20);
    assert_eq!((outcome.missed, outcome.is_interrupted), (0, false));
    let moments = outcome
        .moments
        .iter()
        .map(|moment| moment.counts.count(Count::Delivered));
    assert_eq!(moments.sum::<u64>(), 600);
    let heat = outcome.moments.iter().flat_map(|moment| &moment.heat);
    assert_eq!(heat.sum::<u32>(), 600);
    assert_eq!(outcome.moments.first().unwrap().connections, 20);
}

#[test]
fn a_closed_game_of_ping_pong_has_one_ball() {
    let relay = TestRelay::start();
    let outcome = relay.run(&scenario(
        "clients.count = 4
         load = {model = 'closed', in_flight = 1, until = 'delivered', duration = '500ms'}
         phases = {warmup = '0s'}",
    ));
    let sent = outcome.whole.count(Count::Sent);
    assert!(sent > 10, "{sent}");
    assert_counts(&outcome, sent, sent, 2);
    assert!(outcome.measured.latency(Latency::Late).is_none());
}

#[test]
fn a_closed_load_keeps_its_messages_in_flight() {
    let relay = TestRelay::start();
    let outcome = relay.run(&scenario(
        "clients.count = 4
         load = {model = 'closed', in_flight = 16, duration = '500ms'}
         phases = {warmup = '100ms'}",
    ));
    let (measured, whole) = (
        outcome.measured.count(Count::Sent),
        outcome.whole.count(Count::Sent),
    );
    assert!(measured > 32 && whole > measured, "{measured} {whole}");
    assert_counts(&outcome, measured, whole, 2);
}

#[test]
fn a_message_to_many_is_one_for_each_of_their_devices() {
    let relay = TestRelay::start();
    let outcome = relay.run(&scenario(
        "clients = {count = 12, devices_per_account = 2}
         topology = {kind = 'fanout', recipients = 5}
         load = {model = 'open', stages = [{rate = '50/s', for = '1s'}]}
         phases = {warmup = '0s'}",
    ));
    assert_counts(&outcome, 500, 500, 10);
    assert_eq!(outcome.measured.latency(Latency::Spread).unwrap().len(), 50);
}

#[test]
fn a_crowd_is_spread_over_workers() {
    let relay = TestRelay::start();
    let outcome = relay.run(&scenario(
        "clients.count = 31
         topology = {kind = 'fanin', senders = 30}
         load = {model = 'open', arrival = 'poisson', stages = [{rate = '400/s', for = '1s'}]}
         phases = {warmup = '0s'}",
    ));
    let due = outcome.measured.count(Count::Due);
    assert!(due > 300, "{due}");
    assert_counts(&outcome, due, due, 30);
}

#[test]
fn everybody_in_a_room_hears_everybody_else() {
    let relay = TestRelay::start();
    let outcome = relay.run(&scenario(
        "clients.count = 12
         topology = {kind = 'rooms', size = 4}
         load = {model = 'open', stages = [{rate = '100/s', for = '1s'}]}
         phases = {warmup = '0s'}",
    ));
    assert_counts(&outcome, 300, 300, 36);
}

#[test]
fn what_was_stored_is_drained_when_recipients_come() {
    let relay = TestRelay::start();
    let outcome = relay.run(&scenario(
        "clients.count = 10
         load = {model = 'offline', each = 300, in_flight = 32}",
    ));
    assert_counts(&outcome, 1500, 1500, 5);
    assert!(outcome.store_seconds.is_some() && outcome.drain_seconds.is_some());
    assert_eq!(outcome.measured.latency(Latency::Drain).unwrap().len(), 5);
    assert!(outcome.measured.latency(Latency::E2e).is_none());
    assert_eq!(outcome.measured.count(Count::Connected), 10);
}

#[test]
fn senders_to_one_mailbox_share_what_it_gets() {
    let relay = TestRelay::start();
    let outcome = relay.run(&scenario(
        "clients.count = 4
         topology = {kind = 'fanin', senders = 3}
         load = {model = 'offline', each = 100, in_flight = 8}",
    ));
    assert_counts(&outcome, 100, 100, 3);
}

#[test]
fn in_a_storm_everybody_comes_back() {
    let relay = TestRelay::start();
    let outcome = relay.run(&scenario(
        "clients.count = 20
         load = {model = 'storm', times = 3, pause = '50ms'}",
    ));
    assert_eq!(outcome.measured.latency(Latency::Reconnect).unwrap().len(), 60);
    assert_eq!(outcome.measured.latency(Latency::Connect).unwrap().len(), 20);
    assert_eq!(outcome.measured.count(Count::Connected), 80);
    assert_eq!(outcome.measured.count(Count::Broken), 0);
}

#[test]
fn connections_that_are_cut_in_the_middle_lose_nothing() {
    let relay = TestRelay::start();
    let cut = Cut::in_front_of(relay.address());
    let cutting = cut.every(Duration::from_millis(200), 4);
    let outcome = relay.run_through(
        cut.address(),
        &scenario(
            "clients.count = 20
             load = {model = 'open', stages = [{rate = '1000/s', for = '2s'}]}
             phases = {warmup = '0s'}",
        ),
        CancellationToken::new(),
    );
    cutting.join().unwrap();
    let outcome = outcome.unwrap();
    assert!(outcome.whole.count(Count::Broken) >= 20, "nothing was cut");
    assert!(outcome.whole.latency(Latency::Reconnect).unwrap().len() >= 20);
    let expected = Integrity {
        streams: 10,
        redelivered: outcome.integrity.redelivered,
        ..Integrity::default()
    };
    assert_eq!(outcome.integrity, expected);
    let counts = [Count::Due, Count::Sent, Count::Accepted, Count::Delivered];
    assert_eq!(counts.map(|count| outcome.whole.count(count)), [2000; 4]);
}

#[test]
fn a_relay_that_is_started_again_in_the_middle_keeps_its_word() {
    let relay = TestRelay::start();
    let scenario = scenario(
        "clients.count = 20
         load = {model = 'open', stages = [{rate = '500/s', for = '2s'}]}
         phases = {warmup = '0s', drain = '20s'}",
    );
    let stage = relay.stage(&scenario, relay.address());
    let seen = stage.progress.clone();
    let restarting = std::thread::spawn(move || {
        while seen.delivered.load(std::sync::atomic::Ordering::Relaxed) < 300 {
            std::thread::yield_now();
        }
        relay.restart()
    });
    let outcome = run::run::<RelayWire>(&scenario, stage).unwrap();
    drop(restarting.join().unwrap());
    assert!(outcome.whole.count(Count::Broken) >= 20, "nobody noticed");
    let expected = Integrity {
        streams: 10,
        redelivered: outcome.integrity.redelivered,
        ..Integrity::default()
    };
    assert_eq!(outcome.integrity, expected, "{:?}", outcome.whole.errors());
    let counts = [Count::Due, Count::Sent, Count::Accepted, Count::Delivered];
    assert_eq!(counts.map(|count| outcome.whole.count(count)), [1000; 4]);
    assert_eq!(outcome.missed, 0);
}

#[test]
fn faults_break_connections_and_nothing_else() {
    let relay = TestRelay::start();
    let outcome = relay.run(&scenario(
        "clients.count = 20
         load = {model = 'open', stages = [{rate = '500/s', for = '1s'}]}
         phases = {warmup = '0s'}
         faults = {reconnect_percent_per_minute = 6000.0, slow_consumers_percent = 50.0}",
    ));
    assert!(outcome.measured.latency(Latency::Reconnect).is_some());
    assert_eq!(outcome.measured.count(Count::Broken), 0);
    let integrity = outcome.integrity;
    assert_eq!(
        (integrity.lost, integrity.unanswered, integrity.duplicated),
        (0, 0, 0)
    );
    assert_eq!(outcome.whole.count(Count::Delivered), 500);
}

#[test]
fn no_key_is_claimed_twice_and_an_empty_queue_gives_the_fallback() {
    let relay = TestRelay::start();
    let outcome = relay.run(&scenario(
        "clients.count = 10
         load = {model = 'claims', rate = '300/s', duration = '1s', targets = 2, keys_each = 100}",
    ));
    let counts = [Count::Due, Count::Claimed, Count::Fallback, Count::ClaimedTwice];
    let errors = outcome.whole.errors();
    assert_eq!(
        counts.map(|count| outcome.measured.count(count)),
        [300, 200, 100, 0],
        "{errors:?}"
    );
    assert_eq!(outcome.measured.latency(Latency::Claim).unwrap().len(), 300);
    assert_eq!((outcome.integrity, outcome.missed), (Integrity::default(), 0));
}

#[test]
fn a_run_that_is_stopped_says_so_and_keeps_what_it_has() {
    let relay = TestRelay::start();
    let stop = CancellationToken::new();
    let progress = Arc::<Progress>::default();
    let (seen, stopper) = (progress.clone(), stop.clone());
    let stopping = std::thread::spawn(move || {
        while seen.delivered.load(std::sync::atomic::Ordering::Relaxed) < 50 {
            std::thread::yield_now();
        }
        stopper.cancel();
    });
    let scenario = scenario(
        "clients.count = 4
         load = {model = 'open', stages = [{rate = '200/s', for = '1h'}]}
         phases = {warmup = '0s'}",
    );
    let mut stage = relay.stage(&scenario, relay.address());
    (stage.stop, stage.progress) = (stop, progress);
    let outcome = run::run::<RelayWire>(&scenario, stage).unwrap();
    stopping.join().unwrap();
    assert!(outcome.is_interrupted);
    let sent = outcome.whole.count(Count::Sent);
    assert!(sent >= 50, "{sent}");
    assert_eq!(outcome.whole.count(Count::Delivered), sent);
    assert_eq!(outcome.integrity.lost, 0);
}

#[test]
fn without_a_relay_nobody_is_connected_and_the_error_says_why() {
    let relay = TestRelay::start();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let scenario = scenario(
        "clients.count = 4
         load = {model = 'hold', duration = '1s'}
         phases = {connect = '300ms'}",
    );
    let outcome = relay.run_through(nobody, &scenario, CancellationToken::new());
    match outcome {
        Err(RunError::NotConnected {
            connected,
            clients,
            trouble,
        }) => assert_eq!((connected, clients, &*trouble.class), (0, 4, "connect.refused")),
        other => panic!("{other:?}"),
    }
}

impl TestRelay {
    fn run(&self, scenario: &Scenario) -> Outcome {
        self.run_through(self.address(), scenario, CancellationToken::new())
            .unwrap()
    }

    fn run_through(
        &self,
        front: SocketAddr,
        scenario: &Scenario,
        stop: CancellationToken,
    ) -> Result<Outcome, RunError> {
        let mut stage = self.stage(scenario, front);
        stage.stop = stop;
        run::run::<RelayWire>(scenario, stage)
    }

    fn stage(&self, scenario: &Scenario, front: SocketAddr) -> Stage<RelayWire> {
        let run = rand::random();
        let plan = Plan::new(scenario, run, (0, 1)).unwrap();
        Stage {
            workers: 2,
            ..Stage::alone(self.place(front), plan, Arc::new(TestPasses), run)
        }
    }
}

fn scenario(text: &str) -> Scenario {
    toml::from_str(&format!("schema = 'chatctl.bench.scenario/v1'\n{text}")).unwrap()
}

/// Everything that was due has left, is safe and has arrived once, unharmed and in order.
fn assert_counts(outcome: &Outcome, measured: u64, whole: u64, streams: u64) {
    let counts = [Count::Due, Count::Sent, Count::Accepted, Count::Delivered];
    let errors = outcome.whole.errors();
    assert_eq!(
        counts.map(|count| outcome.measured.count(count)),
        [measured; 4],
        "{errors:?}"
    );
    assert_eq!(
        counts.map(|count| outcome.whole.count(count)),
        [whole; 4],
        "{errors:?}"
    );
    let expected = Integrity {
        streams,
        ..Integrity::default()
    };
    assert_eq!(outcome.integrity, expected);
}
