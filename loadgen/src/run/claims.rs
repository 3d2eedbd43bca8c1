//! A load of claims: one-time keys are claimed by a schedule, and no key may be handed out twice.
//!
//! Nobody connects, and one thread is enough: a claim is a request to the directory, and durable before it is answered.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Nanos;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::progress::Phase;
use crate::run::RunError;
use crate::run::collect::{Collector, process_cpu};
use crate::run::gate::Gate;
use crate::run::integrity::integrity;
use crate::run::pacer::Timer;
use crate::run::shop::Common;
use crate::run::slice::{Handed, Slice};
use crate::scenario::{Arrival, Stage};
use crate::schedule::{Due, Schedule};
use crate::tally::{Count, Latency, Tally};
use crate::units::{Rate, Span};
use crate::wire::{Claimed, Trouble, Who, Wire};

/// What a scenario says of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claims {
    pub(super) rate: Rate,
    pub(super) duration: Span,
    pub(super) targets: u32,
    pub(super) keys_each: u32,
    pub(super) seed: u64,
    /// Which agent this is, of how many.
    pub(super) agent: (u32, u32),
}

/// Who claims, and what was found.
struct Till<'a, W: Wire> {
    place: &'a W::Place,
    common: &'a Common,
    clients: &'a [Who],
    targets: usize,
    /// Keys that were handed out: whose, and which.
    seen: HashSet<(usize, String)>,
    slice: Box<Slice>,
    collector: Collector,
    began: Nanos,
    missed: u64,
}

/// A claim that was answered.
type Answer = (usize, Due, Result<Claimed, Trouble>);

/// Publishes keys, and claims them.
///
/// # Errors
///
/// [`RunError::Setup`] when keys cannot be published.
pub(super) async fn perform<W: Wire>(
    claims: Claims,
    place: &W::Place,
    common: &Common,
    gate: Option<Gate>,
    stop: &CancellationToken,
) -> Result<Outcome, RunError> {
    let clients = whos(common).map_err(RunError::Setup)?;
    let targets = (claims.targets as usize).clamp(1, clients.len().max(1));
    let publishing = clients.iter().take(targets);
    let publishing = publishing.map(|who| W::publish(place, who, claims.keys_each));
    let published: Result<(), _> = stream::iter(publishing)
        .buffer_unordered(PUBLISHED_AT_ONCE)
        .try_collect()
        .await;
    published.map_err(RunError::Setup)?;
    let passed = tokio::select! {
        passed = pass(gate) => passed,
        () = stop.cancelled() => None,
    };
    let Some(earliest) = passed else {
        return Ok(Outcome {
            is_interrupted: true,
            ..Outcome::default()
        });
    };
    let begins = Instant::from_std(common.clock.instant(earliest));
    tokio::time::sleep_until(begins).await;
    let mut till = Till::<W> {
        place,
        common,
        clients: &clients,
        targets,
        seen: HashSet::new(),
        slice: Box::default(),
        collector: Collector::new(common.clock, common.gauges.clone(), 1),
        began: common.clock.now(),
        missed: 0,
    };
    common.progress.enter(Phase::Load);
    till.collector.entered(Phase::Load);
    let stage = Stage {
        from: None,
        rate: claims.rate,
        lasts: claims.duration,
    };
    let schedule = Schedule::new(
        &[stage],
        Arrival::Constant,
        Duration::ZERO,
        claims.seed,
        claims.agent,
    );
    let cpu = process_cpu();
    let starts = common.clock.now();
    let done = till.serve(schedule, stop).await;
    let done = done.map_err(|error| RunError::System { what: "timer", error })?;
    Ok(till.finish(done, starts, process_cpu() - cpu))
}

impl<'a, W: Wire> Till<'a, W> {
    /// Claims what is due, until the last answer. False when it was stopped.
    async fn serve(&mut self, mut schedule: Schedule, stop: &CancellationToken) -> std::io::Result<bool> {
        let timer = Timer::new()?;
        let starts = self.common.clock.now();
        let mut under_way = FuturesUnordered::new();
        let (mut number, mut next, mut is_whole) = (0, schedule.next(), true);
        while next.is_some() || !under_way.is_empty() {
            let at = next.map_or(Nanos::MAX, |due| starts + due.at);
            tokio::select! {
                rung = timer.until(at, &self.common.clock), if next.is_some() => {
                    rung?;
                    let Some(due) = next else { continue };
                    let due = Due { at, ..due };
                    self.slice.measured.add(Count::Due, 1);
                    if under_way.len() < MOST_UNDER_WAY {
                        let late = self.common.clock.now().saturating_sub(at);
                        self.slice.measured.record(Latency::Late, late);
                        under_way.push(self.claim(number, due));
                    } else {
                        self.missed += 1;
                    }
                    number += 1;
                    next = schedule.next();
                }
                Some(answer) = under_way.next() => self.answered(answer),
                () = stop.cancelled(), if is_whole => (next, is_whole) = (None, false),
            }
            self.hand_over();
        }
        Ok(is_whole)
    }

    /// A claim by one client from another, both in turn.
    fn claim(&self, number: usize, due: Due) -> impl Future<Output = Answer> + use<'a, W> {
        let target = number % self.targets;
        let claimer = number % self.clients.len().max(1);
        let claimer = match claimer == target {
            true => (claimer + 1) % self.clients.len().max(1),
            false => claimer,
        };
        let (place, clients) = (self.place, self.clients);
        async move {
            let claimed = match (clients.get(claimer), clients.get(target)) {
                (Some(who), Some(target)) => W::claim(place, who, target).await,
                _ => Ok(Claimed::Nothing),
            };
            (target, due, claimed)
        }
    }

    fn answered(&mut self, (target, due, claimed): Answer) {
        let tally = &mut self.slice.measured;
        let took = self.common.clock.now().saturating_sub(due.at);
        match claimed {
            Ok(Claimed::Key(id)) => {
                tally.add(Count::Claimed, 1);
                if !self.seen.insert((target, id)) {
                    tally.add(Count::ClaimedTwice, 1);
                }
            }
            Ok(Claimed::Fallback | Claimed::Nothing) => tally.add(Count::Fallback, 1),
            Err(trouble) => {
                tally.error(&trouble.class);
                return self.common.gauges.went_wrong(&trouble, &self.common.progress);
            }
        }
        tally.record(Latency::Claim, took);
    }

    /// Once a second.
    fn hand_over(&mut self) {
        let now = self.common.clock.now();
        if now / SECOND > self.began / SECOND {
            self.take_slice();
            self.began = now;
        }
    }

    fn take_slice(&mut self) {
        let handed = Handed {
            worker: 0,
            began: self.began,
            slice: std::mem::take(&mut self.slice),
        };
        self.slice = self.collector.take(handed);
    }

    fn finish(mut self, is_whole: bool, starts: Nanos, cpu: f64) -> Outcome {
        self.take_slice();
        self.collector.finish();
        let seconds = self.common.clock.now().saturating_sub(starts) as f64 / 1e9;
        let whole: &Tally = &self.collector.whole;
        Outcome {
            integrity: integrity(&self.common.plan, &[], Vec::new(), whole),
            measured: std::mem::take(&mut self.collector.measured),
            whole: std::mem::take(&mut self.collector.whole),
            seconds,
            began: starts as f64 / 1e9,
            moments: std::mem::take(&mut self.collector.moments),
            interval: self.collector.interval(),
            missed: self.missed,
            cpu,
            busiest_worker: cpu / seconds.max(f64::MIN_POSITIVE),
            is_interrupted: !is_whole,
            ..Outcome::default()
        }
    }
}

/// When the load may begin; none when whoever knows about the others has left.
async fn pass(gate: Option<Gate>) -> Option<Nanos> {
    match gate {
        Some(gate) => gate.pass().await,
        None => Some(0),
    }
}

/// Everybody, with their tokens.
fn whos(common: &Common) -> Result<Vec<Who>, Trouble> {
    let plan: &Plan = &common.plan;
    let devices = plan.clients.iter().filter_map(|client| {
        let account = plan.accounts.get(client.account as usize)?;
        let token = common.passes.token(&account.name, &client.device_id);
        let token = token.map_err(|_| Trouble {
            class: "token".to_owned(),
            fatal: true,
        });
        Some(token.map(|token| Who {
            account: account.name.clone(),
            device_id: client.device_id.clone(),
            token,
            source: None,
        }))
    });
    devices.collect()
}

/// Longer than that, and it is the pool of connections that is measured.
const MOST_UNDER_WAY: usize = 1024;
const PUBLISHED_AT_ONCE: usize = 32;
const SECOND: Nanos = 1_000_000_000;
