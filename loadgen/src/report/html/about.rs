//! The foot of the page: where it ran, by which command, and what exactly was done.

use crate::report::figures::{count, time};
use crate::report::html::facts::list;
use crate::report::html::markup::Markup;
use crate::report::{Report, figures};

/// Environment, command line, scenario.
pub(super) fn about(report: &Report, out: &mut Markup) {
    out.tag("section", &[("id", "about")], |out| {
        out.leaf("h2", &[], "How it was run");
        out.tag("div", &[("class", "columns")], |out| {
            list("Machine", &machine(report), out);
            list("Target", &target(report), out);
            if !report.environment.agents.is_empty() {
                list("Agents", &agents(report), out);
            }
        });
        out.leaf("h3", &[], "Command");
        block("Command", "command", &command(&report.environment.command), out);
        out.leaf("h3", &[], "Scenario");
        block("Scenario", "file", &scenario(report), out);
    });
}

fn machine(report: &Report) -> Vec<(&'static str, String)> {
    let place = &report.environment;
    vec![
        ("processor", place.cpu.clone()),
        ("cores", place.cores.to_string()),
        ("kernel", place.kernel.clone()),
        ("open files allowed", count(place.nofile)),
        ("workers", place.workers.to_string()),
        ("same host", if place.same_host { "yes" } else { "no" }.to_owned()),
    ]
}

fn target(report: &Report) -> Vec<(&'static str, String)> {
    let place = &report.environment;
    let told = |text: &Option<String>| text.clone().unwrap_or_else(|| figures::NOTHING.to_owned());
    vec![
        ("target", place.target.clone()),
        ("address", place.url.clone()),
        ("server", told(&place.server_version)),
        ("store", told(&place.store)),
        ("scenario", report.scenario_hash.clone()),
        ("seed", report.scenario.seed.to_string()),
    ]
}

fn agents(report: &Report) -> Vec<(&str, String)> {
    let one = |agent: &crate::report::AgentFigures| {
        let (clients, off, sure) = (
            count(u64::from(agent.clients)),
            agent.clock_offset_seconds,
            agent.clock_uncertainty_seconds,
        );
        format!("{clients} clients, clock {} ± {}", time(off), time(sure))
    };
    report
        .environment
        .agents
        .iter()
        .map(|agent| (agent.address.as_str(), one(agent)))
        .collect()
}

fn block(label: &str, class: &str, text: &str, out: &mut Markup) {
    let attributes = [
        ("class", class),
        ("tabindex", "0"),
        ("role", "region"),
        ("aria-label", label),
    ];
    // A part stays together when the block is set in columns.
    let parts = text.trim_end().split("\n\n");
    out.tag("pre", &attributes, |out| {
        parts.for_each(|part| out.leaf("code", &[], &format!("{part}\n")))
    });
}

/// As it can be typed again.
fn command(words: &[String]) -> String {
    words
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=+./:,@%".contains(letter);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn scenario(report: &Report) -> String {
    let as_json = |_| serde_json::to_string_pretty(&report.scenario).unwrap_or_default();
    toml::to_string_pretty(&report.scenario).unwrap_or_else(as_json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    #[test]
    fn a_command_can_be_typed_again() {
        let words = ["bench", "e2e.p99 < 50ms", "it's", "", "a=b"].map(str::to_owned);
        assert_eq!(command(&words), r"bench 'e2e.p99 < 50ms' 'it'\''s' '' a=b");
    }

    #[test]
    fn the_scenario_is_written_as_a_file_that_can_be_read() {
        let report = sample();
        let again: crate::scenario::Scenario = toml::from_str(&scenario(&report)).expect("a scenario");
        assert_eq!(again, report.scenario);
    }
}
