//! Takes connections and serves HTTP on each, until told to stop.
//!
//! Owns how many there may be and how long a silent one is kept. Must not know what is asked on them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// Where connections come from.
pub trait Incoming: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection; `None` for one that was turned away. Cancel safe.
    fn next(&self) -> impl Future<Output = io::Result<Option<Self::Stream>>> + Send;
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
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    service: TowerToHyperService<axum::Router>,
    closing: CancellationToken,
) {
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
