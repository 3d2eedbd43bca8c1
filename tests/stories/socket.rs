//! A raw WebSocket: sends whatever it is told, and says how the relay answered.
//!
//! Must not be polite: a client library would refuse to send most of this.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use chatctl_protocol::v1::{Goodbye, frame::Body};
use chatctl_protocol::{CloseCode, Encoding, frame};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// A socket after its upgrade; whether it has said hello is up to the story.
#[derive(Debug)]
pub(crate) struct RawSocket {
    encoding: Encoding,
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    stream: SplitStream<WebSocketStream<TcpStream>>,
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
        let mut request = format!("ws://{relay}/v1/ws").into_client_request().unwrap();
        let offer = HeaderValue::from_static(encoding.subprotocol());
        request
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
        let stream = TcpStream::connect(relay).await.expect("the relay listens");
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
        }
    }

    /// Sends a frame of the protocol.
    pub(crate) async fn send(&mut self, body: Body) {
        let message = match self.encoding {
            Encoding::Proto => Message::Binary(frame::encode_proto(body)),
            Encoding::Json => Message::text(frame::encode_json(body).unwrap()),
        };
        self.send_raw(message).await;
    }

    /// Sends a message, whatever it is.
    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.sink.send(message).await.expect("the relay still reads");
    }

    /// The next frame of the protocol.
    pub(crate) async fn frame(&mut self) -> Body {
        let message = within(self.stream.next()).await;
        let message = message.expect("the socket is open").expect("the socket is whole");
        body(self.encoding, message).expect("a frame")
    }

    /// Sends a message, whatever it is, and waits until the relay ends the socket.
    ///
    /// Reads while it writes: a relay that refuses ten megabytes does not read them first.
    pub(crate) async fn ended_by(mut self, message: Message) -> Parting {
        let Self {
            encoding,
            sink,
            stream,
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

/// Nothing in a story takes this long; what does has hung.
async fn within<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), event)
        .await
        .expect("the relay does something")
}
