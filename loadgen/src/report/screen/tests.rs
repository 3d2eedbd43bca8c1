//! The screen as a whole, letter by letter.

use crate::report::Verdict;
use crate::report::sample::{fullest, same_as_golden, sample};
use crate::report::screen::{HEIGHT, WIDTH, screen};

#[test]
fn the_screen_of_a_run() {
    same_as_golden("screen.txt", &screen(&sample(), false));
}

#[test]
fn the_fullest_screen_is_neither_too_wide_nor_too_high() {
    let screen = screen(&fullest(), false);
    same_as_golden("screen-fullest.txt", &screen);
    assert!(
        screen.lines().count() <= HEIGHT,
        "{} lines",
        screen.lines().count()
    );
    for line in screen.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
}

#[test]
fn colours_change_no_letter() {
    for report in [sample(), fullest()] {
        let mut plain = String::new();
        for part in screen(&report, true).split('\u{1b}') {
            plain.push_str(
                part.split_once('m')
                    .filter(|(code, _)| code.starts_with('['))
                    .map_or(part, |(_, rest)| rest),
            );
        }
        let lines = |text: &str| {
            text.lines()
                .map(|line| line.trim_end().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(&plain), lines(&screen(&report, false)));
    }
}

#[test]
fn the_verdict_stands_first_with_its_reasons() {
    let mut report = sample();
    for (verdict, word) in [
        (Verdict::Pass, "PASS "),
        (Verdict::Fail, "FAIL "),
        (Verdict::Invalid, "INVALID "),
        (Verdict::Interrupted, "INTERRUPTED "),
    ] {
        report.verdict = verdict;
        report.reasons = vec!["the generator was late".to_owned()];
        let screen = screen(&report, false);
        assert!(screen.starts_with(word), "{screen}");
        assert_eq!(
            screen.lines().nth(1).map(str::trim),
            Some("the generator was late")
        );
    }
}

#[test]
fn what_was_not_measured_is_not_shown() {
    let mut report = sample();
    report.latency.clear();
    report.thresholds.clear();
    report.server = None;
    let screen = screen(&report, false);
    for word in ["latency", "thresholds", "crypto", "NaN"] {
        assert!(!screen.contains(&format!("\n{word}")), "{screen}");
    }
    assert!(screen.contains("server       not seen"), "{screen}");
}
