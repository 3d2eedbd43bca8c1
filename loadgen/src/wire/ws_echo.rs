//! WebSocket servers that know nothing: echoes, and the bare relay.
//!
//! # What an OK means
//!
//! - An *echo* sends back what it gets: the message's own return is its OK. It is also its mail: whoever writes is whom
//!   it arrives at, so that only the OKs of a run against an echo mean something. Its recipients hear nothing.
//! - The *bare relay* ([`crate::bare`]) says nothing: a message is OK once it was written to the socket. A closed load
//!   against it wants `until = "delivered"`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::{Sink, SinkExt as _, Stream};
use tokio_tungstenite::tungstenite::Message;

use crate::wire::dial::{Address, AddressError, Web, broken, closed, fatal, trouble};
use crate::wire::{Heard, Parcel, Post, Receipt, Trouble, Who, Wire};

/// A server that knows nothing.
#[derive(Debug, Clone)]
pub struct Place {
    address: Address,
    kind: Kind,
}

/// What the server does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sends it back.
    Echo,
    /// Hands it to the recipient that it names.
    Relay,
}

impl Place {
    /// The server at a `ws://` URL.
    ///
    /// # Errors
    ///
    /// [`AddressError`].
    pub fn new(url: &str, kind: Kind) -> Result<Self, AddressError> {
        let address = Address::parse(url, "ws", 80)?;
        Ok(Self { address, kind })
    }
}

/// A connection.
pub struct WsEcho {
    web: Web,
    kind: Kind,
    name: String,
    written: Vec<u64>,
    safe: VecDeque<u64>,
    returned: Option<Parcel>,
    is_new: bool,
}

impl std::fmt::Debug for WsEcho {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WsEcho({:?})", self.kind)
    }
}

impl Wire for WsEcho {
    type Place = Place;

    async fn connect(place: &Place, who: &Who) -> Result<Self, Trouble> {
        let mut web = place.address.dial_web(who.source, None).await?;
        let name = who.account.as_str().to_owned();
        if place.kind == Kind::Relay {
            let hello = Message::Binary(Bytes::copy_from_slice(name.as_bytes()));
            web.send(hello).await.map_err(broken)?;
            // The relay answers once mail can come.
            match std::future::poll_fn(|cx| Pin::new(&mut web).poll_next(cx)).await {
                Some(Ok(Message::Binary(_))) => {}
                Some(Ok(other)) => return Err(closed(&other)),
                Some(Err(error)) => return Err(broken(error)),
                None => return Err(trouble("close.1006")),
            }
        }
        Ok(Self {
            web,
            kind: place.kind,
            name,
            written: Vec::new(),
            safe: VecDeque::new(),
            returned: None,
            is_new: true,
        })
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        Pin::new(&mut self.web).poll_ready(cx).map_err(broken)
    }

    fn post(&mut self, post: Post<'_>) -> Result<(), Trouble> {
        let [part] = &*post.parts else {
            return Err(fatal("devices.many"));
        };
        let name = match self.kind {
            Kind::Echo => &self.name,
            Kind::Relay => post.to.as_str(),
        };
        let mut frame = BytesMut::with_capacity(2 + name.len() + 8 + part.payload.len());
        // Names are 128 bytes at most.
        frame.put_u8(name.len() as u8);
        frame.put_slice(name.as_bytes());
        frame.put_u8(part.kind as u8);
        if self.kind == Kind::Echo {
            frame.put_u64_le(post.serial);
        }
        frame.put_slice(&part.payload);
        Pin::new(&mut self.web)
            .start_send(Message::Binary(frame.freeze()))
            .map_err(broken)?;
        if self.kind == Kind::Relay {
            self.written.push(post.serial);
        }
        Ok(())
    }

    fn ack(&mut self, _receipt: Receipt) {}

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        ready!(Pin::new(&mut self.web).poll_flush(cx)).map_err(broken)?;
        if !self.written.is_empty() {
            self.safe.extend(self.written.drain(..));
            // What is safe now is told by the next poll, which nothing else would bring about.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, Trouble>> {
        if let Some(serial) = self.safe.pop_front() {
            return Poll::Ready(Ok(Heard::Ok { serial }));
        }
        if let Some(parcel) = self.returned.take() {
            return Poll::Ready(Ok(Heard::Mail(parcel)));
        }
        if std::mem::take(&mut self.is_new) {
            return Poll::Ready(Ok(Heard::Empty));
        }
        let heard = match ready!(Pin::new(&mut self.web).poll_next(cx)) {
            Some(Ok(Message::Binary(frame))) => self.heard(frame),
            Some(Ok(close @ Message::Close(_))) => Err(closed(&close)),
            Some(Ok(_)) => Ok(Heard::Nothing),
            Some(Err(error)) => Err(broken(error)),
            None => Err(trouble("close.1006")),
        };
        Poll::Ready(heard)
    }
}

impl WsEcho {
    /// What a frame says: kind and payload from the relay, all that was posted from an echo.
    fn heard(&mut self, mut frame: Bytes) -> Result<Heard, Trouble> {
        let front = match self.kind {
            Kind::Echo => 1 + self.name.len(),
            Kind::Relay => 0,
        };
        let serial_bytes = if self.kind == Kind::Echo { 8 } else { 0 };
        if frame.len() < front + 1 + serial_bytes {
            return Err(trouble("frame.unreadable"));
        }
        frame.advance(front);
        let kind = u32::from(frame.get_u8());
        let serial = (self.kind == Kind::Echo).then(|| frame.get_u64_le());
        let parcel = Parcel {
            receipt: Receipt(0),
            kind,
            payload: frame,
            again: false,
        };
        Ok(match serial {
            None => Heard::Mail(parcel),
            Some(serial) => {
                self.returned = Some(parcel);
                Heard::Ok { serial }
            }
        })
    }
}
