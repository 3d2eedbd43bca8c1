//! XMPP over WebSocket (RFC 6120, 6121, 7395), with stream management (XEP-0198) for acks both ways.
//!
//! An account is registered in-band (XEP-0077) before a run and removed after it. A message is a chat stanza whose body is
//! base64 of a byte for Olm's kind and the payload. Without TLS: passwords go over loopback, and are no secrets.
//!
//! # What an OK means
//!
//! The server has *handled* the stanza (`<a h='…'/>`, asked for after each flush): it was routed to a session, or put
//! into offline storage. Both Prosody and ejabberd say so before anything is on disk. A stanza that came back as an error
//! after that is told as refused. Mail that a session did not ack is routed again by the server, and does not say that
//! it is a second copy.
//!
//! # Why
//!
//! The libraries that speak XMPP bring tasks and a licence that is not ours. A WebSocket message is one
//! stanza, so that a reader for XML is all that is wanted.

mod stanza;

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf as _, Bytes};
use chatctl_protocol::AccountId;
use futures_util::{Sink, Stream};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::plan::Plan;
use crate::progress::Progress;
use crate::wire::accounts;
use crate::wire::dial::{Address, AddressError, Web, broken, closed, fatal, trouble};
use crate::wire::fence::Fence;
use crate::wire::{Heard, Parcel, Passes, Post, Receipt, Trouble, Who, Wire};
use stanza::Stanza;

/// An XMPP server.
#[derive(Debug, Clone)]
pub struct Place {
    address: Address,
    domain: String,
}

impl Place {
    /// The server at a `ws://` URL, and the domain of its accounts.
    ///
    /// # Errors
    ///
    /// [`AddressError`].
    pub fn new(url: &str, domain: &str) -> Result<Self, AddressError> {
        Ok(Self {
            address: Address::parse(url, "ws", 80)?,
            domain: domain.to_owned(),
        })
    }
}

/// A connection.
pub struct Xmpp {
    web: Web,
    domain: String,
    fence: Fence,
    /// Stanzas that came since stream management began, modulo its counter.
    received: u32,
    /// How many of them are done with.
    handled: u32,
    /// Parcels that are not acked.
    unacked: u32,
    /// What the server was last told of that.
    told: u32,
    /// It wants to be told now.
    is_asked: bool,
    waiting: Waiting,
}

impl std::fmt::Debug for Xmpp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Xmpp({} unacked)", self.unacked)
    }
}

impl Wire for Xmpp {
    type Place = Place;

    /// Registers every account. Names are to be new in each run: ejabberd 23.01 was seen to lose the mail of an
    /// account whose namesake had just been removed.
    async fn prepare(
        place: &Place,
        plan: &Plan,
        _passes: &dyn Passes,
        progress: &Progress,
    ) -> Result<(), Trouble> {
        accounts::set_up(plan, progress, async |account| {
            let mut session = Self::open(place, None).await?;
            session.register(account).await
        })
        .await
    }

    async fn tidy(place: &Place, plan: &Plan, _passes: &dyn Passes) {
        accounts::remove(plan, async |account| {
            // What cannot be removed stays: it is an account of a server for tests.
            if let Ok(mut session) = Self::sign_on(place, account, None).await {
                let _ = session.say(stanza::UNREGISTER.to_owned()).await;
                let _ = session.hear().await;
            }
        })
        .await;
    }

    async fn connect(place: &Place, who: &Who) -> Result<Self, Trouble> {
        let mut session = Self::sign_on(place, &who.account, who.source).await?;
        session.say(stanza::ENABLE.to_owned()).await?;
        if !matches!(session.hear().await?, Stanza::Enabled) {
            return Err(fatal("xmpp.no_stream_management"));
        }
        session.say(stanza::PRESENCE.to_owned()).await?;
        // A letter to itself stands behind everything that waits.
        let mark: u64 = rand::random();
        let letter = BASE64_STANDARD.encode([&[CLOSING][..], &mark.to_le_bytes()].concat());
        session
            .say(stanza::message(
                who.account.as_str(),
                &place.domain,
                u64::MAX,
                &letter,
            ))
            .await?;
        session.waiting = Waiting::Until(mark);
        Ok(session)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        Pin::new(&mut self.web).poll_ready(cx).map_err(broken)
    }

    fn post(&mut self, post: Post<'_>) -> Result<(), Trouble> {
        let [part] = &*post.parts else {
            return Err(fatal("devices.many"));
        };
        let body = BASE64_STANDARD.encode([&[part.kind as u8][..], &part.payload].concat());
        self.put(stanza::message(
            post.to.as_str(),
            &self.domain,
            post.serial,
            &body,
        ))?;
        self.fence.push(post.serial);
        Ok(())
    }

    fn ack(&mut self, _receipt: Receipt) {
        self.unacked = self.unacked.saturating_sub(1);
        // Parcels are acked in the order in which they came; what is no parcel is handled by itself.
        self.handled = self.received.wrapping_sub(self.unacked);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        if self.is_asked || self.told != self.handled {
            ready!(Pin::new(&mut self.web).poll_ready(cx)).map_err(broken)?;
            self.put(stanza::handled(self.handled))?;
            self.told = self.handled;
            self.is_asked = false;
        }
        if self.fence.is_uncovered() {
            ready!(Pin::new(&mut self.web).poll_ready(cx)).map_err(broken)?;
            self.put(stanza::ASK.to_owned())?;
            self.fence.cover();
        }
        Pin::new(&mut self.web).poll_flush(cx).map_err(broken)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, Trouble>> {
        loop {
            if let Some(serial) = self.fence.pop() {
                return Poll::Ready(Ok(Heard::Ok { serial }));
            }
            if self.waiting == Waiting::Nothing {
                self.waiting = Waiting::Told;
                return Poll::Ready(Ok(Heard::Empty));
            }
            if let Some(heard) = match ready!(self.poll_stanza(cx))? {
                Stanza::Message { body } => self.mail(&body)?,
                Stanza::Refused { id, word } => {
                    self.count();
                    Some(Heard::Refused { serial: id, word })
                }
                Stanza::Other => {
                    self.count();
                    None
                }
                Stanza::Answer => {
                    self.fence.answer();
                    None
                }
                Stanza::Ask => {
                    self.tell(cx)?;
                    None
                }
                Stanza::Close => return Poll::Ready(Err(trouble("close.xmpp"))),
                Stanza::Open | Stanza::Features | Stanza::Success | Stanza::Enabled => None,
                Stanza::Failure(word) => return Poll::Ready(Err(trouble(&word))),
            } {
                return Poll::Ready(Ok(heard));
            }
        }
    }
}

impl Xmpp {
    /// Connects and opens a stream.
    async fn open(place: &Place, source: Option<IpAddr>) -> Result<Self, Trouble> {
        let mut session = Self {
            web: place.address.dial_web(source, Some("xmpp")).await?,
            domain: place.domain.clone(),
            fence: Fence::default(),
            received: 0,
            handled: 0,
            unacked: 0,
            told: 0,
            is_asked: false,
            waiting: Waiting::Told,
        };
        session.begin().await?;
        Ok(session)
    }

    /// Opens a stream, on a new connection or after signing on.
    async fn begin(&mut self) -> Result<(), Trouble> {
        self.say(stanza::open(&self.domain)).await?;
        loop {
            match self.hear().await? {
                Stanza::Features => return Ok(()),
                Stanza::Open => {}
                _ => return Err(trouble("frame.unreadable")),
            }
        }
    }

    async fn register(&mut self, account: &AccountId) -> Result<(), Trouble> {
        if !stanza::is_fit(account.as_str()) {
            return Err(fatal("name.unfit"));
        }
        self.say(stanza::register(account.as_str())).await?;
        match self.hear().await? {
            Stanza::Other => Ok(()),
            // An earlier run left it: it has the same password.
            Stanza::Refused { word, .. } if word == "xmpp.conflict" => Ok(()),
            Stanza::Refused { word, .. } => Err(fatal(&word)),
            _ => Err(trouble("frame.unreadable")),
        }
    }

    /// Connects, proves who it is and binds a resource.
    async fn sign_on(place: &Place, account: &AccountId, source: Option<IpAddr>) -> Result<Self, Trouble> {
        let mut session = Self::open(place, source).await?;
        let proof = BASE64_STANDARD.encode(format!("\0{account}\0{account}"));
        session.say(stanza::auth(&proof)).await?;
        match session.hear().await? {
            Stanza::Success => {}
            Stanza::Failure(word) => return Err(fatal(&word)),
            _ => return Err(trouble("frame.unreadable")),
        }
        session.begin().await?;
        session.say(stanza::BIND.to_owned()).await?;
        match session.hear().await? {
            Stanza::Other => Ok(session),
            Stanza::Refused { word, .. } => Err(fatal(&word)),
            _ => Err(trouble("frame.unreadable")),
        }
    }

    /// Writes a stanza at once.
    async fn say(&mut self, stanza: String) -> Result<(), Trouble> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await?;
        self.put(stanza)?;
        std::future::poll_fn(|cx| Pin::new(&mut self.web).poll_flush(cx))
            .await
            .map_err(broken)
    }

    async fn hear(&mut self) -> Result<Stanza, Trouble> {
        std::future::poll_fn(|cx| self.poll_stanza(cx)).await
    }

    fn put(&mut self, stanza: String) -> Result<(), Trouble> {
        let message = Message::Text(Utf8Bytes::from(stanza));
        Pin::new(&mut self.web).start_send(message).map_err(broken)
    }

    fn poll_stanza(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stanza, Trouble>> {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.web).poll_next(cx)) {
                Some(Ok(Message::Text(text))) => Stanza::read(&text).map_err(|_| trouble("frame.unreadable")),
                Some(Ok(close @ Message::Close(_))) => Err(closed(&close)),
                Some(Ok(_)) => continue,
                Some(Err(error)) => Err(broken(error)),
                None => Err(trouble("close.1006")),
            });
        }
    }

    /// Counts a stanza that is done with as it is read.
    fn count(&mut self) {
        self.received = self.received.wrapping_add(1);
        self.handled = self.received.wrapping_sub(self.unacked);
    }

    /// A parcel; or nothing, for a letter to itself.
    fn mail(&mut self, body: &str) -> Result<Option<Heard>, Trouble> {
        let mut payload = Bytes::from(
            BASE64_STANDARD
                .decode(body)
                .map_err(|_| trouble("frame.unreadable"))?,
        );
        if payload.is_empty() {
            return Err(trouble("frame.unreadable"));
        }
        let kind = payload.get_u8();
        if kind == CLOSING {
            self.count();
            // That of an earlier connection means nothing any more.
            if let Waiting::Until(mark) = self.waiting
                && *payload == mark.to_le_bytes()
            {
                self.waiting = Waiting::Nothing;
            }
            return Ok(None);
        }
        self.received = self.received.wrapping_add(1);
        self.unacked += 1;
        Ok(Some(Heard::Mail(Parcel {
            receipt: Receipt(u64::from(self.received)),
            kind: u32::from(kind),
            payload,
            again: false,
        })))
    }

    /// Says how much is handled.
    fn tell(&mut self, cx: &mut Context<'_>) -> Result<(), Trouble> {
        self.is_asked = true;
        match self.poll_flush(cx) {
            Poll::Ready(Err(trouble)) => Err(trouble),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

/// What waited when the connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// What stands before the letter with this mark.
    Until(u64),
    /// Nothing, or nothing any more.
    Nothing,
    /// And that was told.
    Told,
}

/// In place of a kind: a letter to itself.
const CLOSING: u8 = 0xff;
