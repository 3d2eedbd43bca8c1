//! What a client says, frame by frame.

use chatctl_protocol::v1;
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{CloseCode, Code, SendRef, Spoken};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::auth::TokenError;
use crate::session::due::token_times;
use crate::session::{Leave, MAX_FLOODS, REVOKED, Said, Session, frames};
use crate::switchboard::{Refusal, Rest, Unsent};

/// What is left to do of a frame, and may have to wait.
#[derive(Debug)]
#[must_use]
pub struct Later<'a>(Left<'a>);

#[derive(Debug)]
enum Left<'a> {
    Send { id: u64, rest: Box<Rest<'a>> },
    Ack(SmallVec<[u64; 8]>),
    Other(Box<Body>),
}

impl Session {
    /// Takes one frame, as far as that needs no waiting; what does is to be given to [`Self::receive`] at once.
    ///
    /// Whom sends call is called together, with the next [`Self::pump`]: whoever hears pumps before it waits for
    /// anything else.
    ///
    /// # Errors
    ///
    /// [`Leave`] when the frame ends the session.
    pub fn hear<'a>(&mut self, spoken: Spoken<'a>, out: &mut Vec<Said>) -> Result<Option<Later<'a>>, Leave> {
        self.turn.frames += 1;
        let left = match spoken {
            Spoken::Send(send) => self
                .hear_send(&send, out)?
                .map(|rest| Left::Send { id: send.id, rest }),
            Spoken::Ack(ids) => (!self.hear_ack(&ids)).then_some(Left::Ack(ids)),
            Spoken::Other(Body::Ack(v1::Ack { ids })) => {
                (!self.hear_ack(&ids)).then(|| Left::Ack(ids.into()))
            }
            Spoken::Other(Body::Ping(v1::Ping { id })) => {
                out.push(Body::Pong(v1::Pong { id }).into());
                None
            }
            Spoken::Other(body) => Some(Left::Other(Box::new(body))),
        };
        Ok(left.map(Later))
    }

    /// Takes the rest of a frame. Waits while the relay has too much uncommitted: that is the back-pressure on a
    /// sender. Not cancel safe.
    ///
    /// # Errors
    ///
    /// [`Leave`] when the frame ends the session.
    pub async fn receive(&mut self, later: Later<'_>, out: &mut Vec<Said>) -> Result<(), Leave> {
        // Nobody who was sent something waits for what this waits for.
        self.end_turn();
        match later.0 {
            Left::Send { id, rest } => self.finish_send(id, *rest, out).await,
            Left::Ack(ids) => {
                if self.mailbox.ack(&ids).await > 0 {
                    self.due.ack = None;
                }
                Ok(())
            }
            Left::Other(body) => self.take(*body, out).await,
        }
    }

    /// Whether that was all of it.
    fn hear_ack(&mut self, ids: &[u64]) -> bool {
        let counted = self.mailbox.try_ack(ids);
        if counted.is_some_and(|counted| counted > 0) {
            self.due.ack = None;
        }
        counted.is_some()
    }

    /// What is left of it, if it has to wait.
    fn hear_send<'a>(
        &mut self,
        send: &SendRef<'a>,
        out: &mut Vec<Said>,
    ) -> Result<Option<Box<Rest<'a>>>, Leave> {
        let id = send.id;
        let send = match frames::send_from_frame(send) {
            Ok(send) => send,
            Err(code) => {
                self.refuse(id, code.into(), out)?;
                return Ok(None);
            }
        };
        let now = self.turn.moment(self.switchboard.clock());
        let ticket = self.receipts.ticket(id);
        match self.switchboard.try_send(&mut self.sender, send, ticket, now) {
            Ok(calls) => {
                self.sent();
                self.turn.calls.add(calls, &self.switchboard);
                Ok(None)
            }
            Err(Unsent::Refused(refusal)) => self.refuse(id, refusal, out).map(|()| None),
            Err(Unsent::Waits(rest)) => Ok(Some(rest)),
        }
    }

    async fn finish_send(&mut self, id: u64, rest: Rest<'_>, out: &mut Vec<Said>) -> Result<(), Leave> {
        match self.switchboard.finish(&mut self.sender, rest).await {
            Ok(()) => {
                self.sent();
                Ok(())
            }
            Err(refusal) => self.refuse(id, refusal, out),
        }
    }

    /// The answer to one more send is out.
    const fn sent(&mut self) {
        self.answers_out += 1;
        self.floods = self.floods.saturating_sub(1);
    }

    fn refuse(&mut self, id: u64, refusal: Refusal, out: &mut Vec<Said>) -> Result<(), Leave> {
        if refusal.code == Code::RateLimited {
            self.floods += 1;
            if self.floods > MAX_FLOODS {
                return Err(Leave::new(CloseCode::RateLimited, "too many sends over the rate")
                    .retry_after(std::time::Duration::from_millis(refusal.retry_after_ms)));
            }
        }
        out.push(frames::refused(id, refusal).into());
        Ok(())
    }

    async fn take(&mut self, body: Body, out: &mut Vec<Said>) -> Result<(), Leave> {
        match body {
            Body::Auth(v1::Auth { token }) => self.refresh(&token, out).await,
            Body::Send(send) => match self.hear_send(&SendRef::from(&send), out)? {
                Some(rest) => self.finish_send(send.id, *rest, out).await,
                None => Ok(()),
            },
            Body::Hello(_) => Err(Leave::new(CloseCode::BadFrame, "hello was said already")),
            Body::Ack(_)
            | Body::Ping(_)
            | Body::HelloOk(_)
            | Body::Deliver(_)
            | Body::SendOk(_)
            | Body::SendErr(_)
            | Body::QueueEmpty(_)
            | Body::Gap(_)
            | Body::KeysLow(_)
            | Body::FallbackUsed(_)
            | Body::DevicesChanged(_)
            | Body::TokenExpiring(_)
            | Body::Goodbye(_)
            | Body::Pong(_)
            | Body::MailWaiting(_)
            | Body::AuthOk(_) => Err(Leave::new(
                CloseCode::BadFrame,
                "this frame is the relay's to send",
            )),
        }
    }

    async fn refresh(&mut self, token: &str, out: &mut Vec<Said>) -> Result<(), Leave> {
        let now = self.switchboard.clock().now();
        let others = Leave::new(CloseCode::Reauthenticate, "the new token is another device's");
        let refused = |error| {
            if error == TokenError::OtherDevice {
                others
            } else if error == TokenError::Revoked {
                REVOKED
            } else {
                Leave::new(CloseCode::Reauthenticate, "the new token is not good")
            }
        };
        let verifier = &self.verifier;
        let identity = verifier
            .verify_for_or_refresh(&self.sender.address, token, now)
            .await
            .map_err(refused)?;
        if !identity.scopes.chat {
            return Err(others);
        }
        // Noted first: a revocation finds the new token there, or is found here.
        self.attending.refresh(&identity);
        if verifier.revocations().cover(&identity) {
            return Err(REVOKED);
        }
        let (end, warning) = token_times(&identity, now);
        self.due.token_end = end;
        self.due.token_warning = warning;
        let left = end.saturating_duration_since(Instant::now());
        let expires_in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        out.push(Body::AuthOk(v1::AuthOk { expires_in_ms }).into());
        Ok(())
    }
}
