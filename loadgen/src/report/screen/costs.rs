//! The foot of the screen: what was kept, what failed, and what it cost.

use crate::report::Report;
use crate::report::figures::{self, bytes, count, maybe, rate, share, time};
use crate::report::screen::paper::{Paint, Screen, cut};

/// What became of the messages. Loss is never left out; what did not happen and need not be feared is.
pub(super) fn integrity(report: &Report, screen: &mut Screen) {
    let done = &report.integrity;
    let always = [
        format!("lost {}", count(done.lost)),
        format!("duplicated {}", count(done.duplicated)),
        format!("reordered {}", count(done.reordered)),
        format!("corrupt {}", count(done.corrupt)),
    ];
    screen.figures("integrity", &always);
    let sometimes = [
        (done.unanswered, "not arrived, but not promised either"),
        (done.redelivered, "redelivered after a lost ack (allowed)"),
        (done.undecryptable, "undecryptable"),
        (done.keys_twice, "keys handed out twice"),
    ];
    let told = sometimes.into_iter().filter(|(figure, _)| *figure > 0);
    let told: Vec<_> = told
        .map(|(figure, what)| format!("{} {what}", count(figure)))
        .collect();
    screen.figures("", &told);
}

/// Errors, the most frequent first.
pub(super) fn errors(report: &Report, screen: &mut Screen) {
    let mut errors: Vec<_> = report.errors.iter().collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.count));
    if errors.is_empty() {
        screen.line("errors", &[(Paint::Plain, "none")]);
        return;
    }
    let sum = errors.iter().map(|error| error.count).sum();
    // The sum first: what does not fit after it is told in the report.
    let mut told = vec![format!("{} of {} classes", count(sum), errors.len())];
    told.extend(
        errors
            .iter()
            .map(|error| format!("{} {}", cut(&error.class, 40), count(error.count))),
    );
    screen.figures("errors", &told);
}

/// What the server used.
pub(super) fn server(report: &Report, screen: &mut Screen) {
    let Some(server) = &report.server else {
        screen.line("server", &[(Paint::Dim, "not seen")]);
        return;
    };
    let some = |figure: Option<f64>, shown: fn(f64) -> String, what: &str| {
        figure.map_or_else(String::new, |figure| format!("{}{what}", shown(figure)))
    };
    let cost = maybe(server.cpu_seconds_per_message, time);
    let connection = server
        .rss_bytes_per_connection
        .map_or_else(String::new, |added| format!(" (+{} a connection)", bytes(added)));
    screen.figures(
        "server",
        &[
            format!(
                "cpu {} of a core ({cost} a message)",
                share(server.cpu_seconds / report.load.seconds)
            ),
            format!("memory {}{connection}", bytes(server.rss_max_bytes as f64)),
        ],
    );
    screen.figures(
        "",
        &[
            some(server.written_bytes_per_message, bytes, " written a message"),
            some(server.commits_per_message, figures::number, " commits a message"),
            some(server.elided_share, share, " acked before they were stored"),
        ],
    );
}

/// What the generator used, and how far it is to be trusted.
pub(super) fn generator(report: &Report, screen: &mut Screen) {
    let generator = &report.generator;
    screen.figures(
        "generator",
        &[
            format!(
                "cpu {} of a core, busiest worker {}",
                share(generator.cpu_seconds / report.load.seconds),
                share(generator.busiest_worker)
            ),
            format!("late p99 {}", time(generator.late_p99_seconds)),
            generator
                .ceiling_per_second
                .map_or_else(String::new, |ceiling| format!("ceiling {}", rate(ceiling))),
            format!("files {}", count(generator.open_files)),
        ],
    );
    if report.environment.same_host {
        screen.line(
            "",
            &[(Paint::Dim, "same host as the server: figures are a lower bound")],
        );
    }
    let agents = &report.environment.agents;
    if !agents.is_empty() {
        let unsure = agents
            .iter()
            .map(|agent| agent.clock_uncertainty_seconds)
            .fold(0.0, f64::max);
        screen.figures(
            "",
            &[format!(
                "{} agents, their clocks within {}",
                agents.len(),
                time(unsure)
            )],
        );
    }
}

/// Where it ran.
pub(super) fn place(report: &Report, screen: &mut Screen) {
    let place = &report.environment;
    let store = place
        .store
        .as_ref()
        .map_or_else(String::new, |store| format!(", store {store}"));
    let target = format!(
        "{}{store}",
        place.server_version.as_ref().unwrap_or(&place.target)
    );
    screen.line(
        "target",
        &[
            (Paint::Plain, &target),
            (
                Paint::Dim,
                &format!("   {} cores, {}, kernel {}", place.cores, place.cpu, place.kernel),
            ),
        ],
    );
}
