//! Sending: every check of policy, then tail, then ring.
//!
//! # Why in two steps
//!
//! Nearly every send can be decided at once: its sender's rate is at hand, the list of devices is kept, the committer
//! has room. [`Switchboard::try_send`] does that much and allocates the payload; what would have to wait is given back
//! as [`Rest`], which knows how far the send has come, so that nothing is checked or counted twice.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, Code, DeviceId};
use smallvec::{SmallVec, smallvec};
use tokio::time::Instant;

use crate::committer::{Calls, Mail, Part, Ticket};
use crate::directory::{self, Kept};
use crate::hub::Notices;
use crate::metrics::Count as _;
use crate::model::{Clock, Device, DeviceList, MailboxId, UnixMs};
use crate::store::SendKey;
use crate::switchboard::Switchboard;
use crate::switchboard::digest::digest;
use crate::switchboard::rates::Spent;

/// Who sends: always the device of the session or token, never a field of a request.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Its address, as recipients see it.
    pub address: Arc<Address>,
    /// Its mailbox.
    pub mailbox: MailboxId,
    /// Boxed: most who are here only receive.
    habit: Option<Box<Habit>>,
}

/// What is at hand for the next send of somebody who has sent before.
#[derive(Debug, Clone)]
struct Habit {
    /// Shared with everybody who sends for the same device.
    spent: Arc<Spent>,
    /// The devices of the account that was written to last.
    last: Option<Kept>,
}

impl Sender {
    /// Somebody who has not sent yet.
    #[must_use]
    pub const fn new(address: Arc<Address>, mailbox: MailboxId) -> Self {
        Self {
            address,
            mailbox,
            habit: None,
        }
    }
}

/// What time it is, on both clocks. Sends that come together share it.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the wall clock, for what is written down.
    pub wall: UnixMs,
    /// By the clock that does not jump, for rates.
    pub steady: Instant,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now(clock: &Clock) -> Self {
        Self {
            wall: clock.now(),
            steady: Instant::now(),
        }
    }
}

/// A message to the devices of one account. Its names keep their rules: whoever makes it has checked them.
#[derive(Debug, Clone)]
pub struct Send<'a> {
    /// The account that it is for.
    pub to: &'a str,
    /// One for each of the account's devices.
    pub messages: SmallVec<[DeviceMessage<'a>; 1]>,
    /// The sender's name for it.
    pub client_msg_id: ClientMsgId,
    /// Seconds it may wait; 0 for the longest allowed.
    pub ttl_seconds: u32,
    /// A wake-up hint.
    pub urgent: bool,
    /// Never stored.
    pub ephemeral: bool,
    /// The sender's clock.
    pub sent_at: i64,
}

/// The part for one device.
#[derive(Clone, Copy)]
pub struct DeviceMessage<'a> {
    /// Which.
    pub device_id: &'a str,
    /// What the sender encrypted for.
    pub registration_id: u32,
    /// The app's message type.
    pub kind: u32,
    /// Ciphertext.
    pub payload: &'a [u8],
}

impl fmt::Debug for DeviceMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceMessage")
            .field("device_id", &self.device_id)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish_non_exhaustive()
    }
}

/// How a send's devices differ from the account's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Left out.
    pub missing: Vec<DeviceId>,
    /// Not devices of the account.
    pub extra: Vec<DeviceId>,
    /// Registered anew since.
    pub stale: Vec<DeviceId>,
}

/// Why a send is not accepted. Nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For a program.
    pub code: Code,
    /// When to come back; 0 when there is nothing to say.
    pub retry_after_ms: u64,
    /// How the devices differ.
    pub mismatch: Mismatch,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self {
            code,
            retry_after_ms: 0,
            mismatch: Mismatch::default(),
        }
    }
}

/// A send that could not be decided without waiting: for [`Switchboard::finish`].
#[derive(Debug)]
#[must_use]
pub struct Rest<'a> {
    send: Send<'a>,
    digest: [u8; 8],
    ticket: Ticket,
    now: Moment,
    step: Step,
}

/// How far a send has come.
#[derive(Debug)]
enum Step {
    /// Its sender may send it; the list of devices has to be loaded.
    Load,
    /// Every check is passed; the committer has to ask the store, or has no room.
    Accept(Mail),
    /// It is refused, unless it is a retry of one that was not.
    Recall(Refusal),
}

/// Why a send was not accepted at once.
#[derive(Debug)]
pub enum Unsent<'a> {
    /// A check of policy failed; the ticket was given up.
    Refused(Refusal),
    /// It has to wait.
    Waits(Box<Rest<'a>>),
}

impl Switchboard {
    /// Sends. The outcome comes to the ticket, once the message is safe or refused by the store. Waits while too much
    /// is uncommitted.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when a check of policy fails; the ticket is given up then.
    pub async fn send(&self, sender: &mut Sender, send: Send<'_>, ticket: Ticket) -> Result<(), Refusal> {
        let now = Moment::now(&self.clock);
        match self.try_send(sender, send, ticket, now) {
            Ok(calls) => self.call(calls),
            Err(Unsent::Refused(refusal)) => return Err(refusal),
            Err(Unsent::Waits(rest)) => self.finish(sender, *rest).await?,
        }
        Ok(())
    }

    /// Sends, if that needs no waiting. Those whom the send calls are to be called with [`Self::call`] soon; of several
    /// sends together, if that is quicker. The outcome comes to the ticket.
    ///
    /// # Errors
    ///
    /// [`Unsent`] when a check of policy fails, or when it has to wait.
    pub fn try_send<'a>(
        &self,
        sender: &mut Sender,
        send: Send<'a>,
        ticket: Ticket,
        now: Moment,
    ) -> Result<Calls, Unsent<'a>> {
        let digest = digest(&send);
        let wait = |ticket, send, step| {
            let rest = Rest {
                send,
                digest,
                ticket,
                now,
                step,
            };
            Err(Unsent::Waits(Box::new(rest)))
        };
        if self.is_away() {
            // Nobody waits in line for a store that does not answer.
            return wait(ticket, send, Step::Recall(Code::Unavailable.into()));
        }
        if let Err(refusal) = self.check(sender, &send, now) {
            self.refuse(&refusal, ticket);
            return Err(Unsent::Refused(refusal));
        }
        let own = sender.mailbox;
        let Some(kept) = self.list(sender, send.to, now) else {
            return wait(ticket, send, Step::Load);
        };
        let mailboxes = match match_devices(kept.list(), &send, own) {
            Ok(mailboxes) => mailboxes,
            // The list may have changed on another relay: what refuses a send is what the store has.
            Err(_) if self.store.is_shared() => return wait(ticket, send, Step::Load),
            Err(refusal) if is_recallable(refusal.code) => return wait(ticket, send, Step::Recall(refusal)),
            Err(refusal) => {
                self.refuse(&refusal, ticket);
                return Err(Unsent::Refused(refusal));
            }
        };
        let mail = self.mail(sender, &send, &mailboxes, (digest, now));
        match self.committer.try_accept(mail, ticket, now.wall) {
            Ok(calls) => Ok(calls),
            Err((mail, ticket)) => wait(ticket, send, Step::Accept(mail)),
        }
    }

    /// Goes on with a send that had to wait, and calls whom it calls.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub async fn finish(&self, sender: &mut Sender, rest: Rest<'_>) -> Result<(), Refusal> {
        let Rest {
            send,
            digest,
            ticket,
            now,
            step,
        } = rest;
        let checked = match step {
            Step::Accept(mail) => Ok(mail),
            Step::Recall(refusal) => Err(refusal),
            Step::Load => {
                let mailboxes = self.load(sender, &send).await;
                mailboxes.map(|mailboxes| self.mail(sender, &send, &mailboxes, (digest, now)))
            }
        };
        match checked {
            // Tail before ring: whoever comes for the bell must find the mail.
            Ok(mail) => self.call(self.committer.accept(mail, ticket).await),
            Err(refusal) => {
                let key = SendKey {
                    sender: sender.mailbox,
                    client_msg_id: send.client_msg_id,
                };
                // A retry is answered as its first try was, though devices may have changed since, or be
                // out of reach now.
                let ticket = match is_recallable(refusal.code) {
                    true => self.committer.recall(&key, digest, ticket).await,
                    false => Some(ticket),
                };
                if let Some(ticket) = ticket {
                    self.refuse(&refusal, ticket);
                    return Err(refusal);
                }
            }
        }
        Ok(())
    }

    /// Calls those whom a send calls.
    pub fn call(&self, calls: Calls) {
        match calls {
            Calls::Ring(rings) => {
                for (mailbox, id) in rings {
                    self.hub.ring(mailbox, id);
                }
            }
            Calls::Look(mailboxes) => {
                for mailbox in mailboxes {
                    self.hub.notify(mailbox, Notices::LOOK);
                }
            }
        }
    }

    fn refuse(&self, refusal: &Refusal, ticket: Ticket) {
        self.metrics.sends_refused.count(refusal.code.as_str());
        ticket.give_up();
    }

    /// What can be said of a send without knowing whom it is for. Counts it.
    fn check(&self, sender: &mut Sender, send: &Send<'_>, now: Moment) -> Result<(), Refusal> {
        let habit = sender.habit.get_or_insert_with(|| {
            Box::new(Habit {
                spent: self.rates.of(sender.mailbox),
                last: None,
            })
        });
        self.rates.count(&habit.spent, now.steady).map_err(|wait| {
            self.metrics.rate_limited.count("send");
            Refusal {
                retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1),
                ..Code::RateLimited.into()
            }
        })?;
        if send.messages.len() > MAX_MESSAGES {
            return Err(Code::BadRequest.into());
        }
        let most = self.limits.max_payload_bytes as usize;
        if send.messages.iter().any(|message| message.payload.len() > most) {
            return Err(Code::PayloadTooLarge.into());
        }
        Ok(())
    }

    /// The devices of an account, if they are known. A conversation asks nobody.
    fn list<'s>(&self, sender: &'s mut Sender, to: &str, now: Moment) -> Option<&'s Kept> {
        let last = &mut sender.habit.as_mut()?.last;
        let is_good = |kept: &Kept| self.directory.still(kept, to, now.wall);
        if !last.as_ref().is_some_and(is_good) {
            *last = self.directory.kept(to, now.wall);
        }
        last.as_ref()
    }

    /// The mailboxes of a send's messages, by a list that has to be loaded.
    async fn load(&self, sender: &mut Sender, send: &Send<'_>) -> Result<Mailboxes, Refusal> {
        let to = AccountId::parse(send.to).map_err(|_| Code::BadRequest)?;
        let mut kept = self.devices(&to).await?;
        let mut matched = match_devices(kept.list(), send, sender.mailbox);
        if matched.is_err() && self.store.is_shared() {
            self.directory.forget(&to);
            kept = self.devices(&to).await?;
            matched = match_devices(kept.list(), send, sender.mailbox);
        }
        if let Some(habit) = &mut sender.habit {
            habit.last = Some(kept);
        }
        matched
    }

    async fn devices(&self, account: &AccountId) -> Result<Kept, Refusal> {
        self.directory.keep(account).await.map_err(|error| {
            if let directory::Error::Store(error) = error {
                self.committer.lost(&error);
            }
            Code::Unavailable.into()
        })
    }

    fn mail(
        &self,
        sender: &Sender,
        send: &Send<'_>,
        mailboxes: &Mailboxes,
        (digest, now): ([u8; 8], Moment),
    ) -> Mail {
        let ttl = match send.ttl_seconds {
            0 => self.limits.max_ttl_seconds,
            asked => asked.min(self.limits.max_ttl_seconds),
        };
        let parts = send.messages.iter().zip(mailboxes);
        let parts = parts.map(|(message, mailbox)| Part {
            mailbox: *mailbox,
            kind: message.kind,
            payload: Bytes::copy_from_slice(message.payload),
            is_here: !send.ephemeral || self.hub.is_here(*mailbox),
        });
        Mail {
            key: SendKey {
                sender: sender.mailbox,
                client_msg_id: send.client_msg_id,
            },
            digest,
            from: Arc::clone(&sender.address),
            sent_at: send.sent_at,
            expires_at: now.wall.plus_seconds(u64::from(ttl)),
            urgent: send.urgent,
            ephemeral: send.ephemeral,
            parts: parts.collect(),
        }
    }
}

/// Whether a refusal is only for those whose message is not accepted already.
const fn is_recallable(code: Code) -> bool {
    matches!(
        code,
        Code::DeviceMismatch | Code::UnknownAccount | Code::Unavailable
    )
}

/// Where the messages of a send go, in their order.
type Mailboxes = SmallVec<[MailboxId; 1]>;

/// The mailboxes of a send's messages, in their order, if they are just the account's devices. The
/// sender's own device is never missing.
fn match_devices(list: &DeviceList, send: &Send<'_>, sender: MailboxId) -> Result<Mailboxes, Refusal> {
    let devices = &list.devices[..];
    if devices.is_empty() {
        return Err(Code::UnknownAccount.into());
    }
    if let ([message], [device]) = (&send.messages[..], devices)
        && is_for(message, device)
        && device.registration_id == message.registration_id
    {
        return Ok(smallvec![device.mailbox]);
    }
    // An account has few devices: looking through them is quicker than a map.
    let mut named: SmallVec<[bool; 8]> = smallvec![false; devices.len()];
    let mut mismatch = Mismatch::default();
    let mut mailboxes = SmallVec::new();
    for message in &send.messages {
        let mut places = devices.iter().zip(&mut named);
        match places.find(|(device, _)| is_for(message, device)) {
            None => {
                let name = DeviceId::parse(message.device_id);
                mismatch.extra.push(name.map_err(|_| Code::BadRequest)?);
            }
            Some((_, true)) => return Err(Code::BadRequest.into()),
            Some((device, is_named)) => {
                *is_named = true;
                if device.registration_id == message.registration_id {
                    mailboxes.push(device.mailbox);
                } else {
                    mismatch.stale.push(device.device_id.clone());
                }
            }
        }
    }
    let left_out = devices.iter().zip(&named).filter(|(_, is_named)| !**is_named);
    let missing = left_out.filter(|(device, _)| device.mailbox != sender);
    mismatch
        .missing
        .extend(missing.map(|(device, _)| device.device_id.clone()));
    mismatch.missing.sort();
    if mismatch != Mismatch::default() {
        return Err(Refusal {
            mismatch,
            ..Code::DeviceMismatch.into()
        });
    }
    if mailboxes.is_empty() {
        return Err(Code::BadRequest.into());
    }
    Ok(mailboxes)
}

fn is_for(message: &DeviceMessage<'_>, device: &Device) -> bool {
    device.device_id.as_str() == message.device_id
}

/// Most devices that one send may name.
const MAX_MESSAGES: usize = 64;
