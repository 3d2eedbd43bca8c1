//! A whole relay for one story: its own store, its own port, gone when the story ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::Encoding;
use chatctl_protocol::v1::{Hello, HelloOk, Ping, Pong, frame::Body};
use chatctl_relay::auth::Keyset;
use chatctl_relay::config::Config;
use chatctl_relay::config::jobs::JobName;
use chatctl_relay::hub::Hub;
use chatctl_relay::jobs::{self, Desk, Findings, Step};
use chatctl_relay::metrics::Metrics;
use chatctl_relay::model::Clock;
use chatctl_relay::server::live::Live;
use chatctl_relay::server::{self, Outfit, Server};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::keys::TestKeys;
use crate::socket::RawSocket;
use crate::store::Place;

/// Somebody's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) account: &'static str,
    pub(crate) device_id: &'static str,
    pub(crate) registration_id: u32,
}

pub(crate) const ALICE: Person = Person {
    account: "alice",
    device_id: "1",
    registration_id: 11,
};
pub(crate) const BOB: Person = Person {
    account: "bob",
    device_id: "1",
    registration_id: 22,
};
/// Bob's second device.
pub(crate) const BOBS_TABLET: Person = Person {
    account: "bob",
    device_id: "2",
    registration_id: 23,
};
pub(crate) const CAROL: Person = Person {
    account: "carol",
    device_id: "1",
    registration_id: 33,
};

/// A running relay.
#[derive(Debug)]
pub(crate) struct TestRelay {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    keys: TestKeys,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    desk: Desk,
    live: Live,
    http: reqwest::Client,
    stop: CancellationToken,
    running: JoinHandle<Result<(), server::Error>>,
    house: House,
}

/// What a relay finds again when it is started anew.
#[derive(Debug)]
struct House {
    _folder: TempDir,
    place: Place,
    config: Config,
    clock: Clock,
}

impl TestRelay {
    /// A relay with the settings that operators get.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A relay with settings of its own.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Clock::system(), change).await
    }

    /// A relay with settings and a clock of its own.
    pub(crate) async fn start_at(clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::fresh(folder.path().join("data"));
        Self::start_in(folder, place, clock, change).await
    }

    /// A relay over a store that others may have too.
    pub(crate) async fn start_on(place: Place, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), place, Clock::system(), change).await
    }

    async fn start_in(folder: TempDir, place: Place, clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let keyset = folder.path().join("keys.json");
        write_private(&keyset, &TestKeys::new().file().to_string()).unwrap();
        let mut config = Config::default();
        config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.server.drain_window = Duration::ZERO;
        config.auth.keys = Some(keyset);
        change(&mut config);
        Self::run(House {
            _folder: folder,
            place,
            config,
            clock,
        })
        .await
    }

    async fn run(house: House) -> Self {
        crate::logs::listen();
        let outfit = Outfit {
            store: house.place.open().await,
            keyset: Keyset::load(house.config.auth.keys.as_ref().unwrap()).unwrap(),
            clock: house.clock.clone(),
        };
        let server = Server::bind(house.config.clone(), outfit).await.unwrap();
        let metrics_address = server.metrics_address();
        let (address, hub, metrics) = (server.address(), server.hub(), server.metrics());
        let (desk, live) = (server.jobs().desk(), server.live());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        #[expect(clippy::disallowed_methods, reason = "a story is its relay's process")]
        let running = tokio::spawn(async move { server.run(stopped.cancelled_owned()).await });
        Self {
            address,
            metrics_address,
            keys: TestKeys::new(),
            hub,
            metrics,
            desk,
            live,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            stop,
            running,
            house,
        }
    }

    /// Stops the relay as an operator would; nobody may be left behind.
    pub(crate) async fn stop(self) {
        drop(self.stopped().await);
    }

    /// Stops the relay and starts it again on the same data.
    pub(crate) async fn restart(self) -> Self {
        Self::run(self.stopped().await).await
    }

    /// Stops the relay and starts it again on the same data, with other settings.
    pub(crate) async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let mut house = self.stopped().await;
        change(&mut house.config);
        Self::run(house).await
    }

    /// What can change while it runs.
    pub(crate) const fn live(&self) -> &Live {
        &self.live
    }

    /// Begins to stop the relay, and does not wait for it.
    pub(crate) fn begin_to_stop(&self) {
        self.stop.cancel();
    }

    async fn stopped(self) -> House {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
        assert!(self.hub.is_empty(), "a session did not sign off");
        self.house
    }

    /// Where the relay listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are, if they have an address of their own.
    pub(crate) const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// An HTTP client, with connections of its own.
    pub(crate) const fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Does a job's work now, all of it.
    pub(crate) async fn job(&self, job: JobName) -> Findings {
        let (mut chore, mut findings) = (jobs::chore(job), Findings::default());
        while chore.step(&self.desk, &mut findings).await.unwrap() == Step::More {}
        findings
    }

    /// What the relay has counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whom this relay believes.
    pub(crate) fn keys(&self) -> &TestKeys {
        &self.keys
    }

    /// A socket that has been upgraded and has said nothing yet.
    pub(crate) async fn ws(&self, encoding: Encoding) -> RawSocket {
        RawSocket::open(self.address, encoding).await
    }

    /// Registers a device.
    pub(crate) async fn register(&self, person: Person) {
        let what = format!("PUT /v1/devices/{}", person.device_id);
        let body = json!({"registration_id": person.registration_id});
        let answer = self.ask(person, &what, &body).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    /// A relay where these devices are registered.
    pub(crate) async fn start_for(people: &[Person]) -> Self {
        Self::start_with(|_| {}).await.for_these(people).await
    }

    /// With these devices registered.
    pub(crate) async fn for_these(self, people: &[Person]) -> Self {
        for person in people {
            self.register(*person).await;
        }
        self
    }

    /// A session of a device that is registered.
    pub(crate) async fn connect(&self, person: Person, encoding: Encoding) -> RawSocket {
        let hello = Hello {
            token: self.keys.token(person),
            ..Hello::default()
        };
        self.connect_with(hello, encoding).await.0
    }

    /// A session that begins with this Hello, and the answer to it.
    pub(crate) async fn connect_with(&self, hello: Hello, encoding: Encoding) -> (RawSocket, HelloOk) {
        let mut socket = self.ws(encoding).await;
        socket.send(Body::Hello(hello)).await;
        match socket.frame().await {
            Body::HelloOk(hello_ok) => (socket, hello_ok),
            other => panic!("{other:?}"),
        }
    }
}

/// Comes back when it is so. For what the relay tells nobody.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    let long = Duration::from_secs(20);
    assert!(tokio::time::timeout(long, waiting).await.is_ok(), "never: {what}");
}

/// The frame that opens a session.
pub(crate) fn hello(token: String) -> Body {
    Body::Hello(Hello {
        token,
        ..Hello::default()
    })
}

/// Whether a session answers: what another socket did must not have touched it.
pub(crate) async fn still_works(session: &mut RawSocket) {
    session.send(Body::Ping(Ping { id: 42 })).await;
    loop {
        match session.frame().await {
            Body::Pong(pong) => return assert_eq!(pong, Pong { id: 42 }),
            Body::QueueEmpty(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn write_private(path: &std::path::Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
