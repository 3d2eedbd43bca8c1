//! Files that are a certificate and files that are not, and handshakes that come to nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::{Config, ServerConfig};
use crate::model::UnixMs;

/// Files of one test.
struct Papers(tempfile::TempDir);

impl Papers {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A certificate for `localhost` that is good in these years, with its key.
    fn issue(&self, name: &str, [from, until]: [i32; 2]) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        self.key(&format!("{name}.key"), &key.serialize_pem());
    }

    fn key(&self, name: &str, pem: &str) {
        fs::write(self.path(name), pem).unwrap();
        self.mode(name, 0o600);
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self, certificate: &str, key: &str) -> Result<Certificate, CertificateError> {
        let settings = ServerConfig {
            tls_certificate: Some(self.path(certificate)),
            tls_key: Some(self.path(key)),
            ..Config::default().server
        };
        Certificate::of(&settings).map(Option::unwrap)
    }

    fn good(&self) -> Certificate {
        self.issue("relay", [2020, 2100]);
        self.load("relay.pem", "relay.key").unwrap()
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
}

/// Trusts this certificate alone.
fn trusting(certificate: &Path) -> TlsConnector {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = RootCertStore::empty();
    let pem = rustls::pki_types::CertificateDer::from_pem_file(certificate).unwrap();
    roots.add(pem).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

fn failed(metrics: &Metrics) -> String {
    let text = metrics.exposition().unwrap();
    let lines = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("chatctl_tls_handshakes_failed_total{reason=\"")?;
        Some(rest.replace("\"}", ""))
    });
    lines.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_certificate_and_its_key_are_read_in_every_form_that_keys_have() {
    let papers = Papers::new();
    papers.good();
    papers.openssl("ec -in relay.key -out sec1.key");
    papers.openssl("genrsa -traditional -out pkcs1.key 2048");
    papers.openssl("req -x509 -key pkcs1.key -days 2 -subj /CN=localhost -out rsa.pem");
    papers.openssl("genpkey -algorithm ed25519 -out ed.key");
    papers.openssl("req -x509 -key ed.key -days 2 -subj /CN=localhost -out ed.pem");
    for (certificate, key, form) in [
        ("relay.pem", "relay.key", "BEGIN PRIVATE KEY"),
        ("relay.pem", "sec1.key", "BEGIN EC PRIVATE KEY"),
        ("rsa.pem", "pkcs1.key", "BEGIN RSA PRIVATE KEY"),
        ("ed.pem", "ed.key", "BEGIN PRIVATE KEY"),
    ] {
        papers.mode(key, 0o600);
        assert!(fs::read_to_string(papers.path(key)).unwrap().contains(form));
        let loaded = papers.load(certificate, key);
        assert!(loaded.is_ok(), "{key}: {loaded:?}");
    }
}

#[test]
fn what_is_known_of_a_certificate_is_no_secret() {
    let certificate = Papers::new().good();
    let facts = certificate.facts();
    assert_eq!(
        [facts.not_before, facts.not_after],
        [UnixMs(1_577_836_800_000), UnixMs(4_102_444_800_000)]
    );
    assert_eq!((facts.fingerprint.len(), facts.source), (64, Source::File));
    assert_eq!(format!("{certificate:?}"), format!("Certificate({facts:?})"));
}

#[test]
fn files_that_are_no_certificate_are_refused_with_the_reason() {
    let papers = Papers::new();
    papers.good();
    papers.issue("other", [2020, 2100]);
    papers.key("text", "hello");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    papers.key("broken.pem", broken);
    let [relay, other] =
        ["relay.pem", "other.pem"].map(|name| fs::read_to_string(papers.path(name)).unwrap());
    papers.key("turned.pem", &(other + &relay));
    let why = |certificate, key| {
        let error = papers.load(certificate, key).unwrap_err();
        (
            error.key(),
            error
                .to_string()
                .replace(&format!("{}/", papers.0.path().display()), ""),
        )
    };
    let certificate = "server.tls_certificate";
    let key = "server.tls_key";
    assert_eq!(
        why("text", "relay.key"),
        (certificate, "text holds no certificate".to_owned())
    );
    let malformed = "what broken.pem holds is not a certificate".to_owned();
    assert_eq!(why("broken.pem", "relay.key"), (certificate, malformed));
    let no_key = "text holds no private key that can be used".to_owned();
    assert_eq!(why("relay.pem", "text"), (key, no_key));
    for (file, with) in [("relay.pem", "other.key"), ("turned.pem", "relay.key")] {
        let mismatch = format!("the key in {with} is not that of the first certificate in {file}");
        assert_eq!(why(file, with), (key, mismatch));
    }
    assert_eq!(why("gone.pem", "relay.key").1, "cannot read gone.pem");
}

#[test]
fn a_group_may_read_a_key_and_others_may_not() {
    let papers = Papers::new();
    papers.good();
    for (mode, is_good) in [
        (0o600, true),
        (0o400, true),
        (0o640, true),
        (0o440, true),
        (0o644, false),
        (0o604, false),
        (0o660, false),
    ] {
        papers.mode("relay.key", mode);
        assert_eq!(papers.load("relay.pem", "relay.key").is_ok(), is_good, "{mode:o}");
    }
}

#[test]
fn one_file_alone_is_a_mistake_and_none_is_no_tls() {
    let mut settings = Config::default().server;
    assert!(Certificate::of(&settings).unwrap().is_none());
    settings.tls_key = Some("relay.key".into());
    let alone = Certificate::of(&settings).unwrap_err().to_string();
    assert_eq!(alone, "server.tls_key is set, and server.tls_certificate is not");
}

#[tokio::test]
async fn hands_are_shaken_and_http_1_1_is_chosen() {
    let (papers, metrics) = (Papers::new(), Arc::new(Metrics::new()));
    let tls = Tls::new(Some(papers.good()), Arc::clone(&metrics));
    let (client, server) = pair().await;
    let name = ServerName::try_from("localhost").unwrap();
    let connector = trusting(&papers.path("relay.pem"));
    let (client, line) = tokio::join!(connector.connect(name, client), tls.greet(server));
    let chosen = client.unwrap().get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    assert_eq!(chosen.as_deref(), Some(b"http/1.1".as_slice()));
    assert!(matches!(line, Some(Line::Secure(_))));
    assert_eq!(metrics.tls_handshakes.get(), 1);
    let shown = || {
        let text = metrics.exposition().unwrap();
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with("chatctl_tls_certificate_expiry_timestamp_seconds"));
        line.and_then(|line| Some(line.rsplit_once(' ')?.1.to_owned()))
    };
    assert_eq!(shown().as_deref(), Some("4102444800"));
    tls.follow(None);
    let (_client, server) = pair().await;
    assert!(matches!(tls.greet(server).await, Some(Line::Plain(_))));
    assert_eq!(shown(), None);
}

#[tokio::test]
async fn a_plain_request_is_told_what_is_spoken_and_noise_is_hung_up_on() {
    let (papers, metrics) = (Papers::new(), Arc::new(Metrics::new()));
    let tls = Tls::new(Some(papers.good()), Arc::clone(&metrics));
    for (said, begins) in [
        (
            b"GET / HTTP/1.1\r\nhost: relay\r\n\r\n".as_slice(),
            "HTTP/1.1 400 Bad Request\r\n",
        ),
        (b"\0\x01\x02".as_slice(), ""),
    ] {
        let (mut client, server) = pair().await;
        let asking = async {
            client.write_all(said).await.unwrap();
            let mut heard = String::new();
            // What is unread when the other side hangs up makes it a reset.
            let _ = client.read_to_string(&mut heard).await;
            drop(client);
            heard
        };
        let (heard, line) = tokio::join!(asking, tls.greet(server));
        assert!(line.is_none());
        assert!(
            heard.starts_with(begins) && heard.is_empty() == begins.is_empty(),
            "{heard}"
        );
    }
    assert_eq!(failed(&metrics), "plain 2");
}

#[test]
fn the_answer_to_a_plain_request_says_its_length() {
    let text = std::str::from_utf8(SPEAK_TLS).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.ends_with(&format!("content-length: {}", body.len())),
        "{}",
        body.len()
    );
}

#[tokio::test]
async fn each_failure_is_counted_by_its_reason() {
    let (papers, metrics) = (Papers::new(), Arc::new(Metrics::new()));
    let tls = Tls::new(Some(papers.good()), Arc::clone(&metrics));
    papers.issue("other", [2020, 2100]);
    let name = || ServerName::try_from("localhost").unwrap();
    let (client, server) = pair().await;
    let stranger = trusting(&papers.path("other.pem"));
    let (client, line) = tokio::join!(stranger.connect(name(), client), tls.greet(server));
    assert!(client.is_err() && line.is_none());
    assert_eq!(failed(&metrics), "alert 1");
    let (client, server) = pair().await;
    drop(client);
    assert!(tls.greet(server).await.is_none());
    assert!(failed(&metrics).contains("lost 1"), "{}", failed(&metrics));
    let (mut client, server) = pair().await;
    // What a server says, and nothing of it.
    client.write_all(&[22, 3, 1, 0, 4, 2, 0, 0, 0]).await.unwrap();
    assert!(tls.greet(server).await.is_none());
    assert!(failed(&metrics).contains("protocol 1"), "{}", failed(&metrics));
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_to_shake_hands_is_cut_off() {
    let (papers, metrics) = (Papers::new(), Arc::new(Metrics::new()));
    let tls = Tls::new(Some(papers.good()), Arc::clone(&metrics));
    let begun = tokio::time::Instant::now();
    let (mut client, server) = pair().await;
    // The beginning of a record, and nothing more.
    client.write_all(&[22, 3, 1]).await.unwrap();
    assert!(tls.greet(server).await.is_none());
    assert!(begun.elapsed() >= HANDSHAKE_TIME);
    assert_eq!(failed(&metrics), "slow 1");
}

/// Counts what is written at once.
struct Counting(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let all = bufs
            .iter()
            .flat_map(|buf| buf.iter().copied())
            .collect::<Vec<u8>>();
        Pin::new(&mut self.0).poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn what_a_session_gathers_is_written_at_once() {
    let papers = Papers::new();
    let acceptor = TlsAcceptor::from(Arc::clone(papers.good().config()));
    let connector = trusting(&papers.path("relay.pem"));
    let (near, far) = tokio::io::duplex(1 << 20);
    let writes = Arc::new(AtomicUsize::new(0));
    let name = ServerName::try_from("localhost").unwrap();
    let (client, server) = tokio::join!(
        connector.connect(name, far),
        acceptor.accept(Counting(near, Arc::clone(&writes)))
    );
    let (_client, mut server) = (client.unwrap(), server.unwrap());
    for bytes in [100, 16 * 1024, 20 * 1024] {
        writes.store(0, Ordering::Relaxed);
        server.write_all(&vec![7; bytes]).await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(writes.load(Ordering::Relaxed), 1, "{bytes} bytes");
    }
}
