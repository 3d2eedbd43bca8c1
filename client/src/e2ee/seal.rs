//! From words to a message: whom it goes to, which sessions there have to be, and the ciphertext for each device.

use chatctl_protocol::{AccountId, Address, ClientMsgId, Code, DeviceId, NameError, Suite};
use vodozemac::olm::{OlmMessage, SessionConfig};

use crate::e2ee::peer::Peer;
use crate::e2ee::{Letter, Vault, bundle};
use crate::{Claimed, DeviceList, Directory, DirectoryError, ListedDevice, Message, Refusal};

/// Why nothing was encrypted.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A device of the recipient has another identity than the one that was pinned. [`Vault::accept_change`] goes on.
    #[error("a device of the recipient has another identity than before")]
    IdentityChanged(Address),
    /// The account has no other device.
    #[error("the account has no device to write to")]
    NoDevices,
    /// A device has not published keys.
    #[error("a device of the recipient has published no keys")]
    NoKeys(Address),
    /// A key is not signed by its identity, or cannot be used: somebody has tampered with it.
    #[error("a published key is not signed by its identity")]
    BadKey(Address),
    /// Too many messages wait to be settled.
    #[error("too many messages are encrypted and not yet accepted")]
    OutboxFull,
    /// The directory did not answer, or said no.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// None in practice.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Vault {
    /// Encrypts for every device of an account, but this one: asks the directory for the devices when it does not know
    /// them, and claims keys where there is no session. The message waits in the vault until it is settled. If the call is
    /// dropped nothing was encrypted; a key that was claimed may be lost.
    ///
    /// # Errors
    ///
    /// [`SealError`].
    pub async fn encrypt_for(
        &mut self,
        directory: &Directory,
        to: &AccountId,
        words: &[u8],
    ) -> Result<Message, SealError> {
        if !self.is_ready_for(to) {
            let list =
                directory
                    .devices(to, Some(&Suite::Olm))
                    .await
                    .map_err(|error| match error.code() {
                        Some(Code::UnknownAccount) => SealError::NoDevices,
                        Some(_) | None => SealError::Directory(error),
                    })?;
            let strangers = self.listed(to, &list)?;
            if !strangers.is_empty() {
                let pools = [bundle::pool()?];
                let claimed = directory.claim(&Suite::Olm, &pools, (to, &strangers)).await?;
                self.claimed(to, &strangers, &claimed)?;
            }
        }
        self.seal(to, words)
    }

    /// Takes over an account's devices from the directory; those for which a key has to be claimed.
    ///
    /// # Errors
    ///
    /// [`SealError::IdentityChanged`], [`SealError::NoKeys`] and [`SealError::NoDevices`].
    pub fn listed(&mut self, account: &AccountId, list: &DeviceList) -> Result<Vec<DeviceId>, SealError> {
        let ours = self.address.clone();
        let others = list
            .devices
            .iter()
            .filter(|device| (account, &device.device_id) != (&ours.account, &ours.device_id));
        let (mut devices, mut strangers) = (Vec::new(), Vec::new());
        for device in others {
            let peer = self.meet(account, device)?;
            if peer.needs_session() {
                strangers.push(device.device_id.clone());
            }
            devices.push(device.device_id.clone());
        }
        if devices.is_empty() {
            return Err(SealError::NoDevices);
        }
        if self.lists.len() >= MAX_LISTS {
            self.lists.clear();
        }
        self.lists.insert(account.clone(), devices);
        Ok(strangers)
    }

    /// Begins sessions with keys that were claimed for these devices, once each was checked.
    ///
    /// # Errors
    ///
    /// [`SealError::BadKey`], [`SealError::NoKeys`] and [`SealError::IdentityChanged`]. Sessions that were begun before it stay.
    pub fn claimed(
        &mut self,
        account: &AccountId,
        devices: &[DeviceId],
        claimed: &Claimed,
    ) -> Result<(), SealError> {
        for device in devices {
            let address = address(account, device);
            let keys = claimed.devices.get(device);
            let item = keys.and_then(|keys| keys.items.values().flatten().next());
            let (Some(keys), Some(item)) = (keys, item) else {
                return Err(SealError::NoKeys(address));
            };
            let checked = bundle::checked(&keys.identity, &item.data, item.signature.as_deref());
            let Some((identity, key)) = checked else {
                return Err(SealError::BadKey(address));
            };
            let peer = self.peers.entry(address.clone()).or_default();
            if peer.pin(identity).is_err() {
                return Err(SealError::IdentityChanged(address));
            }
            let config = SessionConfig::version_1();
            let session = self
                .account
                .create_outbound_session(config, identity.agreement(), key);
            peer.begin(session.map_err(|_| SealError::BadKey(address))?);
            peer.registration_id = Some(keys.registration_id);
        }
        Ok(())
    }

    /// Encrypts for the devices that [`Vault::listed`] told of. The message waits in the vault until it is settled.
    ///
    /// # Errors
    ///
    /// [`SealError::NoDevices`], [`SealError::NoKeys`] and [`SealError::OutboxFull`].
    pub fn seal(&mut self, to: &AccountId, words: &[u8]) -> Result<Message, SealError> {
        if self.outbox.len() >= MAX_UNSETTLED {
            return Err(SealError::OutboxFull);
        }
        let devices = self.lists.get(to).ok_or(SealError::NoDevices)?;
        let mut message = Message::new(to.clone());
        let name = ClientMsgId::parse(message.id())?;
        let identity = self.identity();
        for device in devices {
            let reader = address(to, device);
            let no_keys = || SealError::NoKeys(reader.clone());
            let peer = self.peers.get_mut(&reader).ok_or_else(no_keys)?;
            let registration_id = peer.registration_id.ok_or_else(no_keys)?;
            let session = peer.best().ok_or_else(no_keys)?;
            let letter = Letter::new(&self.address, &reader, &name, words);
            let letter = match session.has_received_message() {
                true => letter,
                false => letter.introducing(identity),
            };
            let sealed = session.encrypt(letter.to_bytes());
            let (kind, payload) = parts(&sealed.map_err(|_| SealError::BadKey(reader.clone()))?);
            message = message.device(device.clone(), registration_id, kind, payload);
        }
        self.outbox.push_back(message.clone());
        Ok(message)
    }

    /// The relay has refused a message. Whether its words may be encrypted again at once: the recipient's devices were
    /// others, and are asked for again. A message that may be accepted later as it is stays in the vault.
    pub fn refused(&mut self, to: &AccountId, message_id: &[u8], refusal: &Refusal) -> bool {
        if !refusal.retryable {
            self.settle(message_id);
        }
        if refusal.code != Some(Code::DeviceMismatch) {
            return false;
        }
        self.settle(message_id);
        self.lists.remove(to);
        for device in refusal.stale.iter().filter_map(|name| DeviceId::parse(name).ok()) {
            if let Some(peer) = self.peers.get_mut(&address(to, &device)) {
                peer.renew = true;
            }
        }
        true
    }

    /// The account's devices may have changed: the next message asks for them.
    pub fn devices_changed(&mut self, account: &AccountId) {
        self.lists.remove(account);
    }

    fn is_ready_for(&self, to: &AccountId) -> bool {
        let has_session = |device: &DeviceId| {
            let peer = self.peers.get(&address(to, device));
            peer.is_some_and(|peer| !peer.needs_session())
        };
        self.lists
            .get(to)
            .is_some_and(|list| list.iter().all(has_session))
    }

    fn meet(&mut self, account: &AccountId, device: &ListedDevice) -> Result<&mut Peer, SealError> {
        let address = address(account, &device.device_id);
        let identity = device
            .identity
            .as_ref()
            .ok_or_else(|| SealError::NoKeys(address.clone()))?;
        let identity =
            crate::e2ee::Identity::parse(identity).map_err(|_| SealError::BadKey(address.clone()))?;
        let peer = self.peers.entry(address.clone()).or_default();
        if peer.pin(identity).is_err() {
            return Err(SealError::IdentityChanged(address));
        }
        let before = peer.registration_id.replace(device.registration_id);
        // The same identity in a new installation: what it had of sessions may be gone.
        peer.renew |= before.is_some_and(|before| before != device.registration_id);
        Ok(peer)
    }
}

/// Olm's type of message, and the ciphertext.
fn parts(message: &OlmMessage) -> (u32, Vec<u8>) {
    let (kind, bytes) = message.to_parts();
    (u32::try_from(kind).unwrap_or(0), bytes)
}

fn address(account: &AccountId, device: &DeviceId) -> Address {
    Address {
        account: account.clone(),
        device_id: device.clone(),
    }
}

/// Accounts whose devices are remembered at once.
const MAX_LISTS: usize = 1024;

/// Messages that wait to be settled.
const MAX_UNSETTLED: usize = 256;
