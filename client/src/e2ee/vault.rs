//! The secrets of one installation: its Olm account, whom it knows, its sessions, and what it has written and not yet
//! delivered.
//!
//! Owns the state and its pickle. Must not know the network: what it needs from the directory is handed to it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chatctl_protocol::{AccountId, Address, DeviceId};
use serde::{Deserialize, Serialize};
use vodozemac::olm::{Account, AccountPickle, Session, SessionPickle};

use crate::Message;
use crate::e2ee::peer::{Peer, Trust};
use crate::e2ee::seen::Seen;
use crate::e2ee::{Identity, Pickle, PickleError};

/// The secrets of one installation. Every call that encrypts, decrypts or draws keys changes it: keep its
/// [`Vault::pickle`] before anything of it leaves. Two copies of it must never be used side by side.
pub struct Vault {
    pub(super) address: Address,
    pub(super) registration_id: u32,
    pub(super) account: Account,
    pub(super) peers: BTreeMap<Address, Peer>,
    pub(super) seen: Seen,
    pub(super) outbox: VecDeque<Message>,
    /// Devices of accounts as the relay said last. Not kept: a new run asks again.
    pub(super) lists: HashMap<AccountId, Vec<DeviceId>>,
}

/// What is known about another device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub address: Address,
    /// Its identity, unless nothing of it was seen yet.
    pub identity: Option<Identity>,
    /// About the identity.
    pub trust: Trust,
}

impl Vault {
    /// The vault of a device that was just installed, with a fresh identity.
    #[must_use]
    pub fn new(address: Address, registration_id: u32) -> Self {
        Self {
            address,
            registration_id,
            account: Account::new(),
            peers: BTreeMap::new(),
            seen: Seen::default(),
            outbox: VecDeque::new(),
            lists: HashMap::new(),
        }
    }

    /// The vault of an installation whose keys were kept elsewhere until now.
    #[must_use]
    pub fn adopt(address: Address, registration_id: u32, account: AccountPickle) -> Self {
        Self {
            account: Account::from_pickle(account),
            ..Self::new(address, registration_id)
        }
    }

    /// With a session that was kept elsewhere until now. An identity that is not the pinned one is left out.
    #[must_use]
    pub fn with_session(mut self, with: Address, identity: Identity, session: SessionPickle) -> Self {
        let peer = self.peers.entry(with).or_default();
        if peer.pin(identity).is_ok() {
            peer.begin(Session::from_pickle(session));
        }
        self
    }

    /// Whose it is.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// What the device drew when it was installed.
    #[must_use]
    pub const fn registration_id(&self) -> u32 {
        self.registration_id
    }

    /// Who the device is, cryptographically.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::of(&self.account)
    }

    /// What is known about an account's devices, in the order of their names.
    pub fn known(&self, account: &AccountId) -> impl Iterator<Item = Known> {
        let theirs = self
            .peers
            .iter()
            .filter(move |(address, _)| address.account == *account);
        theirs.map(|(address, peer)| Known {
            address: address.clone(),
            identity: peer.identity,
            trust: peer.trust,
        })
    }

    /// Somebody has compared the fingerprint of this identity. Whether it is the device's.
    pub fn verify(&mut self, address: &Address, identity: &Identity) -> bool {
        let peer = self.peers.get_mut(address);
        let peer = peer.filter(|peer| peer.identity.as_ref() == Some(identity));
        match peer {
            Some(peer) => peer.trust = Trust::Verified,
            None => return false,
        }
        true
    }

    /// Accepts that a device has another identity than the pinned one: the next one that it shows is pinned, and has
    /// [`Trust::Changed`]. Compare fingerprints afterwards.
    pub fn accept_change(&mut self, address: &Address) {
        if let Some(peer) = self.peers.get_mut(address) {
            peer.unpin();
        }
        self.lists.remove(&address.account);
    }

    /// Messages that were encrypted and are not settled, oldest first: after a restart they are sent again as they are.
    pub fn unsettled(&self) -> impl Iterator<Item = &Message> {
        self.outbox.iter()
    }

    /// A message was accepted, or will never be: its ciphertext is forgotten.
    pub fn settle(&mut self, message_id: &[u8]) {
        self.outbox.retain(|message| message.id() != message_id);
    }

    /// The whole vault as bytes.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn pickle(&self) -> Result<Pickle, PickleError> {
        let peers = self.peers.iter();
        let form = Form {
            schema: SCHEMA.to_owned(),
            address: self.address.clone(),
            registration_id: self.registration_id,
            account: self.account.pickle(),
            peers: peers
                .map(|(address, peer)| (address.clone(), peer.clone()))
                .collect(),
            seen: self.seen.clone(),
            outbox: self
                .outbox
                .iter()
                .map(|message| STANDARD_NO_PAD.encode(message.to_bytes()))
                .collect(),
        };
        let bytes = serde_json::to_vec(&form).map_err(|_| PickleError::Unreadable)?;
        Ok(Pickle::new(bytes))
    }

    /// The vault as it was when it was pickled.
    ///
    /// # Errors
    ///
    /// [`PickleError::Unreadable`].
    pub fn from_pickle(pickle: &Pickle) -> Result<Self, PickleError> {
        // The parser's words quote what they stumble over, and that may be half a key.
        let form: Form = serde_json::from_slice(pickle.bytes()).map_err(|_| PickleError::Unreadable)?;
        let outbox = form.outbox.iter().map(|text| {
            let bytes = STANDARD_NO_PAD.decode(text).ok()?;
            Message::from_bytes(&bytes)
        });
        let outbox = outbox.collect::<Option<_>>().ok_or(PickleError::Unreadable)?;
        match form.schema == SCHEMA {
            true => Ok(Self {
                peers: form.peers.into_iter().collect(),
                seen: form.seen,
                outbox,
                ..Self::adopt(form.address, form.registration_id, form.account)
            }),
            false => Err(PickleError::Unreadable),
        }
    }
}

/// Without anything secret.
impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("peers", &self.peers.len())
            .field("unsettled", &self.outbox.len())
            .finish_non_exhaustive()
    }
}

/// A vault as JSON.
#[derive(Serialize, Deserialize)]
struct Form {
    schema: String,
    address: Address,
    registration_id: u32,
    account: AccountPickle,
    /// A list, because JSON's keys are text.
    peers: Vec<(Address, Peer)>,
    seen: Seen,
    outbox: Vec<String>,
}

const SCHEMA: &str = "chatctl.e2ee.vault/v1";
