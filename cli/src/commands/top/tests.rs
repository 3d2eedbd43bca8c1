//! What a model does with answers, and how it looks: golden screens under `golden/`.
//!
//! `CHATCTL_GOLDEN=write` writes them anew.

use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use super::frame::draw;
use super::model::Model;
use crate::commands::status::Status;

/// A status of a busy relay, so many seconds after its start.
fn status(pid: u32, seconds: u64) -> Status {
    // A wave, so that the sparklines have something to show.
    let wave = |n: u64| (0..n).map(|at| 40 + 35 * (at % 8)).sum::<u64>();
    let sent = wave(seconds);
    serde_json::from_value(json!({
        "version": "0.1.0", "pid": pid, "started_at": format!("2026-11-22T12:00:{:02}Z", pid % 60),
        "up_seconds": seconds as f64 + 0.25, "now": "2026-11-22T12:00:00Z", "ready": true,
        "sessions": {"open": 1200 + seconds % 5, "most": 50_000, "opened": 1300 + seconds, "closed": 100 + seconds,
            "closed_by": {"normal": 98 + seconds, "going_away": 2}, "descriptors": {"soft": 524_288, "open": 1243}},
        "store": {"kind": "embedded", "answers": true, "bytes": 73_400_320, "free_bytes": 48_318_382_080_u64},
        "mail": {"tail_bytes": 33_554_432, "tail_most": 67_108_864, "uncommitted_bytes": 4_194_304,
            "uncommitted_most": 33_554_432, "accepted": sent, "delivered": sent, "acked": sent, "elided": sent / 4 * 3,
            "stored": sent / 4, "refused": 6 + seconds / 2, "refused_by": {"mailbox_full": 6, "rate_limited": seconds / 2},
            "commits": 20 * seconds, "commit_seconds": {"count": 20 * seconds, "sum": 0.05 * seconds as f64,
                "p50": 0.0028, "p99": 0.0091}, "waiting": 84},
        "keys": {"signing_kid": "2026-11-01", "believed": ["2026-11-01"], "from": "file"},
        "config": {"generation": 1, "good": true},
        "jobs": [
            {"name": "expire-mail", "is_on": true, "is_running": true}, {"name": "prune-records", "is_on": true},
            {"name": "remove-idle-devices", "is_on": true, "paused_until": "9999-12-31T23:59:59Z"},
            {"name": "sweep-departed", "is_on": true, "failures": 3}, {"name": "trim-history", "is_on": false},
            {"name": "remind-key-rotation", "is_on": true, "is_overdue": true}, {"name": "report-low-keys", "is_on": true},
            {"name": "compact-store", "is_on": true}, {"name": "prune-tombstones", "is_on": true},
            {"name": "prune-revocations", "is_on": true},
        ],
        "jobs_by_schedule": true, "rate_limited": {"send": 4}, "http": {"ok": 4096, "unauthorized": 2},
        "process": {"resident_bytes": 88_080_384, "cpu_seconds": 0.25 * seconds as f64},
    }))
    .unwrap()
}

/// A relay that was watched for so many seconds.
fn watched(seconds: u64) -> Model {
    let mut model = Model::new("/run/chatctl/admin.sock".to_owned());
    for at in 100..=100 + seconds {
        model.answered(status(4711, at));
    }
    model
}

fn press(model: &mut Model, key: char) -> bool {
    model.pressed(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE))
}

fn drawn(model: &Model, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, true)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol());
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    (0..height).map(line).collect()
}

fn looks_like(model: &Model, size: (u16, u16), name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/commands/top/golden/{name}.txt"));
    let drawn = drawn(model, size);
    if std::env::var_os("CHATCTL_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &drawn).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(drawn, golden, "{name}:\n{drawn}");
}

#[test]
fn the_first_look_has_no_rates() {
    looks_like(&watched(0), (80, 24), "first");
}

#[test]
fn a_busy_relay_fills_the_screen() {
    looks_like(&watched(60), (80, 24), "busy");
    looks_like(&watched(60), (120, 40), "busy_wide");
}

#[test]
fn a_paused_screen_says_so_and_the_help_is_over_it() {
    let mut model = watched(60);
    assert!(!press(&mut model, 'p'));
    looks_like(&model, (80, 24), "paused");
    assert!(!press(&mut model, '?'));
    looks_like(&model, (80, 24), "help");
    let escape = KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE);
    assert!(!model.pressed(escape) && !model.help);
    assert!(model.pressed(escape));
    assert!(press(&mut model, 'q'));
    assert!(model.pressed(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
}

#[test]
fn a_relay_that_is_gone_leaves_what_it_said_last() {
    let mut model = watched(60);
    model.missed("2026-11-22T12:00:01Z".into(), "cannot reach the relay".into());
    model.missed("2026-11-22T12:00:02Z".into(), "no answer within 2s".into());
    looks_like(&model, (80, 24), "gone");
}

#[test]
fn a_relay_that_was_started_anew_counts_from_zero_without_nonsense() {
    let mut model = watched(60);
    model.missed("2026-11-22T12:00:01Z".into(), "cannot reach the relay".into());
    let (rates, restarted) = model.answered(status(4712, 3));
    assert_eq!((rates, restarted, model.gone.as_ref()), (None, true, None));
    looks_like(&model, (80, 24), "restarted");
    let (rates, restarted) = model.answered(status(4712, 5));
    let rates = rates.unwrap();
    assert!(!restarted);
    assert_eq!(
        (rates.seconds, rates.commits, rates.processors),
        (2.0, 20.0, 0.25)
    );
}

#[test]
fn rates_are_by_the_relays_own_clock() {
    let mut model = watched(0);
    let (rates, _) = model.answered(status(4711, 104));
    let rates = rates.unwrap();
    assert_eq!(
        (rates.seconds, rates.commits, rates.opened, rates.refused),
        (4.0, 20.0, 1.0, 0.5)
    );
    assert_eq!(
        rates.commit_mean_seconds.map(|mean| (mean * 1e6).round()),
        Some(2_500.0)
    );
    // Asked twice in one moment: no time has passed, and there is no rate.
    assert_eq!(model.answered(status(4711, 104)), (None, false));
}

#[test]
fn reasons_are_sorted_as_the_person_likes() {
    let mut model = watched(4);
    let first = |model: &Model| {
        let reasons = model.reasons();
        (reasons[0].0, reasons[0].1.clone())
    };
    assert_eq!(first(&model), ("close", "normal".to_owned()));
    press(&mut model, 's');
    assert_eq!(first(&model), ("close", "normal".to_owned()));
    press(&mut model, 's');
    assert_eq!(first(&model), ("close", "going_away".to_owned()));
}

#[test]
fn a_screen_that_is_too_small_says_what_it_needs() {
    let drawn = drawn(&watched(3), (60, 10));
    assert!(
        drawn.starts_with("chatctl top needs 80 columns and 24 lines; here are 60 and"),
        "{drawn}"
    );
}

#[test]
fn without_colours_there_are_none() {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw(frame, &watched(60), false)).unwrap();
    let cells = terminal.backend().buffer().content().iter();
    let colors: std::collections::HashSet<_> = cells.map(|cell| (cell.fg, cell.bg)).collect();
    assert_eq!(colors.len(), 1, "{colors:?}");
}
