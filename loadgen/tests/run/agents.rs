//! Several hosts: what agents find adds up, and an agent that fails ends the run.

use std::sync::Arc;
use std::time::Instant;

use chatctl_loadgen::agent::{self, AgentError, Found, Lead, News, Part, Perform, Secret};
use chatctl_loadgen::clock::RunClock;
use chatctl_loadgen::run::{self, Outcome, Stage};
use chatctl_loadgen::tally::{Count, Latency};
use chatctl_loadgen::wire::Passes;
use chatctl_loadgen::wire::chatctl::RelayWire;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::relay::{TestPasses, TestRelay};
use crate::scenario;

const SCENARIO: &str = "clients.count = 20
    load = {model = 'open', stages = [{rate = '400/s', for = '1s'}]}
    phases = {warmup = '200ms'}";

fn secret() -> Secret {
    Secret::parse("a secret of the test".replace(' ', "-").as_str()).unwrap()
}

/// Agents, each on a port of its own, that run their parts against a relay.
struct Hosts {
    runtime: Runtime,
    addresses: Vec<String>,
    news: Arc<Mutex<Vec<News>>>,
}

impl Hosts {
    fn start(count: usize, perform: &Arc<Perform>) -> Self {
        let runtime = Runtime::new().unwrap();
        let news = Arc::new(Mutex::new(Vec::new()));
        let mut addresses = Vec::new();
        for _ in 0..count {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            addresses.push(listener.local_addr().unwrap().to_string());
            let (perform, news) = (Arc::clone(perform), Arc::clone(&news));
            let tell = move |said| news.lock().push(said);
            runtime.spawn(async move {
                agent::serve(listener, &secret(), perform, tell, CancellationToken::new()).await;
            });
        }
        Self {
            runtime,
            addresses,
            news,
        }
    }

    fn lead(&self, secret: &Secret, stop: &CancellationToken) -> Result<Found, AgentError> {
        let scenario = scenario(SCENARIO);
        let lead = Lead {
            scenario: &scenario,
            run: 7,
            url: "unused here",
            passes: &TestPasses as &dyn Passes,
            workers: Some(1),
            sources: &[],
            clock: RunClock::starting_at(Instant::now()),
            progress: &Default::default(),
            stop,
        };
        self.runtime.block_on(lead.run(&self.addresses, secret))
    }
}

/// Runs a part against a relay of this test.
fn against(relay: &TestRelay) -> Arc<Perform> {
    let place = relay.place(relay.address());
    Arc::new(
        move |part: Part, passes: Arc<dyn Passes>| -> Result<Outcome, String> {
            let stage = Stage::<RelayWire> {
                place: place.clone(),
                plan: part.plan,
                passes,
                run: part.run,
                clock: part.clock,
                agent: part.share,
                gate: Some(part.gate),
                workers: part.workers.unwrap_or(1),
                sources: part.sources,
                progress: part.progress,
                stop: part.stop,
            };
            run::run(&part.scenario, stage).map_err(|error| error.to_string())
        },
    )
}

#[test]
fn three_agents_find_what_one_would() {
    let relay = TestRelay::start();
    let hosts = Hosts::start(3, &against(&relay));
    let found = hosts.lead(&secret(), &CancellationToken::new()).unwrap();
    let counts = [Count::Due, Count::Sent, Count::Accepted, Count::Delivered];
    assert_eq!(counts.map(|count| found.outcome.measured.count(count)), [400; 4]);
    assert_eq!(found.outcome.measured.latency(Latency::E2e).unwrap().len(), 400);
    assert_eq!((found.clients, found.outcome.integrity.streams), (20, 10));
    assert_eq!((found.outcome.integrity.lost, found.outcome.missed), (0, 0));
    let clients: Vec<u32> = found.agents.iter().map(|agent| agent.clients).collect();
    assert_eq!(clients.iter().sum::<u32>(), 20);
    assert!(clients.iter().all(|clients| *clients >= 6), "{clients:?}");
    // All of them are on one host.
    let clocks = found.agents.iter().map(|agent| agent.clock_uncertainty_seconds);
    assert!(clocks.clone().all(|sure| sure > 0.0 && sure < 1.0));
    let delivered = found
        .outcome
        .moments
        .iter()
        .map(|moment| moment.counts.count(Count::Delivered));
    assert_eq!(delivered.sum::<u64>(), 480);
}

#[test]
fn an_agent_that_fails_is_named_and_one_without_the_secret_gets_nothing() {
    let hosts = Hosts::start(
        2,
        &(Arc::new(|_: Part, _: Arc<dyn Passes>| Err("no relay here".to_owned())) as Arc<Perform>),
    );
    let error = hosts.lead(&secret(), &CancellationToken::new()).unwrap_err();
    assert_eq!(error.what, "no relay here");
    assert!(hosts.addresses.contains(&error.address));
    let other = Secret::parse("another secret, as long".replace(' ', "-").as_str()).unwrap();
    let error = hosts.lead(&other, &CancellationToken::new()).unwrap_err();
    assert_eq!(error.what, "does not know the secret");
    assert!(
        hosts
            .news
            .lock()
            .iter()
            .any(|news| matches!(news, News::Refused(_)))
    );
}

#[test]
fn a_coordinator_that_stops_gets_what_was_found_until_then() {
    let relay = TestRelay::start();
    let hosts = Hosts::start(2, &against(&relay));
    let stop = CancellationToken::new();
    stop.cancel();
    let found = hosts.lead(&secret(), &stop).unwrap();
    assert!(found.outcome.is_interrupted);
}
