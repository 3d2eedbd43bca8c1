//! One session while it lives: what is to be written, what is unacked, when it was last heard.
//!
//! Must not know what happens after it: it only says how it ended.

use std::collections::{HashSet, VecDeque};
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chatctl_protocol::EnvelopeId;
use chatctl_protocol::v1::{self, frame::Body};
use futures_util::{Sink as _, Stream as _};
use tokio::time::{Instant, Sleep, sleep};

use crate::outbox::Outbox;
use crate::parting::{self, Next};
use crate::seen::{Seen, Verdict};
use crate::{Error, Mail, Socket, SocketError, Token, Why};

/// A session.
pub(crate) struct Live {
    socket: Socket,
    since: Instant,
    goodbye: Option<v1::Goodbye>,
    /// Delivered on this session and not acked on it.
    unacked: HashSet<EnvelopeId>,
    acks: Vec<EnvelopeId>,
    control: VecDeque<Body>,
    /// Nothing can be written any more; what the relay said last can still be read.
    mute: bool,
    most_unacked: usize,
    patience: Duration,
    alarm: Pin<Box<Sleep>>,
}

/// How a session ended.
pub(crate) enum Ended {
    Parted(Why, Next),
    Nonsense(SocketError),
}

impl Live {
    pub(crate) fn new(socket: Socket, limits: &v1::Limits) -> Self {
        let keepalive = u64::from(limits.ping_interval_ms) + u64::from(limits.ping_timeout_ms);
        let patience = Duration::from_millis(keepalive) + SLACK;
        Self {
            socket,
            since: Instant::now(),
            goodbye: None,
            unacked: HashSet::new(),
            acks: Vec::new(),
            control: VecDeque::new(),
            mute: false,
            most_unacked: (limits.max_window as usize).max(LEAST_MAX_WINDOW),
            patience,
            alarm: Box::pin(sleep(patience)),
        }
    }

    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    pub(crate) fn into_socket(self) -> Socket {
        self.socket
    }

    pub(crate) fn said_goodbye(&mut self, goodbye: v1::Goodbye) {
        self.goodbye = Some(goodbye);
    }

    /// Only ids delivered on this session count; others are none of the relay's business.
    pub(crate) fn ack(&mut self, id: EnvelopeId) {
        if self.unacked.remove(&id) {
            self.acks.push(id);
        }
    }

    pub(crate) fn refresh(&mut self, token: &Token) {
        // Only the newest matters.
        self.control.retain(|body| !matches!(body, Body::Auth(_)));
        let token = token.secret().to_owned();
        self.control.push_back(Body::Auth(v1::Auth { token }));
    }

    pub(crate) fn ping(&mut self, id: u64) {
        self.control.retain(|body| !matches!(body, Body::Ping(_)));
        self.control.push_back(Body::Ping(v1::Ping { id }));
    }

    /// The envelopes of a delivery that the app has not had yet.
    pub(crate) fn delivered(&mut self, deliver: v1::Deliver, seen: &mut Seen) -> Result<Vec<Mail>, Error> {
        let mut fresh = Vec::new();
        for envelope in deliver.envelopes {
            let mail = Mail::try_from(envelope)?;
            self.unacked.insert(mail.id);
            match seen.arrived(&mail) {
                Verdict::New => fresh.push(mail),
                Verdict::Done => self.ack(mail.id),
                Verdict::Pending => {}
            }
        }
        if self.unacked.len() > self.most_unacked {
            return Err(Error::Unexpected("more mail than the window"));
        }
        Ok(fresh)
    }

    /// Writes what waits: control first, then acks, then sends. Ready when all of it has left.
    pub(crate) fn poll_write(&mut self, outbox: &mut Outbox, cx: &mut Context<'_>) -> Poll<()> {
        while !self.mute && self.has_work(outbox) {
            let written = ready!(Pin::new(&mut self.socket).poll_ready(cx)).and_then(|()| {
                match self.next_frame(outbox) {
                    Some(body) => Pin::new(&mut self.socket).start_send(body),
                    None => Ok(()),
                }
            });
            // The reading side finds out why, and may still find the relay's last words.
            self.mute = written.is_err();
        }
        if !self.mute {
            self.mute = ready!(Pin::new(&mut self.socket).poll_flush(cx)).is_err();
        }
        Poll::Ready(())
    }

    /// The next frame, or how the session ended. Cancel safe.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body, Ended>> {
        match Pin::new(&mut self.socket).poll_next(cx) {
            Poll::Ready(Some(Ok(body))) => return Poll::Ready(Ok(body)),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.broke(error))),
            Poll::Ready(None) => {
                let (why, next) = parting::after_close(self.socket.close_code(), self.goodbye.as_ref());
                return Poll::Ready(Err(Ended::Parted(why, next)));
            }
            Poll::Pending => {}
        }
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            let due = self.socket.heard() + self.patience;
            if due <= Instant::now() {
                let floor = Duration::ZERO;
                return Poll::Ready(Err(Ended::Parted(Why::Silent, Next::Return { floor })));
            }
            self.alarm.as_mut().reset(due);
        }
    }

    fn broke(&self, error: SocketError) -> Ended {
        let known = match &self.goodbye {
            Some(goodbye) => Some(parting::after_close(self.socket.close_code(), Some(goodbye))),
            None => parting::after_error(&error),
        };
        match known {
            Some((why, next)) => Ended::Parted(why, next),
            None => Ended::Nonsense(error),
        }
    }

    fn has_work(&self, outbox: &Outbox) -> bool {
        !self.control.is_empty() || !self.acks.is_empty() || outbox.has_unwritten()
    }

    fn next_frame(&mut self, outbox: &mut Outbox) -> Option<Body> {
        if let Some(body) = self.control.pop_front() {
            return Some(body);
        }
        if !self.acks.is_empty() {
            let ids = std::mem::take(&mut self.acks);
            let ids = ids.into_iter().map(EnvelopeId::as_u64).collect();
            return Some(Body::Ack(v1::Ack { ids }));
        }
        outbox.next_to_write().map(Body::Send)
    }
}

/// Added to the relay's keepalive: a loaded network is not a dead one.
const SLACK: Duration = Duration::from_secs(20);

/// A relay that does not say how large a window may be still may fill the largest of protocol version 1.
const LEAST_MAX_WINDOW: usize = 256;
