//! One run, watched: from a scenario and a relay to what was counted.
//!
//! The run is on threads of its own; here it is shown, stopped at a signal, and the relay killed in the middle where
//! that is asked for.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chatctl_loadgen::agent::{Lead, Secret};
use chatctl_loadgen::clock::RunClock;
use chatctl_loadgen::outcome::Outcome;
use chatctl_loadgen::plan::Plan;
use chatctl_loadgen::progress::{Phase, Progress};
use chatctl_loadgen::report::AgentFigures;
use chatctl_loadgen::run::{RunError, Stage, run};
use chatctl_loadgen::scenario::{Load, Scenario};
use chatctl_loadgen::server::{Glance, Watch};
use chatctl_loadgen::wire::chatctl::RelayWire;
use chatctl_loadgen::wire::direct::Direct;
use chatctl_loadgen::wire::mqtt::Mqtt;
use chatctl_loadgen::wire::nats::Nats;
use chatctl_loadgen::wire::ws_echo::WsEcho;
use chatctl_loadgen::wire::xmpp::Xmpp;
use chatctl_loadgen::wire::{Passes, Wire};
use chatctl_relay::model::{Clock, UnixMs};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::host;
use super::own::OwnRelay;
use super::peer::Place;
use super::place::Target;
use super::watching::Watching;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
use crate::signals::Signals;

/// How a run is done.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// Threads that generate, where that is not left to us.
    pub(super) workers: Option<u32>,
    /// Who simulates the clients; nobody else does when there is none.
    pub(super) agents: Vec<String>,
    /// What they know.
    pub(super) secret: Option<Secret>,
    /// Where clients connect from.
    pub(super) sources: Vec<IpAddr>,
    /// What happens to the relay in the middle.
    pub(super) blow: Option<Blow>,
}

impl Manner {
    /// Threads that generate here.
    pub(super) fn workers(&self) -> u32 {
        self.workers.unwrap_or_else(|| host::cores().div_ceil(2))
    }

    /// Makes room for the connections of those who are simulated here.
    ///
    /// # Errors
    ///
    /// As [`host::make_room`].
    pub(super) fn make_room(&self, scenario: &Scenario) -> Result<(), Failure> {
        match self.agents.is_empty() {
            true => host::make_room(scenario.clients.count as usize, &self.sources),
            false => Ok(()),
        }
    }
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
    /// Who took part.
    pub(super) agents: Vec<AgentFigures>,
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
    let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
    let clock = RunClock::starting_at(Instant::now());
    let play = Play {
        scenario: scenario.clone(),
        run: number,
        clock,
        place: target.place.clone(),
        url: target.url.clone(),
        passes: Arc::clone(&target.passes),
        manner: manner.clone(),
        progress: Arc::clone(&progress),
        stop: stop.clone(),
    };
    let watch = Watch::begin(target.watched.clone(), clock);
    let watch = watch.map_err(|error| Failure::new(Exit::Failure, "cannot start").caused_by(&error))?;
    let mut running = Running {
        work: tokio::task::spawn_blocking(move || play.play()),
        progress,
        stop,
        blow: manner.blow.as_ref().zip(lasts(scenario)),
        struck: None,
    };
    let mut watching = Watching::begin(out, scenario.clients.count, lasts(scenario));
    let (found, stopped) = running
        .until_over(&mut watching, &mut signals, target.own.as_ref())
        .await?;
    drop(watching);
    let (outcome, agents) = found?;
    Ok(Measured {
        run: number,
        started,
        outcome,
        agents,
        // The thread ends within the time of one answer.
        glances: watch.end(),
        stopped,
        blow: running.struck,
    })
}

/// What was counted, and who took part.
type Found = Result<(Outcome, Vec<AgentFigures>), Failure>;

/// A run, ready to begin.
struct Play {
    scenario: Scenario,
    run: u64,
    clock: RunClock,
    place: Place,
    url: String,
    passes: Arc<dyn Passes>,
    manner: Manner,
    progress: Arc<Progress>,
    stop: CancellationToken,
}

impl Play {
    /// Runs it, here or on agents. Blocks.
    fn play(self) -> Found {
        match &self.manner.secret {
            Some(secret) => self.led(secret),
            None => match self.place.clone() {
                Place::Relay(place) => self.here::<RelayWire>(place),
                Place::WsEcho(place) => self.here::<WsEcho>(place),
                Place::WsFrames(place) => self.here::<Direct<RelayWire>>(place),
                Place::Nats(place) => self.here::<Nats>(place),
                Place::Mqtt(place) => self.here::<Mqtt>(place),
                Place::Xmpp(place) => self.here::<Xmpp>(place),
            },
        }
    }

    fn led(&self, secret: &Secret) -> Found {
        let lead = Lead {
            scenario: &self.scenario,
            run: self.run,
            url: &self.url,
            passes: &*self.passes,
            workers: self.manner.workers,
            sources: &self.manner.sources,
            clock: self.clock,
            progress: &self.progress,
            stop: &self.stop,
        };
        let found = Handle::current().block_on(lead.run(&self.manner.agents, secret));
        let found = found.map_err(|error| Failure::from_error(Exit::Unavailable, &error))?;
        Ok((found.outcome, found.agents))
    }

    fn here<W: Wire>(self, place: W::Place) -> Found {
        let is_relay = matches!(self.place, Place::Relay(_));
        let plan = Plan::new(&self.scenario, self.run, (0, 1));
        let stage = Stage::<W> {
            place,
            plan: plan.map_err(|error| Failure::from_error(Exit::Failure, &error))?,
            passes: self.passes,
            run: self.run,
            clock: self.clock,
            agent: (0, 1),
            workers: self.manner.workers(),
            sources: self.manner.sources,
            gate: None,
            progress: self.progress,
            stop: self.stop,
        };
        let outcome = run(&self.scenario, stage).map_err(|error| failure(&error, is_relay))?;
        Ok((outcome, Vec::new()))
    }
}

/// A run under way.
struct Running<'a> {
    work: JoinHandle<Found>,
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
    ) -> Result<(Found, Option<Exit>), Failure> {
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

/// Why a run counted nothing.
pub(super) fn failure(error: &RunError, is_relay: bool) -> Failure {
    match error {
        RunError::NotConnected { .. } => Failure::from_error(Exit::Unavailable, error)
            .hint("a slower --connect-rate, a longer --connect-timeout, or what the relay's log says"),
        RunError::Setup(_) if !is_relay => Failure::from_error(Exit::Unavailable, error)
            .hint("is it what --target says, and does it let everybody in?"),
        RunError::Setup(_) => Failure::from_error(Exit::Unavailable, error)
            .hint("are --keys, --issuer and --audience those of the relay?"),
        RunError::Scenario(_) => Failure::from_error(Exit::Usage, error),
        RunError::System { .. } => Failure::from_error(Exit::Failure, error),
    }
}

/// How often the counters are looked at.
const TICK: Duration = Duration::from_millis(100);
