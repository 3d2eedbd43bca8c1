//! The upper layer: one installation of an account, with a session whenever there can be one.
//!
//! Owns the order of things: when to connect, what to write next, what to tell the app. Must not know how
//! frames are written, nor what a close code means.
//!
//! # Why
//!
//! Everything happens inside `poll`: no task is spawned, no channel sits between the app and the socket,
//! and a call that is dropped loses nothing, because all state lives in the device and not in the future.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chatctl_protocol::EnvelopeId;
use chatctl_protocol::v1::{self, frame::Body};
use tokio::time::{Sleep, sleep};

use crate::attempt::{Attempt, AttemptError, Outcome, Running};
use crate::events::Events;
use crate::incoming::Incoming;
use crate::live::{Ended, Live};
use crate::outbox::Outbox;
use crate::parting::{self, Next};
use crate::seen::Seen;
use crate::{
    Event, MailError, Message, Options, SendId, SendOutcome, Session, SocketError, Stop, Token, TokenSource,
    Why,
};

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
        poll_fn(|cx| {
            // Acks and sends leave even when the app only reads events that wait already.
            let _progress = self.poll_write(cx);
            loop {
                if let Some(event) = self.events.pop() {
                    return Poll::Ready(Ok(event));
                }
                ready!(self.poll_step(cx))?;
            }
        })
        .await
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

    /// Goes on with another token, in place when there is a session.
    pub fn refresh(&mut self, token: Token) {
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

    /// One step towards an event: a wait that passed, an attempt that ended, a frame that came.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.link {
            Link::Stopped(stop) => return Poll::Ready(Err(stop.clone().into())),
            Link::Waiting(wait) => {
                if let Some(wait) = wait {
                    ready!(wait.as_mut().poll(cx));
                }
                self.link = Link::Connecting(Box::pin(self.attempt().run()));
            }
            Link::Connecting(running) => {
                let outcome = ready!(running.as_mut().poll(cx));
                return Poll::Ready(self.attempted(outcome));
            }
            Link::Up(_) => {
                let _progress = self.poll_write(cx);
                return self.poll_read(cx);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.link {
            Link::Up(live) => live.poll_write(&mut self.outbox, cx),
            Link::Waiting(_) | Link::Connecting(_) | Link::Stopped(_) => Poll::Ready(()),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Link::Up(live) = &mut self.link else {
            return Poll::Ready(Ok(()));
        };
        let error = match ready!(live.poll_read(cx)) {
            Ok(body) => match self.accept(body) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) => error,
            },
            Err(Ended::Parted(why, next)) => {
                self.parted(why, next);
                return Poll::Ready(Ok(()));
            }
            Err(Ended::Nonsense(error)) => error.into(),
        };
        self.come_back(Duration::ZERO);
        Poll::Ready(Err(error))
    }

    fn attempt(&self) -> Attempt {
        Attempt {
            options: self.options.clone(),
            source: Arc::clone(&self.source),
            token: self.token.clone(),
            refused: self.refused.clone(),
            window: self.window,
            mailbox_epoch: self.mailbox_epoch,
        }
    }

    fn attempted(&mut self, outcome: Outcome) -> Result<(), Error> {
        // A refresh during the attempt is newer than what the attempt used.
        self.token = self.token.take().or(outcome.token);
        let (why, next) = match outcome.result {
            Ok((socket, hello)) => {
                self.connected(socket, hello);
                return Ok(());
            }
            Err(AttemptError::SameToken) => (Why::Broken, Next::Stop(no_other_token())),
            Err(AttemptError::TimedOut) => (
                Why::Silent,
                Next::Return {
                    floor: Duration::ZERO,
                },
            ),
            Err(AttemptError::Closed { close, goodbye }) => parting::after_close(close, goodbye.as_ref()),
            Err(AttemptError::Socket(error)) => match parting::after_error(&error) {
                Some(parting) => parting,
                None => return Err(self.failed(error.into())),
            },
            Err(AttemptError::NoToken(error)) => return Err(self.failed(Error::NoToken(error))),
            Err(AttemptError::Unexpected) => return Err(self.failed(Error::Unexpected("no HelloOk"))),
        };
        self.parted(why, next);
        Ok(())
    }

    fn failed(&mut self, error: Error) -> Error {
        self.come_back(Duration::ZERO);
        error
    }

    fn connected(&mut self, socket: crate::Socket, hello: v1::HelloOk) {
        let limits = hello.limits.unwrap_or_default();
        let before = std::mem::replace(&mut self.mailbox_epoch, hello.mailbox_epoch);
        self.refused = None;
        self.link = Link::Up(Box::new(Live::new(socket, &limits)));
        self.events.push(Event::Connected(Session {
            session_id: hello.session_id,
            server_time: hello.server_time,
            mailbox_epoch: hello.mailbox_epoch,
            mailbox_changed: before != 0 && before != hello.mailbox_epoch,
            pending: hello.pending,
            limits,
        }));
    }

    /// The session is over, or there was none: does what the table says.
    fn parted(&mut self, why: Why, next: Next) {
        let floor = match next {
            Next::Return { floor } => floor,
            Next::Reauthenticate { floor } => {
                self.refused = self.token.take().or(self.refused.take());
                floor
            }
            Next::ReturnSmaller { floor } => {
                let window = if self.window == 0 {
                    DEFAULT_WINDOW
                } else {
                    self.window
                };
                self.window = (window / 2).max(1);
                floor
            }
            Next::Stop(stop) => {
                self.outbox.rewind();
                self.link = Link::Stopped(stop);
                return;
            }
        };
        let retry_in = self.come_back(floor);
        self.events.push(Event::Disconnected { why, retry_in });
    }

    /// Drops the socket and waits for the next attempt.
    fn come_back(&mut self, floor: Duration) -> Duration {
        let steady = match &self.link {
            Link::Up(live) => live.age() >= self.options.backoff.steady,
            Link::Waiting(_) | Link::Connecting(_) | Link::Stopped(_) => false,
        };
        self.failures = if steady {
            1
        } else {
            self.failures.saturating_add(1)
        };
        let retry_in = floor.saturating_add(self.options.backoff.draw(self.failures));
        self.outbox.rewind();
        self.link = Link::Waiting(Some(Box::pin(sleep(retry_in))));
        retry_in
    }

    /// Does what a frame of the relay means.
    fn accept(&mut self, body: Body) -> Result<(), Error> {
        match Incoming::read(body)? {
            Incoming::Mail(deliver) => self.delivered(deliver)?,
            Incoming::Answer(id, outcome) => self.answered(id, outcome)?,
            Incoming::Tidings(event) => {
                if let (Event::Goodbye(goodbye), Link::Up(live)) = (&event, &mut self.link) {
                    live.said_goodbye(goodbye.clone());
                }
                self.events.push(event);
            }
        }
        Ok(())
    }

    fn delivered(&mut self, deliver: v1::Deliver) -> Result<(), Error> {
        let Link::Up(live) = &mut self.link else {
            return Ok(());
        };
        let fresh = live.delivered(deliver, &mut self.seen)?;
        if !fresh.is_empty() {
            self.events.push(Event::Mail(fresh));
        }
        Ok(())
    }

    fn answered(&mut self, id: u64, outcome: SendOutcome) -> Result<(), Error> {
        if !self.outbox.answered(id) {
            return Err(Error::Unexpected("an answer to nothing"));
        }
        self.events.push(Event::Sent {
            id: SendId(id),
            outcome,
        });
        Ok(())
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

fn no_other_token() -> Stop {
    Stop {
        code: chatctl_protocol::CloseCode::Reauthenticate.number(),
        reason: "the token was refused and its source had no other".to_owned(),
    }
}

/// What a relay grants to a client that asks for nothing, unless it was told otherwise.
const DEFAULT_WINDOW: u32 = 64;
