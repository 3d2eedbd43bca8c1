//! All workers of a run: started together, told together, listened to, and sent home.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::crypto::Keyring;
use crate::progress::Phase;
use crate::run::bodies::Bodies;
use crate::run::collect::Collector;
use crate::run::gauges::Gauges;
use crate::run::shop::Common;
use crate::run::slice::{Handed, Slice};
use crate::run::worker::{Cue, Harvest, Worker};
use crate::run::{RunError, share};
use crate::scenario::{Load, Scenario, Until};
use crate::schedule::Schedule;
use crate::wire::Wire;

/// A crew.
pub(super) struct Crew {
    pub(super) collector: Collector,
    common: Common,
    stop: CancellationToken,
    members: Vec<Member>,
    slices: mpsc::Receiver<Handed>,
}

struct Member {
    thread: JoinHandle<std::io::Result<Harvest>>,
    cues: mpsc::Sender<Cue>,
    back: mpsc::Sender<Box<Slice>>,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// What was waited for.
    Done,
    /// The time.
    TimedOut,
    /// Somebody wants the run to end.
    Stopped,
}

/// What a crew is made of.
pub(super) struct Outfit<'a, W: Wire> {
    pub(super) scenario: &'a Scenario,
    pub(super) place: W::Place,
    pub(super) common: Common,
    pub(super) keyrings: Vec<Keyring>,
    pub(super) workers: u32,
    /// Which agent this is, of how many.
    pub(super) agent: (u32, u32),
    pub(super) stop: CancellationToken,
}

impl Crew {
    /// Starts the threads. Clients connect at once.
    ///
    /// # Errors
    ///
    /// [`RunError::System`] or [`RunError::Scenario`].
    pub(super) fn start<W: Wire>(outfit: Outfit<'_, W>) -> Result<Self, RunError> {
        let common = outfit.common;
        let workers = usize::try_from(outfit.workers.max(1)).unwrap_or(1);
        let waits_for_arrival = matches!(
            outfit.scenario.load,
            Load::Closed {
                until: Until::Delivered,
                ..
            }
        );
        let shares = share::shares(&common.plan, workers, !waits_for_arrival);
        let writers = writers(&common, &shares);
        let (slices, received) = mpsc::channel(SLICES * workers);
        let mut keyrings: Vec<_> = outfit.keyrings.into_iter().map(Some).collect();
        let mut crew = Self {
            collector: Collector::new(common.clock, common.gauges.clone(), workers),
            common: common.clone(),
            stop: outfit.stop,
            members: Vec::new(),
            slices: received,
        };
        for (index, share) in shares.into_iter().enumerate() {
            let share = share.into_iter().map(|client| {
                let keyring = keyrings.get_mut(client as usize).and_then(Option::take);
                (client, keyring.unwrap_or_default())
            });
            let seed = outfit.scenario.seed.wrapping_add(u64::from(outfit.agent.0) << 32);
            let (cues, told) = mpsc::channel(CUES);
            let (back, returned) = mpsc::channel(SLICES);
            let place = writers.iter().position(|writer| *writer == index);
            let worker = Worker::<W> {
                index,
                place: outfit.place.clone(),
                common: common.clone(),
                share: share.collect(),
                bodies: Bodies::new(&outfit.scenario.payload, seed.wrapping_add(index as u64))?,
                schedule: place.and_then(|place| {
                    let (agent, agents) = outfit.agent;
                    let all = writers.len() as u32;
                    schedule(outfit.scenario, (agent * all + place as u32, agents.max(1) * all))
                }),
                cues: told,
                slices: slices.clone(),
                back: returned,
            };
            let named = std::thread::Builder::new().name(format!("bench-{index}"));
            let thread = named.spawn(move || worker.run());
            let thread = thread.map_err(|error| RunError::System {
                what: "thread",
                error,
            })?;
            crew.members.push(Member { thread, cues, back });
        }
        Ok(crew)
    }

    pub(super) fn workers(&self) -> usize {
        self.members.len()
    }

    /// Says which phase it is.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.common.progress.enter(phase);
        self.collector.entered(phase);
    }

    /// Tells all workers. One that is gone is found when it is sent home.
    pub(super) async fn tell(&self, cue: Cue) {
        for member in &self.members {
            let _gone = member.cues.send(cue).await;
        }
    }

    /// Waits for something, and collects meanwhile.
    pub(super) async fn until(
        &mut self,
        deadline: Option<Instant>,
        is_so: impl Fn(&Gauges) -> bool,
    ) -> Waited {
        let gauges = self.common.gauges.clone();
        let stop = self.stop.clone();
        loop {
            if is_so(&gauges) || self.members.iter().any(|member| member.thread.is_finished()) {
                return Waited::Done;
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Waited::TimedOut;
            }
            let look = deadline.map_or(now + LOOK, |deadline| deadline.min(now + LOOK));
            tokio::select! {
                () = stop.cancelled() => return Waited::Stopped,
                handed = self.slices.recv() => self.collect(handed),
                () = sleep_until(look) => {}
            }
        }
    }

    /// Waits for something even though somebody wants the run to end, for at most so long without progress.
    pub(super) async fn settle(&mut self, patience: Duration, is_so: impl Fn(&Gauges) -> bool) -> bool {
        let gauges = self.common.gauges.clone();
        let (mut delivered, mut deadline) = (gauges.delivered(), Instant::now() + patience);
        loop {
            if is_so(&gauges) {
                return true;
            }
            if gauges.delivered() != delivered {
                (delivered, deadline) = (gauges.delivered(), Instant::now() + patience);
            }
            let now = Instant::now();
            if deadline <= now || self.members.iter().any(|member| member.thread.is_finished()) {
                return false;
            }
            tokio::select! {
                handed = self.slices.recv() => self.collect(handed),
                () = sleep_until(deadline.min(now + LOOK)) => {}
            }
        }
    }

    /// Ends all workers, and takes what they leave.
    ///
    /// # Errors
    ///
    /// [`RunError::System`] when one of them did not live to the end.
    pub(super) async fn home(&mut self) -> Result<Vec<Harvest>, RunError> {
        self.tell(Cue::Close).await;
        let mut harvests = Vec::new();
        for member in self.members.drain(..) {
            let ended = member.thread.join();
            let died = || Err(std::io::Error::other("it panicked"));
            let harvest = ended.unwrap_or_else(|_| died());
            harvests.push(harvest.map_err(|error| RunError::System {
                what: "worker",
                error,
            })?);
        }
        while let Ok(handed) = self.slices.try_recv() {
            self.collector.take(handed);
        }
        Ok(harvests)
    }

    fn collect(&mut self, handed: Option<Handed>) {
        let Some(handed) = handed else { return };
        let worker = handed.worker;
        let empty = self.collector.take(handed);
        if let Some(member) = self.members.get(worker) {
            let _unneeded = member.back.try_send(empty);
        }
    }
}

/// Workers on which somebody writes: these share the schedule.
fn writers(common: &Common, shares: &[Vec<u32>]) -> Vec<usize> {
    let plan: &Arc<_> = &common.plan;
    let writes = |client: &u32| plan.senders.iter().any(|sender| sender.client == *client);
    let workers = shares.iter().enumerate();
    workers
        .filter(|(_, share)| share.iter().any(writes))
        .map(|(worker, _)| worker)
        .collect()
}

fn schedule(scenario: &Scenario, worker: (u32, u32)) -> Option<Schedule> {
    let Load::Open { stages, arrival } = &scenario.load else {
        return None;
    };
    let warmup = scenario.phases.warmup.0;
    Some(Schedule::new(stages, *arrival, warmup, scenario.seed, worker))
}

/// Slices that a worker may have out.
const SLICES: usize = 2;
const CUES: usize = 16;
/// How often it is looked whether a phase is over.
const LOOK: Duration = Duration::from_millis(5);
