//! How a connection is made: from where, and whom to trust at the other end.
//!
//! Must not know WebSocket or HTTP.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::line::Line;
use crate::{Tls, TlsError};

/// What an app chooses about its connections. The default lets the system choose the local address and whom to trust.
#[derive(Debug, Clone, Default)]
pub struct Dial {
    /// Whose certificates count under `wss://` and `https://`; [`Tls::system`] unless told otherwise.
    pub tls: Option<Tls>,
    /// The local address, for a machine with several of them. Its port is the system's choice.
    pub local: Option<IpAddr>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum DialError {
    /// Nobody answers, or the connection broke on the way.
    Io(io::Error),
    /// Whoever answered is not who it should be, or does not speak TLS as we do.
    Untrusted(rustls::Error),
    /// Nobody can be trusted.
    Tls(TlsError),
    /// A host name that no certificate can carry.
    Host,
}

impl Dial {
    /// Trusts whom `tls` trusts.
    #[must_use]
    pub fn trusting(tls: Tls) -> Self {
        Self {
            tls: Some(tls),
            local: None,
        }
    }

    /// Connects from this address.
    #[must_use]
    pub fn at(mut self, local: IpAddr) -> Self {
        self.local = Some(local);
        self
    }

    pub(crate) fn tls(&self) -> Result<Tls, TlsError> {
        self.tls.clone().map_or_else(Tls::system, Ok)
    }

    /// Connects to a host, inside TLS or not, for what else is said to a relay than this library says.
    ///
    /// # Errors
    ///
    /// That nobody answers, or that whoever answers is not trusted: rustls's error is inside then.
    pub async fn stream(
        &self,
        host: &str,
        port: u16,
        secure: bool,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>> {
        let connected = self.connect(host, port, secure).await;
        connected.map_err(|error| match error {
            DialError::Io(error) => error,
            DialError::Untrusted(error) => io::Error::new(io::ErrorKind::PermissionDenied, error),
            DialError::Tls(error) => io::Error::other(error),
            DialError::Host => io::Error::from(io::ErrorKind::InvalidInput),
        })
    }

    pub(crate) async fn connect(&self, host: &str, port: u16, secure: bool) -> Result<Line, DialError> {
        // An IPv6 address stands in brackets in a URL, and nowhere else.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if !secure {
            return Ok(Line::Plain(self.tcp(host, port).await?));
        }
        let tls = self.tls().map_err(DialError::Tls)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| DialError::Host)?;
        let tcp = self.tcp(host, port).await?;
        let connector = TlsConnector::from(std::sync::Arc::clone(tls.config()));
        let stream = connector.connect(name, tcp).await.map_err(untrusted)?;
        Ok(Line::Tls(Box::new(stream)))
    }

    /// The first address of the host that answers.
    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in lookup_host((host, port)).await.map_err(DialError::Io)? {
            match self.tcp_to(address).await {
                Ok(stream) => {
                    // Frames are small and each of them is wanted now.
                    stream.set_nodelay(true).map_err(DialError::Io)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(DialError::Io(last))
    }

    async fn tcp_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let Some(local) = self.local else {
            return TcpStream::connect(address).await;
        };
        let socket = match (address, local) {
            (SocketAddr::V4(_), IpAddr::V4(_)) => TcpSocket::new_v4()?,
            (SocketAddr::V6(_), IpAddr::V6(_)) => TcpSocket::new_v6()?,
            (SocketAddr::V4(_), IpAddr::V6(_)) | (SocketAddr::V6(_), IpAddr::V4(_)) => {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
        };
        socket.bind(SocketAddr::new(local, 0))?;
        socket.connect(address).await
    }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// rustls hides its errors in those of the stream; a stream that merely broke has none inside.
fn untrusted(error: io::Error) -> DialError {
    match error.downcast::<rustls::Error>() {
        Ok(error) => DialError::Untrusted(error),
        Err(error) => DialError::Io(error),
    }
}
