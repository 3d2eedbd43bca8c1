//! One run, watched: from a scenario and a relay to what was counted.
//!
//! The run is on threads of its own; here it is shown, stopped at a signal, and the relay killed in the middle where
//! that is asked for.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chatctl_loadgen::clock::RunClock;
use chatctl_loadgen::outcome::Outcome;
use chatctl_loadgen::plan::Plan;
use chatctl_loadgen::progress::{Phase, Progress};
use chatctl_loadgen::run::RunError;
use chatctl_loadgen::scenario::{Load, Scenario};
use chatctl_loadgen::server::{Glance, Watch};
use chatctl_relay::model::{Clock, UnixMs};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::own::OwnRelay;
use super::place::Target;
use super::watching::Watching;
use super::wires::Cast;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// How a run is done.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// Threads that generate.
    pub(super) workers: u32,
    /// Where clients connect from.
    pub(super) sources: Vec<IpAddr>,
    /// What happens to the relay in the middle.
    pub(super) blow: Option<Blow>,
}

/// How the relay is brought down in the middle of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Blow {
    /// The relay that was started for the run is killed, and started again.
    Kill,
    /// A command of the person does it.
    Command(String),
}

/// What a run left.
#[derive(Debug)]
pub(super) struct Measured {
    /// Names it.
    pub(super) run: u64,
    /// When it began.
    pub(super) started: UnixMs,
    pub(super) outcome: Outcome,
    /// What was seen of the server.
    pub(super) glances: Vec<Glance>,
    /// Signal that ended it early.
    pub(super) stopped: Option<Exit>,
    /// What was done to the relay, and when.
    pub(super) blow: Option<String>,
}

/// Runs a scenario against a relay.
///
/// # Errors
///
/// When nothing was measured: [`Exit::Unavailable`] when clients cannot connect; [`Exit::Interrupted`] at the second signal.
pub(super) async fn measure(
    scenario: &Scenario,
    target: &Target,
    manner: &Manner,
    out: &Out,
) -> Result<Measured, Failure> {
    let mut signals = Signals::listen()?;
    let (number, started): (u64, _) = (rand::random(), Clock::system().now());
    let plan =
        Plan::new(scenario, number, (0, 1)).map_err(|error| Failure::from_error(Exit::Failure, &error))?;
    let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
    let clock = RunClock::starting_at(Instant::now());
    let cast = Cast {
        plan,
        passes: Arc::clone(&target.passes),
        run: number,
        clock,
        agent: (0, 1),
        workers: manner.workers,
        sources: manner.sources.clone(),
        gate: None,
        progress: Arc::clone(&progress),
        stop: stop.clone(),
    };
    let watch = Watch::begin(target.watched.clone(), clock);
    let watch = watch.map_err(|error| Failure::new(Exit::Failure, "cannot start").caused_by(&error))?;
    let (script, place) = (scenario.clone(), target.place.clone());
    let mut running = Running {
        work: tokio::task::spawn_blocking(move || place.run(&script, cast)),
        progress,
        stop,
        blow: manner.blow.as_ref().zip(lasts(scenario)),
        struck: None,
    };
    let mut watching = Watching::begin(out, scenario.clients.count, lasts(scenario));
    let (outcome, stopped) = running
        .until_over(&mut watching, &mut signals, target.own.as_ref())
        .await?;
    drop(watching);
    let outcome = outcome.map_err(|error| failure(&error, target))?;
    Ok(Measured {
        run: number,
        started,
        outcome,
        // The thread ends within the time of one answer.
        glances: watch.end(),
        stopped,
        blow: running.struck,
    })
}

/// A run under way.
struct Running<'a> {
    work: JoinHandle<Result<Outcome, RunError>>,
    progress: Arc<Progress>,
    stop: CancellationToken,
    /// What will be done to the relay, and how long the load lasts.
    blow: Option<(&'a Blow, Duration)>,
    /// What was done.
    struck: Option<String>,
}

impl Running<'_> {
    async fn until_over(
        &mut self,
        watching: &mut Watching<'_>,
        signals: &mut Signals,
        own: Option<&OwnRelay>,
    ) -> Result<(Result<Outcome, RunError>, Option<Exit>), Failure> {
        let mut stopped = None;
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                done = &mut self.work => {
                    let done = done.map_err(|error| Failure::new(Exit::Failure, "the run broke off").caused_by(&error));
                    return done.map(|done| (done, stopped));
                }
                exit = signals.next() => {
                    if stopped.is_some() {
                        return Err(Failure::new(exit, "stopped at once; what was measured is lost"));
                    }
                    stopped = Some(exit);
                    self.stop.cancel();
                }
                _ = tick.tick() => {
                    watching.look(&self.progress);
                    self.strike(watching.since(), own)?;
                }
            }
        }
    }

    /// Brings the relay down once a third of the measured part is over.
    fn strike(&mut self, (phase, since): (Phase, Duration), own: Option<&OwnRelay>) -> Result<(), Failure> {
        let Some((blow, _)) = self
            .blow
            .filter(|(_, lasts)| phase == Phase::Load && since >= *lasts / 3)
        else {
            return Ok(());
        };
        self.blow = None;
        let begun = Instant::now();
        // Nothing else is to be done meanwhile: the run has its own threads.
        let what = match (blow, own) {
            (Blow::Kill, Some(own)) => {
                tokio::task::block_in_place(|| own.crash())?;
                "kill -9".to_owned()
            }
            (Blow::Kill, None) => return Ok(()),
            (Blow::Command(command), _) => {
                tokio::task::block_in_place(|| shell(command))?;
                command.clone()
            }
        };
        let (at, took) = (since.as_secs_f64(), begun.elapsed().as_secs_f64());
        self.struck = Some(format!("{what} after {at:.1}s, back in {took:.1}s"));
        Ok(())
    }
}

fn shell(command: &str) -> Result<(), Failure> {
    let status = Command::new("sh").arg("-c").arg(command).status();
    let status = status.map_err(|error| {
        Failure::new(Exit::Failure, "the command of --verify-restart cannot be run").caused_by(&error)
    })?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Failure,
            format!("the command of --verify-restart failed: {status}"),
        )),
    }
}

/// How long the measured part is, where that is fixed before.
pub(super) fn lasts(scenario: &Scenario) -> Option<Duration> {
    match &scenario.load {
        Load::Open { stages, .. } => Some(stages.iter().map(|stage| stage.lasts.0).sum()),
        Load::Closed { duration, .. } | Load::Claims { duration, .. } | Load::Hold { duration } => {
            Some(duration.0)
        }
        Load::Offline { .. } | Load::Storm { .. } => None,
    }
}

fn failure(error: &RunError, target: &Target) -> Failure {
    match error {
        RunError::NotConnected { .. } => Failure::from_error(Exit::Unavailable, error)
            .hint("a slower --connect-rate, a longer --connect-timeout, or what the relay's log says"),
        RunError::Setup(_) if target.introduction.is_none() => Failure::from_error(Exit::Unavailable, error)
            .hint(format!("is it {}? does it let everybody in?", target.name)),
        RunError::Setup(_) => Failure::from_error(Exit::Unavailable, error)
            .hint("are --keys, --issuer and --audience those of the relay?"),
        RunError::Scenario(_) => Failure::from_error(Exit::Usage, error),
        RunError::System { .. } => Failure::from_error(Exit::Failure, error),
    }
}

/// The signals that end a run.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on they end nothing by themselves.
    ///
    /// # Errors
    ///
    /// When the system lets nobody listen.
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failure, "cannot listen for signals").caused_by(&error)
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    /// Waits for the next one: how a process that ends for it ends. Cancel safe.
    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// How often the counters are looked at.
const TICK: Duration = Duration::from_millis(100);
