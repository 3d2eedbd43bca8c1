//! What a client says, frame by frame.

use chatctl_protocol::v1;
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{CloseCode, Code, SendRef, Spoken};
use tokio::time::Instant;

use crate::auth::TokenError;
use crate::session::due::token_times;
use crate::session::{Leave, MAX_FLOODS, REVOKED, Said, Session, frames};
use crate::switchboard::Refusal;

/// What is left to do of a frame, and may have to wait.
#[derive(Debug)]
#[must_use]
pub struct Later<'a>(Spoken<'a>);

impl Session {
    /// Takes one frame, as far as that needs no waiting; what does is to be given to [`Self::receive`] at once.
    ///
    /// # Errors
    ///
    /// [`Leave`] when the frame ends the session.
    pub fn hear<'a>(&mut self, spoken: Spoken<'a>, _out: &mut Vec<Said>) -> Result<Option<Later<'a>>, Leave> {
        self.around.metrics.frames_received.inc();
        Ok(Some(Later(spoken)))
    }

    /// Takes the rest of a frame. Waits while the relay has too much uncommitted: that is the back-pressure on a
    /// sender. Not cancel safe.
    ///
    /// # Errors
    ///
    /// [`Leave`] when the frame ends the session.
    pub async fn receive(&mut self, later: Later<'_>, out: &mut Vec<Said>) -> Result<(), Leave> {
        match later.0 {
            Spoken::Send(send) => self.take_send(send, out).await,
            Spoken::Ack(ids) => self.take_ack(&ids).await,
            Spoken::Other(Body::Send(send)) => self.take_send(SendRef::from(&send), out).await,
            Spoken::Other(Body::Ack(v1::Ack { ids })) => self.take_ack(&ids).await,
            Spoken::Other(body) => self.take(body, out).await,
        }
    }

    async fn take_ack(&mut self, ids: &[u64]) -> Result<(), Leave> {
        if self.mailbox.ack(ids).await > 0 {
            self.due.ack = None;
        }
        Ok(())
    }

    async fn take(&mut self, body: Body, out: &mut Vec<Said>) -> Result<(), Leave> {
        match body {
            Body::Auth(v1::Auth { token }) => self.refresh(&token, out).await,
            Body::Ping(v1::Ping { id }) => {
                out.push(Body::Pong(v1::Pong { id }).into());
                Ok(())
            }
            Body::Hello(_) => Err(Leave::new(CloseCode::BadFrame, "hello was said already")),
            Body::Send(_)
            | Body::Ack(_)
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

    async fn take_send(&mut self, send: SendRef<'_>, out: &mut Vec<Said>) -> Result<(), Leave> {
        let id = send.id;
        let refusal = match frames::send_from_frame(&send) {
            Ok(send) => {
                let ticket = self.receipts.ticket(id);
                match self.around.switchboard.send(&self.sender, send, ticket).await {
                    Ok(()) => {
                        self.answers_out += 1;
                        self.floods = self.floods.saturating_sub(1);
                        return Ok(());
                    }
                    Err(refusal) => refusal,
                }
            }
            Err(code) => Refusal::from(code),
        };
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

    async fn refresh(&mut self, token: &str, out: &mut Vec<Said>) -> Result<(), Leave> {
        let now = self.around.clock.now();
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
        let verifier = &self.around.verifier;
        let identity = verifier
            .verify_for_or_refresh(&self.identity.address, token, now)
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
        self.identity = identity;
        let left = end.saturating_duration_since(Instant::now());
        let expires_in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        out.push(Body::AuthOk(v1::AuthOk { expires_in_ms }).into());
        Ok(())
    }
}
