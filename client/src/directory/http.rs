//! One request and its answer, bounded in time and in bytes.
//!
//! Must not know what is asked for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use crate::directory::{Directory, DirectoryError};
use crate::{Dial, Tls, Token, TokenSource};

/// A relay's HTTP doors. Cheap to clone; all clones share connections, and so do the directories made from it.
#[derive(Clone)]
pub struct Http {
    url: Arc<str>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    patience: Duration,
}

/// What a relay said.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

impl Http {
    /// The doors of a relay at `https://host`, or `http://host:port` without TLS.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::Url`], [`DirectoryError::Tls`].
    pub fn new(url: &str) -> Result<Self, DirectoryError> {
        Self::with(&Dial::default(), url)
    }

    /// The same, from where and trusting whom the app chooses.
    ///
    /// # Errors
    ///
    /// As [`Http::new`].
    pub fn with(dial: &Dial, url: &str) -> Result<Self, DirectoryError> {
        let url = url.trim_end_matches('/');
        let uri: Uri = url.parse().map_err(|_| DirectoryError::Url)?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_http || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(DirectoryError::Url);
        }
        // The system's certificates are not read for a relay that shows none.
        let secure = uri.scheme_str() == Some("https");
        let tls = if secure { dial.tls()? } else { Tls::nobody()? };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_local_address(dial.local);
        tcp.set_connect_timeout(Some(CONNECT_TIME));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(rustls::ClientConfig::clone(tls.config()))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            url: url.into(),
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIME)
                .build(connector),
            patience: PATIENCE,
        })
    }

    /// With this time for each request, all its round trips included; 30 s unless told otherwise.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The directory, for a device that has this source of tokens.
    pub fn directory(&self, source: impl TokenSource) -> Directory {
        Directory::new(self.clone(), Arc::new(source))
    }

    /// What a relay shows to everybody, such as `/v1/info`: the status, and what it says.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::Unreachable`].
    pub async fn show(&self, path: &str) -> Result<(u16, Bytes), DirectoryError> {
        let request = Request::builder()
            .uri(format!("{}{path}", self.url))
            .header(header::USER_AGENT, USER_AGENT);
        let request = request
            .body(Full::new(Bytes::new()))
            .map_err(|_| DirectoryError::Url)?;
        let answer = timeout(self.patience, self.exchange(request))
            .await
            .map_err(|_| DirectoryError::unreachable("no answer in time"))??;
        Ok((answer.status.as_u16(), answer.body))
    }

    /// Asks once. Whether it was done is not known when it is dropped or times out.
    pub(super) async fn ask(
        &self,
        (method, path): (&Method, &str),
        token: &Token,
        body: Option<Bytes>,
    ) -> Result<Answer, DirectoryError> {
        let bearer = header::HeaderValue::try_from(format!("Bearer {}", token.secret()));
        // The error would not show the token, but it is not what an app can act on.
        let mut bearer =
            bearer.map_err(|_| DirectoryError::NoToken("the token is not one line of text".into()))?;
        bearer.set_sensitive(true);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::AUTHORIZATION, bearer)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|_| DirectoryError::Url)?;
        timeout(self.patience, self.exchange(request))
            .await
            .map_err(|_| DirectoryError::unreachable("no answer in time"))?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, DirectoryError> {
        let response = self.client.request(request).await;
        let response = response.map_err(DirectoryError::unreachable)?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let body = body.collect().await.map_err(DirectoryError::Unreachable)?;
        Ok(Answer {
            status,
            retry_after,
            body: body.to_bytes(),
        })
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http").field(&self.url).finish()
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

const USER_AGENT: &str = concat!("chatctl-client/", env!("CARGO_PKG_VERSION"));

/// For TCP alone; the rest of a request has what is left of its time.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// For one request.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than a burst of requests, shorter than what relays and proxies keep. How many are kept is the app's own doing: as
/// many as it had requests at once.
const IDLE_TIME: Duration = Duration::from_secs(20);

/// The largest claim of the largest items is some 22 MiB; an answer that is larger is none.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;
