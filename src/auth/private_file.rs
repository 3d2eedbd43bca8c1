//! Files that are there whole or not at all, and those that only their owner may read: keysets, tokens.
//!
//! Owns the rule about modes, and that a reader sees the old file or the new one, never a half.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use super::error::KeysetError;

/// What to do with a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Fail with [`io::ErrorKind::AlreadyExists`].
    Keep,
    /// Take its place.
    Replace,
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner: mode 0600.
    Owner,
    /// Everybody, as far as the umask allows.
    Everybody,
}

/// Writes a file, whole or not at all; durable when it returns. What takes the place of a file is owned by whoever
/// owned that one, as far as the system allows: when root rotates a relay's keys, the relay can read them still.
///
/// # Errors
///
/// [`KeysetError::Io`]; its source is `AlreadyExists` when the file is there and shall be kept.
pub fn write(path: &Path, bytes: &[u8], access: Access, existing: Existing) -> Result<(), KeysetError> {
    place(path, bytes, access, existing).map_err(|source| KeysetError::Io {
        what: "write",
        path: path.to_owned(),
        source,
    })
}

fn place(path: &Path, bytes: &[u8], access: Access, existing: Existing) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new("."));
    let mode = match access {
        Access::Owner => 0o600,
        Access::Everybody => 0o666,
    };
    // Created with O_EXCL, and gone again if anything below fails.
    let mut file = tempfile::Builder::new()
        .prefix(".chatctl-")
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    if existing == Existing::Replace {
        // Before anything stands in it.
        give_to_owner_of(path, file.as_file())?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match existing {
        Existing::Keep => file.persist_noclobber(path)?,
        Existing::Replace => file.persist(path)?,
    };
    File::open(folder)?.sync_all()
}

/// Whose file takes the place of another's stays theirs: when root rotates the relay's keys, the relay must still
/// be able to read them. Only root can give files away; for everybody else nothing changes.
fn give_to_owner_of(path: &Path, file: &File) -> io::Result<()> {
    let old = match std::fs::symlink_metadata(path) {
        Ok(old) if old.is_file() => old,
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let new = file.metadata()?;
    if (old.uid(), old.gid()) == (new.uid(), new.gid()) {
        return Ok(());
    }
    match fchown(file, Some(old.uid()), Some(old.gid())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// Holds a file for itself until it is dropped, so that of two who change it one sees what the other did.
#[derive(Debug)]
pub struct Held {
    _lock: File,
}

/// Waits until nobody else holds the file. The name is looked at again then: whoever held it may have put
/// another file in its place.
///
/// # Errors
///
/// [`KeysetError::Io`].
pub fn hold(path: &Path) -> Result<Held, KeysetError> {
    hold_file(path).map_err(|source| KeysetError::Io {
        what: "read",
        path: path.to_owned(),
        source,
    })
}

fn hold_file(path: &Path) -> io::Result<Held> {
    loop {
        let file = File::open(path)?;
        file.lock()?;
        let (held, named) = (file.metadata()?, std::fs::metadata(path)?);
        if (held.dev(), held.ino()) == (named.dev(), named.ino()) {
            return Ok(Held { _lock: file });
        }
    }
}

/// Reads a file that nobody but its owner may read.
///
/// # Errors
///
/// [`KeysetError::TooOpen`] when others may, [`KeysetError::Io`] when it is not there, cannot be read,
/// or is larger than a mebibyte.
pub fn read(path: &Path) -> Result<Vec<u8>, KeysetError> {
    read_unless(path, 0o077)
}

/// Reads a file that nobody but its owner may write, and nobody but its owner and its group may read.
///
/// # Errors
///
/// As [`read`].
pub fn read_with_group(path: &Path) -> Result<Vec<u8>, KeysetError> {
    read_unless(path, 0o037)
}

/// Reads a file that everybody may read.
///
/// # Errors
///
/// [`KeysetError::Io`], as [`read`].
pub fn read_public(path: &Path) -> Result<Vec<u8>, KeysetError> {
    read_unless(path, 0)
}

/// Reads a file whose mode has none of these bits.
fn read_unless(path: &Path, forbidden: u32) -> Result<Vec<u8>, KeysetError> {
    let fail = |source| KeysetError::Io {
        what: "read",
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(fail)?;
    // Asked of the open file: the name may point elsewhere a moment later.
    let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o7777;
    if mode & forbidden != 0 && !is_credential(path) {
        return Err(KeysetError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if read as u64 > MAX_BYTES {
        return Err(fail(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 1 MiB",
        )));
    }
    Ok(bytes)
}

/// Whether systemd made the file for this service alone. It lets us in by an access list, whose mask looks
/// like a mode for the group; the folder is what keeps others out.
#[must_use]
pub fn is_credential(path: &Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| {
        let is_named = !folder.is_empty() && path.parent() == Some(Path::new(&folder));
        is_named && path.file_name().is_some()
    })
}

const MAX_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_takes_anothers_place_belongs_to_the_same_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        write(&path, b"old", Access::Owner, Existing::Keep).unwrap();
        let (uid, gid) = (65_534, 65_533);
        // Only root gives files away; whoever else runs this keeps the file, and the rest must hold all the same.
        let given = std::os::unix::fs::chown(&path, Some(uid), Some(gid)).is_ok();
        let before = std::fs::metadata(&path).unwrap();
        assert!(!given || before.uid() == uid);
        write(&path, b"new", Access::Owner, Existing::Replace).unwrap();
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_eq!(
            (after.mode() & 0o777, std::fs::read(&path).unwrap()),
            (0o600, b"new".to_vec())
        );
    }
}
