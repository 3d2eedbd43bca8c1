//! A relay that says what a test tells it to say, and panics when the device says something else.

use bytes::Bytes;
use chatctl_protocol::v1::{self, frame::Body};
use chatctl_protocol::{CloseCode, Code, Encoding, Limits, frame};
use futures_util::{Sink, Stream};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

pub(crate) struct Relay {
    listener: TcpListener,
    encoding: Encoding,
    tls: Option<TlsAcceptor>,
}

/// A connection, in TLS or not.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

/// The relay's end of one socket. Dropping it breaks the connection without a word.
pub(crate) struct Peer {
    stream: WebSocketStream<Box<dyn Wire>>,
    encoding: Encoding,
    pub(crate) from: IpAddr,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::speaking(Encoding::Proto).await
    }

    pub(crate) async fn speaking(encoding: Encoding) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            listener,
            encoding,
            tls: None,
        }
    }

    /// With this end of TLS, as `localhost`.
    pub(crate) async fn inside(tls: TlsAcceptor) -> Self {
        let relay = Self::start().await;
        Self {
            tls: Some(tls),
            ..relay
        }
    }

    pub(crate) fn url(&self) -> String {
        let address = self.listener.local_addr().unwrap();
        match self.tls {
            None => format!("ws://{address}/v1/ws"),
            Some(_) => format!("wss://localhost:{}/v1/ws", address.port()),
        }
    }

    /// The connection under the WebSocket, or why there is no TLS.
    pub(crate) async fn wire(&self) -> std::io::Result<(Box<dyn Wire>, IpAddr)> {
        let (stream, from): (TcpStream, _) = self.listener.accept().await.unwrap();
        let stream: Box<dyn Wire> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.accept(stream).await?),
        };
        Ok((stream, from.ip()))
    }

    pub(crate) async fn accept(&self) -> Peer {
        let (stream, from) = self.wire().await.unwrap();
        let encoding = self.encoding;
        let answer = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            assert_eq!(request.uri().path(), "/v1/ws");
            let offer = request.headers()["sec-websocket-protocol"].to_str().unwrap();
            assert_eq!(Encoding::negotiate(offer), Some(encoding));
            let spoken = HeaderValue::from_static(encoding.subprotocol());
            response.headers_mut().insert("sec-websocket-protocol", spoken);
            Ok(response)
        };
        let stream = accept_hdr_async(stream, answer).await.unwrap();
        Peer {
            stream,
            encoding,
            from,
        }
    }

    /// Accepts, and welcomes whatever token it has.
    pub(crate) async fn session(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.hello().await;
        peer.welcome().await;
        peer
    }
}

impl Peer {
    pub(crate) async fn next(&mut self) -> Body {
        match self.read().await {
            Message::Binary(bytes) if self.encoding == Encoding::Proto => frame::decode_proto(bytes).unwrap(),
            Message::Text(text) if self.encoding == Encoding::Json => frame::decode_json(&text).unwrap(),
            other => panic!("not a frame: {other:?}"),
        }
    }

    pub(crate) async fn hello(&mut self) -> v1::Hello {
        match self.next().await {
            Body::Hello(hello) => hello,
            other => panic!("not a hello: {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self) -> v1::Send {
        match self.next().await {
            Body::Send(send) => send,
            other => panic!("not a send: {other:?}"),
        }
    }

    /// So many acked ids, sorted, from as many frames as it takes.
    pub(crate) async fn acks(&mut self, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        while ids.len() < count {
            match self.next().await {
                Body::Ack(ack) => ids.extend(ack.ids),
                other => panic!("not an ack: {other:?}"),
            }
        }
        ids.sort_unstable();
        ids
    }

    pub(crate) async fn welcome(&mut self) {
        self.say(Body::HelloOk(v1::HelloOk {
            mailbox_epoch: 1,
            limits: Some(v1::Limits::from(&Limits::default())),
            ..v1::HelloOk::default()
        }))
        .await;
    }

    pub(crate) async fn ok(&mut self, send: &v1::Send, envelope: u64) {
        self.say(Body::SendOk(v1::SendOk {
            id: send.id,
            envelope_ids: vec![envelope],
            duplicate: false,
        }))
        .await;
    }

    /// Refuses for now, or for good.
    pub(crate) async fn refuse(&mut self, send: &v1::Send, code: Code, retry_after_ms: u64) {
        self.say(Body::SendErr(v1::SendErr {
            id: send.id,
            code: code.as_str().to_owned(),
            retryable: code.retryable(),
            retry_after_ms,
            ..v1::SendErr::default()
        }))
        .await;
    }

    pub(crate) async fn deliver<const N: usize>(&mut self, envelopes: [v1::Envelope; N]) {
        let envelopes = envelopes.into();
        self.say(Body::Deliver(v1::Deliver { envelopes })).await;
    }

    pub(crate) async fn say(&mut self, body: Body) {
        self.raw(self::frame(self.encoding, body)).await;
    }

    pub(crate) async fn raw(&mut self, message: Message) {
        poll_fn(|cx| Pin::new(&mut self.stream).poll_ready(cx))
            .await
            .unwrap();
        Pin::new(&mut self.stream).start_send(message).unwrap();
        poll_fn(|cx| Pin::new(&mut self.stream).poll_flush(cx))
            .await
            .unwrap();
    }

    pub(crate) async fn close(mut self, code: CloseCode) {
        let frame = CloseFrame {
            code: code.number().into(),
            reason: "".into(),
        };
        self.raw(Message::Close(Some(frame))).await;
        assert!(matches!(self.read().await, Message::Close(_)));
    }

    /// Waits until the device has said goodbye with 1000.
    pub(crate) async fn closed(mut self) {
        match self.read().await {
            Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1000),
            other => panic!("not a close: {other:?}"),
        }
        poll_fn(|cx| Pin::new(&mut self.stream).poll_flush(cx))
            .await
            .unwrap();
    }

    async fn read(&mut self) -> Message {
        poll_fn(|cx| Pin::new(&mut self.stream).poll_next(cx))
            .await
            .unwrap()
            .unwrap()
    }
}

pub(crate) fn frame(encoding: Encoding, body: Body) -> Message {
    match encoding {
        Encoding::Proto => Message::Binary(frame::encode_proto(body)),
        Encoding::Json => Message::Text(frame::encode_json(body).unwrap().into()),
    }
}

/// An envelope whose message is named like its text.
pub(crate) fn envelope(id: u64, text: &'static str) -> v1::Envelope {
    v1::Envelope {
        id,
        from: Some(v1::Address {
            account: "alice".to_owned(),
            device_id: "1".to_owned(),
        }),
        client_msg_id: Bytes::from_static(text.as_bytes()),
        attempt: 1,
        payload: Bytes::from_static(text.as_bytes()),
        ..v1::Envelope::default()
    }
}

pub(crate) fn goodbye(code: CloseCode, reconnect: bool, retry_after_ms: u64) -> Body {
    Body::Goodbye(v1::Goodbye {
        code: code.number().into(),
        reconnect,
        retry_after_ms,
        reason: String::new(),
    })
}
