//! Sending: every check of policy, then tail, then ring.

use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, Code, DeviceId};
use governor::clock::{Clock as _, DefaultClock};
use sha2::{Digest as _, Sha256};
use smallvec::{SmallVec, smallvec};

use crate::committer::{Calls, Mail, Part, Ticket};
use crate::directory;
use crate::hub::Notices;
use crate::metrics::Count as _;
use crate::model::{Device, MailboxId};
use crate::store::SendKey;
use crate::switchboard::Switchboard;

/// Who sends: always the device of the session or token, never a field of a request.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Its address, as recipients see it.
    pub address: Arc<Address>,
    /// Its mailbox.
    pub mailbox: MailboxId,
}

/// A message to the devices of one account.
#[derive(Debug)]
pub struct Send {
    /// Whom it is for.
    pub to: AccountId,
    /// One for each of the account's devices.
    pub messages: SmallVec<[DeviceMessage; 1]>,
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
#[derive(Debug)]
pub struct DeviceMessage {
    /// Which.
    pub device_id: DeviceId,
    /// What the sender encrypted for.
    pub registration_id: u32,
    /// The app's message type.
    pub kind: u32,
    /// Ciphertext.
    pub payload: Bytes,
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

impl Switchboard {
    /// Sends. The outcome comes to the ticket, once the message is safe or refused by the store.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when a check of policy fails; the ticket is given up then.
    pub async fn send(&self, sender: &Sender, send: Send, ticket: Ticket) -> Result<(), Refusal> {
        let key = SendKey {
            sender: sender.mailbox,
            client_msg_id: send.client_msg_id,
        };
        let digest = digest(&send);
        let checked = match self.is_away() {
            // Nobody waits in line for a store that does not answer.
            true => Err(Code::Unavailable.into()),
            false => self.check(sender, send, &key, digest).await,
        };
        let mail = match checked {
            Ok(mail) => mail,
            Err(refusal) => {
                // A retry is answered as its first try was, though devices may have changed since, or be
                // out of reach now.
                let is_recallable = matches!(
                    refusal.code,
                    Code::DeviceMismatch | Code::UnknownAccount | Code::Unavailable
                );
                let ticket = match is_recallable {
                    true => self.committer.recall(&key, digest, ticket).await,
                    false => Some(ticket),
                };
                let Some(ticket) = ticket else { return Ok(()) };
                self.metrics.sends_refused.count(refusal.code.as_str());
                ticket.give_up();
                return Err(refusal);
            }
        };
        // Tail before ring: whoever comes for the bell must find the mail.
        match self.committer.accept(mail, ticket).await {
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
        Ok(())
    }

    async fn check(
        &self,
        sender: &Sender,
        send: Send,
        key: &SendKey,
        digest: [u8; 8],
    ) -> Result<Mail, Refusal> {
        self.check_rate(sender.mailbox)?;
        if send.messages.len() > MAX_MESSAGES {
            return Err(Code::BadRequest.into());
        }
        let too_large =
            |message: &DeviceMessage| message.payload.len() > self.limits.max_payload_bytes as usize;
        if send.messages.iter().any(too_large) {
            return Err(Code::PayloadTooLarge.into());
        }
        let mailboxes = match self.match_list(&send, sender).await {
            // The list may have changed on another relay: what refuses a send is what the store has.
            Err(refusal) if self.store.is_shared() && refusal.code != Code::Unavailable => {
                self.directory.forget(&send.to);
                self.match_list(&send, sender).await?
            }
            matched => matched?,
        };
        let ttl = match send.ttl_seconds {
            0 => self.limits.max_ttl_seconds,
            asked => asked.min(self.limits.max_ttl_seconds),
        };
        let parts = send
            .messages
            .into_iter()
            .zip(mailboxes)
            .map(|(message, mailbox)| Part {
                mailbox,
                kind: message.kind,
                payload: message.payload,
                is_here: !send.ephemeral || self.hub.is_here(mailbox),
            });
        Ok(Mail {
            key: key.clone(),
            digest,
            from: Arc::clone(&sender.address),
            sent_at: send.sent_at,
            expires_at: self.clock.now().plus_seconds(u64::from(ttl)),
            urgent: send.urgent,
            ephemeral: send.ephemeral,
            parts: parts.collect(),
        })
    }

    async fn match_list(&self, send: &Send, sender: &Sender) -> Result<SmallVec<[MailboxId; 1]>, Refusal> {
        let devices = match self.directory.devices(&send.to).await {
            Ok(devices) => devices,
            Err(directory::Error::Store(error)) => {
                self.committer.lost(&error);
                return Err(Code::Unavailable.into());
            }
            Err(_) => return Err(Code::Unavailable.into()),
        };
        if devices.devices.is_empty() {
            return Err(Code::UnknownAccount.into());
        }
        match_devices(&devices.devices, send, sender)
    }

    fn check_rate(&self, sender: MailboxId) -> Result<(), Refusal> {
        let Err(not_until) = self.sends().check_key(&sender) else {
            return Ok(());
        };
        self.metrics.rate_limited.count("send");
        let wait = not_until.wait_time_from(DefaultClock::default().now());
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        Err(Refusal {
            retry_after_ms,
            ..Code::RateLimited.into()
        })
    }
}

/// The mailboxes of a send's messages, in their order, if they are just the account's devices. The
/// sender's own device is never missing.
fn match_devices(
    devices: &[Device],
    send: &Send,
    sender: &Sender,
) -> Result<SmallVec<[MailboxId; 1]>, Refusal> {
    // An account has few devices: looking through them is quicker than a map.
    let mut named: SmallVec<[bool; 8]> = smallvec![false; devices.len()];
    let mut mismatch = Mismatch::default();
    let mut mailboxes = SmallVec::new();
    for message in &send.messages {
        let mut places = devices.iter().zip(&mut named);
        match places.find(|(device, _)| device.device_id == message.device_id) {
            None => mismatch.extra.push(message.device_id.clone()),
            Some((_, true)) => return Err(Code::BadRequest.into()),
            Some((device, is_named)) => {
                *is_named = true;
                if device.registration_id == message.registration_id {
                    mailboxes.push(device.mailbox);
                } else {
                    mismatch.stale.push(message.device_id.clone());
                }
            }
        }
    }
    let left_out = devices.iter().zip(&named).filter(|(_, is_named)| !**is_named);
    let missing = left_out.filter(|(device, _)| device.mailbox != sender.mailbox);
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

/// Tells a retry from another message under the same name. What may change between tries (the clock,
/// the time to live) is left out.
fn digest(send: &Send) -> [u8; 8] {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    field(send.to.as_str().as_bytes());
    for message in &send.messages {
        field(message.device_id.as_str().as_bytes());
        field(&message.kind.to_le_bytes());
        field(&message.payload);
    }
    let mut short = [0; 8];
    short.copy_from_slice(&hash.finalize()[..8]);
    short
}

/// Most devices that one send may name.
const MAX_MESSAGES: usize = 64;
