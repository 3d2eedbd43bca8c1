//! How commands reach a relay that runs: its admin socket, or its address with an operator's token.
//!
//! Owns where the socket is looked for, the deadline, and what an operator is told when the relay does not
//! answer or refuses. Must not know what is asked.

mod answers;
mod stream;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use chatctl_client::Dial;
use chatctl_relay::auth::private_file;
use chatctl_relay::server::MAX_SOCKET_PATH;
use http_body_util::Full;
use hyper::{Method, Request, Uri, header};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use self::answers::{Answer, MAX_ANSWER, answer, exchange, in_time};
pub(crate) use self::stream::Stream;
use self::stream::begin;
use crate::authority::Authority;
use crate::exit::Exit;
use crate::failure::Failure;

/// Which relay, and how it is reached.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RelayOptions {
    /// The relay's socket for operators (default: `admin.sock` in the data directory, or in /run/chatctl)
    #[arg(
        id = "server.admin_socket",
        long = "admin-socket",
        env = "CHATCTL_SERVER__ADMIN_SOCKET",
        value_name = "FILE"
    )]
    pub(crate) admin_socket: Option<PathBuf>,

    /// The relay's address instead: https://, or http:// on this machine
    #[arg(
        id = "relay.url",
        long = "url",
        value_name = "URL",
        requires = "relay.token_file"
    )]
    pub(crate) url: Option<Uri>,

    /// File with a token of scope admin, for --url (mode 0600)
    #[arg(
        id = "relay.token_file",
        long = "token-file",
        value_name = "FILE",
        requires = "relay.url"
    )]
    pub(crate) token_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) authority: Authority,
}

/// A relay that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    place: Place,
    deadline: Duration,
}

#[derive(Clone)]
enum Place {
    Socket(PathBuf),
    Address { url: Uri, token: String, dial: Dial },
}

/// Without the token.
impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl Place {
    fn name(&self) -> String {
        match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Address { url, .. } => url.to_string().trim_end_matches('/').to_owned(),
        }
    }
}

/// Where a relay with these settings has its socket when it is not told where, if anywhere.
pub(crate) fn default_socket(data_dir: Option<&Path>) -> Option<PathBuf> {
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").filter(|folder| !folder.is_empty());
    let folder = runtime
        // There may be several; the first is the service's own.
        .and_then(|folders| std::env::split_paths(&folders).next())
        .or_else(|| data_dir.map(Path::to_owned))?;
    Some(folder.join("admin.sock"))
}

/// Whether the system takes the name for a socket.
pub(crate) fn is_possible(path: &Path) -> bool {
    path.as_os_str().len() <= MAX_SOCKET_PATH
}

impl Relay {
    /// The relay that the options mean.
    ///
    /// # Errors
    ///
    /// [`Exit::Unavailable`] when nobody answers; [`Exit::NoPerm`] when the socket is another user's; of a
    /// token file that cannot be read.
    pub(crate) async fn reach(options: &RelayOptions, data_dir: Option<&Path>) -> Result<Self, Failure> {
        match Self::find(options, data_dir).await? {
            Some(relay) => Ok(relay),
            None => {
                let places = sockets(options, data_dir);
                let places: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
                let message = match places.is_empty() {
                    true => "no relay is named".to_owned(),
                    false => format!("no relay answers at {}", places.join(" or ")),
                };
                Err(Failure::new(Exit::Unavailable, message)
                    .hint("is it running? --admin-socket FILE or --data-dir DIR says where; or --url URL --token-file FILE"))
            }
        }
    }

    /// As [`Self::reach`], and `None` when no relay listens on the socket.
    ///
    /// # Errors
    ///
    /// As [`Self::reach`].
    pub(crate) async fn find(
        options: &RelayOptions,
        data_dir: Option<&Path>,
    ) -> Result<Option<Self>, Failure> {
        if let (Some(url), Some(token_file)) = (&options.url, &options.token_file) {
            return Self::at(url, token_file, options.authority.dial()?).map(Some);
        }
        for path in sockets(options, data_dir) {
            match in_time(DEADLINE, UnixStream::connect(&path)).await {
                Ok(_) => {
                    let place = Place::Socket(path);
                    return Ok(Some(Self {
                        place,
                        deadline: DEADLINE,
                    }));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::InvalidInput => {}
                    _ => return Err(unreachable(&Place::Socket(path), &error)),
                },
            }
        }
        Ok(None)
    }

    fn at(url: &Uri, token_file: &Path, dial: Dial) -> Result<Self, Failure> {
        let bad = |message: &str| Failure::new(Exit::Usage, message);
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(bad("--url takes an https:// or http:// address"));
        }
        let authority = url.authority().ok_or_else(|| bad("--url names no host"))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(bad("--url takes an address without a path"));
        }
        if authority.as_str().contains('@') {
            return Err(bad("--url takes no login"));
        }
        let bytes = private_file::read(token_file)?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        let token = text.trim();
        let is_one = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_one {
            let message = format!("{} holds no token", token_file.display());
            return Err(Failure::new(Exit::DataErr, message));
        }
        Ok(Self {
            place: Place::Address {
                url: url.clone(),
                token: token.to_owned(),
                dial,
            },
            deadline: DEADLINE,
        })
    }

    /// Where it is, for people.
    pub(crate) fn name(&self) -> String {
        self.place.name()
    }

    /// Its process, where that is on this machine and the system knows it.
    pub(crate) async fn process(&self) -> Option<u32> {
        let Place::Socket(path) = &self.place else {
            return None;
        };
        let stream = in_time(self.deadline, UnixStream::connect(path)).await.ok()?;
        let pid = stream.peer_cred().ok()?.pid()?;
        // Where systemd made the socket it is systemd that is known.
        u32::try_from(pid).ok().filter(|pid| *pid > 1)
    }

    /// The same relay, which may take so long for one answer.
    pub(crate) fn patient(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Asks for something.
    ///
    /// # Errors
    ///
    /// [`Exit::Unavailable`] when it does not answer in time; else by what it answers.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await?.meaning()
    }

    /// Tells it to do something.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::POST, path, Some(body)).await?.meaning()
    }

    /// As [`Self::post`]; a refusal with this code is no failure, but the problem that comes back inside.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub(crate) async fn post_unless(
        &self,
        path: &str,
        body: &Value,
        code: &str,
    ) -> Result<Result<Value, Value>, Failure> {
        let answer = self.ask(Method::POST, path, Some(body)).await?;
        match answer.problem() {
            Some(problem) if problem.get("code").and_then(Value::as_str) == Some(code) => Ok(Err(problem)),
            Some(_) | None => answer.meaning().map(Ok),
        }
    }

    /// Tells it to set something.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::PUT, path, Some(body)).await?.meaning()
    }

    /// Tells it to remove something.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::DELETE, path, None).await?.meaning()
    }

    /// Tells it to do something whose answer is long, and is read piece by piece.
    ///
    /// # Errors
    ///
    /// As [`Self::get`]; a refusal comes back inside, with its problem.
    pub(crate) async fn stream(&self, path: &str) -> Result<Result<Stream, Refused>, Failure> {
        let request = self.request(Method::POST, path, None)?;
        let begun = in_time(self.deadline, async {
            match &self.place {
                Place::Socket(path) => begin(UnixStream::connect(path).await?, request).await,
                Place::Address { url, dial, .. } => begin(reach(url, dial).await?, request).await,
            }
        });
        let mut stream = begun.await.map_err(|error| unreachable(&self.place, &error))?;
        if stream.response.status().is_success() {
            return Ok(Ok(stream));
        }
        let status = stream.response.status();
        let mut body = Vec::new();
        while let Some(piece) = stream
            .next()
            .await
            .map_err(|error| unreachable(&self.place, &error))?
        {
            if body.len() + piece.len() <= MAX_ANSWER {
                body.extend_from_slice(&piece);
            }
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let code = problem.get("code").and_then(Value::as_str).unwrap_or_default();
        match answer(status, &body) {
            Ok(_) => Err(Failure::new(Exit::Protocol, "the relay's answer makes no sense")),
            Err(failure) => Ok(Err(Refused {
                code: code.to_owned(),
                failure,
            })),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        let request = self.request(method, path, body)?;
        let answered = async {
            match &self.place {
                Place::Socket(path) => exchange(UnixStream::connect(path).await?, request).await,
                Place::Address { url, dial, .. } => exchange(reach(url, dial).await?, request).await,
            }
        };
        let (status, body) = in_time(self.deadline, answered)
            .await
            .map_err(|error| unreachable(&self.place, &error))?;
        Ok(Answer { status, body })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let (host, token) = match &self.place {
            Place::Socket(_) => ("localhost", None),
            Place::Address { url, token, .. } => (
                url.authority().map_or("", |authority| authority.as_str()),
                Some(token),
            ),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(ToString::to_string).unwrap_or_default();
        request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|error| Failure::new(Exit::Failure, "cannot ask the relay").caused_by(&error))
    }
}

/// A connection to an address, with TLS where it says so.
async fn reach(
    url: &Uri,
    dial: &Dial,
) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static + use<>> {
    let secure = url.scheme_str() == Some("https");
    let usual = if secure { 443 } else { 80 };
    let port = url.port_u16().unwrap_or(usual);
    dial.stream(url.host().unwrap_or_default(), port, secure).await
}

/// A refusal: the relay's word for it, and what an operator is told.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: String,
    pub(crate) failure: Failure,
}

/// Where a relay's socket may be, likeliest first.
fn sockets(options: &RelayOptions, data_dir: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = &options.admin_socket {
        return vec![path.clone()];
    }
    // A directory that is named says which relay: another one's socket must not answer for it.
    match data_dir {
        Some(folder) => {
            let mut places = vec![folder.join("admin.sock")];
            places.extend(default_socket(None).filter(|path| *path != places[0]));
            places
        }
        None => vec![default_socket(None).unwrap_or_else(|| PathBuf::from(SYSTEM_SOCKET))],
    }
}

fn unreachable(place: &Place, error: &io::Error) -> Failure {
    let message = format!("cannot reach the relay at {}", place.name());
    match (error.kind(), place) {
        (io::ErrorKind::PermissionDenied, Place::Address { .. }) => Failure::new(Exit::NoPerm, message)
            .caused_by(error)
            .hint("--ca FILE names the authority that vouches for it, where the system does not know it"),
        (io::ErrorKind::PermissionDenied, Place::Socket(_)) => Failure::new(Exit::NoPerm, message)
            .caused_by(error)
            .hint("the socket is for root and the user that the relay runs as"),
        (_, _) => Failure::new(Exit::Unavailable, message)
            .caused_by(error)
            .hint("is it running? --admin-socket FILE or --url URL says where"),
    }
}

/// How long a relay may take for one answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The socket of the service as it is packaged.
const SYSTEM_SOCKET: &str = "/run/chatctl/admin.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_at_the_socket_is_no_relay_and_a_dead_ones_file_neither() {
        let folder = tempfile::tempdir().unwrap();
        let options = RelayOptions {
            admin_socket: Some(folder.path().join("admin.sock")),
            url: None,
            token_file: None,
            authority: Authority::default(),
        };
        assert!(Relay::find(&options, None).await.unwrap().is_none());
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("admin.sock")).unwrap());
        assert!(Relay::find(&options, None).await.unwrap().is_none());
        assert_eq!(
            Relay::reach(&options, None).await.unwrap_err().exit,
            Exit::Unavailable
        );
    }

    #[test]
    fn an_address_is_https_or_http_and_its_token_never_shows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        private_file::write(
            &file,
            b"secret\n",
            private_file::Access::Owner,
            private_file::Existing::Keep,
        )
        .unwrap();
        let at = |url: &'static str| Relay::at(&Uri::from_static(url), &file, Dial::default());
        assert_eq!(at("ftp://relay.example.org").unwrap_err().exit, Exit::Usage);
        assert_eq!(
            at("https://relay.example.org/").unwrap().name(),
            "https://relay.example.org"
        );
        let relay = at("http://127.0.0.1:8480").unwrap();
        assert_eq!(
            format!("{relay:?}"),
            "Relay { place: http://127.0.0.1:8480, deadline: 10s }"
        );
    }
}
