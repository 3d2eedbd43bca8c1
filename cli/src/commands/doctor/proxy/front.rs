//! One request at a time through the front, over TLS or not, and what answered it.
//!
//! Must not judge.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chatctl_client::{Dial, Tls, TlsError};
use chatctl_relay::model::UnixMs;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::certificate::Chain;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum FrontError {
    /// The address is none.
    Url(&'static str),
    /// Nobody answers, or the connection broke.
    Io(io::Error),
    /// The certificate is not trusted.
    Untrusted(rustls::Error),
    /// This machine trusts nobody.
    Roots(TlsError),
    /// What answers does not speak HTTP as it should.
    Http(hyper::Error),
    /// Not in time.
    Late,
}

impl std::fmt::Display for FrontError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(why) => f.write_str(why),
            Self::Io(error) => write!(f, "nobody answers: {error}"),
            Self::Untrusted(error) => write!(f, "its certificate is not trusted: {error}"),
            Self::Roots(error) => write!(f, "this machine knows no authorities: {error}"),
            Self::Http(error) => write!(f, "the answer is no HTTP: {error}"),
            Self::Late => f.write_str("no answer within 5s"),
        }
    }
}

/// What answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    /// Whether it is in the relay's form of refusals.
    pub(super) is_problem: bool,
    /// When it says it is.
    pub(super) date: Option<UnixMs>,
    pub(super) body: Bytes,
    /// The certificates that it showed.
    pub(super) chain: Option<Chain>,
    pub(super) took: Duration,
}

/// The public side of a relay.
#[derive(Debug)]
pub(super) struct Front {
    host: String,
    port: u16,
    prefix: String,
    /// Whom to trust, under `https://`.
    tls: Option<Tls>,
}

impl Front {
    /// The front at an address.
    ///
    /// # Errors
    ///
    /// [`FrontError::Url`], [`FrontError::Roots`].
    pub(super) fn of(url: &Uri, trusted: Option<Tls>) -> Result<Self, FrontError> {
        let is_secure = match url.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(FrontError::Url("--through takes an https:// or http:// address")),
        };
        let authority = url
            .authority()
            .ok_or(FrontError::Url("--through names no host"))?;
        if authority.as_str().contains('@') {
            return Err(FrontError::Url("--through takes no login"));
        }
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
            prefix: url.path().trim_end_matches('/').to_owned(),
            tls: match (is_secure, trusted) {
                (false, _) => None,
                (true, Some(tls)) => Some(tls),
                (true, None) => Some(Tls::system().map_err(FrontError::Roots)?),
            },
        })
    }

    /// Where it is, for people.
    pub(super) fn name(&self) -> String {
        format!(
            "{}://{}:{}{}",
            if self.tls.is_some() { "https" } else { "http" },
            self.host,
            self.port,
            self.prefix
        )
    }

    /// Where sessions are opened.
    pub(super) fn socket(&self) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}:{}{}/v1/ws", self.host, self.port, self.prefix)
    }

    /// How the client's side connects to it.
    pub(super) fn dial(&self) -> Dial {
        match &self.tls {
            Some(tls) => Dial::trusting(tls.clone()),
            None => Dial::default(),
        }
    }

    /// Asks for something, with a body of so many bytes if that is what is tried.
    ///
    /// # Errors
    ///
    /// [`FrontError`].
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<usize>,
    ) -> Result<Answered, FrontError> {
        let begun = Instant::now();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, format!("{}:{}", self.host, self.port));
        let mut bytes = Vec::new();
        if let Some(size) = body {
            request = request.header(header::CONTENT_TYPE, "application/json");
            bytes = format!("{{\"{}\":0}}", "x".repeat(size)).into_bytes();
        }
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|_| FrontError::Url("--through has a path that cannot be asked for"))?;
        // An IPv6 address stands in brackets in a URL, and nowhere else.
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((host, self.port))
            .await
            .map_err(FrontError::Io)?;
        let Some(tls) = &self.tls else {
            return exchange(tcp, request, None, begun).await;
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| FrontError::Url("no certificate can carry that host name"))?;
        let stream = TlsConnector::from(Arc::clone(tls.config()))
            .connect(name, tcp)
            .await
            .map_err(untrusted)?;
        let chain = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|shown| Chain::read(shown).ok());
        exchange(stream, request, chain, begun).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    chain: Option<Chain>,
    begun: Instant,
) -> Result<Answered, FrontError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(FrontError::Http)?;
    let mut answered = std::pin::pin!(async {
        let response = sender.send_request(request).await.map_err(FrontError::Http)?;
        let word = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let is_problem =
            word(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/problem+json"));
        let date = word(header::DATE).and_then(http_date);
        let status = response.status().as_u16();
        let took = begun.elapsed();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        // A page of a proxy that is too long is not looked at.
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok(Answered {
            status,
            is_problem,
            date,
            body,
            chain,
            took,
        })
    });
    tokio::select! {
        biased;
        answered = &mut answered => answered,
        // The other side has closed behind its answer, which is here.
        _ = connection => answered.await,
    }
}

/// rustls hides its errors in those of the stream; a stream that merely broke has none inside.
fn untrusted(error: io::Error) -> FrontError {
    match error.downcast::<rustls::Error>() {
        Ok(error) => FrontError::Untrusted(error),
        Err(error) => FrontError::Io(error),
    }
}

/// `Mon, 23 Nov 2026 06:21:58 GMT`.
fn http_date(text: &str) -> Option<UnixMs> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    crate::when::parse(&format!("{year}-{month:02}-{day:0>2}T{time}Z")).ok()
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// No answer that is looked at is larger.
const MAX_ANSWER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_a_time() {
        let time = crate::when::parse("2026-11-03T06:21:58Z").unwrap();
        assert_eq!(http_date("Tue, 03 Nov 2026 06:21:58 GMT"), Some(time));
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn an_address_is_where_people_would_type_it() {
        let of = |url: &'static str| Front::of(&Uri::from_static(url), None);
        let front = of("http://chat.example/behind/").unwrap();
        assert_eq!(front.socket(), "ws://chat.example:80/behind/v1/ws");
        assert!(matches!(of("ftp://chat.example"), Err(FrontError::Url(_))));
        assert!(matches!(
            of("http://me:secret@chat.example"),
            Err(FrontError::Url(_))
        ));
        assert!(matches!(of("chat.example"), Err(FrontError::Url(_))));
    }
}
