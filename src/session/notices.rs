//! What a session says without being asked: losses, waiting mail, keys and devices, the token's end.
//!
//! Owns when each of it is said. Must not know how it is written.

use std::time::Duration;

use chatctl_protocol::CloseCode;
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::v1::{self, Mode};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::hub::Notices;
use crate::session::{Leave, Said, Session, frames};

impl Session {
    /// Whether losses were said that the client has not confirmed to have heard.
    #[must_use]
    pub fn wants_confirmation(&self) -> bool {
        !self.gaps_said.is_empty()
    }

    /// The client has answered a ping that was sent after the last pump: it has heard of its losses.
    /// Tells those that came meanwhile.
    pub async fn confirmed(&mut self, out: &mut Vec<Said>) {
        let said = std::mem::take(&mut self.gaps_said);
        if said.is_empty() {
            return;
        }
        let told = self.switchboard.gaps_told(self.sender.mailbox, &said);
        match told.await {
            Ok(()) => self.say_gaps(out).await,
            Err(error) => tracing::warn!(%error, "a gap will be told again"),
        }
    }

    pub(super) fn heed(&mut self, notices: Notices) -> Result<(), Leave> {
        if notices.contains(Notices::REREGISTERED) {
            return Err(Leave::new(
                CloseCode::Reregistered,
                "the device was registered again",
            ));
        }
        if notices.contains(Notices::REMOVED) {
            return Err(Leave::new(CloseCode::DeviceRemoved, "the device was removed"));
        }
        if notices.contains(Notices::DISPLACED) && self.mode == Mode::Consume {
            return Err(
                Leave::new(CloseCode::Displaced, "a newer session of this device took over")
                    .retry_after(DISPLACED_PAUSE),
            );
        }
        if notices.contains(Notices::KEYS) && self.due.key_notices.is_none() {
            self.due.key_notices = Some(self.some_time_within(self.keys_low_jitter));
        }
        if notices.contains(Notices::DEVICES) && self.due.devices_notice.is_none() {
            self.due.devices_notice = Some(self.some_time_within(DEVICES_JITTER));
        }
        Ok(())
    }

    fn some_time_within(&mut self, longest: Duration) -> Instant {
        let mut dice = SmallRng::seed_from_u64(self.seed);
        self.seed = dice.random();
        Instant::now() + longest.mul_f64(dice.random::<f64>())
    }

    pub(super) async fn say_gaps(&mut self, out: &mut Vec<Said>) {
        if self.mode != Mode::Consume || !self.gaps_said.is_empty() {
            return;
        }
        match self.switchboard.gaps(self.sender.mailbox).await {
            Ok(gaps) => {
                out.extend(gaps.iter().map(frames::gap).map(Said::from));
                self.gaps_said = gaps;
            }
            Err(error) => tracing::warn!(%error, "gaps could not be read"),
        }
    }

    pub(super) async fn say_mail_waits(&mut self, out: &mut Vec<Said>) {
        if self.mode == Mode::Notify
            && let Ok(pending) = self.switchboard.pending(self.sender.mailbox).await
            && pending > 0
        {
            self.waiting_said(pending);
            out.push(Body::MailWaiting(v1::MailWaiting { pending }).into());
        }
    }

    /// Says what is due. Whether keys are due too, which have to be asked for.
    pub(super) fn keep_time(&mut self, out: &mut Vec<Said>) -> Result<bool, Leave> {
        let now = self.turn.steady();
        if now < self.deadline() {
            return Ok(false);
        }
        let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        // The warning first, however late the alarm rang: a session never ends unwarned.
        if is_due(&mut self.due.token_warning) {
            let left = self.due.token_end.saturating_duration_since(now);
            let in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            out.push(Body::TokenExpiring(v1::TokenExpiring { in_ms }).into());
        }
        if self.due.token_end <= now {
            return Err(Leave::new(CloseCode::Reauthenticate, "the token has expired"));
        }
        if is_due(&mut self.due.ack) {
            return Err(Leave::new(CloseCode::SlowConsumer, "no ack at a full window"));
        }
        if is_due(&mut self.due.devices_notice) {
            let account = self.sender.address.account.to_string();
            out.push(Body::DevicesChanged(v1::DevicesChanged { account }).into());
        }
        Ok(is_due(&mut self.due.key_notices))
    }

    pub(super) async fn say_keys(&mut self, out: &mut Vec<Said>) {
        let directory = self.switchboard.directory();
        match directory.key_notices(self.sender.mailbox).await {
            Ok(notices) => out.extend(notices.into_iter().map(frames::key_notice).map(Said::from)),
            Err(error) => tracing::warn!(%error, "key counts could not be read"),
        }
    }
}

/// How long a displaced session should stay away, so that two do not displace each other for ever.
const DISPLACED_PAUSE: Duration = Duration::from_secs(30);

/// Longest delay of a notice about the own account's devices.
const DEVICES_JITTER: Duration = Duration::from_secs(1);
