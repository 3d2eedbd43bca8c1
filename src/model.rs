//! The nouns that every floor shares: envelopes, devices, time.
//!
//! Must not know where they are kept or how they travel.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, EnvelopeId};
use rustix::time::{ClockId, clock_gettime};

/// One incarnation of one device, and so one mailbox. Minted by the store, never used again.
///
/// A device that registers anew gets another number, so nothing of the old one can reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxId(pub u64);

/// How maps by numbers that the relay mints are hashed: nobody outside chooses them, so it may be quick.
pub type NumberHasher = foldhash::fast::RandomState;

/// Milliseconds since 1970, on the relay's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// This time and `seconds` more, saturating.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// When its day began, in UTC.
    #[must_use]
    pub const fn day(self) -> Self {
        Self(self.0 - self.0 % DAY_MS)
    }

    /// As people and machines both read it: RFC 3339 in UTC, to the second.
    #[must_use]
    pub fn rfc3339(self) -> String {
        // Later than the year 9999 cannot be written; such a clock is wrong anyway.
        let seconds = (self.0 / 1000).min(253_402_300_799);
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
    }

    /// A time of the system's clock; `None` before 1970.
    #[must_use]
    pub fn of(time: SystemTime) -> Option<Self> {
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok().map(Self)
    }
}

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Where the wall clock comes from. Below the server nobody else reads it.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> UnixMs + Send + Sync>,
    steady: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// The machine's clock. A clock before 1970 counts as 1970.
    #[must_use]
    pub fn system() -> Self {
        let wall = || {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that reads the wall clock"
            )]
            let now = SystemTime::now();
            let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        };
        let steady = || {
            let up = clock_gettime(ClockId::Boottime);
            Duration::from_secs(u64::try_from(up.tv_sec).unwrap_or_default())
        };
        Self {
            wall: Arc::new(wall),
            steady: Arc::new(steady),
        }
    }

    /// A clock that stands where the returned handle puts it, for tests. It never steps: whatever it shows has passed.
    #[must_use]
    pub fn manual(start: UnixMs) -> (Self, Arc<AtomicU64>) {
        let hand = Arc::new(AtomicU64::new(start.0));
        let (wall, steady) = (Arc::clone(&hand), Arc::clone(&hand));
        let clock = Self {
            wall: Arc::new(move || UnixMs(wall.load(Ordering::Relaxed))),
            steady: Arc::new(move || Duration::from_millis(steady.load(Ordering::Relaxed))),
        };
        (clock, hand)
    }

    /// A clock whose two hands are moved apart, for tests of steps: what it shows, and what has passed in milliseconds.
    #[must_use]
    pub fn loose(start: UnixMs) -> (Self, [Arc<AtomicU64>; 2]) {
        let hands = [Arc::new(AtomicU64::new(start.0)), Arc::new(AtomicU64::new(0))];
        let [wall, steady] = hands.clone();
        let clock = Self {
            wall: Arc::new(move || UnixMs(wall.load(Ordering::Relaxed))),
            steady: Arc::new(move || Duration::from_millis(steady.load(Ordering::Relaxed))),
        };
        (clock, hands)
    }

    /// The time now. May step back.
    #[must_use]
    pub fn now(&self) -> UnixMs {
        (self.wall)()
    }

    /// Time since some moment, to the second: the time that the machine sleeps counts, and nobody can set it.
    #[must_use]
    pub fn passed(&self) -> Duration {
        (self.steady)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// What happens to a tick that comes while the job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// It is noted as skipped.
    #[default]
    Skip,
    /// It waits for the run to end; there is at most one that waits, and further ones are skipped.
    QueueOne,
}

/// Ciphertext and what is needed to carry it.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Strictly increasing per node.
    pub id: EnvelopeId,
    /// Whose it is.
    pub mailbox: MailboxId,
    /// The sender's mailbox number: fair share and idempotency hang on it.
    pub sender: MailboxId,
    /// Who sent it, as told to the recipient.
    pub from: Arc<Address>,
    /// The sender's name for the message.
    pub client_msg_id: ClientMsgId,
    /// The app's message type; opaque.
    pub kind: u32,
    /// The sender's clock, milliseconds; opaque.
    pub sent_at: i64,
    /// When the relay accepted it.
    pub accepted_at: UnixMs,
    /// When it may be dropped.
    pub expires_at: UnixMs,
    /// A wake-up hint.
    pub urgent: bool,
    /// Never stored.
    pub ephemeral: bool,
    /// Ciphertext.
    pub payload: Bytes,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("id", &self.id)
            .field("mailbox", &self.mailbox)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish_non_exhaustive()
    }
}

/// A device of an account, as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id within the account.
    pub device_id: DeviceId,
    /// Its mailbox, and so its incarnation.
    pub mailbox: MailboxId,
    /// What it drew when it was installed.
    pub registration_id: u32,
    /// 1 at the first registration of this device id, one more at each that followed.
    pub incarnation: u32,
    /// Attributes as JSON text, opaque, at most 1 KiB.
    pub attributes: Option<Arc<str>>,
    /// When this incarnation was registered.
    pub registered_at: UnixMs,
}

/// The devices of an account, and the number of the list's version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceList {
    /// One more at each change; 0 for an account without devices, now or ever.
    pub version: u64,
    /// In the order of their ids.
    pub devices: Vec<Device>,
}

impl DeviceList {
    /// The device of an id.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.iter().find(|device| device.device_id == *id)
    }
}

/// Who a token speaks for, once it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account and the device.
    pub address: Address,
    /// What the token may do.
    pub scopes: Scopes,
    /// When the token began.
    pub issued_at: UnixMs,
    /// When the token ends.
    pub expires_at: UnixMs,
    /// The token's own name.
    pub jti: Arc<str>,
}

/// Tokens that are good no more although their time is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// The one of this `jti`.
    Token(Arc<str>),
    /// Those of an account, or of one of its devices, that were issued at or before a moment.
    Issued {
        /// Whose.
        account: AccountId,
        /// Of this device alone.
        device: Option<DeviceId>,
        /// The moment.
        up_to: UnixMs,
    },
}

/// The word of an operator that tokens are good no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Which tokens.
    pub what: Revoked,
    /// When it was said.
    pub revoked_at: UnixMs,
    /// When all of these tokens are over by themselves, and this may be forgotten.
    pub expires_at: UnixMs,
    /// What the operator says about it; empty, or up to 256 bytes. Never shown to clients.
    pub reason: Arc<str>,
}

impl Revoked {
    /// Whether it is the same token, account or device, whatever the moment: of these there is one revocation.
    #[must_use]
    pub fn is_about_the_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(one), Self::Token(other)) => one == other,
            (
                Self::Issued { account, device, .. },
                Self::Issued {
                    account: other_account,
                    device: other_device,
                    ..
                },
            ) => (account, device) == (other_account, other_device),
            (Self::Token(_), Self::Issued { .. }) | (Self::Issued { .. }, Self::Token(_)) => false,
        }
    }
}

impl Revocation {
    /// This one in the place of an earlier one about the same: it takes nothing back that was said before.
    #[must_use]
    pub fn after(mut self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        self.expires_at = self.expires_at.max(earlier.expires_at);
        if let (Revoked::Issued { up_to, .. }, Revoked::Issued { up_to: before, .. }) =
            (&mut self.what, &earlier.what)
        {
            *up_to = (*before).max(*up_to);
        }
        self
    }
}

impl Identity {
    /// The account.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        &self.address.account
    }
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes {
    /// Everything that a device does: `chat`, and every token without a scope claim.
    pub chat: bool,
    /// The operator's part of the API: `admin`.
    pub admin: bool,
}
