//! What a demo's devices know and nobody else may: one file for each, in one directory.
//!
//! Owns the files' form, names and modes. A file is written whole or not at all, and is on the disk before
//! anything of it is published, so that a run that is stopped loses no private half of a published key.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use chatctl_client::e2ee::{Identity, Vault};
use chatctl_protocol::{AccountId, Address, DeviceId};
use chatctl_relay::auth::KeysetError;
use chatctl_relay::auth::private_file::{self, Access, Existing};
use serde::{Deserialize, Serialize};
use vodozemac::olm::{Account, AccountPickle, SessionPickle};

use super::keys::Bundle;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_dir;

/// A device as it stands in its file.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    schema: String,
    account: AccountId,
    device_id: DeviceId,
    /// What the device drew when it was installed.
    pub(super) registration_id: u32,
    /// The Olm account, private halves and all.
    pub(super) olm: AccountPickle,
    /// What of it is published.
    pub(super) published: Bundle,
    /// Conversations that the device began.
    #[serde(default)]
    pub(super) sent: Vec<Sent>,
    /// To sign on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Token>,
}

/// A conversation that a device began.
#[derive(Serialize, Deserialize)]
pub(super) struct Sent {
    /// Its number in the cast.
    pub(super) conversation: u32,
    /// With whom.
    pub(super) to: Address,
    /// Who they are, cryptographically.
    #[serde(default)]
    pub(super) identity: Option<Identity>,
    /// Where the ratchet stands.
    pub(super) session: SessionPickle,
    /// Ciphertexts with their names, until they are in the mailbox.
    pub(super) outbox: Vec<Parcel>,
}

/// A message on its way, in base64.
#[derive(Serialize, Deserialize)]
pub(super) struct Parcel {
    /// The sender's name for it.
    pub(super) client_msg_id: String,
    /// Olm's type of message.
    pub(super) kind: u32,
    /// The ciphertext.
    pub(super) payload: String,
}

/// A token and its end.
#[derive(Serialize, Deserialize)]
pub(super) struct Token {
    /// The token itself.
    pub(super) token: String,
    /// Its end, in milliseconds since 1970.
    pub(super) expires_at_ms: u64,
}

/// Without what is in it.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

impl State {
    /// A device that was just installed.
    pub(super) fn install(address: &Address, registration_id: u32, one_time_keys: u32) -> Self {
        let mut account = Account::new();
        let published = Bundle::draw(&mut account, one_time_keys);
        Self {
            schema: SCHEMA.to_owned(),
            account: address.account.clone(),
            device_id: address.device_id.clone(),
            registration_id,
            olm: account.pickle(),
            published,
            sent: Vec::new(),
            token: None,
        }
    }

    /// The same installation in a store that does not know it: one-time keys that were published elsewhere
    /// are not published again, and what was sent there is not sent here.
    pub(super) fn renew(mut self, one_time_keys: u32) -> Self {
        let mut account = Account::from_pickle(self.olm);
        self.published = Bundle::draw(&mut account, one_time_keys);
        self.olm = account.pickle();
        self.sent.clear();
        self
    }
}

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct StateDir(PathBuf);

impl StateDir {
    /// Makes the directory, or finds that it is its owner's alone.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or others may look into it.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        private_dir::open(path)?;
        Ok(Self(path.to_owned()))
    }

    /// Where a device's file is.
    pub(super) fn path(&self, address: &Address) -> PathBuf {
        file(&self.0, address)
    }

    /// A device's file, or `None` when there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is open to others, or holds something else.
    pub(super) fn load(&self, address: &Address) -> Result<Option<State>, Failure> {
        let path = self.path(address);
        let bytes = match private_file::read(&path) {
            Ok(bytes) => bytes,
            Err(KeysetError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(Failure::from(error)),
        };
        // The parser's words quote what they stumble over, and that may be half a key.
        let state: Option<State> = serde_json::from_slice(&bytes).ok();
        let ours = state.filter(|state| {
            state.schema == SCHEMA && state.account == address.account && state.device_id == address.device_id
        });
        match ours {
            Some(state) => Ok(Some(state)),
            None => {
                let message = format!("{} is not the state of this device", path.display());
                Err(Failure::new(Exit::DataErr, message)
                    .hint("move it away; with --reinstall the device is made anew"))
            }
        }
    }

    /// Writes a device's file.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(super) fn save(&self, state: &State) -> Result<(), Failure> {
        let address = Address {
            account: state.account.clone(),
            device_id: state.device_id.clone(),
        };
        let bytes = serde_json::to_vec(state).map_err(|error| Failure::from_error(Exit::Failure, &error))?;
        Ok(private_file::write(
            &self.path(&address),
            &bytes,
            Access::Owner,
            Existing::Replace,
        )?)
    }
}

/// Where a device's file is in a directory. A name has no slash in it, and the rest keeps it from being a dot.
pub(super) fn file(directory: &Path, address: &Address) -> PathBuf {
    directory.join(format!("{}.{}.json", address.account, address.device_id))
}

/// A demo's device for somebody who plays it: its vault, and its token if it has one.
///
/// # Errors
///
/// As [`StateDir::load`], and when there is no such device.
pub(crate) fn adopt(directory: &Path, address: &Address) -> Result<(Vault, Option<String>), Failure> {
    let path = file(directory, address);
    let state = StateDir(directory.to_owned()).load(address)?;
    let state = state.ok_or_else(|| {
        Failure::new(Exit::NoInput, format!("{} is not there", path.display()))
            .hint("`chatctl seed demo --state-dir DIR` makes one for each device of the demo")
    })?;
    let mut vault = Vault::adopt(address.clone(), state.registration_id, state.olm);
    for sent in state.sent {
        // A file of an earlier version does not say who they are: the next message begins a session.
        if let Some(identity) = sent.identity {
            vault = vault.with_session(sent.to, identity, sent.session);
        }
    }
    Ok((vault, state.token.map(|token| token.token)))
}

const SCHEMA: &str = "chatctl.seed.device/v1";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn address() -> Address {
        Address {
            account: AccountId::parse("demo-ada").unwrap(),
            device_id: DeviceId::parse("1").unwrap(),
        }
    }

    #[test]
    fn a_device_comes_back_as_it_was_and_its_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let directory = StateDir::open(&folder.path().join("state")).unwrap();
        assert!(directory.load(&address()).unwrap().is_none());
        let state = State::install(&address(), 7, 2);
        directory.save(&state).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory.path(&address())), 0o600);
        assert_eq!(mode(&folder.path().join("state")), 0o700);
        let back = directory.load(&address()).unwrap().unwrap();
        assert_eq!((back.registration_id, &back.published), (7, &state.published));
        assert_eq!(format!("{back:?}"), "State");
        let identity = Account::from_pickle(back.olm).identity_keys();
        assert_eq!(identity, Account::from_pickle(state.olm).identity_keys());
    }

    #[test]
    fn what_is_open_to_others_or_not_a_state_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(StateDir::open(&open).unwrap_err().exit, Exit::NoPerm);
        let directory = StateDir::open(&folder.path().join("state")).unwrap();
        private_file::write(&directory.path(&address()), b"{}", Access::Owner, Existing::Keep).unwrap();
        assert_eq!(directory.load(&address()).unwrap_err().exit, Exit::DataErr);
    }
}
