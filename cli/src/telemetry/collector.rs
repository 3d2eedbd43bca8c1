//! The way to a collector: one HTTP request at a time, on the thread that sends.
//!
//! Owns the HTTP client and its TLS. Must not know what is sent.
//!
//! # Why a runtime of its own
//!
//! The thread that sends is no task of the relay. It drives its request itself, so that a collector never takes a
//! turn from a session, and so that the last spans go out when the relay's own runtime is at its end.

use std::fmt;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// A client for a collector.
pub(super) struct Collector {
    runtime: Runtime,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Collector {
    /// A client that trusts whom the system trusts.
    ///
    /// # Errors
    ///
    /// When the system's root certificates cannot be read, or it has no room for a runtime.
    pub(super) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // The database's driver fails where a process has two providers: this is its own, and nothing is installed.
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            // Nobody looks after a connection between two batches.
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self { runtime, client })
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, Full::new(body));
        let (parts, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, MAX_BYTES).collect().await?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

#[async_trait]
impl HttpClient for Collector {
    /// Blocks its thread, which has nothing else to do.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = async { timeout(LONGEST, self.exchange(request)).await };
        self.runtime.block_on(answer)?
    }
}

/// Longest time for one request.
const LONGEST: Duration = Duration::from_secs(5);

/// A longer answer is none.
const MAX_BYTES: usize = 64 * 1024;
