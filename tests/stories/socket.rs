//! A raw WebSocket: sends whatever it is told, and says how the relay answered.
//!
//! Must not be polite: a client library would refuse to send most of this.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use chatctl_protocol::v1::{Goodbye, Ping, Pong, frame::Body};
use chatctl_protocol::{CloseCode, Encoding, frame};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// A socket after its upgrade; whether it has said hello is up to the story.
#[derive(Debug)]
pub(crate) struct RawSocket {
    encoding: Encoding,
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    stream: SplitStream<WebSocketStream<TcpStream>>,
    /// Frames that were heard and passed over.
    heard: VecDeque<Body>,
}

/// How the relay ended a socket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parting {
    /// The close code, if there was a close frame at all.
    pub(crate) code: Option<CloseCode>,
    /// The frame that announced it.
    pub(crate) goodbye: Option<Goodbye>,
}

impl RawSocket {
    /// Connects and upgrades with one subprotocol.
    pub(crate) async fn open(relay: SocketAddr, encoding: Encoding) -> Self {
        let stream = TcpStream::connect(relay).await.expect("the relay listens");
        Self::over(stream, encoding).await
    }

    /// Upgrades a connection with one subprotocol.
    pub(crate) async fn over(stream: TcpStream, encoding: Encoding) -> Self {
        Self::upgrade(stream, encoding, None).await
    }

    /// Connects and upgrades with a token in the headers.
    pub(crate) async fn open_as(relay: SocketAddr, encoding: Encoding, token: &str) -> Self {
        let stream = TcpStream::connect(relay).await.expect("the relay listens");
        Self::upgrade(stream, encoding, Some(token)).await
    }

    async fn upgrade(stream: TcpStream, encoding: Encoding, token: Option<&str>) -> Self {
        let mut request = "ws://relay/v1/ws".into_client_request().unwrap();
        let offer = HeaderValue::from_static(encoding.subprotocol());
        request
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
        if let Some(token) = token {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        let (socket, response) = tokio_tungstenite::client_async(request, stream)
            .await
            .expect("an upgrade");
        assert_eq!(
            response.headers().get(header::SEC_WEBSOCKET_PROTOCOL).unwrap(),
            encoding.subprotocol()
        );
        let (sink, stream) = socket.split();
        Self {
            encoding,
            sink,
            stream,
            heard: VecDeque::new(),
        }
    }

    /// Sends a frame of the protocol.
    pub(crate) async fn send(&mut self, body: Body) {
        self.try_send(body).await.expect("the relay still reads");
    }

    /// Sends a frame of the protocol to a relay that may have closed.
    pub(crate) async fn try_send(&mut self, body: Body) -> Result<(), WsError> {
        let message = match self.encoding {
            Encoding::Proto => Message::Binary(frame::encode_proto(body)),
            Encoding::Json => Message::text(frame::encode_json(body).unwrap()),
        };
        self.sink.send(message).await
    }

    /// Sends a message, whatever it is.
    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.sink.send(message).await.expect("the relay still reads");
    }

    /// The next frame of the protocol.
    pub(crate) async fn frame(&mut self) -> Body {
        match self.heard.pop_front() {
            Some(frame) => frame,
            None => self.new_frame().await,
        }
    }

    async fn new_frame(&mut self) -> Body {
        loop {
            if let Some(frame) = body(self.encoding, self.message().await) {
                return frame;
            }
        }
    }

    /// The next message, be it a frame or not. A ping is answered with what is read or sent next.
    pub(crate) async fn message(&mut self) -> Message {
        let message = within(self.stream.next()).await;
        message.expect("the socket is open").expect("the socket is whole")
    }

    /// The next frame of a kind. Others stay for later, in their order.
    pub(crate) async fn find<T>(&mut self, pick: impl Fn(&Body) -> Option<T>) -> T {
        if let Some((at, found)) = self
            .heard
            .iter()
            .enumerate()
            .find_map(|(at, body)| Some((at, pick(body)?)))
        {
            self.heard.remove(at);
            return found;
        }
        loop {
            let body = self.new_frame().await;
            match pick(&body) {
                Some(found) => return found,
                None => self.heard.push_back(body),
            }
        }
    }

    /// Everything that the relay has to say now, and was not found before.
    pub(crate) async fn settled(&mut self) -> Vec<Body> {
        // What a ring brings may come right behind the first answer, never behind the second.
        for id in [PROBE, PROBE + 1] {
            self.send(Body::Ping(Ping { id })).await;
            let pong = Body::Pong(Pong { id });
            self.find(|body| (*body == pong).then_some(())).await;
        }
        self.heard.drain(..).collect()
    }

    /// Closes as a client that is done, and waits for the relay to agree.
    pub(crate) async fn leave(mut self) {
        self.send_raw(Message::Close(Some(CloseFrame {
            code: 1000.into(),
            reason: "".into(),
        })))
        .await;
        let mut is_answered = false;
        while let Some(message) = within(self.stream.next()).await {
            match message {
                Ok(Message::Close(_)) => is_answered = true,
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(is_answered, "a close without an answer");
    }

    /// Reads on like a peer that never answers, until the relay has closed.
    pub(crate) async fn ended_in_silence(self) -> Parting {
        let Self {
            encoding,
            sink,
            stream,
            ..
        } = self;
        let mut tcp = sink.reunite(stream).expect("the same socket").into_inner();
        let (mut bytes, mut goodbye) = (Vec::new(), None);
        loop {
            let read = within(tcp.read_buf(&mut bytes))
                .await
                .expect("the relay closes in order");
            while let Some((opcode, payload)) = take_frame(&mut bytes) {
                match opcode {
                    8 => {
                        let number = u16::from_be_bytes([payload[0], payload[1]]);
                        let code = CloseCode::from_number(number);
                        return Parting { code, goodbye };
                    }
                    1 | 2 => {
                        let message = match opcode {
                            1 => Message::text(String::from_utf8(payload).unwrap()),
                            _ => Message::binary(payload),
                        };
                        if let Some(Body::Goodbye(last)) = body(encoding, message) {
                            goodbye = Some(last);
                        }
                    }
                    _ => {}
                }
            }
            if read == 0 {
                return Parting { code: None, goodbye };
            }
        }
    }

    /// Sends a message, whatever it is, and waits until the relay ends the socket.
    ///
    /// Reads while it writes: a relay that refuses ten megabytes does not read them first.
    pub(crate) async fn ended_by(mut self, message: Message) -> Parting {
        let Self {
            encoding,
            sink,
            stream,
            ..
        } = &mut self;
        let mut sending = Some(sink.send(message));
        let mut goodbye = None;
        loop {
            let received = tokio::select! {
                received = within(stream.next()) => received,
                // A relay that has closed already makes this fail, and the close frame is still to be read.
                _ = async { sending.as_mut().unwrap().await }, if sending.is_some() => {
                    sending = None;
                    continue;
                }
            };
            match received {
                Some(Ok(Message::Close(close))) => {
                    let code = close.and_then(|close| CloseCode::from_number(close.code.into()));
                    return Parting { code, goodbye };
                }
                Some(Ok(message)) => match body(*encoding, message) {
                    Some(Body::Goodbye(last)) => goodbye = Some(last),
                    other => assert_eq!(goodbye, None, "{other:?} after a Goodbye"),
                },
                Some(Err(_)) | None => return Parting { code: None, goodbye },
            }
        }
    }

    /// Sends nothing, and waits until the relay ends the socket.
    pub(crate) async fn ended(self) -> Parting {
        self.ended_by(Message::Pong(Bytes::new())).await
    }
}

/// Takes one frame of RFC 6455, as a server writes it, off the front of what was read.
fn take_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (head, length) = match bytes.get(1)? {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (
            10,
            usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?,
        ),
        length => (2, usize::from(*length)),
    };
    let payload = bytes.get(head..head + length)?.to_vec();
    let opcode = bytes[0] & 15;
    bytes.drain(..head + length);
    Some((opcode, payload))
}

/// A text message of bytes that need not be text.
pub(crate) fn text_of(bytes: &'static [u8]) -> Message {
    Message::Frame(Frame::message(
        Bytes::from_static(bytes),
        OpCode::Data(Data::Text),
        true,
    ))
}

fn body(encoding: Encoding, message: Message) -> Option<Body> {
    match (encoding, message) {
        (Encoding::Proto, Message::Binary(bytes)) => Some(frame::decode_proto(bytes).unwrap()),
        (Encoding::Json, Message::Text(text)) => Some(frame::decode_json(&text).unwrap()),
        (_, Message::Ping(_) | Message::Pong(_)) => None,
        (_, other) => panic!("not a frame in {encoding:?}: {other:?}"),
    }
}

/// Ids of pings that no story uses for itself.
const PROBE: u64 = 1 << 50;

/// Nothing in a story takes this long; what does has hung.
async fn within<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), event)
        .await
        .expect("the relay does something")
}
