//! A year on an injected clock: daylight saving, clocks that step, machines that sleep, relays that die, drain and come
//! back. Afterwards every tick was answered exactly once.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::config::schedule::Schedule;
use crate::store::{AHEAD, ATTEMPTS, Run, RunId};

/// Something that happens to one of three relays, or to all.
#[derive(Debug, Clone)]
enum Event {
    /// Time goes by with pulses: so many, so many seconds apart.
    Pass(u64, u64),
    /// Everybody sleeps for so many minutes.
    Suspend(u64),
    /// One relay gets no pulses for so many events.
    Sleep(usize, u64),
    /// A clock steps by so many seconds, and stays wrong.
    Step(usize, i64),
    /// A clock is right but for its seconds.
    Right(usize),
    /// A clock is wrong by so many days for one pulse.
    Leap(usize, u64),
    /// A relay dies, in the middle of a run if there is one soon.
    Kill(usize),
    /// A relay drains, in the middle of a run if there is one soon.
    Drain(usize),
    /// A relay is started again, when it is not there.
    Start(usize),
    /// The job is paused, or resumed.
    Pause(bool),
    /// One relay cannot reach the store, or can again.
    Away(usize, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let relay = 0..RELAYS;
    let apart = prop_oneof![Just(20), Just(300), Just(2820)];
    prop_oneof![
        8 => (10_u64..80, apart).prop_map(|(pulses, apart)| Event::Pass(pulses, apart)),
        2 => (3_u64..30_000).prop_map(Event::Suspend),
        1 => (relay.clone(), 1_u64..4).prop_map(|(relay, events)| Event::Sleep(relay, events)),
        2 => (relay.clone(), -20_000_i64..20_000).prop_map(|(relay, seconds)| Event::Step(relay, seconds)),
        1 => relay.clone().prop_map(Event::Right),
        1 => (relay.clone(), 2_u64..60).prop_map(|(relay, days)| Event::Leap(relay, days)),
        2 => relay.clone().prop_map(Event::Kill),
        2 => relay.clone().prop_map(Event::Drain),
        3 => relay.clone().prop_map(Event::Start),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => (relay, any::<bool>()).prop_map(|(relay, away)| Event::Away(relay, away)),
    ]
}

/// A run that somebody was at: on which life of which relay, from when to when.
#[derive(Debug, Clone)]
struct Stint {
    life: usize,
    began: Instant,
    ended: Option<Instant>,
}

type Stints = Arc<Mutex<Vec<Stint>>>;

/// A chore that takes a while, and says when it was at work.
struct Clocked {
    stints: Stints,
    life: usize,
    mine: Option<usize>,
    left: u64,
}

#[async_trait]
impl Chore for Clocked {
    async fn step(&mut self, _desk: &Desk, _findings: &mut Findings) -> Result<Step, Error> {
        let now = Instant::now();
        let mine = *self.mine.get_or_insert_with(|| {
            let mut stints = self.stints.lock();
            stints.push(Stint {
                life: self.life,
                began: now,
                ended: None,
            });
            stints.len() - 1
        });
        tokio::time::sleep(Duration::from_secs(13)).await;
        self.stints.lock()[mine].ended = Some(Instant::now());
        self.left = self.left.saturating_sub(1);
        Ok(match self.left {
            0 => Step::Done,
            _more => Step::More,
        })
    }
}

/// One of the relays: nothing when it is down.
struct Place {
    up: Option<(Relay, usize)>,
    /// How far its clock is off, and by how much when it is right.
    off: i64,
    base: i64,
    asleep: u64,
}

struct World {
    store: Arc<Model>,
    setting: &'static str,
    places: Vec<Place>,
    origin: Instant,
    lives: usize,
    /// When a life was killed: what its process did after that, it did not.
    killed: BTreeMap<usize, Instant>,
    stints: Stints,
    /// Runs that are forgotten by now.
    archive: BTreeMap<RunId, Run>,
}

impl World {
    async fn new(setting: &'static str) -> Self {
        let mut world = Self {
            store: Model::shared::<1>()[0].clone(),
            setting,
            places: Vec::new(),
            origin: Instant::now(),
            lives: 0,
            killed: BTreeMap::new(),
            stints: Stints::default(),
            archive: BTreeMap::new(),
        };
        for base in [0, -3_000, 7_000] {
            world.places.push(Place {
                up: None,
                off: base,
                base,
                asleep: 0,
            });
        }
        world.start(0);
        world.pass(1, 1).await;
        world.start(1);
        world.start(2);
        world
    }

    fn now(&self) -> UnixMs {
        UnixMs(START.0 + u64::try_from(self.origin.elapsed().as_millis()).unwrap())
    }

    fn start(&mut self, place: usize) {
        if self.places[place].up.is_some() {
            return;
        }
        let (life, stints) = (self.lives, Arc::clone(&self.stints));
        self.lives += 1;
        let runs = AtomicU64::new(life as u64);
        let chore = move |_job| -> Box<dyn Chore> {
            Box::new(Clocked {
                stints: Arc::clone(&stints),
                life,
                mine: None,
                left: runs.fetch_add(1, Ordering::Relaxed) % 5,
            })
        };
        let name = format!("relay {place}, life {life}");
        let relay = Relay::with_chore(&self.store.beside(), &name, self.setting, Arc::new(chore));
        self.places[place].up = Some((relay, life));
    }

    async fn pulse(&mut self, place: usize) {
        let now = i64::try_from(self.now().0).unwrap();
        let place = &mut self.places[place];
        if let Some((relay, _)) = &mut place.up
            && place.asleep == 0
        {
            let wrong = u64::try_from(now + place.off).unwrap();
            relay.hand.store(wrong, Ordering::Relaxed);
            relay.rounds.pulse().await;
        }
    }

    async fn pass(&mut self, pulses: u64, apart: u64) {
        for _ in 0..pulses {
            tokio::time::sleep(Duration::from_secs(apart)).await;
            for place in 0..self.places.len() {
                self.pulse(place).await;
            }
        }
    }

    /// Goes on until the relay is in the middle of a run, but not for long.
    async fn until_at_work(&mut self, place: usize, schedule: &Schedule) {
        let now = self.now();
        let next = schedule.next_after(now).unwrap();
        self.pass(1, (next.0 - now.0) / 1000 + 1).await;
        for _ in 0..20 {
            let is_at_work = |(relay, _): &(Relay, usize)| relay.runner.progress(JOB).is_some();
            if self.places[place].up.as_ref().is_none_or(is_at_work) {
                return;
            }
            self.pass(1, 10).await;
        }
    }

    async fn happens(&mut self, event: Event, schedule: &Schedule) {
        match event {
            Event::Pass(pulses, apart) => {
                self.pass(pulses, apart).await;
                for place in &mut self.places {
                    place.asleep = place.asleep.saturating_sub(1);
                }
            }
            Event::Suspend(minutes) => tokio::time::advance(Duration::from_secs(60 * minutes)).await,
            Event::Sleep(place, events) => self.places[place].asleep = events,
            Event::Step(place, seconds) => self.places[place].off += 1000 * seconds,
            Event::Right(place) => self.places[place].off = self.places[place].base,
            Event::Leap(place, days) => {
                let off = self.places[place].off;
                self.places[place].off += 86_400_000 * i64::try_from(days).unwrap();
                self.pulse(place).await;
                self.places[place].off = off;
            }
            Event::Kill(place) => {
                self.until_at_work(place, schedule).await;
                if let Some((relay, life)) = self.places[place].up.take() {
                    relay.store.trouble_jobs(Some(Error::Unavailable("dead".into())));
                    relay.stop.cancel();
                    self.killed.insert(life, Instant::now());
                }
            }
            Event::Drain(place) => {
                self.until_at_work(place, schedule).await;
                if let Some((relay, _)) = self.places[place].up.take() {
                    relay.stop.cancel();
                    relay.runner.is_idle().await;
                }
            }
            Event::Start(place) => self.start(place),
            Event::Pause(paused) => {
                let until = paused.then_some(crate::store::FOREVER);
                self.store.pause(JOB.as_str(), until).await.unwrap();
            }
            Event::Away(place, away) => {
                if let Some((relay, _)) = &self.places[place].up {
                    relay
                        .store
                        .trouble_jobs(away.then(|| Error::Unavailable("away".into())));
                }
            }
        }
        self.forget().await;
    }

    /// What a relay forgets, we remember.
    async fn forget(&mut self) {
        let runs = runs(&self.store).await;
        self.archive
            .extend(runs.into_iter().map(|run| (run.id.clone(), run)));
        let before = crate::jobs::before(self.now(), Duration::from_secs(60 * 86_400));
        self.store.trim_runs(before, 150, usize::MAX).await.unwrap();
    }

    /// Everything is well again, for longer than anything can have been wrong.
    async fn heals(&mut self) {
        self.store.pause(JOB.as_str(), None).await.unwrap();
        for place in 0..self.places.len() {
            self.start(place);
            let place = &mut self.places[place];
            (place.off, place.asleep) = (place.base, 0);
            if let Some((relay, _)) = &place.up {
                relay.store.trouble_jobs(None);
            }
        }
        self.pass(3 * 31, 2820).await;
        self.forget().await;
    }

    /// Every tick has one answer: a run of its own, or one run that answers it with others.
    fn each_tick_is_answered_once(&self, schedule: &Schedule) -> Result<usize, TestCaseError> {
        let until = self.now().0 - 4 * 3_600_000;
        let ahead = u64::try_from(AHEAD.as_millis()).unwrap();
        let firsts: Vec<&Run> = self.archive.values().filter(|run| run.id.attempt == 1).collect();
        let mut ticks = 0;
        let mut tick = UnixMs(START.0 + 10_000);
        while let Some(next) = schedule.next_after(tick).filter(|next| next.0 <= until) {
            tick = next;
            ticks += 1;
            let answers = firsts
                .iter()
                .filter(|run| run.after < tick && run.id.tick >= tick);
            // Sorted by tick.
            let answers: Vec<_> = answers.collect();
            let Some((answer, others)) = answers.split_first() else {
                return Err(TestCaseError::fail(format!("nobody answered {}", tick.rfc3339())));
            };
            for other in others {
                // Only what was too far ahead to be believed by who answered.
                prop_assert!(
                    other.id.tick.0 > answer.began_at.0 + ahead,
                    "{answer:?}\n{other:?}"
                );
            }
        }
        Ok(ticks)
    }

    /// A tick is tried again only after an attempt that was cut short.
    fn attempts_have_reasons(&self) -> Result<(), TestCaseError> {
        for run in self.archive.values() {
            prop_assert!(run.id.attempt <= ATTEMPTS);
            if run.id.attempt > 1 {
                let before = RunId {
                    attempt: run.id.attempt - 1,
                    ..run.id.clone()
                };
                let outcome = self.archive.get(&before).map(|run| run.outcome);
                prop_assert!(
                    outcome.is_some_and(Outcome::is_unfinished),
                    "{run:?} after {outcome:?}"
                );
            }
        }
        Ok(())
    }

    /// No two runs were at work at once. A process that died did nothing after that.
    fn nobody_ran_beside_another(&self) -> Result<(), TestCaseError> {
        let mut stints = self.stints.lock().clone();
        for stint in &mut stints {
            let killed = self.killed.get(&stint.life).copied();
            stint.ended = match (stint.ended, killed) {
                (Some(ended), Some(killed)) => Some(ended.min(killed)),
                (ended, killed) => ended.or(killed),
            };
        }
        stints.retain(|stint| stint.ended.is_none_or(|ended| ended > stint.began));
        stints.sort_by_key(|stint| stint.began);
        for pair in stints.windows(2) {
            prop_assert!(
                pair[0].ended.is_some_and(|ended| ended <= pair[1].began),
                "{pair:?}"
            );
        }
        Ok(())
    }
}

const RELAYS: usize = 3;

/// How many milliseconds the year has.
const YEAR: u64 = 366 * 86_400_000;

fn year(schedule: &'static str, events: &[Event]) -> Result<usize, TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(schedule).await;
        let plan = crate::jobs::plan::Plan::of(JOB, &settings(schedule).jobs);
        let schedule = plan.schedule.unwrap();
        for event in events.iter().cycle() {
            if world.now().0 > START.0 + YEAR {
                break;
            }
            world.happens(event.clone(), &schedule).await;
        }
        world.heals().await;
        world.attempts_have_reasons()?;
        world.nobody_ran_beside_another()?;
        world.each_tick_is_answered_once(&schedule)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn in_a_year_of_trouble_every_tick_is_answered_exactly_once(
        schedule in prop::sample::select(vec![
            "TZ=Europe/Berlin 30 */2 * * *; jitter=4m",
            "TZ=America/New_York 15 1,2,3,13 * * *; jitter=90s",
            "TZ=Australia/Lord_Howe */30 1-3 * * *; jitter=0s",
            "TZ=Europe/Berlin 30 2 * * *; missed=skip; jitter=4m",
            "every 3h; missed=skip; jitter=1m",
        ]),
        events in prop::collection::vec(event(), 40..80),
    ) {
        prop_assert!(year(schedule, &events)? > 300);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_wrong_stops_a_job_for_a_day_at_most() {
    let mut world = World::new("every 1h; jitter=0s").await;
    let schedule = "every 1h".parse().unwrap();
    world.happens(Event::Leap(0, 10), &schedule).await;
    world.pass(15 * 24 * 6, 600).await;
    let stints = world.stints.lock().clone();
    let pauses = stints.windows(2).map(|pair| pair[1].began - pair[0].began);
    let longest = pauses.max().unwrap();
    let hour = Duration::from_secs(3600);
    assert!(
        longest <= AHEAD + hour && longest >= AHEAD - 2 * hour,
        "{longest:?}"
    );
    world.heals().await;
    world.each_tick_is_answered_once(&schedule).unwrap();
}
