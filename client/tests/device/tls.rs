//! Inside TLS: whom a device trusts, and whom it does not.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use chatctl_client::{
    Device, Dial, Directory, DirectoryError, Error, Http, Options, SocketError, Tls, Token,
};
use chatctl_protocol::Suite;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::join;
use tokio_rustls::TlsAcceptor;

use crate::relay::Relay;
use crate::{accepted, message, options};

/// Certificates of this test's own authority, for `localhost`, and of another authority.
struct Papers(TempDir);

impl Papers {
    fn issue() -> Self {
        let papers = Self(tempfile::tempdir().unwrap());
        for authority in ["ca", "other"] {
            papers.openssl(&format!(
                "req -x509 {NEW_KEY} -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem"
            ));
        }
        papers.openssl(&format!(
            "req {NEW_KEY} -subj /CN=relay -keyout relay.key -out relay.csr"
        ));
        fs::write(papers.0.path().join("names"), "subjectAltName=DNS:localhost").unwrap();
        papers.openssl(
            "x509 -req -in relay.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out relay.pem",
        );
        papers
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        let output = command
            .args(arguments.split(' '))
            .current_dir(self.0.path())
            .output();
        let output = output.expect("openssl is installed");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.path().join(name)).unwrap()
    }

    fn trusting(&self, authority: &str) -> Dial {
        Dial::trusting(Tls::of_authorities(&self.read(authority)).unwrap())
    }

    fn acceptor(&self) -> TlsAcceptor {
        let certificate = CertificateDer::from_pem_slice(&self.read("relay.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&self.read("relay.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn device(relay: &Relay, dial: Dial) -> Device {
    let options = Options {
        dial,
        ..options(relay)
    };
    Device::new(options, Token::new("token"))
}

fn directory(relay: &Relay, dial: &Dial) -> Directory {
    let url = relay.url().replace("wss:", "https:").replace("/v1/ws", "/");
    Http::with(dial, &url).unwrap().directory(Token::new("token"))
}

#[tokio::test]
async fn a_device_talks_inside_tls_to_a_relay_that_it_trusts() {
    let papers = Papers::issue();
    let relay = Relay::inside(papers.acceptor()).await;
    let script = async {
        let mut peer = relay.session().await;
        let send = peer.send().await;
        peer.ok(&send, 5).await;
        peer.closed().await;
    };
    let story = async {
        let mut device = device(&relay, papers.trusting("ca.pem"));
        assert_eq!(device.send(message("one")).await.unwrap(), accepted(5));
        device.close().await.unwrap();
    };
    join!(script, story);
}

#[tokio::test]
async fn the_apps_own_configuration_counts_whatever_it_offers() {
    let papers = Papers::issue();
    let relay = Relay::inside(papers.acceptor()).await;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&papers.read("ca.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let dial = Dial::trusting(Tls::custom(config));
    Http::with(&dial, "https://localhost").unwrap();
    let mut device = device(&relay, dial);
    let (_peer, event) = join!(relay.session(), device.next_event());
    event.unwrap();
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told_to_the_app() {
    let papers = Papers::issue();
    let relay = Relay::inside(papers.acceptor()).await;
    let mut device = device(&relay, papers.trusting("other.pem"));
    let (wire, event) = join!(relay.wire(), device.next_event());
    assert!(wire.is_err());
    let error = event.unwrap_err();
    assert!(
        matches!(error, Error::Socket(SocketError::Untrusted(_))),
        "{error:?}"
    );

    let directory = directory(&relay, &papers.trusting("other.pem"));
    let suite = Suite::parse("olm").unwrap();
    let (wire, counts) = join!(relay.wire(), directory.counts(&suite));
    assert!(wire.is_err());
    assert!(
        matches!(counts, Err(DirectoryError::Unreachable(_))),
        "{counts:?}"
    );
}

#[tokio::test]
async fn the_directory_is_asked_inside_tls() {
    let papers = Papers::issue();
    let relay = Relay::inside(papers.acceptor()).await;
    let directory = directory(&relay, &papers.trusting("ca.pem"));
    let suite = Suite::parse("olm").unwrap();
    let script = async {
        let (mut wire, _) = relay.wire().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(wire.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        assert!(request.starts_with("GET /v1/keys/olm HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("\r\nauthorization: Bearer token\r\n"),
            "{request}"
        );
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"pools\":{}}";
        wire.write_all(answer.as_bytes()).await.unwrap();
        wire.flush().await.unwrap();
        wire
    };
    let (_wire, counts) = join!(script, directory.counts(&suite));
    assert!(counts.unwrap().is_empty());
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
