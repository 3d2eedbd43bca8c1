//! Takes connections and serves HTTP on each, until told to stop.
//!
//! Owns how many there may be, how long a silent one is kept, and that each request knows who is at the other end. Must
//! not know what is asked on them.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming as Body;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::http::origin::Peer;
use crate::tls::{Line, Tls};

/// Where connections come from.
pub trait Incoming: Send + Sync + 'static {
    /// A connection.
    type Stream: Arrival;

    /// Waits for the next connection; `None` for one that was turned away. Cancel safe.
    fn next(&self) -> impl Future<Output = io::Result<Option<Self::Stream>>> + Send;
}

/// A connection that has been made, and on which nothing was said.
pub trait Arrival: Send + 'static {
    /// What HTTP is spoken on.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The address of the other end, if it has one.
    fn peer(&self) -> Option<IpAddr>;

    /// Does what comes before HTTP. `None` when that came to nothing.
    fn begin(self) -> impl Future<Output = Option<Self::Stream>> + Send;
}

impl Arrival for TcpStream {
    type Stream = Line;

    fn peer(&self) -> Option<IpAddr> {
        self.peer_addr().ok().map(|address| address.ip().to_canonical())
    }

    async fn begin(self) -> Option<Line> {
        Some(self.into())
    }
}

impl Arrival for UnixStream {
    type Stream = Self;

    fn peer(&self) -> Option<IpAddr> {
        None
    }

    async fn begin(self) -> Option<Self> {
        Some(self)
    }
}

/// Connections that shake hands first, where there is a certificate for it.
#[derive(Debug)]
pub(super) struct Guarded<I> {
    incoming: I,
    tls: Tls,
}

impl<I> Guarded<I> {
    /// What comes there, with the certificate that is given at that moment.
    pub(super) const fn new(incoming: I, tls: Tls) -> Self {
        Self { incoming, tls }
    }
}

impl<I: Incoming<Stream = TcpStream>> Incoming for Guarded<I> {
    type Stream = (TcpStream, Tls);

    async fn next(&self) -> io::Result<Option<(TcpStream, Tls)>> {
        let stream = self.incoming.next().await?;
        Ok(stream.map(|stream| (stream, self.tls.clone())))
    }
}

impl Arrival for (TcpStream, Tls) {
    type Stream = Line;

    fn peer(&self) -> Option<IpAddr> {
        self.0.peer()
    }

    async fn begin(self) -> Option<Line> {
        let (stream, tls) = self;
        tls.greet(stream).await
    }
}

impl Incoming for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<Option<TcpStream>> {
        let (stream, _) = self.accept().await?;
        // Frames are small and gathered by us: waiting for more would only add latency.
        Ok(stream.set_nodelay(true).is_ok().then_some(stream))
    }
}

/// Where connections are served, how many at once, and for how long. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reception {
    /// Each connection's task runs here.
    pub connections: TaskTracker,
    /// Connections that are not upgraded take a place each; when there is none, the next waits in the kernel.
    pub room: Arc<Semaphore>,
    /// When no more are taken.
    pub full: CancellationToken,
    /// When those that were taken have to end.
    pub closing: CancellationToken,
}

/// Takes connections for a router until the reception is full, and serves each until it is closing.
pub async fn accept(incoming: impl Incoming, router: axum::Router, reception: Reception) {
    let service = TowerToHyperService::new(router);
    let Reception {
        connections,
        room,
        full,
        closing,
    } = reception;
    let next = async || {
        let permit = Arc::clone(&room).acquire_owned().await.ok()?;
        Some((permit, incoming.next().await))
    };
    loop {
        let accepted = tokio::select! {
            // First: whoever comes now is the next process's.
            biased;
            () = full.cancelled() => return,
            accepted = next() => accepted,
        };
        match accepted {
            Some((permit, Ok(Some(stream)))) => {
                let (service, closing) = (service.clone(), closing.clone());
                connections.spawn(async move {
                    serve(stream, service, closing).await;
                    drop(permit);
                });
            }
            Some((_, Ok(None))) => {}
            Some((_, Err(error))) => {
                // Out of descriptors, most likely: give sessions time to end.
                error!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
            None => return,
        }
    }
}

/// Serves one connection until it ends or is upgraded.
async fn serve(
    arrival: impl Arrival,
    service: TowerToHyperService<axum::Router>,
    closing: CancellationToken,
) {
    let peer = Peer(arrival.peer());
    let stream = tokio::select! {
        stream = arrival.begin() => stream,
        () = closing.cancelled() => None,
    };
    let Some(stream) = stream else { return };
    let service = service_fn(move |mut request: Request<Body>| {
        request.extensions_mut().insert(peer);
        service.call(request)
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_buf_size(HTTP_BUFFER)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    // How a request failed is the client's to know; it was counted where it was answered.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = closing.cancelled() => {
            hyper::server::conn::http1::UpgradeableConnection::graceful_shutdown(connection.as_mut());
            let _ = connection.await;
        }
    }
}

/// Longest time for a request's head, and longest silence between two requests.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// Buffer of an HTTP connection, which bounds a request's head.
const HTTP_BUFFER: usize = 16 * 1024;

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
