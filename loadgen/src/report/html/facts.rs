//! Figures of a whole run as sentences and tables.

use crate::report::Report;
use crate::report::figures::{self, count, maybe, rate, share, time};
use crate::report::html::figure::Table;
use crate::report::html::markup::Markup;
use crate::tally::Latency;

/// What was done, in a sentence.
pub(super) fn done(report: &Report) -> String {
    let load = &report.load;
    let model = match load.planned_per_second {
        Some(planned) => format!("open model, {} planned", rate(planned)),
        None if load.model == "none" => "nothing planned".to_owned(),
        None => format!("{} model", load.model),
    };
    let (sent, clients) = (count(load.sent), count(u64::from(load.clients)));
    format!(
        "{sent} messages in {} between {clients} clients; {model}; seed {}.",
        time(load.seconds),
        report.scenario.seed
    )
}

/// What a reader must know before believing a figure.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if report.load.model == "closed" {
        notes.push("Closed model: latency is what the server takes, not what users would feel.".to_owned());
    }
    if report.environment.same_host {
        notes.push("Server and generator shared this machine: figures are a lower bound.".to_owned());
    }
    if report.load.missed > 0 {
        notes.push(format!(
            "{} messages were due and never left.",
            count(report.load.missed)
        ));
    }
    notes
}

/// All latencies, those of cryptography and of the generator apart.
pub(super) fn latencies(report: &Report, out: &mut Markup) {
    let mut table = Table::new([
        "", "p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max", "mean", "count",
    ]);
    for latency in Latency::ALL {
        if let Some(figures) = report.latency.get(latency.name()) {
            let mut row = vec![described(latency).to_owned()];
            row.extend(figures.percentiles().map(time));
            row.push(time(figures.mean_seconds));
            row.push(count(figures.count));
            table.rows.push(row);
        }
    }
    if !table.rows.is_empty() {
        table.draw("Latencies", out);
    }
}

/// Errors by class.
pub(super) fn errors(report: &Report) -> Table {
    let mut table = Table::new(["class", "how often"]);
    for error in &report.errors {
        table.rows.push(vec![error.class.clone(), count(error.count)]);
    }
    table
}

/// Integrity, server and generator beside each other.
pub(super) fn outcome(report: &Report, out: &mut Markup) {
    out.tag("section", &[("id", "outcome")], |out| {
        out.leaf("h2", &[], "What became of it");
        out.tag("div", &[("class", "columns")], |out| {
            list("Messages", &messages(report), out);
            list("Server", &server(report), out);
            list("Generator", &generator(report), out);
            counted(report, out);
        });
    });
}

/// A list of figures with a heading.
pub(super) fn list(title: &str, facts: &[(&str, String)], out: &mut Markup) {
    out.tag("div", &[], |out| {
        out.leaf("h3", &[], title);
        out.tag("dl", &[("class", "facts")], |out| {
            for (name, value) in facts {
                out.leaf("dt", &[], name);
                // What must never happen is seen when it did.
                let is_bad = NEVER.contains(name) && value != "0";
                out.leaf("dd", &[("class", if is_bad { "bad" } else { "fine" })], value);
            }
        });
    });
}

/// What else was counted, if anything was.
fn counted(report: &Report, out: &mut Markup) {
    let counts = report.load.counts.iter().filter(|(_, figure)| **figure > 0);
    let named: Vec<_> = counts
        .map(|(name, figure)| (name.replace('_', " "), count(*figure)))
        .collect();
    let facts: Vec<_> = named
        .iter()
        .map(|(name, figure)| (name.as_str(), figure.clone()))
        .collect();
    if !facts.is_empty() {
        list("Counted", &facts, out);
    }
}

fn messages(report: &Report) -> Vec<(&'static str, String)> {
    let (load, done) = (&report.load, &report.integrity);
    let figures = [
        ("due", load.due),
        ("sent", load.sent),
        ("never left", load.missed),
        ("accepted", load.accepted),
        ("delivered", load.delivered),
        ("streams watched", done.streams),
        ("lost", done.lost),
        ("unanswered, not arrived", done.unanswered),
        ("duplicated", done.duplicated),
        ("redelivered (allowed)", done.redelivered),
        ("reordered", done.reordered),
        ("corrupt", done.corrupt),
        ("undecryptable", done.undecryptable),
        ("one-time keys twice", done.keys_twice),
    ];
    let mut facts: Vec<_> = figures
        .into_iter()
        .map(|(name, figure)| (name, count(figure)))
        .collect();
    facts.extend(
        load.stored_per_second
            .map(|stored| ("stored while away", rate(stored))),
    );
    facts.extend(load.drained_per_second.map(|drained| ("drained", rate(drained))));
    facts
}

fn server(report: &Report) -> Vec<(&'static str, String)> {
    let Some(server) = &report.server else {
        return vec![("seen", "no: it ran elsewhere".to_owned())];
    };
    let bytes = |amount: Option<u64>| maybe(amount.map(|amount| amount as f64), figures::bytes);
    vec![
        ("processor time", time(server.cpu_seconds)),
        ("share of a core", share(server.cpu_seconds / report.load.seconds)),
        ("for each message", maybe(server.cpu_seconds_per_message, time)),
        ("memory at the most", figures::bytes(server.rss_max_bytes as f64)),
        ("memory before", figures::bytes(server.rss_before_bytes as f64)),
        (
            "for each connection",
            maybe(server.rss_bytes_per_connection, figures::bytes),
        ),
        ("written", bytes(server.written_bytes)),
        (
            "written for each message",
            maybe(server.written_bytes_per_message, figures::bytes),
        ),
        (
            "commits",
            server.commits.map_or_else(|| figures::NOTHING.to_owned(), count),
        ),
        (
            "commits for each message",
            maybe(server.commits_per_message, figures::number),
        ),
        ("acked before stored", maybe(server.elided_share, share)),
    ]
}

fn generator(report: &Report) -> Vec<(&'static str, String)> {
    let generator = &report.generator;
    vec![
        ("processor time", time(generator.cpu_seconds)),
        (
            "share of a core",
            share(generator.cpu_seconds / report.load.seconds),
        ),
        ("for each message", maybe(generator.cpu_seconds_per_message, time)),
        ("busiest worker", share(generator.busiest_worker)),
        ("late, p99", time(generator.late_p99_seconds)),
        (
            "memory at the most",
            figures::bytes(generator.rss_max_bytes as f64),
        ),
        ("open files", count(generator.open_files)),
        (
            "ceiling on this machine",
            maybe(generator.ceiling_per_second, rate),
        ),
    ]
}

const fn described(latency: Latency) -> &'static str {
    match latency {
        Latency::E2e => "e2e, from due",
        Latency::Service => "service, from sent",
        Latency::Ok => "OK, from due",
        Latency::Spread => "spread of recipients",
        Latency::Connect => "connect",
        Latency::Reconnect => "reconnect",
        Latency::Drain => "drain",
        Latency::Claim => "claim of keys",
        Latency::Encrypt => "encrypt, apart",
        Latency::Decrypt => "decrypt, apart",
        Latency::Late => "late, the generator",
    }
}

/// Names of what must never happen.
const NEVER: [&str; 6] = [
    "lost",
    "duplicated",
    "reordered",
    "corrupt",
    "undecryptable",
    "one-time keys twice",
];
