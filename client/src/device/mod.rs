//! The upper layer: one installation of an account, with a session whenever there can be one.
//!
//! Owns what an app may ask, and the state; `steps` moves it on. Must not know how frames are written, nor what a close
//! code means.
//!
//! # Why
//!
//! Everything happens inside `poll`: no task is spawned, no channel sits between the app and the socket,
//! and a call that is dropped loses nothing, because all state lives in the device and not in the future.

mod deliver;
mod steps;

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use chatctl_protocol::EnvelopeId;
use futures_util::Stream;
use tokio::time::Sleep;

use crate::attempt::Running;
use crate::events::Events;
use crate::live::Live;
use crate::outbox::Outbox;
use crate::renewal::Renewal;
use crate::seen::Seen;
use crate::{Event, MailError, Message, Options, SendId, SendOutcome, SocketError, Stop, Token, TokenSource};

/// A device. Dropping it drops the connection.
///
/// It lives only while one of its async methods is polled: an app keeps calling
/// [`Device::next_event`], which also writes what [`Device::post`] and [`Device::ack`] left.
pub struct Device {
    options: Options,
    source: Arc<dyn TokenSource>,
    token: Option<Token>,
    refused: Option<Token>,
    link: Link,
    outbox: Outbox,
    seen: Seen,
    events: Events,
    failures: u32,
    window: u32,
    mailbox_epoch: u64,
    last_ping: u64,
    renewal: Option<Renewal>,
    /// The stream has told why it ends.
    ended: bool,
}

enum Link {
    /// No session, none in the making. The first attempt starts at once.
    Waiting(Option<Pin<Box<Sleep>>>),
    Connecting(Running),
    Up(Box<Live>),
    Stopped(Stop),
}

/// What a device cannot settle by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many sends wait for their answers, or too many answers for the app.
    #[error("too many sends wait for their answer")]
    OutboxFull,
    /// The relay does not want this device back. Every later call says so again.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// The token source failed. The next call asks it again, after a while.
    #[error("no token")]
    NoToken(#[source] Box<dyn StdError + Send + Sync>),
    /// The URL is wrong, or the relay sent what is not a frame. The next call tries again, after a while.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The relay sent an envelope that cannot exist. The next call tries again, after a while.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The relay broke the protocol. The next call tries again, after a while.
    #[error("the relay broke the protocol: {0}")]
    Unexpected(&'static str),
}

impl Device {
    /// A device without a session; the first call of [`Device::next_event`] begins one.
    pub fn new(options: Options, source: impl TokenSource) -> Self {
        Self {
            token: None,
            refused: None,
            link: Link::Waiting(None),
            outbox: Outbox::new(options.max_pending_sends),
            seen: Seen::new(options.remembered_messages),
            events: Events::default(),
            failures: 0,
            window: options.window,
            mailbox_epoch: options.last_mailbox_epoch,
            last_ping: 0,
            renewal: None,
            ended: false,
            source: Arc::new(source),
            options,
        }
    }

    /// Waits for what happens next, connecting and reconnecting as needed. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] for good; anything else when the app should know, and may call again.
    pub async fn next_event(&mut self) -> Result<Event, Error> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Takes a message to be sent, over breaks and reconnects until it is answered: by
    /// [`Event::Sent`], in any order. Messages posted are accepted in this order.
    ///
    /// # Errors
    ///
    /// [`Error::OutboxFull`]: read events first.
    pub fn post(&mut self, message: Message) -> Result<SendId, Error> {
        self.outbox
            .post(message, self.events.answers())
            .ok_or(Error::OutboxFull)
    }

    /// Sends one message and waits for its answer, however long the relay is away; what else happens
    /// meanwhile waits for [`Device::next_event`]. If the call is dropped the message is still sent, and
    /// its answer becomes an event.
    ///
    /// # Errors
    ///
    /// As [`Device::post`] and [`Device::next_event`]; the message stays posted.
    pub async fn send(&mut self, message: Message) -> Result<SendOutcome, Error> {
        let id = self.post(message)?;
        poll_fn(|cx| {
            loop {
                if let Some(outcome) = self.events.take_answer(id) {
                    return Poll::Ready(Ok(outcome));
                }
                ready!(self.poll_step(cx))?;
            }
        })
        .await
    }

    /// The app has stored these envelopes. The relay hears of it with the next call that waits; if the
    /// session breaks before, the relay's second delivery is acked and not shown to the app again.
    pub fn ack(&mut self, ids: impl IntoIterator<Item = EnvelopeId>) {
        for copy in ids.into_iter().flat_map(|id| self.seen.acked(id)) {
            if let Link::Up(live) = &mut self.link {
                live.ack(copy);
            }
        }
    }

    /// Goes on with another token, in place when there is a session. The device does it by itself, unless
    /// [`Options::renew_tokens`] is off.
    pub fn refresh(&mut self, token: Token) {
        // Whoever brings a token needs no other one now.
        self.renewal = None;
        if let Link::Up(live) = &mut self.link {
            live.refresh(&token);
        }
        self.token = Some(token);
    }

    /// Asks the relay for a sign of life: [`Event::Pong`] with this number, if the session lives.
    pub fn ping(&mut self) -> u64 {
        self.last_ping += 1;
        if let Link::Up(live) = &mut self.link {
            live.ping(self.last_ping);
        }
        self.last_ping
    }

    /// Messages that wait for their answer.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.outbox.len()
    }

    /// Waits until everything posted and acked has left for the relay, or there is no session. Cancel safe.
    pub async fn flush(&mut self) {
        poll_fn(|cx| self.poll_write(cx)).await;
    }

    /// Flushes and leaves with 1000. Does not wait for answers to sends.
    ///
    /// # Errors
    ///
    /// [`Error::Socket`] when the connection breaks first.
    pub async fn close(mut self) -> Result<(), Error> {
        self.flush().await;
        if let Link::Up(live) = self.link {
            live.into_socket().close().await?;
        }
        Ok(())
    }
}

/// The events of [`Device::next_event`], to be combined with other streams. It ends after [`Error::Stopped`]; other errors
/// are told and it goes on. Acks stay explicit: reading an event acks nothing.
impl Stream for Device {
    type Item = Result<Event, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let event = ready!(this.poll_event(cx));
        this.ended = matches!(event, Err(Error::Stopped(_)));
        Poll::Ready(Some(event))
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = match &self.link {
            Link::Waiting(_) => "waiting",
            Link::Connecting(_) => "connecting",
            Link::Up(_) => "up",
            Link::Stopped(_) => "stopped",
        };
        f.debug_struct("Device")
            .field("link", &link)
            .field("unanswered", &self.outbox.len())
            .finish_non_exhaustive()
    }
}
