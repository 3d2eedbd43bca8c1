//! The lower layer: one WebSocket, frames in and frames out. No policy, no reconnect, no memory.
//!
//! A [`Socket`] is a `Stream` and a `Sink` of frames; both halves may be polled from one task.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chatctl_protocol::frame::{self, FrameError};
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{CloseCode, Encoding};
use futures_util::{Sink, Stream};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::{IntoClientRequest as _, uri_mode};
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, header};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::stream::Mode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::dial::DialError;
use crate::line::Line;
use crate::{Dial, TlsError};

/// A connected WebSocket that speaks one encoding of the protocol.
pub struct Socket {
    stream: WebSocketStream<Line>,
    encoding: Encoding,
    heard: Instant,
    closed: Option<u16>,
}

/// What ends a socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The URL is not one that can be connected to.
    #[error("not a WebSocket URL")]
    Url(#[source] Box<tungstenite::Error>),
    /// The relay answered the upgrade with something else.
    #[error("the relay answered the upgrade with status {status}")]
    Upgrade {
        /// The HTTP status.
        status: u16,
        /// What its `Retry-After` asked for.
        retry_after: Option<Duration>,
    },
    /// The relay picked another subprotocol than the one offered.
    #[error("the relay does not speak the offered subprotocol")]
    Subprotocol,
    /// Nobody can be trusted.
    #[error("no TLS")]
    Tls(#[from] TlsError),
    /// Whoever answered showed no certificate that is trusted.
    #[error("the relay's certificate is not trusted")]
    Untrusted(#[source] Box<rustls::Error>),
    /// The connection broke, or the other side broke RFC 6455.
    #[error("the connection broke")]
    Broken(#[source] Box<tungstenite::Error>),
    /// The relay sent something that is not a frame.
    #[error("the relay sent something that is not a frame")]
    Frame(#[from] FrameError),
    /// The relay sent text on a binary subprotocol, or the other way round.
    #[error("the relay sent the wrong kind of WebSocket message")]
    Kind,
}

impl Socket {
    /// Connects to `ws://` or `wss://`, and offers one subprotocol.
    ///
    /// Buffers stay small, so that thousands of sockets fit into one process. `max_frame_bytes` bounds
    /// what one incoming frame may take; larger ones break the socket.
    ///
    /// # Errors
    ///
    /// [`SocketError`] when there is no relay, or it does not want to.
    pub async fn connect(url: &str, encoding: Encoding, max_frame_bytes: usize) -> Result<Self, SocketError> {
        Self::connect_with(&Dial::default(), url, encoding, max_frame_bytes).await
    }

    /// The same, from a local address: for a process that has more connections than one address has ports.
    ///
    /// # Errors
    ///
    /// As [`Socket::connect`].
    pub async fn connect_from(
        local: IpAddr,
        url: &str,
        encoding: Encoding,
        max_frame_bytes: usize,
    ) -> Result<Self, SocketError> {
        Self::connect_with(&Dial::default().at(local), url, encoding, max_frame_bytes).await
    }

    /// The same, from where and trusting whom the app chooses.
    ///
    /// # Errors
    ///
    /// As [`Socket::connect`].
    pub async fn connect_with(
        dial: &Dial,
        url: &str,
        encoding: Encoding,
        max_frame_bytes: usize,
    ) -> Result<Self, SocketError> {
        let request = upgrade(url, encoding).map_err(|error| SocketError::Url(Box::new(error)))?;
        let secure = matches!(uri_mode(request.uri()), Ok(Mode::Tls));
        let port = request.uri().port_u16().unwrap_or(if secure { 443 } else { 80 });
        let host = request.uri().host().unwrap_or_default();
        let line = dial.connect(host, port, secure).await?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(max_frame_bytes))
            .max_frame_size(Some(max_frame_bytes));
        let (stream, response) = client_async_with_config(request, line, Some(config))
            .await
            .map_err(refused)?;
        let spoken = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        if spoken.is_none_or(|spoken| spoken.as_bytes() != encoding.subprotocol().as_bytes()) {
            return Err(SocketError::Subprotocol);
        }
        Ok(Self {
            stream,
            encoding,
            heard: Instant::now(),
            closed: None,
        })
    }

    /// When anything last arrived, pings included. Moves only while the socket is read.
    #[must_use]
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// The code of the relay's close frame, once the stream has ended with one.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        self.closed
    }

    /// Says goodbye with 1000, and waits until the relay has answered it. What still arrives is dropped.
    ///
    /// # Errors
    ///
    /// [`SocketError::Broken`] when the connection breaks first.
    pub async fn close(mut self) -> Result<(), SocketError> {
        let frame = CloseFrame {
            code: CloseCode::Normal.number().into(),
            reason: "".into(),
        };
        match self.stream.close(Some(frame)).await {
            Ok(()) | Err(tungstenite::Error::ConnectionClosed) => {}
            Err(error) => return Err(broken(error)),
        }
        loop {
            match std::future::poll_fn(|cx| Pin::new(&mut self.stream).poll_next(cx)).await {
                None | Some(Err(tungstenite::Error::ConnectionClosed)) => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(broken(error)),
            }
        }
    }

    /// What a WebSocket message means: a frame, or nothing that a caller must see.
    fn parse(&mut self, message: Message) -> Result<Option<Body>, SocketError> {
        let frame = match (message, self.encoding) {
            (Message::Binary(bytes), Encoding::Proto) => frame::decode_proto(bytes),
            (Message::Text(text), Encoding::Json) => frame::decode_json(&text),
            (Message::Binary(_), Encoding::Json) | (Message::Text(_), Encoding::Proto) => {
                return Err(SocketError::Kind);
            }
            (Message::Close(frame), Encoding::Proto | Encoding::Json) => {
                self.closed = frame.map(|frame| frame.code.into());
                return Ok(None);
            }
            (Message::Ping(_) | Message::Pong(_) | Message::Frame(_), Encoding::Proto | Encoding::Json) => {
                return Ok(None);
            }
        };
        match frame {
            Ok(body) => Ok(Some(body)),
            // A frame of a newer relay: ignored, as unknown fields are.
            Err(FrameError::Empty) => Ok(None),
            Err(error @ (FrameError::Proto(_) | FrameError::Json(_))) => Err(error.into()),
        }
    }
}

impl Stream for Socket {
    type Item = Result<Body, SocketError>;

    /// The next frame; the end once the relay has closed.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let message = match ready!(Pin::new(&mut this.stream).poll_next(cx)) {
                Some(Ok(message)) => message,
                None | Some(Err(tungstenite::Error::ConnectionClosed)) => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(broken(error)))),
            };
            this.heard = Instant::now();
            match this.parse(message) {
                Ok(None) => {}
                Ok(Some(body)) => return Poll::Ready(Some(Ok(body))),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl Sink<Body> for Socket {
    type Error = SocketError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        Pin::new(&mut self.get_mut().stream)
            .poll_ready(cx)
            .map_err(broken)
    }

    fn start_send(self: Pin<&mut Self>, body: Body) -> Result<(), SocketError> {
        let this = self.get_mut();
        let message = match this.encoding {
            Encoding::Proto => Message::Binary(frame::encode_proto(body)),
            Encoding::Json => Message::Text(frame::encode_json(body)?.into()),
        };
        Pin::new(&mut this.stream).start_send(message).map_err(broken)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        Pin::new(&mut self.get_mut().stream)
            .poll_flush(cx)
            .map_err(broken)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        Pin::new(&mut self.get_mut().stream)
            .poll_close(cx)
            .map_err(broken)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("encoding", &self.encoding)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// The request for the upgrade.
fn upgrade(url: &str, encoding: Encoding) -> Result<Request, tungstenite::Error> {
    let mut request = url.into_client_request()?;
    uri_mode(request.uri())?;
    if request.uri().host().is_none_or(str::is_empty) {
        return Err(UrlError::NoHostName.into());
    }
    let offer = HeaderValue::from_static(encoding.subprotocol());
    let headers = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
    Ok(request)
}

impl From<DialError> for SocketError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Io(error) => broken(error.into()),
            DialError::Untrusted(error) => Self::Untrusted(Box::new(error)),
            DialError::Tls(error) => Self::Tls(error),
            DialError::Host => Self::Url(Box::new(UrlError::NoHostName.into())),
        }
    }
}

fn broken(error: tungstenite::Error) -> SocketError {
    SocketError::Broken(Box::new(error))
}

/// Sorts what can go wrong before the first frame.
fn refused(error: tungstenite::Error) -> SocketError {
    use tungstenite::Error as E;
    use tungstenite::error::ProtocolError;
    match error {
        E::Http(response) => SocketError::Upgrade {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
        },
        E::Url(_) | E::HttpFormat(_) => SocketError::Url(Box::new(error)),
        E::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => SocketError::Subprotocol,
        other => broken(other),
    }
}

fn retry_after(response: &Response<Option<Vec<u8>>>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

const READ_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
