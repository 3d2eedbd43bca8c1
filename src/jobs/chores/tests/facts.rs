//! What single chores do, and what they leave alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::v1::{self};
use chatctl_protocol::{Address, CloseCode, Suite};
use rand::SeedableRng as _;

use super::house::{DAY, House, KEYS_LOW, T0, WEEK, address, otk};
use crate::auth::Keyset;
use crate::committer::Outcome;
use crate::config::jobs::JobName;
use crate::directory::ClaimRequest;
use crate::jobs::chores::look;
use crate::jobs::{Findings, before};
use crate::model::UnixMs;
use crate::session::Said;
use crate::store::model::Model;
use crate::store::{Begin, Begun, Ended, Outcome as Ran, Overlap, Registered, Trigger, Work};

async fn house() -> House {
    House::over(Model::new()).await
}

/// Two devices, and the second one's mailbox holds so much mail of the first.
async fn with_mail(house: &House, envelopes: u64) -> (Address, Address) {
    let (alice, bob) = (address("alice"), address("bob"));
    let sender = house.install(&alice, 1).await;
    house.install(&bob, 1).await;
    for name in 0..envelopes {
        let sent = house.send((&alice, sender.mailbox), (&bob, 1), name, 3600).await;
        assert!(matches!(sent, Ok(Outcome::Safe { .. })), "{sent:?}");
    }
    (alice, bob)
}

fn counts(findings: &Findings) -> Vec<(&str, u64)> {
    let counts = findings.work.counts.iter();
    counts.map(|(name, count)| (&**name, *count)).collect()
}

#[tokio::test(start_paused = true)]
async fn mail_whose_time_is_over_goes_and_its_recipient_hears_how_much_it_was() {
    let house = house().await;
    let (_, bob) = with_mail(&house, 3).await;
    assert_eq!(
        look(JobName::ExpireMail, &house.desk)
            .await
            .unwrap()
            .work
            .affected,
        0
    );
    house.pass(3_600_000);
    let found = look(JobName::ExpireMail, &house.desk).await.unwrap();
    assert_eq!(
        found,
        Findings {
            work: Work {
                affected: 3,
                counts: vec![("envelopes".into(), 3)],
                oldest: Some(UnixMs(T0 + 3_600_000)),
                retries: 0,
            },
            bytes: 3,
            lines: Vec::new(),
        }
    );
    let ran = house.run(JobName::ExpireMail).await;
    assert_eq!((ran.work.affected, ran.bytes), (3, 3));
    assert_eq!(counts(&ran), [("envelopes", 3), ("mailboxes", 1), ("bytes", 3)]);
    let (_session, said) = house.sign_on(&bob).await.unwrap();
    let gaps = said.iter().filter_map(|body| match body {
        Body::Gap(gap) => Some(gap.dropped),
        _other => None,
    });
    assert_eq!(gaps.collect::<Vec<_>>(), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_send_is_remembered_to_the_end_of_its_window() {
    let house = house().await;
    with_mail(&house, 2).await;
    house.pass(WEEK.as_millis() as u64);
    assert_eq!(house.run(JobName::PruneRecords).await.work.affected, 0);
    house.pass(1);
    assert_eq!(
        look(JobName::PruneRecords, &house.desk)
            .await
            .unwrap()
            .work
            .affected,
        2
    );
    let ran = house.run(JobName::PruneRecords).await;
    assert_eq!(counts(&ran), [("records", 2)]);
    assert_eq!(
        look(JobName::PruneRecords, &house.desk)
            .await
            .unwrap()
            .work
            .affected,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_device_that_stays_away_goes_and_one_that_is_here_stays() {
    let house = house().await;
    let (alice, bob) = with_mail(&house, 1).await;
    let (mut session, _) = house.sign_on(&alice).await.unwrap();
    house.pass(WEEK.as_millis() as u64);
    assert_eq!(house.run(JobName::RemoveIdleDevices).await.work.affected, 0);
    house.pass(DAY);
    // Nobody has stamped alice for a week but the job itself.
    assert_eq!(
        counts(&house.run(JobName::RemoveIdleDevices).await),
        [("devices", 1)]
    );
    assert!(house.switchboard.device(&bob).await.unwrap().is_none());
    assert!(house.switchboard.device(&alice).await.unwrap().is_some());
    session.pump(&mut Vec::new()).await.unwrap();
    let refused = house.sign_on(&bob).await.map(drop).unwrap_err();
    assert_eq!(refused.code, CloseCode::DeviceRemoved);
    assert!(matches!(house.register(&bob, 1).await, Registered::Created(_)));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_does_something_once_a_week_stays() {
    let house = house().await;
    let (alice, _) = with_mail(&house, 0).await;
    for _ in 0..4 {
        house.pass(7 * DAY - 1);
        house.run(JobName::RemoveIdleDevices).await;
        house.switchboard.acting(&alice).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_comes_first_turns_the_device_away_though_the_list_still_has_it() {
    let house = house().await;
    let (alice, bob) = with_mail(&house, 0).await;
    house.pass(8 * DAY);
    assert!(house.switchboard.device(&alice).await.unwrap().is_some());
    // As another relay does it: nobody here is told.
    let now = house.clock.now();
    let gone = house.store.remove_idle(before(now, WEEK), now, 10).await.unwrap();
    assert_eq!(gone.len(), 2);
    let refused = house.sign_on(&alice).await.map(drop).unwrap_err();
    assert_eq!(refused.code, CloseCode::DeviceRemoved);
    assert!(house.hub.is_empty());
    house.switchboard.acting(&bob).await.unwrap_err();
    assert!(matches!(house.register(&bob, 1).await, Registered::Created(_)));
    house.switchboard.acting(&bob).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_device_is_gone_ends_with_the_next_stamp() {
    let house = house().await;
    let (alice, _) = with_mail(&house, 0).await;
    let (mut session, _) = house.sign_on(&alice).await.unwrap();
    house
        .store
        .remove_device(&alice, house.clock.now())
        .await
        .unwrap();
    house.switchboard.stamp_present().await.unwrap();
    session.pump(&mut Vec::new()).await.unwrap();
    house.pass(DAY);
    house.switchboard.stamp_present().await.unwrap();
    let left = session.pump(&mut Vec::new()).await.unwrap_err();
    assert_eq!(left.code, CloseCode::DeviceRemoved);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_idle_where_the_limit_is_zero_or_the_stamps_have_only_begun() {
    let mut house = house().await;
    with_mail(&house, 0).await;
    house.pass(6 * DAY);
    // The store has heard of jobs for less than the limit, whatever the age of what it holds.
    house.desk.terms.idle_devices = Duration::from_secs(6 * 24 * 3600 + 1);
    assert_eq!(
        look(JobName::RemoveIdleDevices, &house.desk).await.unwrap(),
        Findings::default()
    );
    house.pass(30 * DAY);
    assert_eq!(
        look(JobName::RemoveIdleDevices, &house.desk)
            .await
            .unwrap()
            .work
            .affected,
        2
    );
    house.desk.terms.idle_devices = Duration::ZERO;
    assert_eq!(house.run(JobName::RemoveIdleDevices).await, Findings::default());
}

/// Notes a run as one that ended well now.
async fn note_run(house: &House, job: JobName) {
    let now = house.clock.now();
    let begin = Begin {
        job: job.as_str().into(),
        tick: now,
        after: now,
        trigger: Trigger::Schedule,
        holder: "test".into(),
        term: Duration::from_secs(60),
        overlap: Overlap::Skip,
        now,
    };
    let Begun::Granted(grant) = house.store.begin(&begin).await.unwrap() else {
        panic!("not granted");
    };
    let ended = Ended {
        outcome: Ran::Done,
        at: now,
        work: Work::default(),
        error: None,
    };
    assert!(house.store.end(&grant, &ended).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_relay_was_off_makes_nobody_idle() {
    let house = house().await;
    with_mail(&house, 0).await;
    note_run(&house, JobName::ReportLowKeys).await;
    house.pass(200 * DAY);
    for _ in 0..7 {
        note_run(&house, JobName::ReportLowKeys).await;
        assert_eq!(
            look(JobName::RemoveIdleDevices, &house.desk)
                .await
                .unwrap()
                .work
                .affected,
            0
        );
        house.pass(DAY);
    }
    note_run(&house, JobName::ReportLowKeys).await;
    house.pass(DAY);
    assert_eq!(
        look(JobName::RemoveIdleDevices, &house.desk)
            .await
            .unwrap()
            .work
            .affected,
        2
    );
}

/// The name of the item that a claim brings.
async fn claim(house: &House, caller: &Address, owner: &Address) -> String {
    let request = ClaimRequest {
        suite: Suite::Olm,
        pools: vec![otk()],
        targets: BTreeMap::from([(owner.account.clone(), None)]),
    };
    let answer = house
        .switchboard
        .directory()
        .claim(caller, request)
        .await
        .unwrap();
    let mut devices = answer.accounts.into_iter().flat_map(|account| account.devices);
    let item = devices.next().and_then(|device| device.items.into_iter().next()?);
    item.map(|item| item.id.to_string()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn an_item_that_was_handed_out_is_not_again_within_ninety_days_however_often_is_pruned() {
    let house = house().await;
    let (alice, bob) = with_mail(&house, 0).await;
    let upload = || house.upload(&bob, [(1, 1)], Some((1, 99)));
    upload().await.unwrap();
    assert_eq!(claim(&house, &alice, &bob).await, "1-1");
    for _ in 0..90 {
        house.run(JobName::PruneTombstones).await;
        upload().await.unwrap();
        assert_eq!(claim(&house, &alice, &bob).await, "1-99");
        house.pass(DAY - 1);
    }
    house.pass(90);
    assert_eq!(
        look(JobName::PruneTombstones, &house.desk)
            .await
            .unwrap()
            .work
            .affected,
        0
    );
    house.pass(1);
    assert_eq!(
        counts(&house.run(JobName::PruneTombstones).await),
        [("tombstones", 1)]
    );
    upload().await.unwrap();
    assert_eq!(claim(&house, &alice, &bob).await, "1-1");
}

/// How many low pools a session says.
fn said_low(said: impl IntoIterator<Item = Body>) -> usize {
    let low = said
        .into_iter()
        .filter(|body| matches!(body, Body::KeysLow(v1::KeysLow { .. })));
    low.count()
}

#[tokio::test(start_paused = true)]
async fn a_device_low_on_keys_is_reported_counted_and_reminded_once_a_day() {
    let house = house().await;
    let (alice, bob) = with_mail(&house, 0).await;
    let items = |count| (0..count).map(|item| (1, item));
    house.upload(&alice, items(KEYS_LOW as u8), None).await.unwrap();
    house.upload(&bob, items(KEYS_LOW as u8 + 1), None).await.unwrap();
    let (mut session, said) = house.sign_on(&alice).await.unwrap();
    assert_eq!(said_low(said), 1);
    let mut heard = Vec::new();
    for hour in 1..=48_usize {
        house.pass(3_600_000);
        let ran = house.run(JobName::ReportLowKeys).await;
        assert_eq!(counts(&ran), [("pools", 1), ("empty", 0), ("devices", 2)]);
        assert_eq!(ran.lines, ["alice/1 olm otk: 3 left and no fallback"]);
        assert_eq!(ran.work.affected, 1);
        // The bell plans the notice, and the next turn says it.
        let mut said = Vec::new();
        session.pump(&mut said).await.unwrap();
        tokio::time::advance(Duration::from_millis(1)).await;
        session.pump(&mut said).await.unwrap();
        if said_low(said.into_iter().map(Said::into_body)) > 0 {
            heard.push(hour);
        }
    }
    assert_eq!(heard, [24, 48]);
    assert_eq!(house.metrics.devices_low_on_keys.get(), 1);
    assert_eq!(
        look(JobName::ReportLowKeys, &house.desk)
            .await
            .unwrap()
            .work
            .affected,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_has_signed_for_too_long_is_named_and_nothing_of_it_is_shown() {
    let mut house = house().await;
    house.desk.keys = Arc::new(|| {
        let mut dice = rand::rngs::StdRng::seed_from_u64(1);
        Keyset::generate(&mut dice, UnixMs(T0)).unwrap().facts().collect()
    });
    assert_eq!(house.run(JobName::RemindKeyRotation).await, Findings::default());
    house.pass(WEEK.as_millis() as u64);
    let ran = house.run(JobName::RemindKeyRotation).await;
    let kid = (house.desk.keys)().remove(0).kid;
    assert_eq!(
        ran.lines,
        [format!("{kid}: it has been active for 7 days: time to rotate")]
    );
    assert_eq!((ran.work.affected, counts(&ran)), (1, vec![("keys", 1)]));
    assert_eq!(look(JobName::RemindKeyRotation, &house.desk).await.unwrap(), ran);
}

#[tokio::test(start_paused = true)]
async fn runs_of_long_ago_are_forgotten_and_the_last_one_stays() {
    let house = house().await;
    for _ in 0..3 {
        note_run(&house, JobName::CompactStore).await;
        house.pass(5 * DAY);
    }
    assert_eq!(
        look(JobName::TrimHistory, &house.desk)
            .await
            .unwrap()
            .work
            .affected,
        2
    );
    assert_eq!(counts(&house.run(JobName::TrimHistory).await), [("runs", 2)]);
    assert_eq!(counts(&house.run(JobName::CompactStore).await), [("bytes", 0)]);
}
