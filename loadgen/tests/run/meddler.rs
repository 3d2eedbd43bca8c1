//! A proxy between clients and a relay that breaks each promise once: what a measurement has to notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chatctl_protocol::frame;
use chatctl_protocol::v1::{self, frame::Body};
use futures_util::{Sink, SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{accept_hdr_async, connect_async};

/// What it does to one envelope in [`Meddler::EVERY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mischief {
    /// Acks it to the relay, and keeps it.
    Drop,
    /// Delivers it twice.
    Duplicate,
    /// Delivers it behind the next one of the same sender.
    Swap,
    /// Changes a bit of its payload.
    Damage,
}

impl Mischief {
    /// What is done to an envelope, by its number.
    const fn to(count: u64) -> Option<Self> {
        const QUARTER: u64 = Meddler::EVERY / 4;
        const HALF: u64 = Meddler::EVERY / 2;
        const THREE: u64 = QUARTER * 3;
        match count {
            QUARTER => Some(Self::Drop),
            HALF => Some(Self::Duplicate),
            THREE => Some(Self::Swap),
            Meddler::EVERY => Some(Self::Damage),
            _ => None,
        }
    }
}

/// The proxy. Ends with the test.
pub(crate) struct Meddler {
    pub(crate) address: SocketAddr,
    done: Arc<AtomicU64>,
    running: tokio::task::JoinHandle<()>,
}

/// What all connections share.
#[derive(Clone)]
struct Mood {
    relay: SocketAddr,
    seen: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
}

impl Meddler {
    /// Of so many envelopes, each mischief is done to one.
    pub(crate) const EVERY: u64 = 100_000;

    /// A proxy in front of a relay.
    pub(crate) async fn start(relay: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let done = Arc::new(AtomicU64::new(0));
        let mood = Mood {
            relay,
            seen: Arc::default(),
            done: Arc::clone(&done),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the proxy is a process of its own, but for the test"
        )]
        let running = tokio::spawn(accept(listener, mood));
        Self {
            address,
            done,
            running,
        }
    }

    /// How many envelopes it has meddled with.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn accept(listener: TcpListener, mood: Mood) {
    let mut sockets = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        sockets.spawn(carry(socket, mood.clone()));
    }
}

/// One connection, until either side ends it.
async fn carry(socket: TcpStream, mood: Mood) -> Result<(), tungstenite::Error> {
    let mut spoken = None;
    let answer = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let offer: Option<HeaderValue> = request.headers().get(SEC_WEBSOCKET_PROTOCOL).cloned();
        if let Some(offer) = &offer {
            response
                .headers_mut()
                .insert(SEC_WEBSOCKET_PROTOCOL, offer.clone());
        }
        spoken = offer;
        Ok(response)
    };
    let client = accept_hdr_async(socket, answer).await?;
    let mut request = format!("ws://{}/v1/ws", mood.relay).into_client_request()?;
    if let Some(spoken) = spoken {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, spoken);
    }
    let (relay, _) = connect_async(request).await?;
    let ((mut to_client, mut from_client), (mut to_relay, mut from_relay)) = (client.split(), relay.split());
    let mut held = None;
    loop {
        tokio::select! {
            said = from_client.next() => match said {
                Some(said) => to_relay.send(said?).await?,
                None => return Ok(()),
            },
            said = from_relay.next() => match said {
                Some(said) => {
                    let said = mood.meddle(said?, &mut held, &mut to_relay).await?;
                    to_client.send(said).await?;
                }
                None => return Ok(()),
            },
        }
    }
}

impl Mood {
    async fn meddle(
        &self,
        said: Message,
        held: &mut Option<v1::Envelope>,
        relay: &mut (impl Sink<Message, Error = tungstenite::Error> + Unpin),
    ) -> Result<Message, tungstenite::Error> {
        let Message::Binary(bytes) = &said else {
            return Ok(said);
        };
        let Ok(Body::Deliver(deliver)) = frame::decode_proto(bytes.clone()) else {
            return Ok(said);
        };
        let mut envelopes = Vec::new();
        for mut envelope in deliver.envelopes {
            if let Some(earlier) = held.take_if(|held| held.from == envelope.from) {
                envelopes.extend([envelope, earlier]);
                continue;
            }
            let count = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
            let Some(mischief) = Mischief::to(count) else {
                envelopes.push(envelope);
                continue;
            };
            self.done.fetch_add(1, Ordering::Relaxed);
            match mischief {
                Mischief::Drop => {
                    let ack = v1::Ack {
                        ids: vec![envelope.id],
                    };
                    relay
                        .send(Message::Binary(frame::encode_proto(Body::Ack(ack))))
                        .await?;
                }
                Mischief::Duplicate => envelopes.extend([envelope.clone(), envelope]),
                Mischief::Swap => *held = Some(envelope),
                Mischief::Damage => {
                    let mut payload = envelope.payload.to_vec();
                    if let Some(byte) = payload.last_mut() {
                        *byte ^= 1;
                    }
                    envelope.payload = payload.into();
                    envelopes.push(envelope);
                }
            }
        }
        let deliver = v1::Deliver { envelopes };
        Ok(Message::Binary(frame::encode_proto(Body::Deliver(deliver))))
    }
}
