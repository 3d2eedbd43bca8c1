//! What holds of every schedule, zone and instant.

use chrono::{DateTime, Timelike as _};
use proptest::prelude::*;

use super::*;

const ZONES: [Tz; 7] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::Australia__Lord_Howe,
    // Its clocks change at midnight.
    Tz::Africa__Cairo,
    // Ahead in winter, and for Ramadan.
    Tz::Africa__Casablanca,
    Tz::Antarctica__Troll,
];

const PATTERNS: [&str; 18] = [
    "30 2 * * *",
    "0 2 * * *",
    "0 0 * * *",
    "30 1 * * *",
    "15 2 * * *",
    "59 59 23 * * *",
    "*/30 * * * *",
    "*/7 * * * *",
    "17 * * * *",
    "0,30 2 * * *",
    "*/20 0-3 * * *",
    "0 1,2,3 * * SUN",
    "30 2 * * SUN",
    "45 1 1-7 * SUN",
    "30 2 L * *",
    "20 */5 1-2 * * *",
    "0 0 1 * *",
    "* * * * *",
];

/// Instants from days before a change of the clock until days after it, and anywhere.
fn near_changes() -> impl Strategy<Value = u64> {
    let days = [
        "2026-03-08 07:00:00",
        "2026-03-29 01:00:00",
        "2026-04-04 15:00:00",
        "2026-04-24 00:00:00",
        "2026-10-03 15:30:00",
        "2026-10-25 01:00:00",
        "2026-10-29 21:00:00",
        "2026-11-01 06:00:00",
        "2026-02-15 02:00:00",
        "2026-03-22 02:00:00",
    ];
    let near = (
        proptest::sample::select(days.to_vec()),
        -200_000_000_i64..200_000_000,
    )
        .prop_map(|(day, shift)| at(day).0.saturating_add_signed(shift));
    prop_oneof![4 => near, 1 => 0..4_000_000_000_000_u64]
}

fn zoned() -> impl Strategy<Value = Schedule> {
    (
        proptest::sample::select(PATTERNS.to_vec()),
        proptest::sample::select(ZONES.to_vec()),
    )
        .prop_map(|(text, zone)| schedule(text).in_zone(zone))
}

/// Whether the clock on the wall shows a time of the schedule's.
fn is_shown(schedule: &Schedule, second: u64) -> bool {
    let When::Cron(pattern) = &schedule.when else {
        panic!("fields");
    };
    let utc = DateTime::from_timestamp(i64::try_from(second).unwrap(), 0).unwrap();
    let wall = utc.with_timezone(&schedule.zone()).naive_local();
    let has = |set: wall::Set, value: u32| set.iter().any(|member| member == value);
    let days = wall.and_utc().timestamp().div_euclid(wall::DAY);
    has(pattern.seconds, wall.second())
        && has(pattern.minutes, wall.minute())
        && has(pattern.hours, wall.hour())
        && pattern.is_on(days)
}

fn walk(schedule: &Schedule, from: UnixMs, up_to: UnixMs) -> Vec<UnixMs> {
    let (ticks, more) = schedule.ticks(from, up_to, 20_000);
    assert!(!more, "{schedule}");
    ticks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn no_text_is_too_strange_to_be_read(text in ".{0,60}") {
        drop(text.parse::<Schedule>());
        drop(zone(&text));
        drop(format!("every {text}").parse::<Schedule>());
        drop(format!("TZ={text} 0 0 * * *").parse::<Schedule>());
        drop(format!("{text} * * * *").parse::<Schedule>());
    }

    #[test]
    fn what_is_read_is_told_and_found_without_a_fault(
        fields in proptest::collection::vec("([0-9*?LW#+/,-]|[0-9]{1,2}|MON|JAN|[0-9]-[0-9]{1,2}|\\*/[0-9]){1,3}", 5..=6),
        zone in proptest::sample::select(ZONES.to_vec()),
        from: u64,
    ) {
        if let Ok(schedule) = fields.join(" ").parse::<Schedule>() {
            let schedule = schedule.in_zone(zone);
            for from in [UnixMs(from), UnixMs(from % 4_000_000_000_000)] {
                drop((schedule.describe(), schedule.lint(from), schedule.interval(from)));
                let (next, last) = (schedule.next_after(from), schedule.previous_or_at(from));
                prop_assert!(next.is_none_or(|next| next > from));
                prop_assert!(last.is_none_or(|last| last <= from));
                drop(schedule.on_calendar());
            }
        }
    }

    #[test]
    fn ticks_are_the_same_from_wherever_one_walks(
        schedule in zoned(),
        from in near_changes(),
        later in 0..300_000_000_u64,
    ) {
        let (from, later) = (UnixMs(from), UnixMs(from + later));
        let up_to = UnixMs(from.0 + 400_000_000);
        let all = walk(&schedule, from, up_to);
        prop_assert!(all.is_sorted_by(|one, next| one < next), "strictly later");
        let rest: Vec<_> = all.iter().copied().filter(|tick| *tick > later).collect();
        prop_assert_eq!(&walk(&schedule, later, up_to), &rest);
        let previous = all.iter().copied().rfind(|tick| *tick <= later);
        if let Some(previous) = previous {
            prop_assert_eq!(schedule.previous_or_at(later), Some(previous));
        }
        for tick in all {
            prop_assert_eq!(schedule.previous_or_at(tick), Some(tick));
            prop_assert_eq!(schedule.next_after(UnixMs(tick.0 - 1)), Some(tick));
        }
    }

    #[test]
    fn backwards_is_forwards(schedule in zoned(), from in near_changes()) {
        let up_to = UnixMs(from + 200_000_000);
        let forwards = walk(&schedule, UnixMs(from), up_to);
        let before = |tick: &UnixMs| schedule.previous_or_at(UnixMs(tick.0.checked_sub(1)?));
        let last = schedule.previous_or_at(up_to);
        let mut backwards: Vec<_> = std::iter::successors(last, before)
            .take_while(|tick| tick.0 > from)
            .collect();
        backwards.reverse();
        prop_assert_eq!(forwards, backwards);
    }

    #[test]
    fn a_period_has_its_ticks_at_its_multiples(seconds in 1..5_000_000_u64, from in 0..4_000_000_000_000_u64) {
        let schedule = schedule(&format!("every {seconds}s"));
        let next = schedule.next_after(UnixMs(from)).unwrap().0;
        prop_assert!(next > from && next - from <= seconds * 1000 && next.is_multiple_of(seconds * 1000));
        prop_assert_eq!(schedule.previous_or_at(UnixMs(next - 1)).unwrap().0, next - seconds * 1000);
        prop_assert_eq!(schedule.previous_or_at(UnixMs(next)).unwrap().0, next);
    }
}

proptest! {
    // Looks at every minute of a day and a half.
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_schedule_of_several_times_has_a_tick_exactly_when_the_wall_shows_one(
        schedule in zoned(),
        from in near_changes(),
    ) {
        let When::Cron(pattern) = &schedule.when else { unreachable!() };
        let first = from / 60_000 * 60;
        let seconds = (first + 1..=first + 36 * 3600).filter(|second| second % 20 == 0 || second % 60 == 59);
        let shown: Vec<_> = seconds.filter(|second| is_shown(&schedule, *second)).map(|second| UnixMs(second * 1000)).collect();
        let found = walk(&schedule, UnixMs(first * 1000), UnixMs((first + 36 * 3600) * 1000));
        if pattern.only_time().is_none() {
            prop_assert_eq!(found, shown);
        } else {
            // One a day and not more: of two that are shown, the first; of none, right after the gap.
            let days = 36 / 24 + 1;
            prop_assert!(found.len() <= days + 1, "{found:?}");
            for tick in found.iter().filter(|tick| !shown.contains(tick)) {
                let before = ticks::offset(schedule.zone(), i64::try_from(tick.0 / 1000).unwrap() - 1);
                let after = ticks::offset(schedule.zone(), i64::try_from(tick.0 / 1000).unwrap());
                prop_assert!(after > before, "{tick:?} is not right after a gap");
            }
        }
    }
}
