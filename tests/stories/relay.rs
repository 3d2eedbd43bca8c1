//! A whole relay for one story: its own store, its own port, gone when the story ends.

use std::io;
use std::net::SocketAddr;

use chatctl_protocol::Encoding;
use chatctl_protocol::v1::{Hello, Ping, Pong, frame::Body};
use chatctl_relay::config::Config;
use serde_json::json;
use tempfile::TempDir;

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
            keys: Some(keyset),
            ..Config::default()
        };
        change(&mut config);
        let address = serve(config).await.expect("the relay starts");
        Self {
            address,
            keys,
            _folder: folder,
        }
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

/// Starts the relay in this process; answers where it listens.
#[expect(clippy::unused_async, reason = "starting a server waits")]
async fn serve(_config: Config) -> io::Result<SocketAddr> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "server::Server is still to be written",
    ))
}
