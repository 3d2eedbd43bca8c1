//! A device, its vault and the directory together, in the order that loses nothing: keep the vault, then let
//! something leave.

use std::collections::{BTreeMap, HashMap};
use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;
use chatctl_protocol::v1::GapReason;
use chatctl_protocol::{AccountId, EnvelopeId, Suite};

use crate::e2ee::{Decrypted, OpenError, Pickle, PickleError, SealError, Vault};
use crate::{Device, Directory, DirectoryError, Event, Mail, Refusal, SendId, SendOutcome};

/// Keeps a vault's pickle where it survives a crash, before it returns. It may block for the time of a write.
pub type Keep = Box<dyn FnMut(&Pickle) -> Result<(), Box<dyn StdError + Send + Sync>> + Send>;

/// One installation of an account, as an app uses it.
pub struct Installation {
    device: Device,
    directory: Directory,
    vault: Vault,
    keep: Keep,
    /// What was posted and has no answer. Bounded as the vault's outbox is.
    waiting: HashMap<SendId, Waiting>,
}

/// Words under way.
struct Waiting {
    to: AccountId,
    words: Vec<u8>,
    message_id: Bytes,
    round: u32,
}

/// What became of words that were posted.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// They are safe, for each device of the recipient.
    Accepted(Vec<EnvelopeId>),
    /// The recipient's devices were others: they are on their way again, under this name.
    Again(SendId),
    /// Not posted by [`Installation::post`] of this run.
    Unknown,
}

/// Why words were not sent, or keys not published.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// They were not encrypted.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The vault was not kept, so nothing has left.
    #[error("the vault cannot be kept")]
    Keep(#[source] Box<dyn StdError + Send + Sync>),
    /// The device's own trouble. What was encrypted stays in the vault: [`Installation::resume`].
    #[error(transparent)]
    Device(#[from] crate::Error),
    /// The relay said no. When it is retryable the message stays in the vault: [`Installation::resume`].
    #[error("the relay refused: {}", .0.word)]
    Refused(Refusal),
    /// The directory said no, or nothing.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl Installation {
    /// Puts a device together with its secrets.
    #[must_use]
    pub fn new(device: Device, directory: Directory, vault: Vault, keep: Keep) -> Self {
        Self {
            device,
            directory,
            vault,
            keep,
            waiting: HashMap::new(),
        }
    }

    /// Registers the device and publishes what is missing of `wanted` one-time keys. The same again changes nothing, so
    /// an app calls it at every start.
    ///
    /// # Errors
    ///
    /// [`SendError::Directory`] and [`SendError::Keep`].
    pub async fn enrol(&mut self, wanted: u32) -> Result<(), SendError> {
        self.keep()?;
        let device_id = self.vault.address().device_id.clone();
        let registration_id = self.vault.registration_id();
        self.directory.register(&device_id, registration_id).await?;
        self.publish(wanted).await
    }

    /// Publishes what is missing of `wanted` one-time keys, and a new fallback when it was handed out: at
    /// [`Event::KeysLow`] and [`Event::FallbackUsed`].
    ///
    /// # Errors
    ///
    /// [`SendError::Directory`] and [`SendError::Keep`].
    pub async fn publish(&mut self, wanted: u32) -> Result<(), SendError> {
        let counts: BTreeMap<_, _> = self.directory.counts(&Suite::Olm).await?;
        let upload = self.vault.upkeep(&counts, wanted).map_err(SealError::from)?;
        if let Some(upload) = upload {
            self.keep()?;
            self.directory.upload(&Suite::Olm, &upload).await?;
            self.vault.published();
            self.keep()?;
        }
        Ok(())
    }

    /// Encrypts words for an account and posts them. [`Event::Sent`] answers; give it to [`Installation::answered`].
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing has left.
    pub async fn post(&mut self, to: &AccountId, words: &[u8]) -> Result<SendId, SendError> {
        self.post_again(to.clone(), words.to_vec(), 1).await
    }

    /// Settles what the relay has answered to a post.
    ///
    /// # Errors
    ///
    /// [`SendError::Refused`]; anything else when the words had to be encrypted again, and were not.
    pub async fn answered(&mut self, id: SendId, outcome: SendOutcome) -> Result<Answer, SendError> {
        let Some(waiting) = self.waiting.remove(&id) else {
            return Ok(Answer::Unknown);
        };
        let Waiting {
            to,
            words,
            message_id,
            round,
        } = waiting;
        match self.settled(&to, &message_id, outcome)? {
            Ok(ids) => Ok(Answer::Accepted(ids)),
            Err(refusal) if round >= MAX_ROUNDS => Err(SendError::Refused(refusal)),
            Err(_) => Ok(Answer::Again(self.post_again(to, words, round + 1).await?)),
        }
    }

    /// Encrypts words for an account, sends them and waits for the answer, however long the relay is away. When the
    /// recipient's devices were others than we knew it asks for them and tries again, a few times.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub async fn send(&mut self, to: &AccountId, words: &[u8]) -> Result<Vec<EnvelopeId>, SendError> {
        let mut round = 1;
        loop {
            let message = self.vault.encrypt_for(&self.directory, to, words).await?;
            self.keep()?;
            let message_id = message.id().clone();
            let outcome = self.device.send(message).await?;
            match self.settled(to, &message_id, outcome)? {
                Ok(ids) => return Ok(ids),
                Err(refusal) if round >= MAX_ROUNDS => return Err(SendError::Refused(refusal)),
                Err(_) => round += 1,
            }
        }
    }

    /// Sends what an earlier run has encrypted and not settled, as it is; what the relay refused of it, by the message's
    /// name. Call it once, before anything else is sent.
    ///
    /// # Errors
    ///
    /// [`SendError::Device`]; the rest stays in the vault.
    pub async fn resume(&mut self) -> Result<Vec<(Bytes, Refusal)>, SendError> {
        let unsettled: Vec<_> = self.vault.unsettled().cloned().collect();
        let mut refused = Vec::new();
        for message in unsettled {
            let message_id = message.id().clone();
            match self.device.send(message).await? {
                SendOutcome::Accepted { .. } => self.vault.settle(&message_id),
                SendOutcome::Refused(refusal) => {
                    if !refusal.retryable {
                        self.vault.settle(&message_id);
                    }
                    refused.push((message_id, refusal));
                }
            }
        }
        Ok(refused)
    }

    /// Posts that wait for their answer.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.waiting.len()
    }

    /// Waits for what happens next. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Device::next_event`].
    pub async fn next_event(&mut self) -> Result<Event, crate::Error> {
        let event = self.device.next_event().await?;
        if let Event::DevicesChanged(changed) = &event
            && let Ok(account) = AccountId::parse(&changed.account)
        {
            self.vault.devices_changed(&account);
        }
        if let Event::Gap(gap) = &event
            && gap.reason() == GapReason::Restore
        {
            self.vault.restored();
        }
        Ok(event)
    }

    /// Opens mail, or finds that it was opened before. Store the words, then [`Installation::ack`].
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(&mut self, mail: &Mail) -> Result<Option<Decrypted>, OpenError> {
        self.vault.decrypt(mail)
    }

    /// The app has stored the words of these envelopes: keeps the vault, then acks.
    ///
    /// # Errors
    ///
    /// [`SendError::Keep`]; nothing was acked.
    pub fn ack(&mut self, ids: impl IntoIterator<Item = EnvelopeId>) -> Result<(), SendError> {
        self.keep()?;
        self.device.ack(ids);
        Ok(())
    }

    /// Keeps the vault now: after a change that the app made itself.
    ///
    /// # Errors
    ///
    /// [`SendError::Keep`].
    pub fn keep(&mut self) -> Result<(), SendError> {
        let pickle = self
            .vault
            .pickle()
            .map_err(|error: PickleError| SendError::Keep(Box::new(error)))?;
        (self.keep)(&pickle).map_err(SendError::Keep)
    }

    /// The secrets.
    #[must_use]
    pub const fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The secrets, to verify an identity or to accept a change; then [`Installation::keep`].
    pub const fn vault_mut(&mut self) -> &mut Vault {
        &mut self.vault
    }

    /// The device, to refresh a token or to ping.
    pub const fn device_mut(&mut self) -> &mut Device {
        &mut self.device
    }

    /// Keeps the vault, writes what is left to write, and leaves.
    ///
    /// # Errors
    ///
    /// [`SendError::Keep`] and [`SendError::Device`].
    pub async fn close(mut self) -> Result<(), SendError> {
        self.keep()?;
        Ok(self.device.close().await?)
    }

    async fn post_again(&mut self, to: AccountId, words: Vec<u8>, round: u32) -> Result<SendId, SendError> {
        let message = self.vault.encrypt_for(&self.directory, &to, &words).await?;
        self.keep()?;
        let message_id = message.id().clone();
        let id = self.device.post(message)?;
        let waiting = Waiting {
            to,
            words,
            message_id,
            round,
        };
        self.waiting.insert(id, waiting);
        Ok(id)
    }

    /// Accepted, or refused because the recipient's devices were others.
    fn settled(
        &mut self,
        to: &AccountId,
        message_id: &[u8],
        outcome: SendOutcome,
    ) -> Result<Result<Vec<EnvelopeId>, Refusal>, SendError> {
        match outcome {
            SendOutcome::Accepted { envelope_ids, .. } => {
                self.vault.settle(message_id);
                Ok(Ok(envelope_ids))
            }
            SendOutcome::Refused(refusal) if self.vault.refused(to, message_id, &refusal) => Ok(Err(refusal)),
            SendOutcome::Refused(refusal) => Err(SendError::Refused(refusal)),
        }
    }
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installation")
            .field("device", &self.device)
            .field("vault", &self.vault)
            .finish_non_exhaustive()
    }
}

/// How often words are encrypted for devices that turn out to be others.
const MAX_ROUNDS: u32 = 4;
