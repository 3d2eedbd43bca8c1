//! A whole relay for one story: its own store, its own port, gone when the story ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::Encoding;
use chatctl_protocol::v1::{Hello, Ping, Pong, frame::Body};
use chatctl_relay::auth::Keyset;
use chatctl_relay::config::Config;
use chatctl_relay::hub::Hub;
use chatctl_relay::metrics::Metrics;
use chatctl_relay::model::Clock;
use chatctl_relay::server::{self, Outfit, Server};
use chatctl_relay::store::embedded::{self, Embedded};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::keys::TestKeys;
use crate::socket::RawSocket;

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

/// A running relay.
#[derive(Debug)]
pub(crate) struct TestRelay {
    address: SocketAddr,
    keys: TestKeys,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), server::Error>>,
    _folder: TempDir,
}

impl TestRelay {
    /// A relay with the settings that operators get.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A relay with settings of its own.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = TestKeys::new();
        let keyset = folder.path().join("keys.json");
        write_private(&keyset, &keys.file().to_string()).unwrap();
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: Some(folder.path().join("data")),
            keys: Some(keyset.clone()),
            drain_window: Duration::ZERO,
            ..Config::default()
        };
        change(&mut config);
        let directory = config.data_dir.clone().unwrap();
        let options = embedded::Options {
            disk_reserve: 0,
            idempotency_records: 10_000,
        };
        let store = Embedded::open(&directory, &options).unwrap();
        let keyset = Keyset::load(&keyset).unwrap();
        let server = Server::bind(
            config,
            Outfit {
                store,
                keyset,
                clock: Clock::system(),
            },
        )
        .await
        .unwrap();
        let (address, hub, metrics) = (server.address(), server.hub(), server.metrics());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        #[expect(clippy::disallowed_methods, reason = "a story is its relay's process")]
        let running = tokio::spawn(async move { server.run(stopped.cancelled_owned()).await });
        Self {
            address,
            keys,
            hub,
            metrics,
            stop,
            running,
            _folder: folder,
        }
    }

    /// Stops the relay as an operator would; nobody may be left behind.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
        assert!(self.hub.is_empty(), "a session did not sign off");
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
        let url = format!("http://{}/v1/devices/{}", self.address, person.device_id);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client
            .put(url)
            .bearer_auth(self.keys.token(person))
            .json(&json!({"registration_id": person.registration_id}))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// A session of a device that is registered.
    pub(crate) async fn connect(&self, person: Person, encoding: Encoding) -> RawSocket {
        let mut socket = self.ws(encoding).await;
        socket.send(hello(self.keys.token(person))).await;
        let answer = socket.frame().await;
        assert!(matches!(answer, Body::HelloOk(_)), "{answer:?}");
        socket
    }
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
