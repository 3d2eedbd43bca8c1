//! What a runner does about overlaps, failures, ends and changes.

use super::*;
use crate::jobs::hand::{self, Refusal, Wish};
use crate::jobs::pulse::Beat;
use crate::store::{Ended, Grant, Run, Work};

const EVERY_MINUTE: &str = "every 1m; jitter=0s";

fn away() -> Error {
    Error::Unavailable("away".into())
}

#[tokio::test(start_paused = true)]
async fn a_tick_is_run_once_and_counted() {
    let mut relay = Relay::new(&Model::new(), "one", EVERY_MINUTE, script([vec![Act::Takes(2)]]));
    relay.seconds(200).await;
    let ok = Outcome::Done;
    assert_eq!(relay.runs().await, [(60, 1, ok), (120, 1, ok), (180, 1, ok)]);
    let text = relay.metrics.exposition().unwrap();
    for line in [
        "chatctl_job_runs_total{job_name=\"expire-mail\",outcome=\"ok\"} 3",
        "chatctl_job_affected_total{job_name=\"expire-mail\"} 3",
        "chatctl_job_interval_seconds{job_name=\"expire-mail\"} 60",
        "chatctl_job_next_run_timestamp_seconds{job_name=\"expire-mail\"} 1800000240",
        "chatctl_job_last_success_timestamp_seconds{job_name=\"trim-history\"} 1800000001",
        "chatctl_job_running{job_name=\"expire-mail\"} 0",
        "chatctl_job_paused{job_name=\"expire-mail\"} 0",
        "chatctl_job_failures{job_name=\"expire-mail\"} 0",
        "chatctl_job_duration_seconds_count{job_name=\"expire-mail\"} 3",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(
        !text.contains("interval_seconds{job_name=\"trim-history\"}"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tick_during_a_run_is_skipped() {
    let script = script([vec![Act::Takes(90)]]);
    let mut relay = Relay::new(&Model::new(), "one", EVERY_MINUTE, script);
    relay.seconds(260).await;
    let (ok, skipped) = (Outcome::Done, Outcome::Skipped);
    assert_eq!(
        relay.runs().await,
        [
            (60, 1, ok),
            (120, 1, skipped),
            (180, 1, Outcome::Running),
            (240, 1, skipped)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_tick_during_a_run_waits_and_a_second_one_does_not() {
    let script = script([vec![Act::Takes(150)], vec![Act::Takes(1)]]);
    let setting = "every 1m; jitter=0s; overlap=queue-one";
    let mut relay = Relay::new(&Model::new(), "one", setting, script);
    relay.seconds(209).await;
    let (ok, skipped) = (Outcome::Done, Outcome::Skipped);
    assert_eq!(
        relay.runs().await,
        [
            (60, 1, Outcome::Running),
            (120, 1, Outcome::Queued),
            (180, 1, skipped)
        ]
    );
    relay.seconds(4).await;
    assert_eq!(relay.runs().await, [(60, 1, ok), (120, 1, ok), (180, 1, skipped)]);
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_at_its_timeout_after_the_step_it_is_at() {
    let script = script([vec![Act::Takes(4); 100]]);
    let setting = "every 1m; jitter=0s; timeout=30s";
    let mut relay = Relay::new(&Model::new(), "one", setting, script);
    relay.seconds(100).await;
    let run = runs(&relay.store).await.remove(0);
    // Steps at 0 and 16 seconds: a pause three times as long follows each of them.
    assert_eq!((run.outcome, run.work.affected), (Outcome::TimedOut, 2));
    assert_eq!(run.ended_at, Some(UnixMs(START.0 + 90_000)));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_never_ends_is_given_up_in_the_end() {
    let script = script([vec![Act::Takes(100_000)]]);
    let setting = "every 1h; jitter=0s; timeout=30s";
    let mut relay = Relay::new(&Model::new(), "one", setting, script);
    relay.seconds(3600 + 61).await;
    let run = runs(&relay.store).await.remove(0);
    assert_eq!(
        (run.outcome, run.error.as_deref()),
        (Outcome::TimedOut, Some("a step did not end"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_is_tried_again_and_the_run_ends_well() {
    let script = script([vec![
        Act::Takes(0),
        Act::Fails(away()),
        Act::Fails(Error::Full),
        Act::Takes(0),
    ]]);
    let mut relay = Relay::new(&Model::new(), "one", EVERY_MINUTE, script);
    relay.seconds(70).await;
    let run = runs(&relay.store).await.remove(0);
    let work = Work {
        affected: 2,
        retries: 2,
        ..Work::default()
    };
    assert_eq!((run.outcome, run.work), (Outcome::Done, work));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_beyond_help_ends_a_run_at_once() {
    let script = script([vec![Act::Fails(Error::Corrupt("a record".into()))]]);
    let mut relay = Relay::new(&Model::new(), "one", EVERY_MINUTE, script);
    relay.seconds(61).await;
    let run = runs(&relay.store).await.remove(0);
    assert_eq!(run.outcome, Outcome::Failed);
    assert_eq!(
        run.error.as_deref(),
        Some("the store holds something unreadable: a record")
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_written_down_and_the_next_tick_is_run() {
    let script = script([vec![Act::Panics], vec![Act::Takes(0)]]);
    let mut relay = Relay::new(&Model::new(), "one", EVERY_MINUTE, script);
    relay.seconds(130).await;
    let all = runs(&relay.store).await;
    let rows: Vec<_> = all
        .iter()
        .map(|run| (run.outcome, run.error.as_deref()))
        .collect();
    assert_eq!(
        rows,
        [
            (Outcome::Panicked, Some("this step panics")),
            (Outcome::Done, None)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_goes_ends_its_run_after_the_step_and_another_one_takes_it_over() {
    let [store, other] = Model::shared();
    let script = script([vec![Act::Takes(10); 5]]);
    let mut going = Relay::new(&store, "one", EVERY_MINUTE, Arc::clone(&script));
    let mut staying = Relay::new(&other, "two", EVERY_MINUTE, script);
    staying.seconds(1).await;
    going.seconds(65).await;
    let begun = tokio::time::Instant::now();
    going.stop.cancel();
    going.runner.is_idle().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!(going.runs().await, [(60, 1, Outcome::Stopped)]);
    assert!(going.runner.start(JOB, None).await.is_err());
    staying.seconds(11).await;
    assert_eq!(
        staying.runs().await,
        [(60, 1, Outcome::Stopped), (60, 2, Outcome::Running)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_broken_lease_ends_a_run_and_it_writes_nothing() {
    let script = script([vec![Act::Takes(5); 50]]);
    let mut relay = Relay::new(&Model::new(), "one", "every 1h; jitter=0s", script);
    relay.seconds(3605).await;
    let now = UnixMs(relay.hand.load(Ordering::Relaxed));
    relay.store.unlock(JOB.as_str(), now).await.unwrap().unwrap();
    relay
        .store
        .pause(JOB.as_str(), Some(crate::store::FOREVER))
        .await
        .unwrap();
    assert!(relay.runner.progress(JOB).is_some());
    relay.seconds(15).await;
    assert_eq!(relay.runner.progress(JOB), None);
    let run = runs(&relay.store).await.remove(0);
    // As the unlock left it.
    assert_eq!((run.outcome, run.ended_at), (Outcome::LeaseLost, Some(now)));
    let text = relay.metrics.exposition().unwrap();
    let line = "chatctl_job_runs_total{job_name=\"expire-mail\",outcome=\"lease-lost\"} 1";
    assert!(text.contains(line), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_ends_a_run_before_somebody_else_begins() {
    let script = script([vec![Act::Takes(2); 500]]);
    let mut relay = Relay::new(&Model::new(), "one", "every 1h; jitter=0s; timeout=1h", script);
    relay.seconds(3605).await;
    relay.store.trouble_jobs(Some(away()));
    relay.seconds(20).await;
    assert!(relay.runner.progress(JOB).is_some());
    relay.seconds(10).await;
    assert_eq!(relay.runner.progress(JOB), None);
    relay.store.trouble_jobs(None);
    assert_eq!(relay.runs().await, [(3600, 1, Outcome::Running)]);
    relay.seconds(20).await;
    assert_eq!(
        relay.runs().await,
        [(3600, 1, Outcome::Crashed), (3600, 2, Outcome::Running)]
    );
}

#[tokio::test(start_paused = true)]
async fn settings_are_followed_at_the_next_pulse() {
    let mut relay = Relay::new(&Model::new(), "one", "every 1h; jitter=0s", script([vec![]]));
    relay.seconds(90).await;
    assert_eq!(relay.runs().await, []);
    relay.live.follow(&settings("every 10s; jitter=0s"));
    relay.seconds(15).await;
    let ok = Outcome::Done;
    assert_eq!(relay.runs().await, [(100, 1, ok)]);
    relay.live.follow(&settings("off"));
    relay.seconds(30).await;
    let mut external = settings("every 10s; jitter=0s");
    external.jobs.external = true;
    relay.live.follow(&external);
    relay.seconds(30).await;
    assert_eq!(relay.runs().await, [(100, 1, ok)]);
    // By hand it runs still.
    relay.runner.start(JOB, None).await.unwrap();
    relay.seconds(1).await;
    let triggers: Vec<_> = runs(&relay.store).await.iter().map(|run| run.trigger).collect();
    assert_eq!(triggers, [Trigger::Schedule, Trigger::Hand]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_while_loses_no_tick() {
    let mut relay = Relay::new(&Model::new(), "one", EVERY_MINUTE, script([vec![]]));
    relay.seconds(70).await;
    relay.store.trouble_jobs(Some(away()));
    relay.seconds(140).await;
    relay.store.trouble_jobs(None);
    relay.seconds(31).await;
    let ranges = ranges(&runs(&relay.store).await);
    assert_eq!(ranges, [(59, 60), (119, 180), (239, 240)]);
}

/// After which second, and up to which: of each run.
fn ranges(runs: &[Run]) -> Vec<(u64, u64)> {
    let range = |run: &Run| (run.after.0, run.id.tick.0);
    let seconds = |(after, tick)| ((after - START.0) / 1000, (tick - START.0) / 1000);
    runs.iter().map(range).map(seconds).collect()
}

#[tokio::test(start_paused = true)]
async fn ticks_that_nobody_saw_are_answered_by_one_run_or_noted() {
    for (missed, rows) in [
        ("run-once", vec![(60, Outcome::Done), (36_000, Outcome::Done)]),
        (
            "skip",
            vec![
                (60, Outcome::Done),
                (35_940, Outcome::Missed),
                (36_000, Outcome::Done),
            ],
        ),
    ] {
        let setting = format!("every 1m; jitter=0s; missed={missed}");
        let mut relay = Relay::new(&Model::new(), "one", &setting, script([vec![]]));
        relay.seconds(61).await;
        relay.hand.store(START.0 + 36_009_000, Ordering::Relaxed);
        relay.seconds(2).await;
        let runs = relay.runs().await;
        let found: Vec<_> = runs.iter().map(|(tick, _, outcome)| (*tick, *outcome)).collect();
        assert_eq!(found, rows, "{missed}");
    }
}

#[tokio::test(start_paused = true)]
async fn old_ticks_that_are_not_made_up_for_are_noted() {
    let setting = "every 1h; jitter=0s; missed=skip";
    let mut relay = Relay::new(&Model::new(), "one", setting, script([vec![]]));
    relay.seconds(1).await;
    relay
        .hand
        .store(START.0 + 5 * 3_600_000 + 100_000, Ordering::Relaxed);
    relay.seconds(1).await;
    assert_eq!(relay.runs().await, [(5 * 3600, 1, Outcome::Missed)]);
    assert_eq!(ranges(&runs(&relay.store).await), [(1, 5 * 3600)]);
}

#[tokio::test(start_paused = true)]
async fn a_year_in_one_jump_is_one_run() {
    let mut relay = Relay::new(&Model::new(), "one", EVERY_MINUTE, script([vec![]]));
    relay.seconds(1).await;
    relay.hand.fetch_add(365 * 86_400_000, Ordering::Relaxed);
    relay.seconds(1).await;
    assert_eq!(relay.runs().await, [(365 * 86_400, 1, Outcome::Done)]);
}

#[tokio::test(start_paused = true)]
async fn a_run_by_hand_is_refused_while_another_one_runs() {
    let store = Model::new();
    let mut relay = Relay::new(&store, "one", EVERY_MINUTE, script([vec![Act::Takes(5); 4]]));
    relay.seconds(1).await;
    let run = relay.runner.start(JOB, None).await.unwrap();
    relay.seconds(6).await;
    let under_way = relay.runner.progress(JOB).unwrap();
    assert_eq!((&under_way.run, under_way.findings.work.affected), (&run, 1));
    let Err(Refusal::Held(held)) = relay.runner.start(JOB, None).await else {
        unreachable!("it was begun twice");
    };
    assert_eq!((held.run, &*held.holder), (run, "one"));
    assert!(relay.runner.stop(JOB));
    relay.seconds(5).await;
    assert!(!relay.runner.stop(JOB));
    let run = runs(&store).await.remove(0);
    assert_eq!((run.trigger, run.outcome), (Trigger::Hand, Outcome::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_run_by_hand_waits_for_its_end_and_never_takes_the_place_of_a_tick() {
    let store = Model::new();
    let relay = Relay::new(&store, "one", EVERY_MINUTE, script([]));
    let wish = Wish {
        job: JobName::PruneRevocations,
        timeout: Duration::from_secs(60),
        holder: "somebody".into(),
    };
    for millisecond in 1..=2 {
        let ran = hand::run(
            wish.clone(),
            relay.runner.desk(),
            &|_| {},
            CancellationToken::new(),
        )
        .await;
        let ran = ran.unwrap();
        assert_eq!(
            (ran.outcome, ran.run.tick.0),
            (Outcome::Done, START.0 + millisecond)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_is_written_again_when_its_answer_was_lost() {
    let store = Model::new();
    let mut relay = Relay::new(
        &store,
        "one",
        "every 1h; jitter=0s",
        script([vec![Act::Takes(3)]]),
    );
    relay.seconds(3601).await;
    store.trouble_jobs(Some(away()));
    relay.seconds(2).await;
    store.trouble_jobs(None);
    relay.seconds(3).await;
    assert_eq!(relay.runs().await, [(3600, 1, Outcome::Done)]);
    // Nobody holds it any more.
    let grant = Grant {
        run: runs(&store).await.remove(0).id,
        fence: 1,
    };
    let ended = Ended {
        outcome: Outcome::Failed,
        at: START,
        work: Work::default(),
        error: None,
    };
    assert!(!store.end(&grant, &ended).await.unwrap());
}

/// Pulses that come when a test says so.
struct ByHand(tokio::sync::mpsc::Receiver<()>);

impl Beat for ByHand {
    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    async fn end(self) {}
}

#[tokio::test(start_paused = true)]
async fn a_runner_returns_when_its_last_run_has_ended() {
    let store = Model::new();
    let relay = Relay::new(&store, "one", EVERY_MINUTE, script([vec![Act::Takes(7); 9]]));
    let (beat, beats) = tokio::sync::mpsc::channel(1);
    let running = Arc::clone(&relay.runner).run_at(ByHand(beats), TaskTracker::new(), relay.stop.clone());
    let story = async {
        beat.send(()).await.unwrap();
        settle().await;
        relay.hand.fetch_add(60_000, Ordering::Relaxed);
        beat.send(()).await.unwrap();
        settle().await;
        assert!(relay.runner.progress(JOB).is_some());
        relay.stop.cancel();
    };
    tokio::join!(running, story);
    assert_eq!(relay.runner.progress(JOB), None);
    assert_eq!(relay.runs().await, [(60, 1, Outcome::Stopped)]);
}
