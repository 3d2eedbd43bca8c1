//! The ways in: clients, operators and those who read metrics, each by a door of their own.
//!
//! Owns which sockets there are, and who is served what on them. Must not know how a connection is served.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::info;

use super::Error;
use super::admin_socket::AdminSocket;
use super::connections::{Guarded, Reception, accept};
use super::listeners::{Inherited, Listener, Listening, bind, listen};
use crate::config::ServerConfig;
use crate::http::admin::status;
use crate::http::token::OnAdminSocket;
use crate::http::{self, Doors};

/// Every socket that is listened on.
#[derive(Debug)]
pub(super) struct Entrances {
    /// Of the first of those for clients.
    address: SocketAddr,
    /// One at least, until they are open.
    clients: Vec<Listener>,
    operators: Option<AdminSocket>,
    /// For metrics, if they have an address of their own.
    watchers: Option<Listener>,
}

impl Entrances {
    /// Takes the sockets that are there, or makes them as the settings say.
    ///
    /// # Errors
    ///
    /// [`Error`] when an address or the admin socket cannot be had.
    pub(super) async fn bind(inherited: Inherited, config: &ServerConfig) -> Result<Self, Error> {
        let clients = listen(inherited, config.listen).await?;
        let watchers = match config.metrics_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let operators = match &config.admin_socket {
            Some(path) => Some(AdminSocket::bind(path).await?),
            None => None,
        };
        Ok(Self {
            address: clients.first().map_or(config.listen, |first| first.at.address),
            clients,
            operators,
            watchers,
        })
    }

    /// Where clients come in: at every address.
    pub(super) fn listening(&self) -> Vec<Listening> {
        self.clients.iter().map(|listener| listener.at).collect()
    }

    /// Where clients come in, at the first address.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are served, if not there.
    pub(super) fn metrics_address(&self) -> Option<SocketAddr> {
        self.watchers.as_ref().map(|listener| listener.at.address)
    }

    /// Where clients come in, for people.
    pub(super) fn words(&self) -> String {
        let addresses = self
            .clients
            .iter()
            .map(|listener| listener.at.address.to_string());
        addresses.collect::<Vec<_>>().join(", ")
    }

    /// Where it listens, for operators to see.
    pub(super) fn places(&self, tls: bool) -> Vec<status::Listener> {
        let operators = self.operators.as_ref();
        let operators = operators.map(|socket| status::Listener::unix(socket.path().display().to_string()));
        let clients = self.clients.iter().map(|listener| listener.at);
        let clients = clients.map(|at| status::Listener::tcp(at.address, tls, at.inherited));
        let watchers = self.watchers.iter().map(|listener| listener.at);
        let watchers = watchers.map(|at| status::Listener::tcp(at.address, false, at.inherited));
        clients.chain(watchers).chain(operators).collect()
    }

    /// Lets everybody in.
    pub(super) fn open(&mut self, doors: &Doors, reception: &Reception, tasks: &TaskTracker) {
        if let Some(socket) = self.operators.take() {
            tasks.spawn(for_operators(socket, doors, reception));
        }
        if let Some(listener) = self.watchers.take() {
            tasks.spawn(for_watchers(listener, doors, reception));
        }
        for listener in std::mem::take(&mut self.clients) {
            tasks.spawn(for_clients(listener, doors, reception));
        }
    }
}

/// Takes clients in.
fn for_clients(listener: Listener, doors: &Doors, reception: &Reception) -> impl Future<Output = ()> + use<> {
    let Listener { socket, at } = listener;
    let reception = Reception {
        // On a socket of our own clients are told to the end that we go. Of an inherited one the next process
        // takes those who come now: they wait in the kernel, and are not turned away.
        full: match at.inherited {
            true => reception.full.clone(),
            false => reception.closing.clone(),
        },
        ..reception.clone()
    };
    info!(addr = %at.address, inherited = at.inherited, "listening");
    let guarded = Guarded::new(socket, doors.tls.clone());
    accept(guarded, http::router(doors.clone()), reception)
}

/// Takes operators in, who are asked for no token.
fn for_operators(
    socket: AdminSocket,
    doors: &Doors,
    reception: &Reception,
) -> impl Future<Output = ()> + use<> {
    info!(path = %socket.path().display(), "listening for operators");
    let router = http::router(doors.clone()).layer(axum::Extension(OnAdminSocket));
    accept(socket, router, apart(reception))
}

/// Takes those in who read metrics, and ask for nothing else.
fn for_watchers(
    listener: Listener,
    doors: &Doors,
    reception: &Reception,
) -> impl Future<Output = ()> + use<> {
    info!(addr = %listener.at.address, "listening for metrics");
    accept(
        listener.socket,
        http::metrics_router(doors.clone()),
        apart(reception),
    )
}

/// A room of their own: they come in when clients have taken all there is, and to the end.
fn apart(reception: &Reception) -> Reception {
    Reception {
        room: Arc::new(Semaphore::new(MAX_APART)),
        full: reception.closing.clone(),
        ..reception.clone()
    }
}

/// Requests at once, of those who are no clients.
const MAX_APART: usize = 32;
