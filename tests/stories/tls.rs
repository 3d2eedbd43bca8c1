//! Inside TLS: mail, another certificate while sessions are open, and those who do not speak it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use chatctl_client::{Device, Dial, Error, Event, Message, Options, SocketError, Tls, Token};
use chatctl_protocol::{AccountId, DeviceId, Encoding};
use chatctl_relay::config::Config;
use chatctl_relay::tls::Certificate;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::relay::{ALICE, BOB, Person, TestRelay, eventually};

/// Certificates for `localhost` that vouch for themselves.
struct Papers(TempDir);

impl Papers {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Makes a certificate, or another one in its place.
    fn issue(&self, name: &str) -> Dial {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        fs::write(self.0.path().join(format!("{name}.pem")), &certificate).unwrap();
        let path = self.0.path().join(format!("{name}.key"));
        fs::write(&path, key.serialize_pem()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Dial::trusting(Tls::of_authorities(certificate.as_bytes()).unwrap())
    }

    fn name_in(&self, config: &mut Config, name: &str) {
        config.server.tls_certificate = Some(self.0.path().join(format!("{name}.pem")));
        config.server.tls_key = Some(self.0.path().join(format!("{name}.key")));
    }

    fn certificate(&self, name: &str) -> Option<Certificate> {
        let mut config = Config::default();
        self.name_in(&mut config, name);
        Certificate::of(&config.server).unwrap()
    }
}

fn device(relay: &TestRelay, person: Person, encoding: Encoding, dial: &Dial) -> Device {
    let url = format!("wss://localhost:{}/v1/ws", relay.address().port());
    let options = Options {
        encoding,
        dial: dial.clone(),
        ..Options::new(&url)
    };
    Device::new(options, Token::new(&relay.keys().token(person)))
}

fn to_bob(text: &str) -> Message {
    let account = AccountId::parse(BOB.account).unwrap();
    let device = DeviceId::parse(BOB.device_id).unwrap();
    Message::new(account).device(device, BOB.registration_id, 3, text.to_owned())
}

/// Waits for one message, and acks it.
async fn hears(device: &mut Device) -> String {
    loop {
        if let Event::Mail(mail) = device.next_event().await.unwrap() {
            let text = String::from_utf8(mail[0].payload.to_vec()).unwrap();
            device.ack(mail.iter().map(|mail| mail.id));
            return text;
        }
    }
}

#[tokio::test]
async fn mail_crosses_inside_tls() {
    let papers = Papers::new();
    let trusting = papers.issue("relay");
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_for(&[ALICE, BOB]).await;
        let relay = relay.restart_with(|config| papers.name_in(config, "relay")).await;
        let mut alice = device(&relay, ALICE, encoding, &trusting);
        let mut bob = device(&relay, BOB, encoding, &trusting);
        // More than one record has room for.
        for text in ["one".to_owned(), "two".repeat(10_000)] {
            alice.deliver(to_bob(&text), Duration::ZERO).await.unwrap();
            assert_eq!(hears(&mut bob).await, text);
        }
        alice.close().await.unwrap();
        bob.close().await.unwrap();
        relay.stop().await;
    }
}

#[tokio::test]
async fn another_certificate_is_for_new_connections_and_mail_flows_on() {
    let papers = Papers::new();
    let old = papers.issue("old");
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let relay = relay.restart_with(|config| papers.name_in(config, "old")).await;
    let mut alice = device(&relay, ALICE, Encoding::Proto, &old);
    let mut bob = device(&relay, BOB, Encoding::Proto, &old);
    alice.deliver(to_bob("one"), Duration::ZERO).await.unwrap();
    assert_eq!(hears(&mut bob).await, "one");

    let new = papers.issue("new");
    relay.live().secure(papers.certificate("new"));
    alice.deliver(to_bob("two"), Duration::ZERO).await.unwrap();
    assert_eq!(hears(&mut bob).await, "two");
    assert_eq!(relay.metrics().sessions_opened.get(), 2);

    let error = device(&relay, BOB, Encoding::Proto, &old)
        .next_event()
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Socket(SocketError::Untrusted(_))),
        "{error:?}"
    );
    bob.close().await.unwrap();
    let mut bob = device(&relay, BOB, Encoding::Proto, &new);
    alice.deliver(to_bob("three"), Duration::ZERO).await.unwrap();
    assert_eq!(hears(&mut bob).await, "three");
    alice.close().await.unwrap();
    bob.close().await.unwrap();
    relay.stop().await;
}

#[tokio::test]
async fn who_does_not_speak_tls_is_sent_away_and_holds_nobody_up() {
    let papers = Papers::new();
    let trusting = papers.issue("relay");
    let relay = TestRelay::start_for(&[BOB]).await;
    let relay = relay.restart_with(|config| papers.name_in(config, "relay")).await;
    let silent = TcpStream::connect(relay.address()).await.unwrap();
    let mut plain = TcpStream::connect(relay.address()).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: relay\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 24];
    plain.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400 Bad Request");
    drop(plain);
    let mut bob = device(&relay, BOB, Encoding::Json, &trusting);
    while bob.next_event().await.unwrap() != Event::QueueEmpty {}
    bob.close().await.unwrap();
    eventually("counted", || {
        let page = relay.metrics().exposition().unwrap();
        page.contains("chatctl_tls_handshakes_failed_total{reason=\"plain\"} 1\n")
    })
    .await;
    // Whoever has said nothing yet is not waited for.
    relay.stop().await;
    drop(silent);
}
