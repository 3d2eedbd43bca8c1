//! How commands reach a relay that runs: its admin socket, or its address with an operator's token.
//!
//! Owns where the socket is looked for, the deadline, and what an operator is told when the relay does not
//! answer or refuses. Must not know what is asked.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use chatctl_relay::auth::private_file;
use chatctl_relay::server::MAX_SOCKET_PATH;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

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

    /// The relay's address instead: plain HTTP, so on this machine or through a tunnel
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
    Address { authority: String, token: String },
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
            Self::Address { authority, .. } => format!("http://{authority}"),
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
            return Self::at(url, token_file).map(Some);
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

    fn at(url: &Uri, token_file: &Path) -> Result<Self, Failure> {
        let bad = |message: &str| Failure::new(Exit::Usage, message);
        if url.scheme_str() != Some("http") {
            return Err(bad("--url takes an http:// address")
                .hint("where the relay is behind TLS, forward its port: `ssh -L 8480:127.0.0.1:8480 HOST`, then --url http://127.0.0.1:8480"));
        }
        let authority = url.authority().ok_or_else(|| bad("--url names no host"))?;
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
                authority: authority.to_string(),
                token: token.to_owned(),
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

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        let (host, token) = match &self.place {
            Place::Socket(_) => ("localhost", None),
            Place::Address { authority, token } => (authority.as_str(), Some(token)),
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
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|error| Failure::new(Exit::Failure, "cannot ask the relay").caused_by(&error))?;
        let answered = async {
            match &self.place {
                Place::Socket(path) => exchange(UnixStream::connect(path).await?, request).await,
                Place::Address { authority, .. } => {
                    let default = match authority.rsplit_once(':') {
                        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                            authority.clone()
                        }
                        _ => format!("{authority}:80"),
                    };
                    exchange(TcpStream::connect(default).await?, request).await
                }
            }
        };
        let (status, body) = in_time(self.deadline, answered)
            .await
            .map_err(|error| unreachable(&self.place, &error))?;
        Ok(Answer { status, body })
    }
}

/// What a relay answered.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    fn meaning(&self) -> Result<Value, Failure> {
        answer(self.status, &self.body)
    }

    /// The problem document, if it refuses.
    fn problem(&self) -> Option<Value> {
        match self.status.is_success() {
            true => None,
            false => serde_json::from_slice(&self.body).ok(),
        }
    }
}

/// Sends a request over a connection of its own, and reads the whole answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> io::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut answered = std::pin::pin!(async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok((status, body.map_err(io::Error::other)?.to_bytes()))
    });
    tokio::select! {
        biased;
        answered = &mut answered => answered,
        // The relay has closed behind its answer, which is here.
        _ = connection => answered.await,
    }
}

/// What an answer means.
fn answer(status: StatusCode, body: &[u8]) -> Result<Value, Failure> {
    let value: Value = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(body).unwrap_or(Value::Null),
    };
    if status.is_success() {
        return Ok(value);
    }
    let word = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let title = word("title").unwrap_or_else(|| format!("It answers {status}."));
    let said = word("detail").unwrap_or_else(|| title.clone());
    let (exit, hint) = match status.as_u16() {
        401 | 403 => (
            Exit::NoPerm,
            "`chatctl token issue --scope admin` makes an operator's token; the admin socket needs none",
        ),
        503 if said.contains("about to stop") => (Exit::TempFail, "it drains; try again when it is back"),
        503 | 507 => (Exit::Unavailable, "the same command may be run again"),
        429 => (Exit::TempFail, "try again in a while"),
        422 if value.get("problems").is_some() => (
            Exit::Config,
            "`chatctl config check` shows everything that is wrong with it",
        ),
        404 => (Exit::DataErr, "is the relay of the same version as this command?"),
        _ => (Exit::DataErr, "the relay's log may say more"),
    };
    let message = format!("the relay refuses: {}", title.trim_end_matches('.'));
    let problems = value.get("problems").and_then(Value::as_array);
    let problems = problems.into_iter().flatten().filter_map(Value::as_str);
    let failure = Failure::new(exit, message)
        .because(problems.map(str::to_owned))
        .hint(hint);
    Err(match said == title {
        true => failure,
        false => failure.caused_by(&io::Error::other(said)),
    })
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
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(Exit::NoPerm, message)
            .caused_by(error)
            .hint("the socket is for root and the user that the relay runs as"),
        _ => Failure::new(Exit::Unavailable, message)
            .caused_by(error)
            .hint("is it running? --admin-socket FILE or --url URL says where"),
    }
}

async fn in_time<T>(deadline: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| {
        let deadline = humantime::format_duration(deadline);
        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {deadline}"))
    };
    timeout(deadline, work).await.map_err(late)?
}

/// How long a relay may take for one answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// No answer that operators' commands ask for is larger.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// The socket of the service as it is packaged.
const SYSTEM_SOCKET: &str = "/run/chatctl/admin.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_relay_refuses_has_its_exit() {
        let exit = |status: u16, detail: &str| {
            let body = serde_json::json!({"title": "No.", "detail": detail}).to_string();
            answer(StatusCode::from_u16(status).unwrap(), body.as_bytes())
                .unwrap_err()
                .exit
        };
        let drains = "The relay is about to stop.";
        let exits = [
            (401, ""),
            (403, ""),
            (503, ""),
            (503, drains),
            (429, ""),
            (422, ""),
        ];
        assert_eq!(
            exits.map(|(status, detail)| exit(status, detail)),
            [
                Exit::NoPerm,
                Exit::NoPerm,
                Exit::Unavailable,
                Exit::TempFail,
                Exit::TempFail,
                Exit::DataErr
            ]
        );
        assert_eq!(answer(StatusCode::NO_CONTENT, b""), Ok(Value::Null));
    }

    #[tokio::test]
    async fn nobody_at_the_socket_is_no_relay_and_a_dead_ones_file_neither() {
        let folder = tempfile::tempdir().unwrap();
        let options = RelayOptions {
            admin_socket: Some(folder.path().join("admin.sock")),
            url: None,
            token_file: None,
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
    fn an_address_is_plain_http_and_its_token_never_shows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        private_file::write(
            &file,
            b"secret\n",
            private_file::Access::Owner,
            private_file::Existing::Keep,
        )
        .unwrap();
        let at = |url: &'static str| Relay::at(&Uri::from_static(url), &file);
        assert_eq!(at("https://relay.example.org").unwrap_err().exit, Exit::Usage);
        let relay = at("http://127.0.0.1:8480").unwrap();
        assert_eq!(
            format!("{relay:?}"),
            "Relay { place: http://127.0.0.1:8480, deadline: 10s }"
        );
    }
}
