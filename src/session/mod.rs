//! One authenticated connection of one device, without its socket: frames in, frames out.
//!
//! Owns the window, the answers that are out, and the times at which something is due. Must not know
//! how frames are encoded or carried; the door that does calls [`Session::receive`] for each frame that
//! came, and [`Session::pump`] whenever [`Session::wake`] or [`Session::deadline`] says so.

mod frames;
mod receive;

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::v1::{self, Mode};
use chatctl_protocol::{CloseCode, EnvelopeId};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::auth::Verifier;
use crate::committer::{Outcome, Receipts};
use crate::hub::{Notices, Presence};
use crate::mailbox::Mailbox;
use crate::metrics::Metrics;
use crate::model::{Clock, Identity, MailboxId, UnixMs};
use crate::store::Gap;
use crate::switchboard::{Sender, SignedOn, Switchboard};

pub use crate::session::frames::{envelope_frame, send_from_frame};

/// What sessions share.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Mail, devices, keys.
    pub switchboard: Arc<Switchboard>,
    /// Checks refreshed tokens.
    pub verifier: Arc<Verifier>,
    /// Wall clock.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Longest time at a full window without an ack.
    pub slow_consumer: Duration,
    /// Longest random delay of a low-key notice.
    pub keys_low_jitter: Duration,
}

/// Why the relay ends a session, as told in Goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// The close code.
    pub code: CloseCode,
    /// For a person.
    pub reason: &'static str,
    /// When to come back, if at all.
    pub retry_after: Duration,
}

impl Leave {
    /// A leave that says nothing about coming back.
    #[must_use]
    pub const fn new(code: CloseCode, reason: &'static str) -> Self {
        Self {
            code,
            reason,
            retry_after: Duration::ZERO,
        }
    }

    /// With a time to come back.
    #[must_use]
    pub const fn retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The frame that says it.
    #[must_use]
    pub fn goodbye(&self) -> Body {
        Body::Goodbye(v1::Goodbye {
            code: u32::from(self.code.number()),
            reconnect: self.code.reconnect(),
            retry_after_ms: u64::try_from(self.retry_after.as_millis()).unwrap_or(u64::MAX),
            reason: self.reason.to_owned(),
        })
    }
}

/// A device's session.
#[derive(Debug)]
pub struct Session {
    around: Surroundings,
    identity: Identity,
    sender: Sender,
    mode: Mode,
    presence: Presence,
    wake: Arc<Notify>,
    mailbox: Mailbox,
    receipts: Arc<Receipts>,
    answers: Vec<(u64, Outcome)>,
    answers_out: usize,
    floods: u32,
    max_frame: usize,
    backlog: Backlog,
    has_mail: bool,
    gaps_said: Vec<Gap>,
    dice: SmallRng,
    due: Due,
}

/// How far the mail from before the session has come.
#[derive(Debug)]
struct Backlog {
    mark: EnvelopeId,
    is_read: bool,
    is_over: bool,
}

/// When something is due, on the monotonic clock.
#[derive(Debug)]
struct Due {
    token_end: Instant,
    token_warning: Option<Instant>,
    key_notices: Option<Instant>,
    devices_notice: Option<Instant>,
    ack: Option<Instant>,
}

impl Session {
    /// Opens a session for a verified token and answers its Hello.
    ///
    /// # Errors
    ///
    /// [`Leave`] when the device is not registered, the Hello asks for what cannot be, or the store is
    /// not available.
    pub async fn open(
        around: Surroundings,
        identity: Identity,
        hello: &v1::Hello,
        seed: u64,
    ) -> Result<(Self, Body), Leave> {
        let switchboard = Arc::clone(&around.switchboard);
        let limits = switchboard.limits();
        let (window, max_frame) = frames::window(hello, limits)?;
        let mode = Mode::try_from(hello.mode)
            .map_err(|_| Leave::new(CloseCode::BadFrame, "the mode is not known"))?;
        let (mailbox, signed_on) = sign_on(&switchboard, &identity, mode).await?;
        let SignedOn {
            presence,
            pending,
            mark,
            epoch,
        } = signed_on;
        let mut dice = SmallRng::seed_from_u64(seed);
        let now = around.clock.now();
        let hello_ok = Body::HelloOk(v1::HelloOk {
            session_id: format!("{:016x}", dice.random::<u64>()),
            server_time: i64::try_from(now.0).unwrap_or(i64::MAX),
            mailbox_epoch: epoch.wrapping_add(mailbox.0),
            pending,
            limits: Some(limits.into()),
        });
        let wake = presence.wake();
        let session = Self {
            due: Due::new(&identity, now),
            sender: Sender {
                address: Arc::new(identity.address.clone()),
                mailbox,
            },
            identity,
            mode,
            mailbox: switchboard.open(mailbox, window),
            receipts: Receipts::new(Arc::clone(&wake)),
            presence,
            wake,
            answers: Vec::new(),
            answers_out: 0,
            floods: 0,
            max_frame,
            backlog: Backlog {
                mark,
                is_read: false,
                is_over: mode == Mode::Notify,
            },
            has_mail: mode == Mode::Consume,
            gaps_said: Vec::new(),
            dice,
            around,
        };
        Ok((session, hello_ok))
    }

    /// What rings when there is something to pump.
    #[must_use]
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// When to pump although nothing rang.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let due = &self.due;
        let others = [due.token_warning, due.key_notices, due.devices_notice, due.ack];
        others.into_iter().flatten().fold(due.token_end, Instant::min)
    }

    /// Whether another frame may be read: too many sends without an answer stop the reading.
    #[must_use]
    pub fn can_receive(&self) -> bool {
        self.answers_out < self.around.switchboard.limits().max_pending_sends as usize
    }

    /// Appends everything that is to be sent now.
    ///
    /// # Errors
    ///
    /// [`Leave`] when the session is over.
    pub async fn pump(&mut self, out: &mut Vec<Body>) -> Result<(), Leave> {
        let rung = self.presence.take();
        self.heed(rung.notices)?;
        if rung.notices.contains(Notices::GAP) {
            self.say_gaps(out).await;
        }
        if rung.mail > EnvelopeId::ZERO {
            self.has_mail |= self.mode == Mode::Consume;
            self.say_mail_waits(out).await;
        }
        self.answer(out);
        self.deliver(out).await?;
        self.say_queue_empty(out);
        self.keep_time(out).await
    }

    /// Tells what was lost, before anything else. The door calls it once after Hello.
    pub async fn begin(&mut self, out: &mut Vec<Body>) -> Result<(), Leave> {
        if self.mode == Mode::Consume {
            self.say_gaps(out).await;
            self.due.key_notices = Some(Instant::now());
        } else {
            self.say_mail_waits(out).await;
        }
        self.pump(out).await
    }

    /// Whether losses were said that the client has not confirmed to have heard.
    #[must_use]
    pub fn wants_confirmation(&self) -> bool {
        !self.gaps_said.is_empty()
    }

    /// The client has answered a ping that was sent after the last pump: it has heard of its losses.
    /// Tells those that came meanwhile.
    pub async fn confirmed(&mut self, out: &mut Vec<Body>) {
        let said = std::mem::take(&mut self.gaps_said);
        if said.is_empty() {
            return;
        }
        let told = self.around.switchboard.gaps_told(self.sender.mailbox, &said);
        match told.await {
            Ok(()) => self.say_gaps(out).await,
            Err(error) => tracing::warn!(%error, "a gap will be told again"),
        }
    }

    /// Whether envelopes were delivered and not acked.
    #[must_use]
    pub fn has_unacked(&self) -> bool {
        self.mailbox.has_unacked()
    }

    /// Whether sends wait for their answer.
    #[must_use]
    pub const fn has_answers_out(&self) -> bool {
        self.answers_out > 0
    }

    fn heed(&mut self, notices: Notices) -> Result<(), Leave> {
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
            self.due.key_notices = Some(self.some_time_within(self.around.keys_low_jitter));
        }
        if notices.contains(Notices::DEVICES) && self.due.devices_notice.is_none() {
            self.due.devices_notice = Some(self.some_time_within(DEVICES_JITTER));
        }
        Ok(())
    }

    fn some_time_within(&mut self, longest: Duration) -> Instant {
        Instant::now() + longest.mul_f64(self.dice.random::<f64>())
    }

    fn answer(&mut self, out: &mut Vec<Body>) {
        self.receipts.take(&mut self.answers);
        self.answers_out -= self.answers.len().min(self.answers_out);
        out.extend(
            self.answers
                .drain(..)
                .map(|(id, outcome)| frames::answer(id, outcome)),
        );
    }

    async fn deliver(&mut self, out: &mut Vec<Body>) -> Result<(), Leave> {
        while self.has_mail && self.mailbox.has_room() {
            let page = self.mailbox.next().await.map_err(|_| {
                Leave::new(CloseCode::Overloaded, "the relay cannot read its store").retry_after(BUSY_PAUSE)
            })?;
            if page.is_empty() && self.mailbox.has_room() {
                self.has_mail = false;
                self.backlog.is_read = true;
            }
            self.around.metrics.envelopes_delivered.inc_by(page.len() as u64);
            frames::deliver(page, self.max_frame, out);
        }
        self.due.ack = match self.mailbox.has_room() {
            true => None,
            false => self
                .due
                .ack
                .or_else(|| Some(Instant::now() + self.around.slow_consumer)),
        };
        Ok(())
    }

    fn say_queue_empty(&mut self, out: &mut Vec<Body>) {
        let backlog = &mut self.backlog;
        if !backlog.is_over && self.mailbox.is_past(backlog.mark, backlog.is_read) {
            backlog.is_over = true;
            out.push(Body::QueueEmpty(v1::QueueEmpty {}));
        }
    }

    async fn say_gaps(&mut self, out: &mut Vec<Body>) {
        if self.mode != Mode::Consume || !self.gaps_said.is_empty() {
            return;
        }
        match self.around.switchboard.gaps(self.sender.mailbox).await {
            Ok(gaps) => {
                out.extend(gaps.iter().map(frames::gap));
                self.gaps_said = gaps;
            }
            Err(error) => tracing::warn!(%error, "gaps could not be read"),
        }
    }

    async fn say_mail_waits(&mut self, out: &mut Vec<Body>) {
        if self.mode == Mode::Notify
            && let Ok(pending) = self.around.switchboard.pending(self.sender.mailbox).await
            && pending > 0
        {
            out.push(Body::MailWaiting(v1::MailWaiting { pending }));
        }
    }

    async fn keep_time(&mut self, out: &mut Vec<Body>) -> Result<(), Leave> {
        let now = Instant::now();
        let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        // The warning first, however late the alarm rang: a session never ends unwarned.
        if is_due(&mut self.due.token_warning) {
            let left = self.due.token_end.saturating_duration_since(now);
            let in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            out.push(Body::TokenExpiring(v1::TokenExpiring { in_ms }));
        }
        if self.due.token_end <= now {
            return Err(Leave::new(CloseCode::Reauthenticate, "the token has expired"));
        }
        if is_due(&mut self.due.ack) {
            return Err(Leave::new(CloseCode::SlowConsumer, "no ack at a full window"));
        }
        if is_due(&mut self.due.devices_notice) {
            let account = self.identity.account().to_string();
            out.push(Body::DevicesChanged(v1::DevicesChanged { account }));
        }
        if is_due(&mut self.due.key_notices) {
            match self
                .around
                .switchboard
                .directory()
                .key_notices(self.sender.mailbox)
                .await
            {
                Ok(notices) => out.extend(notices.into_iter().map(frames::key_notice)),
                Err(error) => tracing::warn!(%error, "key counts could not be read"),
            }
        }
        Ok(())
    }
}

/// Signs the identity's device on, and makes sure that it is still the one that was signed on.
async fn sign_on(
    switchboard: &Switchboard,
    identity: &Identity,
    mode: Mode,
) -> Result<(MailboxId, SignedOn), Leave> {
    let busy =
        || Leave::new(CloseCode::Overloaded, "the relay cannot reach its store").retry_after(BUSY_PAUSE);
    let device = switchboard.device(&identity.address).await.map_err(|_| busy())?;
    let not_registered = Leave::new(CloseCode::DeviceRemoved, "the device is not registered");
    let device = device.ok_or(not_registered)?;
    let signed_on = match mode {
        Mode::Consume => switchboard.sign_on(device.mailbox).await,
        Mode::Notify => switchboard.observe(device.mailbox).await,
    };
    let signed_on = signed_on.map_err(|_| busy())?;
    // Once more: a removal before the sign-on found nobody to tell.
    let again = switchboard.device(&identity.address).await.map_err(|_| busy())?;
    if again.ok_or(not_registered)?.mailbox != device.mailbox {
        return Err(Leave::new(
            CloseCode::Reregistered,
            "the device was registered again",
        ));
    }
    Ok((device.mailbox, signed_on))
}

impl Due {
    fn new(identity: &Identity, now: UnixMs) -> Self {
        let (token_end, token_warning) = token_times(identity, now);
        Self {
            token_end,
            token_warning,
            key_notices: None,
            devices_notice: None,
            ack: None,
        }
    }
}

/// The token's end and the time to warn of it, on a clock that does not jump.
fn token_times(identity: &Identity, now: UnixMs) -> (Instant, Option<Instant>) {
    let left = Duration::from_millis(identity.expires_at.0.saturating_sub(now.0)).min(FAR);
    let end = Instant::now() + left;
    (end, Some(end - TOKEN_WARNING.min(left / 2)))
}

/// How long a displaced session should stay away, so that two do not displace each other for ever.
const DISPLACED_PAUSE: Duration = Duration::from_secs(30);

/// When to come back to a relay whose store is out of reach.
const BUSY_PAUSE: Duration = Duration::from_secs(5);

/// Longest delay of a notice about the own account's devices.
const DEVICES_JITTER: Duration = Duration::from_secs(1);

/// How long before its end a token is warned of.
const TOKEN_WARNING: Duration = Duration::from_secs(60);

/// Further ahead nothing is planned; the monotonic clock cannot add any number.
const FAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// Sends over the rate, less those within it, before the session is closed.
const MAX_FLOODS: u32 = 1_000;
