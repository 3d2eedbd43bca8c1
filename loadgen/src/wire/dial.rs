//! Ways to a peer: addresses, TCP connections and WebSockets on them, and the classes of what goes wrong there.
//!
//! Peers are compared on loopback and without TLS.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::wire::Trouble;

/// Where a peer listens: `nats://127.0.0.1:4222`, `ws://127.0.0.1:8080/path`.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    uri: Uri,
    host: String,
    port: u16,
    is_web: bool,
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is no address such as `{scheme}://127.0.0.1:{port}`")]
pub struct AddressError {
    url: String,
    scheme: &'static str,
    port: u16,
}

impl Address {
    /// Reads an address of the peer's own scheme (over TCP), or of `ws` (over WebSocket).
    ///
    /// # Errors
    ///
    /// [`AddressError`] when it is neither.
    pub fn parse(url: &str, scheme: &'static str, port: u16) -> Result<Self, AddressError> {
        let bad = || AddressError {
            url: url.to_owned(),
            scheme,
            port,
        };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let is_web = uri.scheme_str() == Some("ws");
        if !is_web && uri.scheme_str() != Some(scheme) {
            return Err(bad());
        }
        let host = uri.host().ok_or_else(bad)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if is_web { 80 } else { port });
        Ok(Self {
            uri,
            host,
            port,
            is_web,
        })
    }

    /// Whether it is spoken to over WebSocket.
    #[must_use]
    pub const fn is_web(&self) -> bool {
        self.is_web
    }

    /// Connects, from `source` if there is one.
    ///
    /// # Errors
    ///
    /// [`Trouble`] `connect.…`.
    pub(crate) async fn dial(&self, source: Option<IpAddr>) -> Result<TcpStream, Trouble> {
        let to = self.resolve().await?;
        let socket = match to {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.map_err(|error| not_connected(&error))?;
        if let Some(source) = source {
            socket
                .bind(SocketAddr::new(source, 0))
                .map_err(|error| not_connected(&error))?;
        }
        socket.set_nodelay(true).map_err(|error| not_connected(&error))?;
        socket.connect(to).await.map_err(|error| not_connected(&error))
    }

    /// Connects and upgrades to a WebSocket that offers `subprotocol`, if there is one.
    ///
    /// # Errors
    ///
    /// [`Trouble`] `connect.…` or `upgrade.…`.
    pub(crate) async fn dial_web(
        &self,
        source: Option<IpAddr>,
        subprotocol: Option<&'static str>,
    ) -> Result<Web, Trouble> {
        let mut request = self.uri.clone().into_client_request().map_err(not_upgraded)?;
        if let Some(subprotocol) = subprotocol {
            let offer = HeaderValue::from_static(subprotocol);
            request
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
        }
        let stream = self.dial(source).await?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES);
        let (web, _response) = tokio_tungstenite::client_async_with_config(request, stream, Some(config))
            .await
            .map_err(not_upgraded)?;
        Ok(web)
    }

    async fn resolve(&self) -> Result<SocketAddr, Trouble> {
        if let Ok(ip) = self.host.parse() {
            return Ok(SocketAddr::new(ip, self.port));
        }
        let mut found = tokio::net::lookup_host((&*self.host, self.port))
            .await
            .map_err(|_| trouble("connect.name"))?;
        found.next().ok_or_else(|| trouble("connect.name"))
    }
}

impl fmt::Debug for Address {
    /// Without what stands before an `@`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({}:{})", self.host, self.port)
    }
}

/// A WebSocket to a peer.
pub(crate) type Web = WebSocketStream<TcpStream>;

/// A trouble that may be over at the next attempt.
pub(crate) fn trouble(class: &str) -> Trouble {
    Trouble {
        class: class.to_owned(),
        fatal: false,
    }
}

/// A trouble that stays.
pub(crate) fn fatal(class: &str) -> Trouble {
    Trouble {
        class: class.to_owned(),
        fatal: true,
    }
}

/// What broke a connection that was there.
pub(crate) fn broken(error: tungstenite::Error) -> Trouble {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => trouble("close.1005"),
        tungstenite::Error::Io(error) => cut(&error),
        _ => trouble("frame.unreadable"),
    }
}

/// What cut a TCP connection.
pub(crate) fn cut(error: &std::io::Error) -> Trouble {
    trouble(&format!("broken.{}", word(error)))
}

/// What a close frame says.
pub(crate) fn closed(message: &Message) -> Trouble {
    match message {
        Message::Close(Some(frame)) => trouble(&format!("close.{}", u16::from(frame.code))),
        _ => trouble("close.1005"),
    }
}

fn not_connected(error: &std::io::Error) -> Trouble {
    trouble(&format!("connect.{}", word(error)))
}

fn word(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => "refused",
        Kind::ConnectionReset | Kind::BrokenPipe => "reset",
        Kind::ConnectionAborted | Kind::UnexpectedEof => "eof",
        Kind::TimedOut => "timeout",
        Kind::AddrNotAvailable | Kind::AddrInUse => "ports",
        _ => "failed",
    }
}

fn not_upgraded(error: tungstenite::Error) -> Trouble {
    match error {
        tungstenite::Error::Http(response) => trouble(&format!("upgrade.{}", response.status().as_u16())),
        _ => trouble("upgrade.failed"),
    }
}

/// What is read from a socket at once.
pub(crate) const READ_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_peers_scheme_or_a_websocket() {
        let plain = Address::parse("nats://127.0.0.1", "nats", 4222).unwrap();
        assert_eq!(format!("{plain:?}"), "Address(127.0.0.1:4222)");
        let web = Address::parse("ws://[::1]:9001/mqtt", "mqtt", 1883).unwrap();
        assert_eq!((&*web.host, web.port, web.is_web()), ("::1", 9001, true));
        let refused = Address::parse("http://127.0.0.1", "nats", 4222).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`http://127.0.0.1` is no address such as `nats://127.0.0.1:4222`"
        );
        assert!(Address::parse("127.0.0.1:1", "nats", 4222).is_err());
    }
}
