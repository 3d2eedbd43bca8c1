//! What a session has to say now: answers, mail, and what became due.
//!
//! Owns the order of it. Must not know how mail is read or sends are answered.
//!
//! # Why in two steps
//!
//! Nearly every turn finds what it says in memory. What has to be asked for is left to a future of its own, on the
//! heap: thousands of sessions wait, and none of them keeps room for it.

use std::time::Duration;

use chatctl_protocol::CloseCode;
use chatctl_protocol::EnvelopeId;
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::v1::{self, Mode};
use tokio::time::Instant;

use crate::hub::Notices;
use crate::mailbox::Delivery;
use crate::session::{AWAY_PAUSE, BUSY_PAUSE, Leave, REVOKED, STUCK_PAUSE, Said, Session, frames};
use crate::store;

/// What has to be asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    gaps: bool,
    look: bool,
    waiting: bool,
    /// Mail, and what comes after it.
    mail: bool,
    keys: bool,
}

impl Session {
    /// Appends everything that is to be sent now.
    ///
    /// # Errors
    ///
    /// [`Leave`] when the session is over.
    pub async fn pump(&mut self, out: &mut Vec<Said>) -> Result<(), Leave> {
        let asked = self.look_at_hand(out);
        self.end_turn();
        match asked? {
            Some(asked) => Box::pin(self.ask(asked, out)).await,
            None => Ok(()),
        }
    }

    /// The frames that are heard from now on, and the next pump, take place at this time. For a door that has read
    /// the clock; others leave it to the session.
    pub const fn turn_at(&mut self, now: Instant) {
        self.turn.is_at(now);
    }

    /// What needs no asking. What does, in the order in which it is to be said.
    fn look_at_hand(&mut self, out: &mut Vec<Said>) -> Result<Option<Asked>, Leave> {
        // Before anything that may end the session, so that nobody waits for it.
        self.turn.calls.call(&self.switchboard);
        if self.attending.is_revoked() {
            return Err(REVOKED);
        }
        let rung = self.presence.take();
        let mut asked = Asked::default();
        if rung.notices != Notices::NONE {
            self.heed(rung.notices)?;
            asked.gaps = rung.notices.contains(Notices::GAP);
            if rung.notices.contains(Notices::LOOK) {
                self.look_at_mail();
            }
        }
        if rung.mail > EnvelopeId::ZERO {
            match self.mode {
                Mode::Consume => self.has_mail = true,
                Mode::Notify => asked.waiting = true,
            }
        }
        let now = self.turn.steady();
        asked.look = self.is_to_look(now);
        if asked.gaps || asked.look || asked.waiting {
            asked.mail = true;
            return Ok(Some(asked));
        }
        self.answer(out);
        if !self.try_deliver(out) {
            asked.mail = true;
            return Ok(Some(asked));
        }
        self.say_queue_empty(out);
        asked.keys = self.keep_time(out)?;
        Ok(asked.keys.then_some(asked))
    }

    async fn ask(&mut self, asked: Asked, out: &mut Vec<Said>) -> Result<(), Leave> {
        if asked.gaps {
            self.say_gaps(out).await;
        }
        if asked.look {
            self.look_around(out).await?;
        }
        if asked.waiting {
            self.say_mail_waits(out).await;
        }
        let mut keys = asked.keys;
        if asked.mail {
            self.answer(out);
            self.deliver(out).await?;
            self.say_queue_empty(out);
            self.turn.forget_time();
            keys = self.keep_time(out)?;
        }
        if keys {
            self.say_keys(out).await;
        }
        self.end_turn();
        Ok(())
    }

    /// Does what was left to the end of the turn. The next one has its own time.
    pub(super) fn end_turn(&mut self) {
        self.turn.calls.call(&self.switchboard);
        self.turn.forget_time();
        let frames = std::mem::take(&mut self.turn.frames);
        if frames > 0 {
            self.switchboard
                .metrics()
                .frames_received
                .inc_by(u64::from(frames));
        }
    }

    fn answer(&mut self, out: &mut Vec<Said>) {
        if self.answers_out == 0 {
            return;
        }
        self.receipts.take(&mut self.answers);
        self.answers_out -= self.answers.len().min(self.answers_out);
        out.extend(
            self.answers
                .drain(..)
                .map(|(id, outcome)| frames::answer(id, outcome)),
        );
    }

    /// Delivers what is on the tail. Whether that was all, as far as there is room.
    fn try_deliver(&mut self, out: &mut Vec<Said>) -> bool {
        while self.may_read() {
            let Some(page) = self.mailbox.try_next() else {
                return false;
            };
            self.take_page(page, out);
        }
        self.watch_window();
        true
    }

    async fn deliver(&mut self, out: &mut Vec<Said>) -> Result<(), Leave> {
        while self.may_read() {
            if let Some(page) = self.mailbox.try_next() {
                self.take_page(page, out);
                continue;
            }
            if self.switchboard.is_away() {
                self.due.reading = Some(Instant::now() + AWAY_PAUSE);
                break;
            }
            let page = match self.mailbox.next().await {
                Ok(page) => page,
                // The socket stays: the mail is not lost, and the store comes back.
                Err(store::Error::Unavailable(_)) => {
                    self.due.reading = Some(Instant::now() + AWAY_PAUSE);
                    break;
                }
                Err(store::Error::Full | store::Error::Poisoned(_) | store::Error::Corrupt(_)) => {
                    let leave = Leave::new(CloseCode::Overloaded, "the relay cannot read its store");
                    return Err(leave.retry_after(BUSY_PAUSE));
                }
            };
            self.turn.forget_time();
            if page.is_empty() && self.mailbox.is_stuck() {
                self.due.reading = Some(Instant::now() + STUCK_PAUSE);
                break;
            }
            self.take_page(page, out);
        }
        self.watch_window();
        Ok(())
    }

    fn take_page(&mut self, page: Vec<Delivery>, out: &mut Vec<Said>) {
        if page.is_empty() {
            if self.mailbox.has_room() {
                self.has_mail = false;
                self.backlog.is_read = true;
            }
            return;
        }
        self.count(&page);
        frames::deliver(page, self.max_frame, out);
    }

    /// At a full window an ack is waited for, and not for ever.
    fn watch_window(&mut self) {
        if self.mailbox.has_room() {
            self.due.ack = None;
        } else if self.due.ack.is_none() {
            self.due.ack = Some(self.turn.steady() + self.slow_consumer);
        }
    }

    /// Counts what is delivered, and how long it was here, if it came while the session was open and for the
    /// first time: how long mail waits for a device that is away tells nothing of the relay.
    fn count(&mut self, page: &[Delivery]) {
        let metrics = self.switchboard.metrics();
        metrics.envelopes_delivered.inc_by(page.len() as u64);
        let mark = self.backlog.mark;
        let mut fresh = page
            .iter()
            .filter(|delivery| delivery.attempt == 1 && delivery.envelope.id > mark)
            .peekable();
        if fresh.peek().is_some() {
            // Once for all: reading the clock costs more than counting.
            let now = self.turn.wall(self.switchboard.clock());
            for delivery in fresh {
                let millis = now.0.saturating_sub(delivery.envelope.accepted_at.0);
                metrics.delivery.observe(Duration::from_millis(millis));
            }
        }
    }

    fn say_queue_empty(&mut self, out: &mut Vec<Said>) {
        let backlog = &mut self.backlog;
        if !backlog.is_over && self.mailbox.is_past(backlog.mark, backlog.is_read) {
            backlog.is_over = true;
            out.push(Body::QueueEmpty(v1::QueueEmpty {}).into());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end_turn();
    }
}
