//! A report as Markdown, for a comment beside a change: the verdict, a table of latencies, and what did not hold.

use crate::report::figures::{bytes, count, maybe, rate, share, time};
use crate::report::{Report, Verdict};
use crate::tally::Latency;

/// The Markdown.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let load = &report.load;
    let word = match report.verdict {
        Verdict::Pass => "✅ **PASS**",
        Verdict::Fail => "❌ **FAIL**",
        Verdict::Invalid => "⚠️ **INVALID**",
        Verdict::Interrupted => "⚠️ **INTERRUPTED**",
    };
    let planned = load
        .planned_per_second
        .map_or_else(String::new, |planned| format!(" of {} planned", rate(planned)));
    let mut text = format!("### {word} {}\n\n", escaped(&report.scenario.name));
    let (clients, seconds) = (count(u64::from(load.clients)), time(load.seconds));
    let (model, delivered) = (escaped(&load.model), rate(load.delivered_per_second));
    text.push_str(&format!(
        "{clients} clients, {model} model, {delivered} delivered{planned} for {seconds}, "
    ));
    let done = &report.integrity;
    let (lost, twice, late, broken) = (done.lost, done.duplicated, done.reordered, done.corrupt);
    text.push_str(&format!("seed {}. ", report.scenario.seed));
    text.push_str(&format!(
        "Lost {lost}, duplicated {twice}, reordered {late}, corrupt {broken}.\n"
    ));
    if let Some((stored, drained)) = load.stored_per_second.zip(load.drained_per_second) {
        text.push_str(&format!(
            "Mailboxes: {} stored, {} drained.\n",
            rate(stored),
            rate(drained)
        ));
    }
    if !report.reasons.is_empty() {
        text.push('\n');
        report
            .reasons
            .iter()
            .for_each(|reason| text.push_str(&format!("- {}\n", escaped(reason))));
    }
    latencies(report, &mut text);
    thresholds(report, &mut text);
    costs(report, &mut text);
    text
}

fn latencies(report: &Report, text: &mut String) {
    text.push_str(
        "\n| Latency | Count | p50 | p90 | p99 | p99.9 | Max |\n|:---|---:|---:|---:|---:|---:|---:|\n",
    );
    for latency in Latency::ALL {
        let Some(figures) = report.latency.get(latency.name()) else {
            continue;
        };
        let seconds = [
            figures.p50_seconds,
            figures.p90_seconds,
            figures.p99_seconds,
            figures.p999_seconds,
            figures.max_seconds,
        ];
        let cells = seconds.map(time).join(" | ");
        text.push_str(&format!(
            "| `{}` | {} | {cells} |\n",
            latency.name(),
            count(figures.count)
        ));
    }
}

fn thresholds(report: &Report, text: &mut String) {
    if report.thresholds.is_empty() {
        return;
    }
    text.push_str("\n| | Threshold | Found |\n|:---:|:---|---:|\n");
    for threshold in &report.thresholds {
        let sign = if threshold.holds { "✅" } else { "❌" };
        text.push_str(&format!(
            "| {sign} | {} | {} |\n",
            escaped(&threshold.expression),
            escaped(&threshold.shown)
        ));
    }
}

fn costs(report: &Report, text: &mut String) {
    let same = if report.environment.same_host {
        " Server and generator shared the machine."
    } else {
        ""
    };
    if let Some(server) = &report.server {
        let (cost, memory) = (
            maybe(server.cpu_seconds_per_message, time),
            maybe(server.rss_bytes_per_connection, bytes),
        );
        let (core, most) = (
            share(server.cpu_seconds / report.load.seconds),
            bytes(server.rss_max_bytes as f64),
        );
        text.push_str(&format!(
            "\nServer: {cost} of processor a message ({core} of a core), "
        ));
        text.push_str(&format!("{memory} a connection, {most} at the most.{same}\n"));
    }
    let (version, run) = (escaped(&report.environment.version), escaped(&report.run_id));
    let scenario = escaped(&report.scenario_hash);
    text.push_str(&format!(
        "\n<sub>chatctl {version}, run {run}, scenario {scenario}</sub>\n"
    ));
}

/// Text from outside is neither markup nor the end of a cell, and mentions nobody.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '@' => escaped.push_str("&#64;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' | '!' | '~' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{same_as_golden, sample};

    #[test]
    fn the_markdown_of_a_run() {
        same_as_golden("report.md", &markdown(&sample()));
    }

    #[test]
    fn text_from_outside_is_no_markup() {
        let text = escaped("a|b `c` <img> @all [x](y)\nz");
        assert_eq!(text, "a\\|b \\`c\\` &lt;img&gt; &#64;all \\[x\\](y) z");
    }
}
