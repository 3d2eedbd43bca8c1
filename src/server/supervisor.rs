//! What started us and watches over us: systemd, or whoever else listens on `NOTIFY_SOCKET`.
//!
//! Owns what is told and in which order. Never waits for long and never fails: a supervisor that is not there, or
//! is stuck, is its own problem.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::debug;

/// A handle on the supervisor, if there is one.
#[derive(Debug)]
pub struct Supervisor {
    way: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    stage: Mutex<Stage>,
}

/// How far the process has come. It never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Serving,
    Stopping,
}

impl Supervisor {
    /// The one that the environment names.
    #[must_use]
    pub fn of_environment() -> Arc<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let way = name.and_then(|name| match way(&name) {
            Ok(way) => Some(way),
            Err(error) => {
                debug!(%error, "NOTIFY_SOCKET names no socket");
                None
            }
        });
        Arc::new(Self {
            // Nobody to tell, nothing to watch.
            watchdog: sd_notify::watchdog_enabled().filter(|every| way.is_some() && !every.is_zero()),
            way,
            stage: Mutex::new(Stage::Starting),
        })
    }

    /// None.
    #[must_use]
    pub fn nobody() -> Arc<Self> {
        Arc::new(Self {
            way: None,
            watchdog: None,
            stage: Mutex::new(Stage::Starting),
        })
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.way.is_some()
    }

    /// The longest time between two signs of life, where it asks for them.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Clients are welcome from now on.
    pub async fn ready(&self, status: &str) {
        *self.stage.lock() = Stage::Serving;
        self.tell_ready(status).await;
    }

    /// Tells how it goes; nothing before clients are welcome, nor once they are not any more.
    pub fn serving(&self, status: &str) {
        if self.is_serving() {
            self.mention(&[NotifyState::Status(&line(status))]);
        }
    }

    /// Gives a sign of life.
    pub fn alive(&self) {
        self.mention(&[NotifyState::Watchdog]);
    }

    /// The configuration is read again. [`Self::reloaded`] has to follow.
    pub async fn reloading(&self) {
        // The time in the same datagram: it says which of two reloads is over.
        if let Ok(now) = NotifyState::monotonic_usec_now()
            && self.is_serving()
        {
            let status = NotifyState::Status("reading the configuration again");
            self.insist(&[NotifyState::Reloading, now, status]).await;
        }
    }

    /// The configuration was read again, whatever came of it.
    pub async fn reloaded(&self, status: &str) {
        if self.is_serving() {
            self.tell_ready(status).await;
        }
    }

    /// Clients are not welcome any more.
    pub async fn stopping(&self, status: &str) {
        *self.stage.lock() = Stage::Stopping;
        self.insist(&[NotifyState::Stopping, NotifyState::Status(&line(status))])
            .await;
    }

    /// Does work that may take long, before clients are welcome or when they are not any more: tells what it is
    /// about, and asks for more time as long as there is something new to tell within the patience.
    pub async fn during<T>(
        &self,
        patience: Duration,
        about: impl Fn() -> String,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut since) = (String::new(), Instant::now());
        loop {
            tokio::select! {
                // First: what is done at once was about something, too.
                biased;
                _ = ticks.tick() => {}
                done = &mut work => return done,
            }
            let now = about();
            if now != told {
                (told, since) = (now, Instant::now());
            }
            if since.elapsed() < patience {
                let more = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
                self.mention(&[
                    NotifyState::Status(&line(&told)),
                    NotifyState::ExtendTimeoutUsec(more),
                ]);
            }
        }
    }

    async fn tell_ready(&self, status: &str) {
        self.insist(&[NotifyState::Ready, NotifyState::Status(&line(status))])
            .await;
    }

    fn is_serving(&self) -> bool {
        *self.stage.lock() == Stage::Serving
    }

    /// Tells something that is soon told again.
    fn mention(&self, states: &[NotifyState<'_>]) {
        if let Err(error) = self.tell(states) {
            debug!(%error, "the supervisor did not hear");
        }
    }

    /// Tells something that is told once: a supervisor that is behind gets a while.
    async fn insist(&self, states: &[NotifyState<'_>]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.tell(states) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    sleep(PAUSE).await;
                }
                Err(error) => return debug!(%error, "the supervisor did not hear"),
                Ok(()) => return,
            }
        }
    }

    /// One datagram. Never blocks.
    fn tell(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let Some((socket, address)) = &self.way else {
            return Ok(());
        };
        let text: String = states.iter().map(|state| format!("{state}\n")).collect();
        socket.send_to_addr(text.as_bytes(), address).map(drop)
    }
}

/// A socket of our own, and the address of the other's: it may be made anew while we run.
fn way(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address(name)?))
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_encoded_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] => {
            use std::os::linux::net::SocketAddrExt as _;
            SocketAddr::from_abstract_name(rest)
        }
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

/// A status is one line, and what comes behind it would be another message.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Time between two words about work that takes long.
const TICK: Duration = Duration::from_secs(1);

/// How much more time is asked for with each.
const EXTENSION: Duration = Duration::from_secs(10);

/// How long somebody who is behind is told again what matters.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time between two of these.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A supervisor that is watched, and where it hears.
    pub(crate) fn watched(every: Duration) -> (Arc<Supervisor>, UnixDatagram, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        ear.set_nonblocking(true).unwrap();
        let supervisor = Supervisor {
            way: Some(way(path.as_os_str()).unwrap()),
            watchdog: Some(every),
            stage: Mutex::new(Stage::Starting),
        };
        (Arc::new(supervisor), ear, folder)
    }

    /// What was heard since the last look.
    pub(crate) fn heard(ear: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 4096];
        std::iter::from_fn(|| {
            let length = ear.recv(&mut bytes).ok()?;
            Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
        })
        .collect()
    }

    #[tokio::test]
    async fn a_reload_is_between_two_words_and_nothing_is_ready_after_the_end() {
        let (supervisor, ear, _folder) = watched(Duration::from_secs(1));
        supervisor.reloading().await;
        supervisor.serving("too early");
        supervisor.ready("listening\non 1").await;
        supervisor.reloading().await;
        supervisor.reloaded("generation 2").await;
        supervisor.stopping("draining").await;
        supervisor.reloading().await;
        supervisor.reloaded("too late").await;
        supervisor.serving("too late");
        let heard = heard(&ear);
        assert_eq!(heard.len(), 4, "{heard:?}");
        assert_eq!(heard[0], "READY=1\nSTATUS=listening on 1\n");
        assert!(heard[1].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{heard:?}");
        assert_eq!(heard[2], "READY=1\nSTATUS=generation 2\n");
        assert_eq!(heard[3], "STOPPING=1\nSTATUS=draining\n");
    }

    #[tokio::test(start_paused = true)]
    async fn more_time_is_asked_for_while_there_is_something_new_to_tell() {
        let (supervisor, ear, _folder) = watched(Duration::from_secs(1));
        let began = Instant::now();
        // Something new at each of the first five seconds, and never again.
        let about = || format!("at {}", began.elapsed().as_secs().min(4));
        let work = sleep(Duration::from_secs(600));
        supervisor.during(Duration::from_secs(3), about, work).await;
        let told = heard(&ear);
        let expected = [0, 1, 2, 3, 4, 4, 4];
        assert_eq!(
            told,
            expected.map(|at| format!("STATUS=at {at}\nEXTEND_TIMEOUT_USEC=10000000\n"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_is_gone_or_does_not_listen_is_not_waited_for() {
        let (supervisor, ear, _folder) = watched(Duration::from_secs(1));
        // Until its queue is full.
        while supervisor.tell(&[NotifyState::Watchdog]).is_ok() {}
        let began = Instant::now();
        supervisor.ready("listening").await;
        assert!(began.elapsed() <= PATIENCE + PAUSE);
        drop(ear);
        supervisor.alive();
        supervisor.stopping("draining").await;
        Supervisor::nobody().ready("listening").await;
    }

    #[test]
    fn a_socket_has_a_path_or_an_abstract_name() {
        assert!(
            address(OsStr::new("/run/notify"))
                .unwrap()
                .as_pathname()
                .is_some()
        );
        assert!(address(OsStr::new("@notify")).unwrap().as_pathname().is_none());
        assert!(address(OsStr::new("vsock:2:1")).is_err());
    }
}
