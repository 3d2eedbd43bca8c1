//! `GET /v1/ws`: the door through which devices come.
//!
//! Owns the life of a connection: upgrade, Hello, frames both ways, keepalive, goodbye. What frames mean
//! is the session's, how they are written is the socket's.

mod waiting;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{Request, Response, header};
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{CloseCode, Code, Encoding, Spoken};
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use crate::auth::TokenError;
use crate::http::Doors;
use crate::http::arrivals;
use crate::http::openapi::refusals::refusals;
use crate::http::problem::Problem;
use crate::http::sessions::{Seat, Sessions};
use crate::http::socket::{self, Ended, Heard, Socket};
use crate::http::token::bearer;
use crate::http::ws::waiting::Waiting;
use crate::hub::Attending;
use crate::metrics::{Count as _, Metrics};
use crate::model::Identity;
use crate::session::{Leave, REVOKED, Said, Session, Surroundings};
use crate::switchboard::Switchboard;
use crate::trace;

refusals! {
    /// Why no session is opened.
    OpenRefusals: , BadRequest, UnsupportedProtocol, Unauthorized, RateLimited, Unavailable
}

/// Opens a session over a WebSocket.
///
/// An upgrade as in RFC 6455, with `Connection: Upgrade` and `Upgrade: websocket`. Offers of
/// `Sec-WebSocket-Protocol` are `chatctl.v1.proto` (binary) and `chatctl.v1.json` (text). The token comes in
/// `Authorization: Bearer` or, where headers cannot be set, in the first frame.
#[utoipa::path(
    get,
    path = "/v1/ws",
    operation_id = "openSession",
    tag = "session",
    params(
        ("Sec-WebSocket-Protocol" = String, Header, description = "One or both subprotocols, the favourite first",
            pattern = "chatctl\\.v1\\.(proto|json)", example = "chatctl.v1.json"),
        ("Sec-WebSocket-Version" = String, Header, description = "13 (RFC 6455)", pattern = "^13$", example = "13"),
        ("Sec-WebSocket-Key" = String, Header, description = "16 random bytes, base64", min_length = 24, max_length = 24,
            example = "dGhlIHNhbXBsZSBub25jZQ=="),
    ),
    security(("bearer" = ["chat"]), ()),
    responses(
        (status = 101, description = "Frames follow", headers(
            ("Sec-WebSocket-Accept" = String, description = "The answer to the key (RFC 6455)"),
            ("Sec-WebSocket-Protocol" = String, description = "The subprotocol that is spoken"),
        )),
        OpenRefusals,
    ),
)]
pub async fn open(
    State(doors): State<Doors>,
    mut request: Request<HttpBody>,
) -> Result<Response<HttpBody>, Problem> {
    // Before anything that costs more.
    arrivals::admit(&doors, &request)?;
    let offers = request
        .headers()
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .into_iter();
    let encoding = offers
        .filter_map(|offer| offer.to_str().ok())
        .find_map(Encoding::negotiate);
    let encoding = encoding.ok_or_else(|| {
        let spoken = Encoding::ALL.map(Encoding::subprotocol).join(", ");
        Problem::new(
            Code::UnsupportedProtocol,
            "None of the offered subprotocols is spoken here.",
        )
        .detail(format!("offer one of {spoken} in Sec-WebSocket-Protocol"))
    })?;
    let identity = match bearer(request.headers()) {
        Some(token) => Some(attend(&doors, token).await?),
        None => None,
    };
    let permit = doors.sessions.admit().ok_or_else(|| {
        Problem::new(Code::Unavailable, "The relay takes no more sessions now.").retry_after(5)
    })?;
    let (response, on_upgrade) = socket::upgrade(&mut request, Some(encoding.subprotocol()))?;
    let max_frame = doors.switchboard.limits().max_frame_bytes as usize;
    let sessions = doors.sessions.clone();
    // What is needed for the beginning only is in a box of its own: a waiting connection holds no more than its state.
    let opening: Opening = Box::pin(async move {
        let wire = socket::connect(on_upgrade, max_frame).await?;
        let mut socket = Socket::new(wire, encoding, doors.live.now().server.slow_consumer);
        let span = trace::session();
        let mut connection = Connection::new(&doors, permit);
        let session = connection.hello(&mut socket, doors, identity).await;
        Some(Box::new((connection, socket, session, span)))
    });
    sessions.spawn(Connection::run(opening));
    Ok(response)
}

/// Whom a token speaks for, and its place among those who are here.
async fn attend(doors: &Doors, token: &str) -> Result<Attendee, TokenError> {
    let identity = doors.verifier.verify_or_refresh(token, doors.clock.now()).await?;
    let attending = doors.switchboard.hub().attendance().attend(&identity);
    // Once more: a revocation before this found nobody to tell.
    match doors.verifier.revocations().cover(&identity) {
        true => Err(TokenError::Revoked),
        false => Ok((identity, attending)),
    }
}

/// Somebody who is here with a token.
type Attendee = (Identity, Attending);

/// A connection that has said hello, or has failed to.
type Opened = (Connection, Socket, Result<Session, Ended>, tracing::Span);

/// The way there. `None` when it was lost before.
type Opening = Pin<Box<dyn Future<Output = Option<Box<Opened>>> + Send>>;

/// One connection's life.
struct Connection {
    switchboard: Arc<Switchboard>,
    sessions: Sessions,
    metrics: Arc<Metrics>,
    /// When this turn began.
    now: Instant,
    heard_at: Instant,
    pinged_at: Option<Instant>,
    leave_at: Option<Instant>,
    _permit: Seat,
}

impl Connection {
    fn new(doors: &Doors, permit: Seat) -> Self {
        doors.metrics.sessions_opened.inc();
        doors.metrics.sessions.inc();
        let now = Instant::now();
        Self {
            switchboard: Arc::clone(&doors.switchboard),
            sessions: doors.sessions.clone(),
            metrics: Arc::clone(&doors.metrics),
            now,
            heard_at: now,
            pinged_at: None,
            leave_at: None,
            _permit: permit,
        }
    }

    /// A connection from its upgrade to its end.
    async fn run(opening: Opening) {
        let Some(mut opened) = opening.await else {
            return;
        };
        let (connection, socket, session, _) = &mut *opened;
        let ended = match session {
            Ok(session) => connection.serve(socket, session).await,
            Err(ended) => std::mem::replace(ended, Ended::Gone),
        };
        Box::pin(Self::end(opened, ended)).await;
    }

    /// Signs the session off, and then its client.
    async fn end(opened: Box<Opened>, ended: Ended) {
        let (connection, socket, session, span) = *opened;
        drop(session);
        let code = match ended {
            Ended::Gone => {
                socket.part().await;
                CloseCode::Normal
            }
            Ended::Broken(leave, word) => {
                connection.note(&leave, word);
                socket.leave(leave).await;
                leave.code
            }
        };
        connection.metrics.sessions_closed.count(code.name());
        trace::closed(&span, code.name());
    }

    /// Counts a bad frame, and logs what only the client can have caused.
    fn note(&self, leave: &Leave, word: &'static str) {
        let (code, reason) = (leave.code.number(), leave.reason);
        match leave.code {
            CloseCode::BadFrame | CloseCode::TooLarge | CloseCode::NotUtf8 | CloseCode::ProtocolError => {
                self.metrics.frames_bad.count(word);
                info!(code, reason, "session broken off");
            }
            CloseCode::HelloTimeout | CloseCode::RateLimited | CloseCode::SlowConsumer => {
                info!(code, reason, "session broken off");
            }
            CloseCode::Normal
            | CloseCode::GoingAway
            | CloseCode::Internal
            | CloseCode::Restart
            | CloseCode::Overloaded
            | CloseCode::Reauthenticate
            | CloseCode::DeviceRemoved
            | CloseCode::Displaced
            | CloseCode::Reregistered
            | CloseCode::Version => debug!(code, reason, "session ended"),
        }
    }

    async fn hello(
        &mut self,
        socket: &mut Socket,
        doors: Doors,
        identity: Option<Attendee>,
    ) -> Result<Session, Ended> {
        let limit = Duration::from_millis(u64::from(self.switchboard.limits().hello_timeout_ms));
        let hello = async {
            loop {
                match socket.hear().await? {
                    Heard::Frame(Spoken::Other(Body::Hello(hello))) => return Ok(hello),
                    Heard::Frame(_) => {
                        return Err(leave(CloseCode::BadFrame, "the first frame must be hello"));
                    }
                    Heard::Pong(_) | Heard::Life => {}
                }
            }
        };
        let late = |_| leave(CloseCode::HelloTimeout, "no hello in time");
        let hello = tokio::select! {
            hello = timeout(limit, hello) => hello.map_err(late)??,
            () = doors.sessions.draining() => return Err(self.restart()),
            () = revoked(identity.as_ref()) => return Err(said(REVOKED)),
        };
        let identity = match identity {
            Some(identity) => identity,
            None => {
                let attending = attend(&doors, &hello.token).await;
                attending.map_err(|error| match error == TokenError::Revoked {
                    true => said(REVOKED),
                    false => leave(CloseCode::Reauthenticate, "the token is not good"),
                })?
            }
        };
        if !identity.0.scopes.chat {
            return Err(leave(
                CloseCode::Reauthenticate,
                "the token does not allow a session",
            ));
        }
        let server = &doors.live.now().server;
        let around = Surroundings {
            slow_consumer: server.slow_consumer,
            keys_low_jitter: doors.live.now().directory.keys_low_jitter,
            switchboard: doors.switchboard,
            verifier: doors.verifier,
        };
        let opened = Session::open(around, identity, &hello, rand::random()).await;
        let (mut session, hello_ok) = opened.map_err(said)?;
        let mut out = vec![hello_ok.into()];
        session.begin(&mut out).await.map_err(said)?;
        self.flush(socket, &session, &mut out).await?;
        Ok(session)
    }

    async fn serve(&mut self, socket: &mut Socket, session: &mut Session) -> Ended {
        self.now = Instant::now();
        let alarm = session.deadline().min(self.next_check());
        let mut waiting = Waiting::new(session.wake(), alarm, self.sessions.clone());
        loop {
            let may_read = session.can_receive() && !self.is_leaving();
            waiting.no_later_than(session.deadline().min(self.next_check()));
            let heard = poll_fn(|cx| {
                // Both are asked: what happens at the same time is one turn.
                let rung = waiting.poll_rung(cx);
                match may_read {
                    true if let Poll::Ready(heard) = socket.poll_heard(cx) => Poll::Ready(Some(heard)),
                    true | false => rung.map(|()| None),
                }
            })
            .await;
            self.now = Instant::now();
            session.turn_at(self.now);
            if waiting.take_word() {
                self.leave_at = Some(self.now + self.sessions.some_delay());
            }
            let mut out = OUT.take();
            let turn = self.turn(socket, session, heard, &mut out).await;
            if let Err(ended) = turn {
                return self.part(socket, &mut out, ended).await;
            }
            OUT.set(out);
        }
    }

    /// Takes what was heard and says what there is to say, all of it at once.
    async fn turn(
        &mut self,
        socket: &mut Socket,
        session: &mut Session,
        heard: Option<Result<(), Ended>>,
        out: &mut Vec<Said>,
    ) -> Result<(), Ended> {
        if let Some(heard) = heard {
            heard?;
            self.take(socket, session, out).await?;
        }
        session.pump(out).await.map_err(said)?;
        self.flush(socket, session, out).await?;
        self.keep_alive(socket, session).await
    }

    /// Takes what has come, up to a bound.
    async fn take(
        &mut self,
        socket: &mut Socket,
        session: &mut Session,
        out: &mut Vec<Said>,
    ) -> Result<(), Ended> {
        self.heard_at = self.now;
        self.pinged_at = None;
        for _ in 0..FRAMES_AT_ONCE {
            match socket.take()? {
                Some(Heard::Frame(spoken)) => {
                    if let Some(later) = session.hear(spoken, out).map_err(said)? {
                        // Rare, and too large for each connection to keep room for it.
                        Box::pin(session.receive(later, out)).await.map_err(said)?;
                    }
                }
                Some(Heard::Pong(GAP_MARK)) => Box::pin(session.confirmed(out)).await,
                Some(Heard::Pong(_) | Heard::Life) => {}
                None => break,
            }
            // Nothing may be heard that is not taken: it would be lost.
            if !session.can_receive() {
                break;
            }
        }
        Ok(())
    }

    async fn flush(&self, socket: &mut Socket, session: &Session, out: &mut Vec<Said>) -> Result<(), Ended> {
        if !out.is_empty() {
            self.metrics.frames_sent.inc_by(out.len() as u64);
        }
        let says_gap = out.iter().any(|body| matches!(body, Said::Other(Body::Gap(_))));
        socket.say(out).await?;
        if says_gap && session.wants_confirmation() {
            // The answer proves that the losses were heard.
            Box::pin(socket.ping(GAP_MARK)).await?;
        }
        Ok(())
    }

    /// The session is over: what is said already goes out first.
    async fn part(&self, socket: &mut Socket, out: &mut Vec<Said>, ended: Ended) -> Ended {
        if let Ended::Broken(..) = ended
            && let Err(Ended::Gone) = Box::pin(socket.say(out)).await
        {
            return Ended::Gone;
        }
        ended
    }

    /// Pings after silence, gives up after more of it, and leaves when it is time to.
    async fn keep_alive(&mut self, socket: &mut Socket, session: &Session) -> Result<(), Ended> {
        let now = self.now;
        if self.leave_at.is_some_and(|at| at <= now) && !session.has_answers_out() {
            return Err(self.restart());
        }
        let (interval, patience) = self.rhythm();
        match self.pinged_at {
            Some(at) if at + patience <= now => {
                debug!("no answer to a ping");
                Err(match session.has_unacked() {
                    true => leave(CloseCode::SlowConsumer, "no sign of life with mail unacked"),
                    false => leave(CloseCode::GoingAway, "no sign of life"),
                })
            }
            None if self.heard_at + interval <= now => {
                self.pinged_at = Some(now);
                Box::pin(socket.ping(LIFE_MARK)).await
            }
            Some(_) | None => Ok(()),
        }
    }

    fn restart(&self) -> Ended {
        let pause = self.sessions.some_delay() + RESTART_PAUSE;
        said(Leave::new(CloseCode::Restart, "the relay restarts").retry_after(pause))
    }

    fn is_leaving(&self) -> bool {
        self.leave_at.is_some_and(|at| at <= self.now)
    }

    fn next_check(&self) -> Instant {
        let (interval, patience) = self.rhythm();
        let life = self
            .pinged_at
            .map_or(self.heard_at + interval, |at| at + patience);
        // When it is time to leave, only answers that are out are waited for, and they ring.
        self.leave_at
            .filter(|at| *at > self.now)
            .map_or(life, |at| at.min(life))
    }

    fn rhythm(&self) -> (Duration, Duration) {
        let limits = self.switchboard.limits();
        let interval = Duration::from_millis(u64::from(limits.ping_interval_ms));
        (interval, Duration::from_millis(u64::from(limits.ping_timeout_ms)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.sessions.dec();
    }
}

/// Waits until the token of somebody who came with one is revoked. Cancel safe.
async fn revoked(attendee: Option<&Attendee>) {
    match attendee {
        Some((_, attending)) => attending.revoked().await,
        None => std::future::pending().await,
    }
}

const fn leave(code: CloseCode, reason: &'static str) -> Ended {
    said(Leave::new(code, reason))
}

const fn said(leave: Leave) -> Ended {
    Ended::Broken(leave, leave.code.name())
}

thread_local! {
    /// What the connection that has its turn says: one that waits holds no room for it.
    static OUT: Cell<Vec<Said>> = const { Cell::new(Vec::new()) };
}

/// Frames that one connection may have handled before it writes and others get their turn.
const FRAMES_AT_ONCE: usize = 64;

/// Marks the ping whose answer confirms a gap.
const GAP_MARK: &[u8] = b"gap";

/// Marks a ping that only asks for a sign of life.
const LIFE_MARK: &[u8] = b"";

/// Added to the time after which a client may come back from a restart.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what a function promises, without a call.
    fn size_of_promise<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_that_waits_is_small() {
        let task = size_of_promise(Connection::run);
        let whole = task + size_of::<Opened>();
        assert!(whole < 2560, "{task} of the task, {whole} with what it serves");
        println!("{task} of the task, {whole} with what it serves");
    }
}
