//! A device's machinery: one step at a time towards the next event.
//!
//! Owns the order of connecting, reading, coming back. Must not know what an app asked for.

use std::future::Future as _;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chatctl_protocol::v1::{self, frame::Body};
use tokio::time::sleep;

use crate::attempt::{Attempt, AttemptError, Outcome};
use crate::device::{Device, Error, Link};
use crate::incoming::Incoming;
use crate::live::{Ended, Live};
use crate::parting::{self, Next};
use crate::renewal::{Asked, Renewal};
use crate::{Event, SendId, SendOutcome, Session, Stop, Why};

impl Device {
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Error>> {
        // Acks and sends leave even when the app only reads events that wait already.
        let _progress = self.poll_write(cx);
        loop {
            if let Some(event) = self.events.pop() {
                return Poll::Ready(Ok(event));
            }
            ready!(self.poll_step(cx))?;
        }
    }

    /// One step towards an event: a wait that passed, an attempt that ended, a frame that came.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
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
                // A new token leaves with what else is to be written.
                let renewed = self.poll_renewal(cx);
                let _progress = self.poll_write(cx);
                if renewed.is_pending() {
                    return self.poll_read(cx);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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

    /// Ready when the source has answered; the app is told of a failure, and the session goes on.
    fn poll_renewal(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(renewal) = &mut self.renewal else {
            return Poll::Pending;
        };
        let who = (&*self.source, self.token.as_ref());
        match ready!(renewal.poll(who, &self.options.backoff, cx)) {
            Asked::Got(token) => self.refresh(token),
            Asked::Failed(reason, retry_in) => {
                if retry_in.is_none() {
                    self.renewal = None;
                }
                self.events.push(Event::RenewalFailed { reason, retry_in });
            }
        }
        Poll::Ready(())
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
                self.renewal = None;
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
        self.renewal = None;
        self.link = Link::Waiting(Some(Box::pin(sleep(retry_in))));
        retry_in
    }

    /// Does what a frame of the relay means.
    fn accept(&mut self, body: Body) -> Result<(), Error> {
        match Incoming::read(body)? {
            Incoming::Mail(deliver) => self.delivered(deliver)?,
            Incoming::Answer(id, outcome) => self.answered(id, outcome)?,
            Incoming::Tidings(event) => {
                self.heed(&event);
                self.events.push(event);
            }
        }
        Ok(())
    }

    /// Some tidings are for the device, too.
    fn heed(&mut self, event: &Event) {
        if let (Event::Goodbye(goodbye), Link::Up(live)) = (event, &mut self.link) {
            live.said_goodbye(goodbye.clone());
        }
        if let Event::TokenExpiring(life) = event
            && self.options.renew_tokens
        {
            self.renewal.get_or_insert_with(|| Renewal::new(*life));
        }
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

fn no_other_token() -> Stop {
    Stop {
        code: chatctl_protocol::CloseCode::Reauthenticate.number(),
        reason: "the token was refused and its source had no other".to_owned(),
    }
}

/// What a relay grants to a client that asks for nothing, unless it was told otherwise.
const DEFAULT_WINDOW: u32 = 64;
