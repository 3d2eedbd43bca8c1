//! What a session looks for by itself, where other relays use the same store: nobody rings here for what
//! they accept, remove or register.
//!
//! Owns when it looks. Must not know how the store is read.

use chatctl_protocol::CloseCode;
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::v1::{self, Mode};
use tokio::time::Instant;

use crate::session::{Leave, Said, Session};

/// What was looked for already.
#[derive(Debug, Default)]
pub(super) struct Looks {
    count: u32,
    /// What a watcher was last told to wait.
    waiting_said: u64,
}

impl Session {
    /// Plans the next look, if there is anything to look for.
    pub(super) fn plan_look(&mut self) {
        let every = self.switchboard.look_again();
        self.due.look = every.map(|every| Instant::now() + every);
    }

    /// There may be mail in the store that the cursor has passed.
    pub(super) fn look_at_mail(&mut self) {
        if self.mode == Mode::Consume {
            self.mailbox.look_again();
            self.has_mail = true;
        }
    }

    /// Whether it is time to look.
    pub(super) fn is_to_look(&self, now: Instant) -> bool {
        self.due.look.is_some_and(|at| at <= now)
    }

    /// Looks: whether the device is still this one, for mail, and now and then for losses and keys.
    pub(super) async fn look_around(&mut self, out: &mut Vec<Said>) -> Result<(), Leave> {
        self.plan_look();
        if self.switchboard.is_away() {
            return Ok(());
        }
        self.check_device().await?;
        if self.mode != Mode::Consume {
            self.look_at_count(out).await;
            return Ok(());
        }
        self.look_at_mail();
        self.looks.count = self.looks.count.wrapping_add(1);
        if self.looks.count.is_multiple_of(LOOKS_PER_NOTICE) {
            self.say_gaps(out).await;
            self.due.key_notices.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// Another relay may have removed the device, or registered it anew.
    async fn check_device(&self) -> Result<(), Leave> {
        // A store that does not answer says nothing about the device.
        let Ok(device) = self.switchboard.device(&self.sender.address).await else {
            return Ok(());
        };
        match device {
            Some(device) if device.mailbox == self.sender.mailbox => Ok(()),
            Some(_) => Err(Leave::new(
                CloseCode::Reregistered,
                "the device was registered again",
            )),
            None => Err(Leave::new(CloseCode::DeviceRemoved, "the device was removed")),
        }
    }

    /// Tells a watcher what waits, if that is news.
    async fn look_at_count(&mut self, out: &mut Vec<Said>) {
        let Ok(pending) = self.switchboard.pending(self.sender.mailbox).await else {
            return;
        };
        if pending > self.looks.waiting_said {
            out.push(Body::MailWaiting(v1::MailWaiting { pending }).into());
        }
        self.looks.waiting_said = pending;
    }

    /// Whether there may be mail that the window has room for, and it is time to read it.
    pub(super) fn may_read(&mut self) -> bool {
        if !self.has_mail || !self.mailbox.has_room() {
            return false;
        }
        let Some(at) = self.due.reading else { return true };
        let may_read = at <= self.turn.steady();
        if may_read {
            self.due.reading = None;
        }
        may_read
    }

    /// A watcher was told that so many wait.
    pub(super) const fn waiting_said(&mut self, pending: u64) {
        self.looks.waiting_said = pending;
    }
}

/// Looks from one question about losses and keys to the next: those are also told at sign-on.
const LOOKS_PER_NOTICE: u32 = 10;
