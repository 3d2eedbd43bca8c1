//! Public keys over HTTP: one bounded, unhurried GET.
//!
//! Owns the HTTP client and its TLS. Must not know what keys are, or how often they are asked for.
//!
//! # Why not a process-wide TLS provider
//!
//! The database's driver picks its own at its first use, and fails when there are two to choose from. So the
//! one that is compiled in, `ring`, is named here, and nothing is installed.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// Not a URL after all.
    #[error("the URL cannot be used")]
    Url,
    /// The system's root certificates cannot be read.
    #[error("cannot read the system's root certificates")]
    Roots(#[source] std::io::Error),
    /// Nobody answers, or not in TLS that can be trusted.
    #[error("cannot reach it: {0}")]
    Unreachable(String),
    /// It took too long.
    #[error("no answer within {}s", FETCH_TIME.as_secs())]
    TimedOut,
    /// An answer, but not a good one.
    #[error("it answers {0}; redirects are not followed")]
    Status(StatusCode),
    /// The answer ended early or is larger than [`MAX_BYTES`].
    #[error("the answer was cut off, or is larger than {} KiB", MAX_BYTES / 1024)]
    Body,
}

/// An answer.
pub(super) struct Fetched {
    pub(super) body: Bytes,
    /// For how long it says that it is good.
    pub(super) max_age: Option<Duration>,
}

/// Gets what is behind a URL. Ends within [`FETCH_TIME`]; redirects are not followed, for they could lead
/// out of TLS. Cancel safe.
///
/// # Errors
///
/// [`FetchError`].
pub(super) async fn get(url: &str) -> Result<Fetched, FetchError> {
    timeout(FETCH_TIME, get_slowly(url))
        .await
        .unwrap_or(Err(FetchError::TimedOut))
}

async fn get_slowly(url: &str) -> Result<Fetched, FetchError> {
    let uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
    let request = Request::get(uri.clone())
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::USER_AGENT, concat!("chatctl/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Url)?;
    let response = match uri.scheme_str() {
        Some("https") => client(connector()?).request(request).await,
        // The settings see to it that this is our own machine.
        _ => client(HttpConnector::new()).request(request).await,
    };
    let response = response.map_err(|error| FetchError::Unreachable(root_cause(&error)))?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let max_age = max_age(&response);
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
    Ok(Fetched {
        body: body.map_err(|_| FetchError::Body)?.to_bytes(),
        max_age,
    })
}

/// A client for one question: they come minutes apart, and root certificates may have changed meanwhile.
fn client<C>(connector: C) -> Client<C, Empty<Bytes>>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector)
}

fn connector() -> Result<HttpsConnector<HttpConnector>, FetchError> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(FetchError::Roots)?;
    Ok(builder.https_only().enable_http1().build())
}

fn root_cause(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

fn max_age<B>(response: &Response<B>) -> Option<Duration> {
    let values = response.headers().get_all(header::CACHE_CONTROL).iter();
    let directives = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut ages = directives.filter_map(|directive| directive.trim().strip_prefix("max-age="));
    let seconds = ages.find_map(|age| age.parse().ok());
    seconds.map(Duration::from_secs)
}

/// Longest time for one question, all its round trips included.
const FETCH_TIME: Duration = Duration::from_secs(5);

/// A larger answer is no key set.
pub(super) const MAX_BYTES: usize = 256 * 1024;
