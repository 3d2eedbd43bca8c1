//! A whole relay for a run: in this process, on its own port, with its own keys, and without limits that a bench would
//! run into.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use chatctl_client::{Http, Token};
use chatctl_loadgen::wire::Passes;
use chatctl_loadgen::wire::chatctl::RelayPlace;
use chatctl_protocol::{AccountId, DeviceId};
use chatctl_relay::auth::Keyset;
use chatctl_relay::config::Config;
use chatctl_relay::model::Clock;
use chatctl_relay::server::{Outfit, Server};
use chatctl_relay::store::embedded::{Embedded, Options};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A running relay.
pub(crate) struct TestRelay {
    address: SocketAddr,
    running: Running,
    folder: TempDir,
}

impl TestRelay {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join("keys.json"), &keyset().to_string());
        Self::open(folder, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Stops it, and starts it again on the same data and the same port.
    pub(crate) fn restart(self) -> Self {
        let Self {
            address,
            running,
            folder,
        } = self;
        drop(running);
        Self::open(folder, address)
    }

    fn open(folder: TempDir, listen: SocketAddr) -> Self {
        let keys = folder.path().join("keys.json");
        let mut config = Config::default();
        config.server.listen = listen;
        config.server.drain_window = Duration::ZERO;
        config.auth.keys = Some(keys);
        config.mail.send_rate = 1_000_000;
        config.mail.send_burst = 1_000_000;
        config.directory.claim_pair_burst = 1_000_000;
        config.directory.claim_target_hourly = 1_000_000;
        config.directory.claim_caller_minute = 1_000_000;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let data = folder.path().join("data");
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let running = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let options = Options {
                    disk_reserve: 0,
                    idempotency_records: 1_000_000,
                };
                let outfit = Outfit {
                    store: Embedded::open(&data, &options).unwrap(),
                    keyset: Keyset::load(config.auth.keys.as_ref().unwrap()).unwrap(),
                    clock: Clock::system(),
                };
                let server = Server::bind(config, outfit).await.unwrap();
                tell.send(server.address()).unwrap();
                server.run(stopped.cancelled_owned()).await.unwrap();
            });
        });
        Self {
            address: told.recv().unwrap(),
            running: Running {
                stop,
                thread: Some(running),
            },
            folder,
        }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is, or where something in between is.
    pub(crate) fn place(&self, front: SocketAddr) -> RelayPlace {
        let http = Http::new(&format!("http://{}", self.address)).unwrap();
        RelayPlace::new(&format!("ws://{front}/v1/ws"), http)
    }
}

/// A relay that runs in a thread.
#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the relay failed");
        }
    }
}

/// Tokens under the relay's own key.
pub(crate) struct TestPasses;

impl Passes for TestPasses {
    fn token(&self, account: &AccountId, device_id: &DeviceId) -> Result<Token, String> {
        let now = Clock::system().now().0 / 1000;
        let header = json!({"alg": "EdDSA", "kid": KID, "typ": "JWT"});
        let claims = json!({
            "iss": "chatctl",
            "aud": "chatctl",
            "sub": account,
            "dev": device_id,
            "iat": now,
            "exp": now + 3600,
            "jti": format!("{account}-{device_id}"),
        });
        let part = |value: &serde_json::Value| BASE64URL.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let signature = BASE64URL.encode(signing().sign(text.as_bytes()).to_bytes());
        Ok(Token::new(&format!("{text}.{signature}")))
    }
}

fn keyset() -> serde_json::Value {
    json!({"keys": [{
        "kid": KID,
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "x": BASE64URL.encode(signing().verifying_key().to_bytes()),
        "d": BASE64URL.encode(signing().as_bytes()),
        "state": "active",
    }]})
}

fn signing() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn write_private(path: &std::path::Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

const KID: &str = "stories";
