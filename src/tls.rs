//! TLS: the certificate that new connections are given, and their handshakes.
//!
//! Owns what is spoken (TLS 1.2 and 1.3 by rustls with ring, and HTTP/1.1 inside), how long a handshake may take, and
//! how one that came to nothing is counted. Must not know what is said inside.

mod certificate;
mod line;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::metrics::{Count as _, Metrics};

pub use certificate::{Certificate, CertificateError, Facts, Source};
pub use line::Line;

/// What new connections are given. Cheap to clone; all clones see the same.
#[derive(Debug, Clone)]
pub struct Tls {
    certificate: Arc<RwLock<Option<Certificate>>>,
    metrics: Arc<Metrics>,
}

impl Tls {
    /// With this certificate; without one, nothing but plain connections.
    #[must_use]
    pub fn new(certificate: Option<Certificate>, metrics: Arc<Metrics>) -> Self {
        let tls = Self {
            certificate: Arc::default(),
            metrics,
        };
        tls.follow(certificate);
        tls
    }

    /// Gives new connections this certificate. Those that are open keep what they have.
    pub fn follow(&self, certificate: Option<Certificate>) {
        let mut current = self.certificate.write();
        // The same one again: its sessions can be resumed.
        if let (Some(current), Some(newer)) = (&*current, &certificate)
            && current.facts() == newer.facts()
        {
            return;
        }
        let seconds = |certificate: &Certificate| certificate.facts().not_after.0 / 1000;
        let expiry = certificate.as_ref().map(seconds);
        self.metrics.tls_certificate_expiry.set(expiry);
        *current = certificate;
    }

    /// What is known of the certificate; nothing without TLS.
    #[must_use]
    pub fn facts(&self) -> Option<Facts> {
        self.certificate
            .read()
            .as_ref()
            .map(|certificate| certificate.facts().clone())
    }

    /// Shakes hands with who has connected, if that is what is done here. `None` when it came to nothing, which is
    /// counted. Takes [`HANDSHAKE_TIME`] at most.
    pub async fn greet(&self, mut stream: TcpStream) -> Option<Line> {
        let acceptor = match &*self.certificate.read() {
            Some(certificate) => TlsAcceptor::from(Arc::clone(certificate.config())),
            None => return Some(Line::Plain(stream)),
        };
        let shaking = async {
            let mut first = [0; 1];
            if stream.peek(&mut first).await? > 0 && first != [HANDSHAKE_RECORD] {
                // Whether it is heard matters to nobody here.
                let _ = send_away(&mut stream, first).await;
                return Err(Failed::Plain);
            }
            Ok(acceptor.accept(stream).await?)
        };
        let failed = match timeout(HANDSHAKE_TIME, shaking).await {
            Ok(Ok(stream)) => {
                self.metrics.tls_handshakes.inc();
                return Some(Line::Secure(Box::new(stream)));
            }
            Ok(Err(failed)) => failed,
            Err(_) => Failed::Slow,
        };
        debug!(reason = failed.word(), "no TLS with a connection");
        self.metrics.tls_handshakes_failed.count(failed.word());
        None
    }
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// No TLS was spoken.
    Plain,
    /// It took too long.
    Slow,
    /// The connection broke.
    Lost,
    /// The other side did not want to go on: it does not trust the certificate, most likely.
    Alert,
    /// No version, cipher or protocol that both speak.
    Incompatible,
    /// What came was not good TLS.
    Protocol,
}

impl Failed {
    const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Slow => "slow",
            Self::Lost => "lost",
            Self::Alert => "alert",
            Self::Incompatible => "incompatible",
            Self::Protocol => "protocol",
        }
    }
}

/// rustls hides its errors in those of the stream; a stream that merely broke has none inside.
impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(rustls::Error::AlertReceived(_)) => Self::Alert,
            Ok(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
                Self::Incompatible
            }
            Ok(_) => Self::Protocol,
            Err(_) => Self::Lost,
        }
    }
}

/// Tells somebody who speaks plain HTTP, as browsers do where `http://` was typed, what is spoken here.
async fn send_away(stream: &mut TcpStream, first: [u8; 1]) -> io::Result<()> {
    if !first[0].is_ascii_uppercase() {
        return Ok(());
    }
    stream.write_all(SPEAK_TLS).await?;
    stream.shutdown().await?;
    // What is unread when a stream is dropped makes the kernel answer with a reset, which can eat what was written.
    let (mut scratch, mut most) = ([0; 1024], MAX_PLAIN_BYTES);
    while most > 0 {
        stream.readable().await?;
        match stream.try_read(&mut scratch) {
            Ok(0) => break,
            Ok(read) => most = most.saturating_sub(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Longest time for a handshake, from the first byte that is waited for to the last that is sent.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// What TLS begins with: the type of a handshake record (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Bytes of a plain request that are read before it is hung up on.
const MAX_PLAIN_BYTES: usize = 64 * 1024;

/// The answer to a plain request.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
content-length: 52\r\n\r\nThis port speaks TLS: use https:// or wss:// here.\r\n";

#[cfg(test)]
mod tests;
