//! Directories that private keys go into.
//!
//! Owns their mode. Must not know what is in them.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use crate::exit::Exit;
use crate::failure::Failure;

/// Makes a directory, or finds that it is its owner's alone.
///
/// # Errors
///
/// When it cannot be made, or others may look into it.
pub(crate) fn open(path: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            let message = format!("cannot make the directory {}", path.display());
            return Err(Failure::new(Exit::CantCreate, message).caused_by(&error));
        }
    }
    let unreadable = |error: io::Error| {
        Failure::new(Exit::NoInput, format!("cannot look into {}", path.display())).caused_by(&error)
    };
    let found = path.metadata().map_err(unreadable)?;
    if !found.is_dir() {
        return Err(Failure::new(
            Exit::CantCreate,
            format!("{} is not a directory", path.display()),
        ));
    }
    if found.permissions().mode() & 0o077 != 0 {
        let message = format!("{} is open to others, and private keys go there", path.display());
        return Err(Failure::new(Exit::NoPerm, message).hint(format!(
            "`chmod 0700 {}`, or name another directory",
            path.display()
        )));
    }
    Ok(())
}
