//! The top of the page: what came of the run, the few figures that matter, and what had to hold.

use crate::report::html::facts;
use crate::report::html::markup::Markup;
use crate::report::{LatencyFigures, Report, Verdict, figures};

/// What came of a run, and its class in the style sheet.
pub(super) const fn verdict(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Pass => ("Pass", "pass"),
        Verdict::Fail => ("Fail", "fail"),
        Verdict::Invalid => ("Invalid", "doubt"),
        Verdict::Interrupted => ("Interrupted", "doubt"),
    }
}

/// Title, verdict with its reasons, tiles.
pub(super) fn header(report: &Report, out: &mut Markup) {
    let (word, class) = verdict(report.verdict);
    out.tag("header", &[("class", class)], |out| {
        out.tag("p", &[("class", "brand")], |out| {
            out.leaf("strong", &[], "chatctl bench");
            out.leaf(
                "span",
                &[],
                &report.started.replace('T', " ").replace('Z', " UTC"),
            );
            out.leaf("span", &[("class", "id")], &report.run_id);
            for (name, value) in &report.labels {
                out.leaf("span", &[("class", "label")], &format!("{name}: {value}"));
            }
        });
        out.tag("h1", &[], |out| {
            out.leaf("span", &[("class", "verdict")], word);
            out.text(&report.scenario.name);
        });
        out.leaf("p", &[("class", "done")], &facts::done(report));
        if !report.reasons.is_empty() {
            out.tag("ul", &[("class", "reasons")], |out| {
                report
                    .reasons
                    .iter()
                    .for_each(|reason| out.leaf("li", &[], reason))
            });
        }
        for note in facts::notes(report) {
            out.leaf("p", &[("class", "note")], &note);
        }
        out.tag("dl", &[("class", "tiles")], |out| tiles(report, out));
    });
}

/// What had to hold, and what was found.
pub(super) fn thresholds(report: &Report, out: &mut Markup) {
    if report.thresholds.is_empty() {
        return;
    }
    out.tag("section", &[("id", "thresholds")], |out| {
        let held = report
            .thresholds
            .iter()
            .filter(|threshold| threshold.holds)
            .count();
        out.tag("h2", &[], |out| {
            out.text("Thresholds");
            out.leaf(
                "span",
                &[("class", "unit")],
                &format!("{held} of {} hold", report.thresholds.len()),
            );
        });
        out.tag("ul", &[("class", "thresholds")], |out| {
            for threshold in &report.thresholds {
                let (class, sign, word) = if threshold.holds {
                    ("holds", "✓", "holds")
                } else {
                    ("broken", "✗", "does not hold")
                };
                out.tag("li", &[("class", class)], |out| {
                    out.leaf(
                        "span",
                        &[("class", "sign"), ("role", "img"), ("aria-label", word)],
                        sign,
                    );
                    out.leaf("code", &[], &threshold.expression);
                    out.leaf("strong", &[], &threshold.shown);
                });
            }
        });
    });
}

fn tiles(report: &Report, out: &mut Markup) {
    let load = &report.load;
    if let Some((name, figures)) = headline(report) {
        let tail = |seconds| figures::time(seconds);
        let more = format!(
            "p50 {}\np99.9 {}\nmax {}",
            tail(figures.p50_seconds),
            tail(figures.p999_seconds),
            tail(figures.max_seconds)
        );
        tile(out, &format!("{name} p99"), &tail(figures.p99_seconds), &more);
    }
    let planned = load.planned_per_second.map_or_else(
        || format!("{} model", load.model),
        |planned| format!("of {} planned", figures::rate(planned)),
    );
    let more = format!("{planned}\n{}/s", figures::bytes(load.delivered_bytes_per_second));
    tile(out, "delivered", &figures::rate(load.delivered_per_second), &more);
    if let Some(drained) = load.drained_per_second {
        let stored = figures::maybe(load.stored_per_second, figures::rate);
        tile(
            out,
            "drained",
            &figures::rate(drained),
            &format!("stored {stored}"),
        );
    }
    let done = &report.integrity;
    let more = format!(
        "duplicated {}\nreordered {}\ncorrupt {}",
        done.duplicated, done.reordered, done.corrupt
    );
    tile(out, "lost", &figures::count(done.lost), &more);
    let errors: u64 = report.errors.iter().map(|error| error.count).sum();
    let most = report.errors.iter().max_by_key(|error| error.count);
    let more = most.map_or_else(
        || "none of any class".to_owned(),
        |most| format!("{} × {}", figures::count(most.count), most.class),
    );
    tile(out, "errors", &figures::count(errors), &more);
    let Some(server) = &report.server else { return };
    if let Some(cost) = server.cpu_seconds_per_message {
        let more = format!("{} of a core", figures::share(server.cpu_seconds / load.seconds));
        tile(out, "CPU per message", &figures::time(cost), &more);
    }
    let most = format!("{} at the most", figures::bytes(server.rss_max_bytes as f64));
    tile(
        out,
        "RSS per connection",
        &figures::maybe(server.rss_bytes_per_connection, figures::bytes),
        &most,
    );
}

/// The latency that the run was made for.
fn headline(report: &Report) -> Option<(&'static str, &LatencyFigures)> {
    let names = ["e2e", "claim", "drain", "reconnect", "ok", "connect"];
    names
        .into_iter()
        .find_map(|name| report.latency.get(name).map(|figures| (name, figures)))
}

fn tile(out: &mut Markup, name: &str, value: &str, more: &str) {
    // Where the unit begins: it is written smaller.
    let digits = value.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let (number, unit) = if digits.is_empty() {
        (value, "")
    } else {
        value.split_at(digits.len())
    };
    out.tag("div", &[("class", "tile")], |out| {
        out.leaf("dt", &[], name);
        out.tag("dd", &[("class", "figure-of")], |out| {
            out.text(number);
            out.leaf("small", &[], unit.trim_start());
        });
        out.leaf("dd", &[("class", "more")], more);
    });
}
