//! The relay, over its own protocol: protobuf frames on a WebSocket, and its HTTP directory before and after.

mod keys;
mod setup;
mod trouble;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use chatctl_client::{Dial, Http, Socket};
use chatctl_protocol::Encoding;
use chatctl_protocol::v1::{self, frame::Body};
use futures_util::{Sink as _, SinkExt as _, Stream as _};

use crate::crypto::{self, Keyring};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::scenario::Crypto;
use crate::wire::{Claimed, Heard, Parcel, Passes, Post, Receipt, Trouble, Who, Wire};

/// A session with the relay.
#[derive(Debug)]
pub struct RelayWire {
    socket: Socket,
    /// What is left of the last delivery.
    mail: std::vec::IntoIter<v1::Envelope>,
    acks: Vec<u64>,
    /// Why the relay is about to close.
    goodbye: Option<v1::Goodbye>,
}

/// Where the relay is.
#[derive(Debug, Clone)]
pub struct RelayPlace {
    /// The WebSocket: `ws://host:port/v1/ws`.
    pub url: String,
    /// Its other doors.
    pub http: Http,
    /// How sockets are connected: whom to trust.
    pub dial: Dial,
    /// Envelopes that the relay may have out to each client.
    pub window: u32,
    /// Bytes of them.
    pub window_bytes: u32,
}

impl RelayPlace {
    /// A relay that may have as much out as the protocol allows.
    #[must_use]
    pub fn new(url: &str, http: Http) -> Self {
        Self {
            url: url.to_owned(),
            http,
            dial: Dial::default(),
            window: MOST_WINDOW,
            window_bytes: MOST_WINDOW_BYTES,
        }
    }

    /// The same relay, reached in this way.
    #[must_use]
    pub fn by(self, dial: Dial) -> Self {
        Self { dial, ..self }
    }
}

impl Wire for RelayWire {
    type Place = RelayPlace;

    async fn prepare(
        place: &RelayPlace,
        plan: &Plan,
        passes: &dyn Passes,
        progress: &Progress,
    ) -> Result<(), Trouble> {
        setup::register(place, plan, passes, progress).await
    }

    async fn tidy(place: &RelayPlace, plan: &Plan, passes: &dyn Passes) {
        setup::remove(place, plan, passes).await;
    }

    async fn meet(
        place: &RelayPlace,
        plan: &Plan,
        passes: &dyn Passes,
        crypto: Crypto,
    ) -> Result<Vec<Keyring>, Trouble> {
        match crypto {
            Crypto::Session => setup::meet(place, plan, passes).await,
            Crypto::Staged | Crypto::None => Ok(crypto::staged(plan, crypto)),
        }
    }

    async fn publish(place: &RelayPlace, who: &Who, keys: u32) -> Result<(), Trouble> {
        keys::publish(place, who, keys).await
    }

    async fn claim(place: &RelayPlace, who: &Who, of: &Who) -> Result<Claimed, Trouble> {
        keys::claim(place, who, of).await
    }

    async fn connect(place: &RelayPlace, who: &Who) -> Result<Self, Trouble> {
        let dial = match who.source {
            Some(from) => place.dial.clone().at(from),
            None => place.dial.clone(),
        };
        let connecting = Socket::connect_with(&dial, &place.url, Encoding::Proto, MOST_FRAME_BYTES);
        let socket = connecting.await.map_err(|error| trouble::connecting(&error))?;
        let mut wire = Self {
            socket,
            mail: Vec::new().into_iter(),
            acks: Vec::new(),
            goodbye: None,
        };
        let hello = Body::Hello(v1::Hello {
            token: who.token.secret().to_owned(),
            window: place.window,
            window_bytes: place.window_bytes,
            ..v1::Hello::default()
        });
        // A relay that is full may close before it has read this: what it says is worth more than our failure.
        let _unwritten = wire.socket.send(hello).await;
        loop {
            match std::future::poll_fn(|cx| wire.poll_frame(cx)).await? {
                Body::HelloOk(_) => return Ok(wire),
                Body::Goodbye(goodbye) => wire.goodbye = Some(goodbye),
                _other => return Err(trouble::of("hello.unexpected", true)),
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        let ready = ready!(Pin::new(&mut self.socket).poll_ready(cx));
        Poll::Ready(ready.map_err(|error| self.broken(&error)))
    }

    fn post(&mut self, post: Post<'_>) -> Result<(), Trouble> {
        let messages = post.parts.into_iter().map(|part| v1::DeviceMessage {
            device_id: part.device_id.into(),
            registration_id: part.registration_id,
            kind: part.kind,
            payload: part.payload,
        });
        let send = Body::Send(v1::Send {
            id: post.serial,
            to_account: post.to.as_str().to_owned(),
            messages: messages.collect(),
            client_msg_id: Bytes::copy_from_slice(post.name.as_bytes()),
            ..v1::Send::default()
        });
        let put = Pin::new(&mut self.socket).start_send(send);
        put.map_err(|error| self.broken(&error))
    }

    fn ack(&mut self, receipt: Receipt) {
        self.acks.push(receipt.0);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        if !self.acks.is_empty() {
            ready!(self.poll_ready(cx))?;
            let ids = std::mem::take(&mut self.acks);
            self.acks.reserve(ids.len());
            let put = Pin::new(&mut self.socket).start_send(Body::Ack(v1::Ack { ids }));
            put.map_err(|error| self.broken(&error))?;
        }
        let flushed = ready!(Pin::new(&mut self.socket).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| self.broken(&error)))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, Trouble>> {
        loop {
            if let Some(envelope) = self.mail.next() {
                return Poll::Ready(Ok(Heard::Mail(parcel(envelope))));
            }
            let heard = match ready!(self.poll_frame(cx))? {
                Body::Deliver(deliver) => {
                    self.mail = deliver.envelopes.into_iter();
                    continue;
                }
                Body::SendOk(ok) => Heard::Ok { serial: ok.id },
                Body::SendErr(error) => Heard::Refused {
                    serial: error.id,
                    word: error.code,
                },
                Body::QueueEmpty(_) => Heard::Empty,
                Body::Goodbye(goodbye) => {
                    self.goodbye = Some(goodbye);
                    Heard::Nothing
                }
                Body::Gap(_)
                | Body::KeysLow(_)
                | Body::FallbackUsed(_)
                | Body::DevicesChanged(_)
                | Body::TokenExpiring(_)
                | Body::Pong(_)
                | Body::MailWaiting(_)
                | Body::AuthOk(_)
                | Body::HelloOk(_) => Heard::Nothing,
                Body::Hello(_) | Body::Send(_) | Body::Ack(_) | Body::Auth(_) | Body::Ping(_) => {
                    return Poll::Ready(Err(trouble::of("frame.unexpected", true)));
                }
            };
            return Poll::Ready(Ok(heard));
        }
    }
}

impl RelayWire {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body, Trouble>> {
        match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
            Some(Ok(body)) => Poll::Ready(Ok(body)),
            Some(Err(error)) => Poll::Ready(Err(self.broken(&error))),
            None => Poll::Ready(Err(trouble::closed(
                self.socket.close_code(),
                self.goodbye.as_ref(),
            ))),
        }
    }

    /// What the relay said before it broke off counts more than how it did.
    fn broken(&self, error: &chatctl_client::SocketError) -> Trouble {
        match (&self.goodbye, self.socket.close_code()) {
            (None, None) => trouble::broken(error),
            (goodbye, code) => trouble::closed(code, goodbye.as_ref()),
        }
    }
}

fn parcel(envelope: v1::Envelope) -> Parcel {
    Parcel {
        receipt: Receipt(envelope.id),
        kind: envelope.kind,
        payload: envelope.payload,
        again: envelope.attempt > 1,
    }
}

/// The largest windows of protocol version 1.
const MOST_WINDOW: u32 = 256;
const MOST_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// A page of mail may be as large as the window.
const MOST_FRAME_BYTES: usize = 16 * 1024 * 1024;
