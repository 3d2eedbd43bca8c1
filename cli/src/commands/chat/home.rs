//! Where a chat keeps its vault: one file of mode 0600 for each device, in a directory of its owner's.
//!
//! Owns the files' names, and that one process at a time uses a vault. Must not know what is in one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chatctl_client::e2ee::{Keep, Pickle, Vault};
use chatctl_protocol::Address;
use chatctl_relay::auth::KeysetError;
use chatctl_relay::auth::private_file::{self, Access, Existing};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_dir;

/// The home of one device. Held until it is dropped.
#[derive(Debug)]
pub(super) struct Home {
    vault: PathBuf,
    _held: File,
}

impl Home {
    /// Opens a device's home, which nobody else uses meanwhile: a ratchet that two processes turn is broken.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or is open to others, and when another process uses the device.
    pub(super) fn open(directory: &Path, address: &Address) -> Result<Self, Failure> {
        private_dir::open(directory)?;
        // A name has no slash in it, and the rest keeps it from being a dot.
        let name = format!("{}.{}", address.account, address.device_id);
        let lock = directory.join(format!("{name}.lock"));
        let failed = |error: io::Error| {
            Failure::new(Exit::CantCreate, format!("cannot open {}", lock.display())).caused_by(&error)
        };
        let mut options = OpenOptions::new();
        let held = options
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock);
        let held = held.map_err(failed)?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!(
                    "another process chats as this device with {}",
                    directory.display()
                );
                return Err(Failure::new(Exit::TempFail, message)
                    .hint("end it first; or another --device with a directory and a token of its own"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self {
            vault: directory.join(format!("{name}.vault")),
            _held: held,
        })
    }

    /// The vault that was kept, if there is one.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is open to others, or holds something else.
    pub(super) fn vault(&self, address: &Address) -> Result<Option<Vault>, Failure> {
        let bytes = match private_file::read(&self.vault) {
            Ok(bytes) => bytes,
            Err(KeysetError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(Failure::from(error)),
        };
        let vault = Vault::from_pickle(&Pickle::new(bytes)).ok();
        match vault.filter(|vault| vault.address() == address) {
            Some(vault) => Ok(Some(vault)),
            None => {
                let message = format!("{} is not the vault of this device", self.vault.display());
                Err(Failure::new(Exit::DataErr, message)
                    .hint("move it away to begin anew: others are told that the identity is another one"))
            }
        }
    }

    /// How the vault is kept.
    pub(super) fn keep(&self) -> Keep {
        let path = self.vault.clone();
        Box::new(move |pickle| {
            private_file::write(&path, pickle.bytes(), Access::Owner, Existing::Replace)?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use chatctl_protocol::{AccountId, DeviceId};

    use super::*;

    #[test]
    fn a_vault_comes_back_and_is_its_owners_and_one_process_s_alone() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("state");
        let address = Address {
            account: AccountId::parse("ada").unwrap(),
            device_id: DeviceId::parse("1").unwrap(),
        };
        let home = Home::open(&directory, &address).unwrap();
        assert!(home.vault(&address).unwrap().is_none());
        assert_eq!(Home::open(&directory, &address).unwrap_err().exit, Exit::TempFail);
        let vault = Vault::new(address.clone(), 7);
        (home.keep())(&vault.pickle().unwrap()).unwrap();
        drop(home);
        let home = Home::open(&directory, &address).unwrap();
        assert_eq!(
            home.vault(&address).unwrap().unwrap().identity(),
            vault.identity()
        );
        for file in std::fs::read_dir(&directory).unwrap() {
            assert_eq!(
                file.unwrap().metadata().unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        std::fs::write(home.vault.clone(), "else").unwrap();
        assert_eq!(home.vault(&address).unwrap_err().exit, Exit::DataErr);
    }
}
