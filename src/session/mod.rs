//! One authenticated connection of one device, without its socket: frames in, frames out.
//!
//! Owns the window, the answers that are out, and the times at which something is due. Must not know
//! how frames are encoded or carried; the door that does calls [`Session::receive`] for each frame that
//! came, and [`Session::pump`] whenever [`Session::wake`] or [`Session::deadline`] says so.

mod due;
mod frames;
mod looking;
mod notices;
mod pump;
mod receive;
mod said;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::v1::{self, Mode};
use chatctl_protocol::{CloseCode, EnvelopeId};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::auth::Verifier;
use crate::committer::{Outcome, Receipts};
use crate::hub::{Attending, Presence, Wake};
use crate::mailbox::Mailbox;
use crate::model::{Identity, MailboxId};
use crate::session::due::Due;
use crate::session::looking::Looks;
use crate::session::turn::Turn;
use crate::store::Gap;
use crate::switchboard::{Sender, SignedOn, Switchboard};

pub use crate::session::frames::{envelope_frame, send_from_frame};
pub use crate::session::receive::Later;
pub use crate::session::said::Said;

/// What sessions share.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Mail, devices, keys.
    pub switchboard: Arc<Switchboard>,
    /// Checks refreshed tokens.
    pub verifier: Arc<Verifier>,
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
    switchboard: Arc<Switchboard>,
    verifier: Arc<Verifier>,
    slow_consumer: Duration,
    keys_low_jitter: Duration,
    sender: Sender,
    mode: Mode,
    presence: Presence,
    attending: Attending,
    mailbox: Mailbox,
    receipts: Arc<Receipts>,
    answers: Vec<(u64, Outcome)>,
    answers_out: usize,
    floods: u32,
    max_frame: usize,
    backlog: Backlog,
    has_mail: bool,
    gaps_said: Vec<Gap>,
    /// Where the next dice come from.
    seed: u64,
    due: Due,
    looks: Looks,
    turn: Turn,
}

/// How far the mail from before the session has come.
#[derive(Debug)]
struct Backlog {
    mark: EnvelopeId,
    is_read: bool,
    is_over: bool,
}

impl Session {
    /// Opens a session for a verified token, which is noted in the attendance, and answers its Hello.
    ///
    /// # Errors
    ///
    /// [`Leave`] when the device is not registered, the Hello asks for what cannot be, or the store is
    /// not available.
    pub async fn open(
        around: Surroundings,
        (identity, attending): (Identity, Attending),
        hello: &v1::Hello,
        seed: u64,
    ) -> Result<(Self, Body), Leave> {
        let Surroundings {
            switchboard,
            verifier,
            slow_consumer,
            keys_low_jitter,
        } = around;
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
        let now = switchboard.clock().now();
        let hello_ok = Body::HelloOk(v1::HelloOk {
            session_id: format!("{:016x}", dice.random::<u64>()),
            server_time: i64::try_from(now.0).unwrap_or(i64::MAX),
            mailbox_epoch: epoch.wrapping_add(mailbox.0),
            pending,
            limits: Some(limits.into()),
        });
        let wake = presence.wake();
        attending.ring(Arc::clone(&wake));
        let mut session = Self {
            due: Due::new(&identity, now),
            sender: Sender::new(Arc::new(identity.address), mailbox),
            mode,
            mailbox: switchboard.open(mailbox, window),
            receipts: Receipts::new(wake),
            presence,
            attending,
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
            seed: dice.random(),
            looks: Looks::default(),
            turn: Turn::default(),
            switchboard,
            verifier,
            slow_consumer,
            keys_low_jitter,
        };
        session.plan_look();
        Ok((session, hello_ok))
    }

    /// What rings when there is something to pump.
    #[must_use]
    pub fn wake(&self) -> Arc<Wake> {
        self.presence.wake()
    }

    /// When to pump although nothing rang.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let due = &self.due;
        let others = [
            due.token_warning,
            due.key_notices,
            due.devices_notice,
            due.ack,
            due.look,
            due.reading,
        ];
        others.into_iter().flatten().fold(due.token_end, Instant::min)
    }

    /// Whether another frame may be read: too many sends without an answer stop the reading.
    #[must_use]
    pub fn can_receive(&self) -> bool {
        self.answers_out < self.switchboard.limits().max_pending_sends as usize
    }

    /// Tells what was lost, before anything else. The door calls it once after Hello.
    pub async fn begin(&mut self, out: &mut Vec<Said>) -> Result<(), Leave> {
        if self.mode == Mode::Consume {
            self.say_gaps(out).await;
            self.due.key_notices = Some(Instant::now());
        } else {
            self.say_mail_waits(out).await;
        }
        self.pump(out).await
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
}

/// Signs the identity's device on, and makes sure that it is still the one that was signed on.
async fn sign_on(
    switchboard: &Switchboard,
    identity: &Identity,
    mode: Mode,
) -> Result<(MailboxId, SignedOn), Leave> {
    let busy =
        || Leave::new(CloseCode::Overloaded, "the relay cannot reach its store").retry_after(BUSY_PAUSE);
    let device = switchboard.device_now(&identity.address).await;
    let device = device.map_err(|_| busy())?;
    let not_registered = Leave::new(CloseCode::DeviceRemoved, "the device is not registered");
    let device = device.ok_or(not_registered)?;
    let signed_on = match mode {
        Mode::Consume => switchboard.sign_on(device.mailbox).await,
        Mode::Notify => switchboard.observe(device.mailbox).await,
    };
    let signed_on = signed_on.map_err(|_| busy())?.ok_or(not_registered)?;
    // Once more: a removal before the sign-on found nobody to tell.
    let again = switchboard.device_now(&identity.address).await;
    let again = again.map_err(|_| busy())?;
    if again.ok_or(not_registered)?.mailbox != device.mailbox {
        return Err(Leave::new(
            CloseCode::Reregistered,
            "the device was registered again",
        ));
    }
    Ok((device.mailbox, signed_on))
}

/// An operator has taken the token back.
pub const REVOKED: Leave = Leave::new(CloseCode::Reauthenticate, "the token was revoked");

/// When to come back to a relay whose store is out of reach.
const BUSY_PAUSE: Duration = Duration::from_secs(5);

/// Time until a session reads on whose store did not answer.
const AWAY_PAUSE: Duration = Duration::from_secs(2);

/// Time until a session reads on that found acked mail in its way.
const STUCK_PAUSE: Duration = Duration::from_millis(50);

/// Sends over the rate, less those within it, before the session is closed.
const MAX_FLOODS: u32 = 1_000;
