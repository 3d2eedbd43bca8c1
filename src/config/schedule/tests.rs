//! Schedules, by example; what is found in them in [`findings`], by property in [`properties`], against systemd in [`calendar`].

mod calendar;
mod findings;
mod properties;

use std::time::Duration;

use super::*;

/// An instant, by its time in UTC.
fn at(text: &str) -> UnixMs {
    let time = if text.contains(' ') { "" } else { " 00:00:00" };
    UnixMs::of(humantime::parse_rfc3339_weak(&format!("{text}{time}")).unwrap()).unwrap()
}

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

/// The first ticks after an instant, in UTC.
fn first(text: &str, after: &str, count: usize) -> Vec<String> {
    let (ticks, _) = schedule(text).ticks(at(after), UnixMs(u64::MAX), count);
    ticks
        .into_iter()
        .map(|tick| tick.rfc3339())
        .map(|tick| {
            tick.strip_suffix(":00Z")
                .map_or(tick.clone(), |tick| format!("{tick}Z"))
        })
        .collect()
}

fn refusal(text: &str) -> String {
    let refusal = text.parse::<Schedule>().unwrap_err().to_string();
    let (_, why) = refusal
        .split_once(" is not a schedule: ")
        .unwrap_or(("", &refusal));
    why.to_owned()
}

#[test]
fn every_form_means_what_it_says() {
    let from = "2026-11-22 23:50:30";
    let cases = [
        ("17 3 * * *", "2026-11-23T03:17Z"),
        ("5 17 3 * * *", "2026-11-23T03:17:05Z"),
        ("@hourly", "2026-11-23T00:00Z"),
        ("@daily", "2026-11-23T00:00Z"),
        ("@midnight", "2026-11-23T00:00Z"),
        ("@weekly", "2026-11-29T00:00Z"),
        ("@monthly", "2026-12-01T00:00Z"),
        ("@Yearly", "2027-01-01T00:00Z"),
        ("@annually", "2027-01-01T00:00Z"),
        ("every 15m", "2026-11-23T00:00Z"),
        ("every 1h 30m", "2026-11-23T00:00Z"),
        ("every 7m", "2026-11-22T23:54Z"),
        ("TZ=Europe/Berlin 17 3 * * *", "2026-11-23T02:17Z"),
        ("CRON_TZ=America/New_York @daily", "2026-11-23T05:00Z"),
        ("0 9 * * mon-fri", "2026-11-23T09:00Z"),
        ("0 9 1 jan,Jul *", "2027-01-01T09:00Z"),
        ("0 0 L * *", "2026-11-30T00:00Z"),
        ("0 0 * * FRI#L", "2026-11-27T00:00Z"),
        ("0 0 * * 7", "2026-11-29T00:00Z"),
        ("  17   3 * *  ? ", "2026-11-23T03:17Z"),
    ];
    for (text, tick) in cases {
        assert_eq!(first(text, from, 1), [tick], "{text}");
        assert_eq!(schedule(text).to_string(), text, "as it was written");
    }
}

#[test]
fn what_is_no_schedule_is_refused_with_a_reason() {
    let cases = [
        (
            "",
            "it is empty; five fields are minute, hour, day, month, day of the week",
        ),
        (
            "TZ=UTC",
            "it is empty; five fields are minute, hour, day, month, day of the week",
        ),
        (
            "* * * *",
            "it has 4 fields; five are minute, hour, day, month, day of the week, and six have a second in front",
        ),
        (
            "hourly",
            "it has 1 field; five are minute, hour, day, month, day of the week, and six have a second in front",
        ),
        ("0 0 0 1 1 * 2030", "it has seven fields; a year cannot be given"),
        ("61 * * * *", "the minute \"61\": number out of bounds"),
        ("0 24 * * *", "the hour \"24\": number out of bounds"),
        ("0 22-2 * * *", "the hour \"22-2\": range out of bounds"),
        ("*/0 * * * *", "the minute \"*/0\": step cannot be zero"),
        ("0 0 0 0 * *", "the day \"0\": number out of bounds"),
        (
            "0 0 * * MOON",
            "the day of the week \"MOON\": \"MOON\" has no meaning here",
        ),
        ("0 0 * SUN *", "the month \"SUN\": \"SUN\" has no meaning here"),
        (
            "0 0 * JAN1 *",
            "the month \"JAN1\": a number and a name are one word",
        ),
        (
            "1,,2 * * * *",
            "the minute \"1,,2\": a place in the list is empty",
        ),
        ("0 ☂ * * *", "'☂' stands in no schedule"),
        ("0 0 * *\n*", "'\\n' stands in no schedule"),
        (
            "@fortnightly",
            "there is no @fortnightly; there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, and `every 15m`",
        ),
        ("every 15", "time unit needed, for example 15sec or 15ms"),
        ("every 0s", "more often than once a second is too often"),
        ("every 999ms", "more often than once a second is too often"),
        ("every 1s 1us", "the period is no whole number of milliseconds"),
        ("every 100years", "the period is longer than ten years"),
        (
            "TZ=Mars/Olympus 0 0 * * *",
            "there is no time zone \"Mars/Olympus\"; IANA names look like Europe/Berlin",
        ),
    ];
    for (text, why) in cases {
        assert_eq!(refusal(text), why, "{text}");
    }
    let long = format!("{} * * * *", "1,".repeat(1000));
    assert_eq!(refusal(&long), "it is longer than 256 bytes");
    assert!(long.parse::<Schedule>().unwrap_err().to_string().len() < 120);
}

#[test]
fn of_two_kinds_of_days_either_is_enough_unless_a_plus_asks_for_both() {
    // 13 November 2026 is a Friday, 13 December is not.
    let either = first("0 3 13 * FRI", "2026-11-12", 4);
    assert_eq!(
        either,
        [
            "2026-11-13T03:00Z",
            "2026-11-20T03:00Z",
            "2026-11-27T03:00Z",
            "2026-12-04T03:00Z"
        ]
    );
    let both = first("0 3 13 * +FRI", "2026-11-12", 2);
    assert_eq!(both, ["2026-11-13T03:00Z", "2027-08-13T03:00Z"]);
    assert_eq!(
        schedule("0 3 13 * FRI").lint(at("2026-11-12")),
        [Finding::EitherDay]
    );
    assert_eq!(schedule("0 3 13 * +FRI").lint(at("2026-11-12")), []);
}

#[test]
fn a_time_in_a_gap_comes_right_after_it() {
    // 02:00 CET is 03:00 CEST on 29 March.
    assert_eq!(
        first("TZ=Europe/Berlin 30 2 * * *", "2026-03-28 00:00:00", 3),
        ["2026-03-28T01:30Z", "2026-03-29T01:00Z", "2026-03-30T00:30Z"]
    );
    // By half an hour: 02:00 is 02:30 on 4 October.
    assert_eq!(
        first("TZ=Australia/Lord_Howe 15 2 * * *", "2026-10-02 16:00:00", 2),
        ["2026-10-03T15:30Z", "2026-10-04T15:15Z"]
    );
    // What has several times a day goes by what is shown.
    assert_eq!(
        first("TZ=Europe/Berlin 30 1,2 * * *", "2026-03-28 12:00:00", 2),
        ["2026-03-29T00:30Z", "2026-03-29T23:30Z"]
    );
}

#[test]
fn a_time_that_is_shown_twice_comes_at_the_first_and_what_runs_through_the_hour_runs_on() {
    // 03:00 CEST is 02:00 CET on 25 October.
    assert_eq!(
        first("TZ=Europe/Berlin 30 2 * * *", "2026-10-24 12:00:00", 2),
        ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]
    );
    assert_eq!(
        first("TZ=Europe/Berlin */30 * * * *", "2026-10-24 23:45:00", 6),
        ["00:00", "00:30", "01:00", "01:30", "02:00", "02:30"].map(|time| format!("2026-10-25T{time}Z"))
    );
    // Asked from within the second of the two hours.
    let schedule = schedule("TZ=Europe/Berlin 30 2 * * *");
    let second = at("2026-10-25 01:10:00");
    assert_eq!(schedule.next_after(second), Some(at("2026-10-26 01:30:00")));
    assert_eq!(schedule.previous_or_at(second), Some(at("2026-10-25 00:30:00")));
}

#[test]
fn what_never_comes_is_nothing_and_what_comes_seldom_is_found() {
    let never = schedule("0 0 31 2 *");
    let from = at("2026-11-22 12:00:00");
    assert_eq!((never.next_after(from), never.previous_or_at(from)), (None, None));
    assert_eq!(never.interval(from), None);
    assert_eq!(
        first("0 0 29 2 *", "2096-03-01", 1),
        ["2104-02-29T00:00Z"],
        "over the turn of a century"
    );
    let leap = schedule("0 0 29 2 *").interval(from);
    assert_eq!(leap, Some(Duration::from_secs(1461 * 24 * 3600)));
    assert_eq!(schedule("0 0 * * *").next_after(UnixMs(u64::MAX)), None);
    assert_eq!(schedule("every 7m").next_after(UnixMs(u64::MAX)), None);
}

#[test]
fn the_ticks_between_two_instants_are_counted_up_to_a_bound() {
    let schedule = schedule("*/10 * * * *");
    let (from, to) = (at("2026-11-22 12:00:00"), at("2026-11-22 12:30:00"));
    let all = ["12:10", "12:20", "12:30"].map(|time| at(&format!("2026-11-22 {time}:00")));
    assert_eq!(schedule.ticks(from, to, 9), (all.to_vec(), false));
    assert_eq!(schedule.ticks(from, to, 3), (all.to_vec(), false));
    assert_eq!(schedule.ticks(from, to, 2), (all[..2].to_vec(), true));
    assert_eq!(schedule.ticks(to, to, 9), (Vec::new(), false));
}

#[test]
fn the_interval_is_the_longest_wait_also_over_a_week_end() {
    let cases = [
        ("every 15m", 15 * 60),
        ("* * * * *", 60),
        ("* * * * * *", 1),
        ("*/10 * * * *", 600),
        ("17 * * * *", 3600),
        ("0 0 * * *", 24 * 3600),
        ("0 8,9 * * *", 23 * 3600),
        ("* 9-17 * * MON-FRI", (24 * 3 - 9) * 3600 + 60),
        ("0 0 1 * *", 31 * 24 * 3600),
        ("0 0 1 1 *", 365 * 24 * 3600),
    ];
    for (text, seconds) in cases {
        let interval = schedule(text).interval(at("2026-11-22 12:00:00"));
        assert_eq!(interval, Some(Duration::from_secs(seconds)), "{text}");
    }
}

#[test]
fn a_sentence_says_what_was_understood_and_where() {
    let told = |text: &str| {
        let schedule = schedule(text);
        (schedule.form(), schedule.describe())
    };
    let cases = [
        ("17 3 * * *", "5 fields", "At 03:17."),
        ("@daily", "a name", "At 00:00."),
        ("every 15m", "a period", "Every 15m."),
        (
            "TZ=Europe/Berlin 17 3 * * *",
            "5 fields",
            "At 03:17. In Europe/Berlin.",
        ),
        (
            "* 1 * * * *",
            "6 fields (seconds first)",
            "Every second, minute 1 past every hour.",
        ),
    ];
    for (text, form, sentence) in cases {
        assert_eq!(told(text), (form.to_owned(), sentence.to_owned()), "{text}");
    }
    let moved = schedule("0 3 * * *").in_zone(zone("Europe/Berlin").unwrap());
    assert_eq!((moved.own_zone(), moved.zone()), (None, Tz::Europe__Berlin));
    let kept = schedule("TZ=Asia/Tokyo 0 3 * * *").in_zone(Tz::Europe__Berlin);
    assert_eq!(kept.zone(), Tz::Asia__Tokyo);
}

#[test]
fn a_wall_clock_shows_the_time_of_its_place() {
    let at = at("2026-11-23 02:17:00");
    let berlin = local(Tz::Europe__Berlin, at);
    assert_eq!(berlin.to_string(), "2026-11-23 03:17:00 CET");
    assert_eq!(berlin.rfc3339(), "2026-11-23T03:17:00+01:00");
    let island = local(Tz::Australia__Lord_Howe, at);
    assert_eq!(island.rfc3339(), "2026-11-23T13:17:00+11:00");
    let west = local(Tz::America__St_Johns, at);
    assert_eq!(west.rfc3339(), "2026-11-22T22:47:00-03:30");
    assert_eq!(local(Tz::UTC, at).to_string(), "2026-11-23 02:17:00 UTC");
}

#[test]
fn what_the_jobs_come_with_is_sound_and_can_be_said_to_systemd() {
    for job in crate::config::jobs::JobName::ALL {
        let schedule = schedule(job.default_schedule());
        assert_eq!(schedule.lint(at("2026-11-22")), [], "{job}");
        assert_eq!(schedule.on_calendar().unwrap().len(), 1, "{job}");
    }
}
