//! The operator's way in on this machine: a Unix socket whose other end the system vouches for.
//!
//! Owns the file and who may come: root, and whoever the relay itself runs as. Must not know what they ask.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::warn;

use super::connections::Incoming;

/// A socket that operators' commands connect to. Dropping it removes its file, unless another relay's is there.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    file: FileId,
    owner: u32,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A relay answers there.
    #[error("another relay has the admin socket {}", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// The system takes no such long name.
    #[error("the admin socket's name is {} bytes long, and at most {MAX_PATH} are possible: {}", path.as_os_str().len(), path.display())]
    TooLong {
        /// Where.
        path: PathBuf,
    },
    /// Something that is no socket.
    #[error("{} is no socket, and is left alone", path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("cannot listen on the admin socket {}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Which file it is, whatever its name.
type FileId = (u64, u64);

impl AdminSocket {
    /// Listens at a path. A socket that a dead relay left there is replaced; a living relay's never is.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn bind(path: &Path) -> Result<Self, Error> {
        if path.as_os_str().len() > MAX_PATH {
            return Err(Error::TooLong {
                path: path.to_owned(),
            });
        }
        clear(path).await?;
        Self::listen(path).map_err(|source| match source.kind() {
            // Somebody was quicker.
            io::ErrorKind::AddrInUse => Error::InUse {
                path: path.to_owned(),
            },
            _ => Error::Listen {
                path: path.to_owned(),
                source,
            },
        })
    }

    fn listen(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        // Between the two lines others may reach it, too; who they are is asked of each connection anyway.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            file: (metadata.dev(), metadata.ino()),
            // Whoever makes a file owns it.
            owner: metadata.uid(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn admits(&self, uid: u32) -> bool {
        uid == 0 || uid == self.owner
    }
}

impl Incoming for AdminSocket {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<Option<UnixStream>> {
        let (stream, _) = self.listener.accept().await?;
        let uid = match stream.peer_cred() {
            Ok(peer) => peer.uid(),
            Err(error) => {
                warn!(%error, "a connection to the admin socket says not whose it is");
                return Ok(None);
            }
        };
        if !self.admits(uid) {
            warn!(uid, "a connection to the admin socket was turned away");
            return Ok(None);
        }
        Ok(Some(stream))
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let is_ours = |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours)
            && let Err(error) = fs::remove_file(&self.path)
        {
            warn!(%error, "the admin socket's file stays");
        }
    }
}

/// Makes way for a new socket, if only a dead relay's is there.
async fn clear(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Listen {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(Error::InTheWay {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match timeout(ANSWER_TIME, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Whoever is slow or busy lives.
        Ok(Ok(_)) | Err(_) => Err(Error::InUse {
            path: path.to_owned(),
        }),
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::InUse {
            path: path.to_owned(),
        }),
        Ok(Err(error)) => Err(failed(error)),
    }
}

/// Longest name of a Unix socket: `sun_path` has room for 108 bytes, the last of which is zero.
pub const MAX_PATH: usize = 107;

/// How long one that is there already is asked whether it lives.
const ANSWER_TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_is_the_owners_alone_and_goes_with_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let socket = AdminSocket::bind(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let connected = UnixStream::connect(&path).await.unwrap();
        assert!(socket.next().await.unwrap().is_some());
        drop((connected, socket));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_relays_socket_is_replaced_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        // Closing a listener leaves its file.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = AdminSocket::bind(&path).await.unwrap();
        let second = AdminSocket::bind(&path).await.unwrap_err();
        assert!(matches!(second, Error::InUse { .. }), "{second:?}");
        assert!(path.exists());
        // A file that came in its place is not its own to remove.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "else").unwrap();
        drop(socket);
        assert!(path.exists());
        let third = AdminSocket::bind(&path).await.unwrap_err();
        assert!(matches!(third, Error::InTheWay { .. }), "{third:?}");
    }

    #[tokio::test]
    async fn a_name_that_is_too_long_is_told_so() {
        let path = Path::new("/nowhere").join("x".repeat(MAX_PATH));
        let error = AdminSocket::bind(&path).await.unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn only_root_and_the_relays_own_user_are_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let socket = AdminSocket::bind(&folder.path().join("admin.sock"))
            .await
            .unwrap();
        assert!(socket.admits(0) && socket.admits(socket.owner));
        assert!(!socket.admits(socket.owner + 1));
    }
}
