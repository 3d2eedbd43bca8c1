//! The last screen of a run: a hundred columns, and lines that leave room for a prompt. What came of it stands first.

mod costs;
mod paper;
#[cfg(test)]
mod tests;

use crate::report::figures::{bytes, count, rate, time};
use crate::report::screen::paper::{MARGIN, Paint, Screen, cut};
use crate::report::{Report, Verdict};
use crate::tally::Latency;

/// The screen, in colour or not. At most [`WIDTH`] columns and [`HEIGHT`] lines, whatever the report holds.
#[must_use]
pub fn screen(report: &Report, colour: bool) -> String {
    let mut screen = Screen {
        text: String::new(),
        colour,
    };
    verdict(report, &mut screen);
    thresholds(report, &mut screen);
    load(report, &mut screen);
    latencies(report, &mut screen);
    costs::integrity(report, &mut screen);
    costs::errors(report, &mut screen);
    costs::server(report, &mut screen);
    costs::generator(report, &mut screen);
    costs::place(report, &mut screen);
    screen.text
}

/// Columns.
pub const WIDTH: usize = 100;
/// Lines; there is room for what a command has to add.
pub const HEIGHT: usize = 38;

fn verdict(report: &Report, screen: &mut Screen) {
    let (word, paint) = match report.verdict {
        Verdict::Pass => ("PASS", Paint::Good),
        Verdict::Fail => ("FAIL", Paint::Bad),
        Verdict::Invalid => ("INVALID", Paint::Doubtful),
        Verdict::Interrupted => ("INTERRUPTED", Paint::Doubtful),
    };
    let load = &report.load;
    let claims = counted(report, "claimed") + counted(report, "fallback");
    let what = match load.model.as_str() {
        "none" => "no load".to_owned(),
        model if claims > 0 => format!("{} model, {} claims", model.to_uppercase(), count(claims)),
        model => format!("{} model, {} messages", model.to_uppercase(), count(load.sent)),
    };
    let clients = count(u64::from(load.clients));
    let crypto = serde_json::to_value(report.scenario.payload.crypto).ok();
    let crypto = crypto.as_ref().and_then(|word| word.as_str()).unwrap_or_default();
    let done = format!(
        "{}: {what} in {}, {clients} clients, crypto {crypto}, seed {}",
        cut(&report.scenario.name, 24),
        time(load.seconds),
        report.scenario.seed
    );
    let word = format!("{word:MARGIN$}");
    screen.paint(paint, &word);
    screen.paint(Paint::Bold, &cut(&done, WIDTH - MARGIN));
    screen.text.push('\n');
    let lines: Vec<String> = report.reasons.iter().flat_map(|reason| wrap(reason)).collect();
    for line in lines.iter().take(MOST_REASONS) {
        screen.line("", &[(paint, line)]);
    }
    if lines.len() > MOST_REASONS {
        screen.line("", &[(Paint::Dim, "and more: --json has all of it")]);
    }
    if load.model == "closed" {
        screen.line(
            "",
            &[(
                Paint::Doubtful,
                "closed model: latency is what the server takes, not what users would feel",
            )],
        );
    }
}

/// A sentence in lines as wide as the screen.
fn wrap(sentence: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in sentence.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH - MARGIN => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Two beside each other. When there are too many, those that do not hold are shown first.
fn thresholds(report: &Report, screen: &mut Screen) {
    let mut judged: Vec<_> = report.thresholds.iter().collect();
    if judged.len() > MOST_THRESHOLDS {
        judged.sort_by_key(|threshold| threshold.holds);
    }
    let hidden = judged.split_off(judged.len().min(MOST_THRESHOLDS));
    for (at, two) in judged.chunks(2).enumerate() {
        let mut cells = Vec::new();
        for threshold in two {
            let paint = if threshold.holds { Paint::Good } else { Paint::Bad };
            cells.push((paint, if threshold.holds { "✓ " } else { "✗ " }.to_owned()));
            cells.push((Paint::Plain, format!("{:27} ", cut(&threshold.expression, 27))));
            let paint = if threshold.holds { Paint::Plain } else { Paint::Bad };
            cells.push((paint, format!("{:13}", cut(&threshold.shown, 12))));
        }
        let parts: Vec<_> = cells
            .iter()
            .map(|(paint, text)| (*paint, text.as_str()))
            .collect();
        screen.line(if at == 0 { "thresholds" } else { "" }, &parts);
    }
    if !hidden.is_empty() {
        let broken = hidden.iter().filter(|threshold| !threshold.holds).count();
        screen.line(
            "",
            &[(
                Paint::Dim,
                &format!("and {} more, {broken} of which do not hold", hidden.len()),
            )],
        );
    }
}

/// How often something was counted.
fn counted(report: &Report, name: &str) -> u64 {
    report.load.counts.get(name).copied().unwrap_or_default()
}

fn load(report: &Report, screen: &mut Screen) {
    let load = &report.load;
    let (claimed, fallback) = (counted(report, "claimed"), counted(report, "fallback"));
    if claimed + fallback > 0 {
        let told = [
            load.planned_per_second
                .map_or_else(String::new, |planned| format!("planned {}", rate(planned))),
            format!(
                "answered {}",
                rate((claimed + fallback) as f64 / load.seconds.max(1e-9))
            ),
            format!("one-time keys {}", count(claimed)),
            format!("fallbacks {}", count(fallback)),
        ];
        screen.figures("claims", &told);
    }
    // Being there is all that some loads are about.
    if load.sent == 0 && (load.due == 0 || claimed + fallback > 0) {
        return;
    }
    let planned = load
        .planned_per_second
        .map_or_else(String::new, |planned| format!("planned {}", rate(planned)));
    screen.figures(
        "rate",
        &[
            planned,
            format!("sent {}", rate(load.sent_per_second)),
            format!("accepted {}", rate(load.accepted_per_second)),
            format!("delivered {}", rate(load.delivered_per_second)),
            format!("{}/s", bytes(load.delivered_bytes_per_second)),
        ],
    );
    let mailboxes = [
        load.stored_per_second
            .map(|stored| format!("stored {}", rate(stored))),
        load.drained_per_second
            .map(|drained| format!("drained {}", rate(drained))),
    ];
    screen.figures("mailboxes", &mailboxes.into_iter().flatten().collect::<Vec<_>>());
    screen.figures(
        "messages",
        &[
            format!("due {}", count(load.due)),
            format!("sent {}", count(load.sent)),
            format!("missed {}", count(load.missed)),
            format!("accepted {}", count(load.accepted)),
            format!("delivered {}", count(load.delivered)),
        ],
    );
}

fn latencies(report: &Report, screen: &mut Screen) {
    let rows = Latency::ALL.into_iter().filter(|latency| !is_apart(*latency));
    let rows: Vec<_> = rows
        .filter_map(|latency| Some((latency, report.latency.get(latency.name())?)))
        .collect();
    if !rows.is_empty() {
        let heads = ["p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max"];
        let heads: String = heads.iter().map(|head| format!("{head:>CELL$}")).collect();
        screen.line("latency", &[(Paint::Dim, &format!("{heads}{:>COUNT$}", "count"))]);
    }
    for (latency, figures) in rows {
        let cells: String = figures
            .percentiles()
            .iter()
            .map(|seconds| format!("{:>CELL$}", time(*seconds)))
            .collect();
        let paint = if latency == Latency::E2e {
            Paint::Bold
        } else {
            Paint::Plain
        };
        screen.line(
            &format!("  {}", shown(latency)),
            &[
                (paint, &cells),
                (Paint::Dim, &format!("{:>COUNT$}", count(figures.count))),
            ],
        );
    }
    let crypto = [Latency::Encrypt, Latency::Decrypt]
        .into_iter()
        .filter_map(|latency| {
            let figures = report.latency.get(latency.name())?;
            Some(format!(
                "{} p50 {} p99 {}",
                latency.name(),
                time(figures.p50_seconds),
                time(figures.p99_seconds)
            ))
        });
    let mut crypto: Vec<_> = crypto.collect();
    if !crypto.is_empty() {
        crypto.push("(in no other latency)".to_owned());
        screen.figures("crypto", &crypto);
    }
}

/// Not what users wait for: told elsewhere.
const fn is_apart(latency: Latency) -> bool {
    match latency {
        Latency::Encrypt | Latency::Decrypt | Latency::Late => true,
        Latency::E2e
        | Latency::Service
        | Latency::Ok
        | Latency::Spread
        | Latency::Connect
        | Latency::Reconnect
        | Latency::Drain
        | Latency::Claim => false,
    }
}

const fn shown(latency: Latency) -> &'static str {
    match latency {
        Latency::E2e => "e2e, due",
        Latency::Service => "service",
        Latency::Ok => "ok",
        Latency::Spread
        | Latency::Connect
        | Latency::Reconnect
        | Latency::Drain
        | Latency::Claim
        | Latency::Encrypt
        | Latency::Decrypt
        | Latency::Late => latency.name(),
    }
}

const MOST_REASONS: usize = 4;
const MOST_THRESHOLDS: usize = 12;
const CELL: usize = 9;
const COUNT: usize = 14;
