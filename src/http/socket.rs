//! The WebSocket under `/v1/ws`: the upgrade, frames in, frames out.
//!
//! Owns framing, buffers and the codes of broken input; must not know what a frame means. The upgrade
//! goes through hyper and the socket is tokio-tungstenite's, on the connection itself.
//!
//! # Why
//!
//! tungstenite's default read buffer is 128 KiB per connection, zeroed at each read; a small one costs
//! a fraction of the memory and of the time. Many frames are written per flush: a flush is a system call. So it is
//! inside TLS, too: what is gathered becomes one record (two, where it is more than 16 KiB), written at once.

use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{CloseCode, Code, Encoding, FrameError, frame};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::http::problem::Problem;
use crate::session::{Leave, Said};
use crate::tls::Line;

/// What came over a socket.
#[derive(Debug)]
pub enum Heard {
    /// A frame.
    Frame(Body),
    /// The answer to a ping, with its mark.
    Pong(Bytes),
    /// A sign of life without meaning.
    Life,
}

/// Why nothing more comes over a socket.
#[derive(Debug)]
pub enum Ended {
    /// The other side closed it, or the connection is lost.
    Gone,
    /// The other side broke the protocol. The word is for the metric.
    Broken(Leave, &'static str),
}

/// Answers an upgrade request, and gives the promise of its connection.
///
/// # Errors
///
/// [`Problem`] 400 when it is not a WebSocket upgrade of version 13 (RFC 6455 section 4.2.1).
pub fn upgrade(
    request: &mut Request<HttpBody>,
    subprotocol: Option<&'static str>,
) -> Result<(Response<HttpBody>, OnUpgrade), Problem> {
    let bad = |what: &str| Problem::new(Code::BadRequest, "This is not a WebSocket upgrade.").detail(what);
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(bad("the method must be GET"));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade")
        || !has_token(headers, &header::UPGRADE, "websocket")
    {
        return Err(bad(
            "the headers Connection: Upgrade and Upgrade: websocket are missing",
        ));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(bad("Sec-WebSocket-Version must be 13"));
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return Err(bad("Sec-WebSocket-Key is missing"));
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| bad("bad key"))?;
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(bad("this connection cannot be upgraded"));
    };
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(subprotocol) = subprotocol {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(subprotocol),
        );
    }
    Ok((response, on_upgrade))
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// The upgraded connection as a WebSocket, with the relay's buffers and bounds. `None` when the
/// connection was lost meanwhile.
pub async fn connect(on_upgrade: OnUpgrade, max_frame_bytes: usize) -> Option<WebSocketStream<Line>> {
    let upgraded = on_upgrade.await.ok()?;
    let Parts { io, read_buf, .. } = upgraded.downcast::<TokioIo<Line>>().ok()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER + 4 * max_frame_bytes)
        .max_message_size(Some(max_frame_bytes))
        .max_frame_size(Some(max_frame_bytes));
    let (io, role) = (io.into_inner(), Role::Server);
    Some(WebSocketStream::from_partially_read(io, read_buf.to_vec(), role, Some(config)).await)
}

/// One connection that speaks frames in one encoding.
#[derive(Debug)]
pub struct Socket {
    ws: WebSocketStream<Line>,
    encoding: Encoding,
    patience: Duration,
}

impl Socket {
    /// A socket whose writes may take `patience`.
    #[must_use]
    pub const fn new(ws: WebSocketStream<Line>, encoding: Encoding, patience: Duration) -> Self {
        Self {
            ws,
            encoding,
            patience,
        }
    }

    /// Waits for what comes next. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Ended`] when nothing more will come.
    pub async fn hear(&mut self) -> Result<Heard, Ended> {
        match self.ws.next().await {
            Some(Ok(message)) => self.understand(message),
            Some(Err(error)) => Err(broken(&error)),
            None => Err(Ended::Gone),
        }
    }

    /// What has come already, without waiting.
    pub fn heard(&mut self) -> Option<Result<Heard, Ended>> {
        self.hear().now_or_never()
    }

    fn understand(&self, message: Message) -> Result<Heard, Ended> {
        let decoded = match (message, self.encoding) {
            (Message::Binary(bytes), Encoding::Proto) => frame::decode_proto(bytes),
            (Message::Text(text), Encoding::Json) => frame::decode_json(&text),
            (Message::Binary(_), Encoding::Json) => {
                return Err(bad_frame("a binary message on the JSON subprotocol", "binary"));
            }
            (Message::Text(_), Encoding::Proto) => {
                return Err(bad_frame("a text message on the protobuf subprotocol", "text"));
            }
            (Message::Pong(mark), _) => return Ok(Heard::Pong(mark)),
            (Message::Ping(_) | Message::Frame(_), _) => return Ok(Heard::Life),
            (Message::Close(_), _) => return Err(Ended::Gone),
        };
        decoded.map(Heard::Frame).map_err(|error| match error {
            FrameError::Proto(_) => bad_frame("not a protobuf frame", "proto"),
            FrameError::Json(_) => bad_frame("not a JSON frame", "json"),
            FrameError::Empty => bad_frame("an empty or unknown frame", "empty"),
        })
    }

    /// Writes frames and flushes once.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the connection is lost, or takes nothing for as long as the patience lasts.
    pub async fn say(&mut self, frames: &mut Vec<Said>) -> Result<(), Ended> {
        if frames.is_empty() {
            return Ok(());
        }
        let writing = async {
            for said in frames.drain(..) {
                let Some(message) = encode(said.into_body(), self.encoding) else {
                    continue;
                };
                self.ws.feed(message).await?;
            }
            self.ws.flush().await
        };
        match timeout(self.patience, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Gone),
            Err(_) => {
                let leave = Leave::new(CloseCode::SlowConsumer, "the connection takes no more");
                Err(Ended::Broken(leave, "slow"))
            }
        }
    }

    /// Pings, with a mark that the answer brings back.
    ///
    /// # Errors
    ///
    /// [`Ended`] as for [`Self::say`].
    pub async fn ping(&mut self, mark: &'static [u8]) -> Result<(), Ended> {
        let sending = self.ws.send(Message::Ping(Bytes::from_static(mark)));
        match timeout(self.patience, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ended::Gone),
        }
    }

    /// Answers the other side's close, if there was one: the answer waits for the next write.
    pub async fn part(mut self) {
        // A lost connection fails at once, and nobody is left to be told.
        let _ = timeout(FAREWELL, async {
            self.ws.flush().await?;
            hang_up(&mut self.ws).await
        })
        .await;
    }

    /// Says goodbye, closes, and waits a moment for the other side to do so too.
    pub async fn leave(mut self, leave: Leave) {
        let closing = async {
            if let Some(goodbye) = encode(leave.goodbye(), self.encoding) {
                self.ws.feed(goodbye).await?;
            }
            close(&mut self.ws, leave.code, leave.reason).await;
            Ok::<(), WsError>(())
        };
        let _ = timeout(FAREWELL, closing).await;
    }
}

/// Closes with a code, and reads on until the other side has closed too, so that it sees the code.
/// Waits as long as the caller lets it.
pub async fn close(ws: &mut WebSocketStream<Line>, code: CloseCode, reason: &'static str) {
    let frame = CloseFrame {
        code: code.number().into(),
        reason: reason.into(),
    };
    if ws.close(Some(frame)).await.is_ok() {
        while let Some(Ok(_)) = ws.next().await {}
        // It has its answer: that nobody hears this is no loss.
        let _ = hang_up(ws).await;
    }
    // What is unread when the stream is dropped makes the kernel answer with a reset, which can eat
    // the close frame on its way: a client that still floods is read dry for a moment.
}

/// Ends TLS in order, where there is any: who hears no end of it must take the connection for cut off.
async fn hang_up(ws: &mut WebSocketStream<Line>) -> Result<(), WsError> {
    match ws.get_mut() {
        Line::Plain(_) => Ok(()),
        Line::Secure(stream) => stream.shutdown().await.map_err(WsError::Io),
    }
}

fn encode(body: Body, encoding: Encoding) -> Option<Message> {
    match encoding {
        Encoding::Proto => Some(Message::Binary(frame::encode_proto(body))),
        Encoding::Json => frame::encode_json(body)
            .ok()
            .map(|text| Message::Text(text.into())),
    }
}

const fn bad_frame(reason: &'static str, word: &'static str) -> Ended {
    Ended::Broken(Leave::new(CloseCode::BadFrame, reason), word)
}

/// What a read error says about the other side.
#[must_use]
pub fn broken(error: &WsError) -> Ended {
    match error {
        WsError::Capacity(CapacityError::MessageTooLong { .. } | CapacityError::TooManyHeaders) => {
            Ended::Broken(
                Leave::new(CloseCode::TooLarge, "the message is too large"),
                "too_large",
            )
        }
        WsError::Utf8(_) => Ended::Broken(Leave::new(CloseCode::NotUtf8, "the text is not UTF-8"), "utf8"),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ended::Gone,
        WsError::Protocol(_) => Ended::Broken(
            Leave::new(CloseCode::ProtocolError, "not the WebSocket protocol"),
            "websocket",
        ),
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Io(_)
        | WsError::Tls(_)
        | WsError::WriteBufferFull(_)
        | WsError::AttackAttempt
        | WsError::Url(_)
        | WsError::Http(_)
        | WsError::HttpFormat(_) => Ended::Gone,
    }
}

/// Read buffer of a connection, in bytes: see the module's why.
const READ_BUFFER: usize = 4 * 1024;

/// Bytes that are gathered before they are written.
const WRITE_BUFFER: usize = 16 * 1024;

/// Longest time for a goodbye.
const FAREWELL: Duration = Duration::from_secs(2);
