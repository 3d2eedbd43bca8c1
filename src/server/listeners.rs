//! Where clients come in: sockets of our own, or those that a service manager made before we were started.
//!
//! Owns what an inherited socket must be. Must not know what is asked on the connections.
//!
//! # Why
//!
//! A socket of our own dies with us: whoever connects while we are away is refused. An inherited one stays with
//! the manager, and connections queue in the kernel until the next process takes them. So during a drain we go on
//! answering on a socket of our own, and leave an inherited one alone from the first moment.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use tokio::net::TcpListener;

use super::Error;

/// A socket that clients connect to.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) at: Listening,
}

/// Where one listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// The address.
    pub address: SocketAddr,
    /// Whether the socket was there before us, and stays behind us.
    pub inherited: bool,
}

/// Sockets that were handed to this process at its start.
#[derive(Debug, Default)]
pub struct Inherited(Vec<StdListener>);

/// What was handed to this process, and is of no use.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// Something that nobody can connect to by TCP.
    #[error("descriptor {number} (`{name}`), handed over in LISTEN_FDS, is no TCP socket that listens")]
    WrongKind {
        /// Which one.
        number: usize,
        /// What the manager calls it.
        name: String,
        /// What it is instead, if that is known.
        #[source]
        source: Option<io::Error>,
    },
    /// Something that is meant for a purpose we know nothing of.
    #[error("descriptor {number}, handed over in LISTEN_FDS, is called `{name}`, which means nothing here")]
    Unknown {
        /// Which one.
        number: usize,
        /// What the manager calls it.
        name: String,
    },
}

impl Inherited {
    /// Takes what is meant for this process, once: a second time there is nothing. Changes the environment, so
    /// call it before there are other threads.
    ///
    /// # Errors
    ///
    /// [`InheritedError`] for anything that is no relay's socket: what a unit says must not be ignored silently.
    pub fn take() -> Result<Self, InheritedError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut handed = ListenFd::from_env();
        (0..handed.len())
            .map(|index| take(&mut handed, index, names.next().unwrap_or_default()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

fn take(handed: &mut ListenFd, index: usize, name: &str) -> Result<StdListener, InheritedError> {
    let (number, name) = (FIRST + index, name.to_owned());
    let wrong = |name, source| InheritedError::WrongKind { number, name, source };
    let socket = match handed.take_tcp_listener(index) {
        Ok(Some(socket)) => socket,
        Ok(None) => return Err(wrong(name, None)),
        Err(error) => return Err(wrong(name, Some(error))),
    };
    if !is_ours(&name) {
        return Err(InheritedError::Unknown { number, name });
    }
    // A unit with Accept=yes hands over a connection.
    match socket_acceptconn(&socket) {
        Ok(true) => Ok(socket),
        Ok(false) => Err(wrong(name, None)),
        Err(error) => Err(wrong(name, Some(error.into()))),
    }
}

/// Whether a name is the one that we ask for, or what stands where nobody chose a name: a unit's own, or nothing.
fn is_ours(name: &str) -> bool {
    matches!(name, "relay" | "" | "unknown") || name.ends_with(".socket")
}

/// Listens where it was inherited, or else at the address.
pub(super) async fn listen(inherited: Inherited, address: SocketAddr) -> Result<Vec<Listener>, Error> {
    let failed = |source| Error::Listen { address, source };
    if inherited.0.is_empty() {
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        return Ok(vec![Listener::new(socket, false).map_err(failed)?]);
    }
    let adopt = |socket: StdListener| {
        socket.set_nonblocking(true)?;
        Listener::new(TcpListener::from_std(socket)?, true)
    };
    let adopted: io::Result<_> = inherited.0.into_iter().map(adopt).collect();
    adopted.map_err(Error::Adopt)
}

impl Listener {
    fn new(socket: TcpListener, inherited: bool) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self {
            socket,
            at: Listening { address, inherited },
        })
    }
}

/// The number of the first descriptor that is handed over.
const FIRST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_inherited_is_listened_on_and_the_setting_is_not() {
        let sockets = [0, 0].map(|port| StdListener::bind(("127.0.0.1", port)).unwrap());
        let addresses = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
        // Taken already: listening there would fail.
        let listeners = listen(Inherited(sockets.into()), addresses[0]).await.unwrap();
        let at: Vec<_> = listeners.iter().map(|listener| listener.at).collect();
        assert_eq!(
            at,
            addresses.map(|address| Listening {
                address,
                inherited: true
            })
        );
        let own = listen(Inherited::default(), ([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        assert!(matches!(own.as_slice(), [Listener { at, .. }] if !at.inherited));
    }

    #[test]
    fn the_name_that_we_ask_for_or_none_at_all() {
        let names = ["relay", "", "unknown", "chatctl.socket", "metrics", "admin"];
        assert_eq!(names.map(is_ours), [true, true, true, true, false, false]);
    }
}
