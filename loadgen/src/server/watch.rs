//! The thread that looks at the server once a second.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::RunClock;
use crate::server::{Exposition, Glance, Process};

/// The process that is looked at. It may become another one: a server that is started again.
#[derive(Debug, Clone, Default)]
pub struct Pid(Arc<AtomicU32>);

impl Pid {
    /// A process.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self(Arc::new(AtomicU32::new(pid)))
    }

    /// It is another one from now on.
    pub fn becomes(&self, pid: u32) {
        self.0.store(pid, Ordering::Relaxed);
    }

    /// Which one it is; none when nobody knows.
    #[must_use]
    pub fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }
}

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// The server's HTTP door, plain: `/metrics` is asked there.
    pub metrics: Option<SocketAddr>,
    /// Its process, when it is on this host.
    pub pid: Pid,
}

/// A thread that looks. It ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    thread: Option<JoinHandle<Vec<Glance>>>,
    stop: Option<SyncSender<()>>,
}

impl Watch {
    /// Begins to look; the first time at once.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn begin(target: Target, clock: RunClock) -> io::Result<Self> {
        let (stop, stopped) = mpsc::sync_channel::<()>(0);
        let look = move || {
            let mut seen = Seen::default();
            let mut next = Instant::now();
            loop {
                seen.add(glance(&target, clock));
                next += seen.pause();
                let wait = next.saturating_duration_since(Instant::now());
                // The sender says nothing, it only goes.
                if stopped.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                    break;
                }
            }
            seen.add(glance(&target, clock));
            seen.glances
        };
        let thread = std::thread::Builder::new()
            .name("bench-watch".to_owned())
            .spawn(look)?;
        Ok(Self {
            thread: Some(thread),
            stop: Some(stop),
        })
    }

    /// Looks once more, and says what was seen.
    #[must_use]
    pub fn end(mut self) -> Vec<Glance> {
        self.join()
    }

    fn join(&mut self) -> Vec<Glance> {
        drop(self.stop.take());
        let seen = self.thread.take().map(JoinHandle::join);
        seen.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.join();
    }
}

/// Looks once, without the history.
fn glance(target: &Target, clock: RunClock) -> Glance {
    let at = Duration::from_nanos(clock.now()).as_secs_f64();
    let process = target.pid.get().map(Process::look).unwrap_or_default();
    let text = target.metrics.and_then(|place| fetch(place).ok());
    let counted = text.map(|text| Exposition::read(&text)).unwrap_or_default();
    Glance {
        at,
        cpu: process.cpu,
        rss: process.rss,
        written: process.written,
        commits: counted.commits,
        accepted: counted.accepted,
        elided: counted.elided,
    }
}

/// Everything that was seen.
#[derive(Debug, Default)]
struct Seen {
    glances: Vec<Glance>,
    /// How often the list was thinned out.
    halved: u32,
    cpu: Meter<f64>,
    written: Meter<u64>,
    commits: Meter<u64>,
    accepted: Meter<u64>,
    elided: Meter<u64>,
}

impl Seen {
    fn add(&mut self, glance: Glance) {
        self.glances.push(Glance {
            cpu: glance.cpu.map(|value| self.cpu.read(value)),
            written: glance.written.map(|value| self.written.read(value)),
            commits: glance.commits.map(|value| self.commits.read(value)),
            accepted: glance.accepted.map(|value| self.accepted.read(value)),
            elided: glance.elided.map(|value| self.elided.read(value)),
            ..glance
        });
        // A run of days does not fill the memory: it is looked at half as often.
        if self.glances.len() >= MOST {
            let mut keep = false;
            self.glances.retain(|_| {
                keep = !keep;
                keep
            });
            self.halved += 1;
        }
    }

    fn pause(&self) -> Duration {
        EVERY * 2u32.saturating_pow(self.halved.min(16))
    }
}

/// A counter of a server that may begin at zero again.
#[derive(Debug, Default)]
struct Meter<N> {
    before: N,
    last: N,
}

impl<N: Copy + PartialOrd + std::ops::AddAssign + std::ops::Add<Output = N>> Meter<N> {
    /// What it would be if the server had never been away.
    fn read(&mut self, value: N) -> N {
        if value < self.last {
            self.before += self.last;
        }
        self.last = value;
        self.before + value
    }
}

/// Reads `/metrics`. A server that does not answer in time is not waited for: what `/proc` says of it matters then.
fn fetch(place: SocketAddr) -> io::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect_timeout(&place, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Of HTTP/1.0: the answer ends with the connection and comes in one piece.
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {place}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        Some(_) | None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_millis(800);
/// Bytes of an answer at most.
const LONGEST: u64 = 1 << 20;
/// Glances that are kept at most.
const MOST: usize = 8192;

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_server_is_seen_from_the_first_moment_to_the_last() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for commits in [7, 9] {
                let (stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(&stream).lines();
                while !lines.next().unwrap().unwrap().is_empty() {}
                write!(
                    &stream,
                    "HTTP/1.0 200 OK\r\nx: y\r\n\r\nchatctl_commits_total {commits}\n"
                )
                .unwrap();
            }
        });
        let target = Target {
            metrics: Some(place),
            pid: Pid::of(std::process::id()),
        };
        let watch = Watch::begin(target, RunClock::starting_at(Instant::now())).unwrap();
        let seen = watch.end();
        server.join().unwrap();
        let [first, last] = seen.as_slice() else {
            panic!("{seen:?}");
        };
        assert_eq!((first.commits, last.commits), (Some(7), Some(9)));
        assert_eq!(first.accepted, None);
        assert!(
            last.rss.is_some() && last.cpu >= first.cpu && last.at >= first.at,
            "{seen:?}"
        );
    }

    #[test]
    fn nobody_and_nonsense_are_seen_as_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        drop(listener);
        let target = Target {
            metrics: Some(place),
            pid: Pid::default(),
        };
        let seen = glance(&target, RunClock::starting_at(Instant::now()));
        assert_eq!(Glance { at: 0.0, ..seen }, Glance::default());
    }

    #[test]
    fn a_server_that_came_back_is_counted_on() {
        let mut meter = Meter::<u64>::default();
        assert_eq!([5, 9, 2, 4, 1].map(|value| meter.read(value)), [5, 9, 11, 13, 14]);
    }

    #[test]
    fn a_long_run_is_looked_at_less_often_instead_of_filling_the_memory() {
        let mut seen = Seen::default();
        for at in 0..MOST {
            seen.add(Glance {
                at: at as f64,
                ..Glance::default()
            });
        }
        let kept: Vec<_> = seen.glances.iter().take(3).map(|glance| glance.at).collect();
        assert_eq!((seen.glances.len(), kept), (MOST / 2, vec![0.0, 2.0, 4.0]));
        assert_eq!(seen.pause(), EVERY * 2);
    }
}
