//! What a service manager does: hands sockets over, hears how it goes, sends signals.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

/// A datagram, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said(Vec<String>);

impl Said {
    pub(crate) fn has(&self, line: &str) -> bool {
        self.0.iter().any(|said| said == line)
    }

    pub(crate) fn starts(&self, beginning: &str) -> bool {
        self.0.iter().any(|said| said.starts_with(beginning))
    }
}

/// What was heard until something was.
#[derive(Debug)]
pub(crate) struct Heard(Vec<Said>);

impl Heard {
    pub(crate) fn last(&self) -> &Said {
        self.0.last().unwrap()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Said> {
        self.0.iter()
    }
}

/// A socket for notifications, and its name in the environment.
pub(crate) struct Hearing {
    socket: UnixDatagram,
    name: String,
}

impl Hearing {
    pub(crate) fn at_path(folder: &Path) -> Self {
        let path = folder.join("notify.sock");
        let _ = fs::remove_file(&path);
        Self {
            socket: UnixDatagram::bind(&path).unwrap(),
            name: path.to_str().unwrap().to_owned(),
        }
    }

    pub(crate) fn abstractly() -> Self {
        let name = format!("chatctl-test-{}", std::process::id());
        let address = UnixAddr::from_abstract_name(&name).unwrap();
        Self {
            socket: UnixDatagram::bind_addr(&address).unwrap(),
            name: format!("@{name}"),
        }
    }

    /// Everything until this, which has to come.
    #[track_caller]
    pub(crate) fn until(&self, is_it: impl Fn(&Said) -> bool) -> Heard {
        let mut heard = Vec::new();
        loop {
            let Some(said) = self.next_within(PATIENCE) else {
                panic!("not heard; this was: {heard:?}");
            };
            heard.push(said);
            if is_it(heard.last().unwrap()) {
                return Heard(heard);
            }
        }
    }

    pub(crate) fn next_within(&self, time: Duration) -> Option<Said> {
        let mut bytes = [0; 4096];
        self.socket.set_read_timeout(Some(time)).unwrap();
        let length = self.socket.recv(&mut bytes).ok()?;
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        Some(Said(text.lines().map(str::to_owned).collect()))
    }

    /// Forgets what has come.
    pub(crate) fn clear(&self) {
        while self.next_within(Duration::from_millis(1)).is_some() {}
    }
}

/// What a socket unit makes. It stays open whoever serves it.
pub(crate) struct Socket {
    fd: OwnedFd,
    address: SocketAddr,
}

impl Socket {
    pub(crate) fn listen() -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            fd: socket.into(),
        }
    }

    /// One of the wrong kind.
    pub(crate) fn datagrams() -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            fd: socket.into(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }
}

/// A connection.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Asks for something, and reads the first line of the answer.
    pub(crate) fn ask(&mut self, path: &str, headers: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn get(mut self, path: &str) -> String {
        self.ask(path, "Connection: close\r\n")
    }
}

/// A folder with keys and a configuration.
pub(crate) struct House(TempDir);

impl House {
    pub(crate) fn new() -> Self {
        let house = Self(tempfile::tempdir().unwrap());
        house.configure("");
        let made = house.chatctl("token keys generate -o keys.json");
        assert!(made.status.success(), "{made:?}");
        house
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.folder().join("chatctl.toml"), text).unwrap();
    }

    pub(crate) fn chatctl(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        command
            .args(line.split(' '))
            .current_dir(self.folder())
            .env_clear();
        command.stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn start(&self, hearing: &Hearing, environment: &[(&str, &str)]) -> Relay {
        let mut shell = self.shell("", "--data-dir data");
        shell.env("NOTIFY_SOCKET", &hearing.name);
        Relay::of(shell.envs(environment.iter().copied()))
    }

    pub(crate) fn start_with(&self, environment: &[(&str, &str)]) -> Relay {
        Relay::of(
            self.shell("", "--data-dir data")
                .envs(environment.iter().copied()),
        )
    }

    pub(crate) fn start_more(&self, options: &str, hearing: &Hearing) -> Relay {
        Relay::of(self.shell("", options).env("NOTIFY_SOCKET", &hearing.name))
    }

    /// With so many descriptors at most.
    pub(crate) fn start_limited(&self, descriptors: u32, hearing: &Hearing) -> Relay {
        let mut shell = self.shell(&format!("ulimit -n {descriptors}; "), "--data-dir data");
        Relay::of(shell.env("NOTIFY_SOCKET", &hearing.name))
    }

    /// On a socket that is handed over: as stdin first, as systemd has it then.
    pub(crate) fn start_on(&self, socket: &Socket, name: &str, hearing: &Hearing) -> Relay {
        let hand = "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; ";
        let mut shell = self.shell(hand, "--data-dir data");
        shell.stdin(Stdio::from(socket.fd.try_clone().unwrap()));
        shell.env("LISTEN_FDNAMES", name);
        Relay::of(shell.env("NOTIFY_SOCKET", &hearing.name))
    }

    /// A shell that becomes a relay.
    fn shell(&self, before: &str, options: &str) -> Command {
        let mut shell = Command::new("/bin/sh");
        let relay = env!("CARGO_BIN_EXE_chatctl");
        let line = format!(
            "{before}exec {relay} serve -c chatctl.toml --keys keys.json --listen 127.0.0.1:0 {options}"
        );
        shell
            .args(["-c", &line])
            .current_dir(self.folder())
            .env_clear()
            .stdin(Stdio::null());
        shell
    }

    pub(crate) fn get(&self, address: SocketAddr, path: &str) -> String {
        Client::connect(address).get(path)
    }
}

/// A relay, killed at the end.
pub(crate) struct Relay {
    child: Child,
    stderr: BufReader<ChildStderr>,
    log: String,
}

impl Relay {
    fn of(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            stderr,
            log: String::new(),
        }
    }

    /// Its log, as far as these words, which have to come.
    #[track_caller]
    pub(crate) fn log_until(&mut self, words: &str) -> &str {
        while !self.log.contains(words) {
            let more = self.stderr.read_line(&mut self.log).unwrap();
            assert!(more > 0, "the log has ended: {}", self.log);
        }
        &self.log
    }

    /// Where its log says that it listens.
    pub(crate) fn address(&mut self) -> SocketAddr {
        let words = "listening addr=";
        let (_, after) = self.log_until(words).split_once(words).unwrap();
        after.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it in its tracks, and waits until it stands.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let pid = Pid::from_child(&self.child);
        waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).unwrap();
    }

    /// How it ended and what it had logged, once it has.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        self.stderr.read_to_string(&mut self.log).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, std::mem::take(&mut self.log))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // One that has ended is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long anything may take that has to come.
const PATIENCE: Duration = Duration::from_secs(60);
