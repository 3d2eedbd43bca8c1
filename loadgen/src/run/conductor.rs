//! Leads a run through its phases.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Nanos, nanos};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::progress::Phase;
use crate::run::claims::{self, Claims};
use crate::run::collect::process_cpu;
use crate::run::crew::{Crew, Outfit, Waited};
use crate::run::gate::Gate;
use crate::run::gauges::Gauges;
use crate::run::integrity::integrity;
use crate::run::rules::{Hours, Rules};
use crate::run::shop::Common;
use crate::run::worker::{Cue, Harvest};
use crate::run::{RunError, Stage};
use crate::scenario::{Load, Scenario};
use crate::schedule::Schedule;
use crate::wire::{Trouble, Wire};

/// Does everything: setup, the run, and tidying up on whatever path.
///
/// # Errors
///
/// [`RunError`].
pub(super) async fn perform<W: Wire>(scenario: &Scenario, stage: Stage<W>) -> Result<Outcome, RunError> {
    let senders = stage.plan.senders.iter();
    let trails = senders.map(|sender| (sender.client, Arc::default())).collect();
    let common = Common {
        trails: Arc::new(trails),
        plan: Arc::new(stage.plan),
        passes: stage.passes,
        rules: Arc::new(Rules::of(scenario)),
        sources: stage.sources.into(),
        run: stage.run,
        clock: stage.clock,
        gauges: Arc::default(),
        progress: stage.progress,
    };
    common.progress.enter(Phase::Setup);
    let place = stage.place.clone();
    let preparing = async {
        W::prepare(&place, &common.plan, &*common.passes, &common.progress).await?;
        W::meet(&place, &common.plan, &*common.passes, scenario.payload.crypto).await
    };
    let prepared = tokio::select! {
        prepared = preparing => Some(prepared),
        () = stage.stop.cancelled() => None,
    };
    let done = match prepared {
        None => Ok(interrupted()),
        Some(Err(trouble)) => Err(RunError::Setup(trouble)),
        Some(Ok(keyrings)) => {
            let begins = Instant::from_std(common.clock.instant(0));
            tokio::time::sleep_until(begins).await;
            let outfit = Outfit {
                scenario,
                place: stage.place,
                common: common.clone(),
                keyrings,
                workers: stage.workers,
                agent: stage.agent,
                stop: stage.stop,
            };
            play::<W>(scenario, &common, outfit, stage.gate).await
        }
    };
    // A server that does not answer must not keep us.
    let tidying = W::tidy(&place, &common.plan, &*common.passes);
    let _tidied = tokio::time::timeout(LONGEST_TIDY, tidying).await;
    common.progress.enter(Phase::Done);
    done
}

/// Claims need no crew.
async fn play<W: Wire>(
    scenario: &Scenario,
    common: &Common,
    outfit: Outfit<'_, W>,
    gate: Option<Gate>,
) -> Result<Outcome, RunError> {
    let Load::Claims {
        rate,
        duration,
        targets,
        keys_each,
    } = scenario.load
    else {
        return conduct::<W>(scenario, common, outfit, gate).await;
    };
    let claims = Claims {
        rate,
        duration,
        targets,
        keys_each,
        seed: scenario.seed,
        agent: outfit.agent,
    };
    claims::perform::<W>(claims, &outfit.place, common, gate, &outfit.stop).await
}

async fn conduct<W: Wire>(
    scenario: &Scenario,
    common: &Common,
    outfit: Outfit<'_, W>,
    gate: Option<Gate>,
) -> Result<Outcome, RunError> {
    let mut play = Play {
        crew: Crew::start(outfit)?,
        scenario,
        common,
        gate,
        earliest: 0,
        planned: None,
        outcome: Outcome::default(),
        cpu: None,
    };
    let played = play.play().await;
    // A worker that died explains everything else.
    let harvests = play.crew.home().await?;
    played?;
    Ok(play.finish(harvests))
}

/// A run on its way.
struct Play<'a> {
    crew: Crew,
    scenario: &'a Scenario,
    common: &'a Common,
    gate: Option<Gate>,
    /// When the load may begin.
    earliest: Nanos,
    /// How long the measured part was to be, in seconds, when it was just that.
    planned: Option<f64>,
    outcome: Outcome,
    /// Processor time when the measured part began.
    cpu: Option<f64>,
}

impl Play<'_> {
    async fn play(&mut self) -> Result<(), RunError> {
        self.crew.enter(Phase::Connect);
        if self.connect().await? == Waited::Stopped {
            self.outcome.is_interrupted = true;
            return Ok(());
        }
        if !self.pass().await {
            self.outcome.is_interrupted = true;
            return Ok(());
        }
        let drain = self.scenario.phases.drain.0;
        let load = &self.scenario.load;
        let waited = match load {
            Load::Open { stages, arrival } => {
                let warmup = self.scenario.phases.warmup.0;
                let lasts = Schedule::new(stages, *arrival, warmup, 0, (0, 1)).lasts();
                self.hours(warmup, lasts).await
            }
            Load::Closed { duration, .. } => {
                let warmup = self.scenario.phases.warmup.0;
                self.hours(warmup, warmup + duration.0).await
            }
            Load::Hold { duration } | Load::Claims { duration, .. } => {
                self.hours(Duration::ZERO, duration.0).await
            }
            Load::Offline { .. } => return self.offline().await,
            Load::Storm { times, pause } => self.storm(*times, pause.0).await,
        };
        self.end(waited).await;
        // A second look: what comes twice may come a little later.
        if self.crew.settle(drain, Gauges::is_settled).await {
            self.crew.settle(QUIET, |_| false).await;
        }
        Ok(())
    }

    /// Waits until everybody who is to be there is.
    async fn connect(&mut self) -> Result<Waited, RunError> {
        let clients = match self.common.rules.is_offline() {
            true => self.common.plan.senders.len(),
            false => self.common.plan.clients.len(),
        } as u64;
        let deadline = Instant::now() + self.scenario.phases.connect.0;
        let is_over = |gauges: &Gauges| gauges.alive() >= clients || gauges.has_given_up();
        let waited = self.crew.until(Some(deadline), is_over).await;
        let connected = self.common.gauges.alive();
        if waited == Waited::Stopped || connected >= clients {
            return Ok(waited);
        }
        Err(RunError::NotConnected {
            connected,
            clients,
            trouble: self.common.gauges.last().unwrap_or_else(|| Trouble {
                class: "connect.timeout".to_owned(),
                fatal: false,
            }),
        })
    }

    /// Waits for others, if there are any; whether the load is to begin.
    async fn pass(&mut self) -> bool {
        let Some(gate) = self.gate.take() else { return true };
        let passed = tokio::select! {
            passed = gate.pass() => passed,
            _stopped = self.crew.until(None, |_| false) => None,
        };
        self.earliest = passed.unwrap_or_default();
        passed.is_some()
    }

    /// Warm-up and load of a length that is known.
    async fn hours(&mut self, warmup: Duration, lasts: Duration) -> Waited {
        let starts = self.earliest.max(self.common.clock.now() + nanos(AHEAD));
        let hours = Hours {
            starts,
            measured: starts + nanos(warmup),
            ends: starts + nanos(lasts),
            gives_up: starts + nanos(lasts) + nanos(self.scenario.phases.drain.0),
        };
        self.begin(hours).await;
        if !warmup.is_zero() {
            self.crew.enter(Phase::Warmup);
        }
        let waited = self.wait_for(hours.measured).await;
        self.measure(hours.measured);
        match waited {
            Waited::Stopped => Waited::Stopped,
            Waited::Done | Waited::TimedOut => match self.wait_for(hours.ends).await {
                Waited::Stopped => Waited::Stopped,
                Waited::Done | Waited::TimedOut => self.leave(hours).await,
            },
        }
    }

    /// Lets everything leave that is due, as long as there is patience for it: what takes longer than planned is
    /// measured for as long as it takes.
    async fn leave(&mut self, hours: Hours) -> Waited {
        let waited = self
            .crew
            .until(
                Some(Instant::from_std(self.common.clock.instant(hours.gives_up))),
                Gauges::has_left,
            )
            .await;
        let late = self.common.clock.now().saturating_sub(hours.ends);
        if late < nanos(NOT_LATE) {
            self.planned = Some((hours.ends - hours.measured) as f64 / 1e9);
        }
        waited
    }

    /// Load that ends when it is done.
    async fn open_end(&mut self) {
        let starts = self.earliest.max(self.common.clock.now() + nanos(AHEAD));
        let hours = Hours {
            starts,
            measured: starts,
            ends: Nanos::MAX,
            gives_up: Nanos::MAX,
        };
        self.begin(hours).await;
        self.measure(starts);
    }

    async fn begin(&self, hours: Hours) {
        // Each worker says when it has handed out everything, the others may wait for that from now on.
        for _ in 0..self.crew.workers() {
            self.common.gauges.began_pacing();
        }
        self.crew.tell(Cue::Load(hours)).await;
    }

    fn measure(&mut self, began: Nanos) {
        self.crew.enter(Phase::Load);
        self.cpu = Some(process_cpu());
        self.outcome.began = began as f64 / 1e9;
    }

    async fn wait_for(&mut self, at: Nanos) -> Waited {
        let at = Instant::from_std(self.common.clock.instant(at));
        self.crew.until(Some(at), |_| false).await
    }

    /// The measured part is over.
    async fn end(&mut self, waited: Waited) {
        let early = waited != Waited::Done;
        self.crew.tell(Cue::Drain { early }).await;
        self.crew.enter(Phase::Drain);
        let now = self.common.clock.now() as f64 / 1e9;
        let took = (now - self.outcome.began).max(0.0);
        self.outcome.seconds = self.planned.unwrap_or(took);
        self.outcome.cpu = self.cpu.map_or(0.0, |before| process_cpu() - before);
        self.outcome.is_interrupted |= waited == Waited::Stopped;
    }

    async fn storm(&mut self, times: u32, pause: Duration) -> Waited {
        self.open_end().await;
        let clients = self.common.plan.clients.len() as u64;
        for _ in 0..times {
            let before = self.common.gauges.joined_ever();
            self.crew.tell(Cue::Throw).await;
            let deadline = Instant::now() + self.scenario.phases.connect.0;
            let is_back =
                |gauges: &Gauges| gauges.joined_ever() >= before + clients && gauges.alive() >= clients;
            let back = self.crew.until(Some(deadline), is_back).await;
            if back == Waited::Stopped {
                return Waited::Stopped;
            }
            let pause = Instant::now() + pause;
            if self.crew.until(Some(pause), |_| false).await == Waited::Stopped {
                return Waited::Stopped;
            }
        }
        Waited::Done
    }

    /// Stores while nobody is there; then everybody comes.
    async fn offline(&mut self) -> Result<(), RunError> {
        self.open_end().await;
        let began = Instant::now();
        let waited = self.crew.until(None, Gauges::is_answered).await;
        self.outcome.store_seconds = Some(began.elapsed().as_secs_f64());
        if waited == Waited::Stopped {
            self.end(waited).await;
            return Ok(());
        }
        self.crew.enter(Phase::Drain);
        let began = Instant::now();
        self.crew.tell(Cue::Come).await;
        let patience = self.scenario.phases.drain.0;
        let is_settled = self.crew.settle(patience, Gauges::is_settled).await;
        self.outcome.drain_seconds = is_settled.then(|| began.elapsed().as_secs_f64());
        self.end(Waited::Done).await;
        self.crew.settle(QUIET, |_| false).await;
        Ok(())
    }

    /// Everything that was counted.
    fn finish(self, harvests: Vec<Harvest>) -> Outcome {
        let (mut sent, mut arrived) = (Vec::new(), Vec::new());
        let mut outcome = self.outcome;
        let mut collector = self.crew.collector;
        for harvest in harvests {
            collector.take(harvest.last);
            sent.extend(harvest.sent);
            arrived.extend(harvest.arrived);
            outcome.missed += harvest.missed;
            outcome.busiest_worker = outcome.busiest_worker.max(harvest.cpu);
        }
        collector.finish();
        if outcome.seconds > 0.0 {
            outcome.busiest_worker /= outcome.seconds;
        }
        let plan: &Plan = &self.common.plan;
        outcome.integrity = integrity(plan, &sent, arrived, &collector.whole);
        outcome.interval = collector.interval();
        outcome.measured = std::mem::take(&mut collector.measured);
        outcome.whole = std::mem::take(&mut collector.whole);
        outcome.moments = std::mem::take(&mut collector.moments);
        outcome
    }
}

fn interrupted() -> Outcome {
    Outcome {
        is_interrupted: true,
        ..Outcome::default()
    }
}

/// Workers hear of the load before it begins.
const AHEAD: Duration = Duration::from_millis(5);
/// A last message that leaves so much later than planned is on time.
const NOT_LATE: Duration = Duration::from_millis(100);
/// How long it stays quiet before it is over.
const QUIET: Duration = Duration::from_millis(100);
const LONGEST_TIDY: Duration = Duration::from_secs(60);
