//! Scenarios from text.

use serde::Deserialize;

use crate::scenario::{SCHEMA, Scenario, ScenarioError};

/// What tells versions apart. Everything else may be of another one.
#[derive(Deserialize)]
struct Head {
    schema: Option<String>,
}

impl Scenario {
    /// Reads a `toml` file's text. Whether it makes sense is another question: [`Scenario::check`].
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] with the place of the first thing that is not in a scenario.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let unreadable = |error: &toml::de::Error| unreadable(text, error);
        let head: Head = toml::from_str(text).map_err(|error| unreadable(&error))?;
        match head.schema {
            Some(schema) if schema != SCHEMA => Err(ScenarioError::Version(schema)),
            _ => toml::from_str(text).map_err(|error| unreadable(&error)),
        }
    }
}

fn unreadable(text: &str, error: &toml::de::Error) -> ScenarioError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ScenarioError::Unreadable {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: with_nearest(error.message()),
    }
}

/// The message, with a word that may have been meant where one is unknown: ``unknown field `x`, expected one of ..``.
fn with_nearest(message: &str) -> String {
    let message = message.trim();
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = words.next().filter(|_| message.starts_with("unknown "));
    let nearest = unknown.and_then(|unknown| {
        let alike = |word: &&str| strsim::jaro_winkler(unknown, word);
        words
            .filter(|word| alike(word) > 0.8)
            .max_by(|one, two| alike(one).total_cmp(&alike(two)))
    });
    match nearest {
        Some(word) => format!("{message}; did you mean `{word}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::scenario::{Arrival, Clients, Crypto, Faults, Load, Payload, Phases, Preset, Stage, Topology};
    use crate::units::{Rate, Size, Span};

    fn refused(text: &str) -> String {
        Scenario::parse(text).unwrap_err().to_string()
    }

    fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    fn stage(from: Option<f64>, rate: f64, lasts: u64) -> Stage {
        Stage {
            from: from.map(|from| Rate::per_second(from).unwrap()),
            rate: Rate::per_second(rate).unwrap(),
            lasts: seconds(lasts),
        }
    }

    #[test]
    fn a_file_says_all_of_a_scenario() {
        let read = Scenario::parse(include_str!("../../examples/mixed.toml")).unwrap();
        let expected = Scenario {
            schema: SCHEMA.to_owned(),
            name: "mixed".to_owned(),
            seed: 7,
            clients: Clients {
                count: 96,
                devices_per_account: 1,
                connect_rate: Rate::per_second(200.0).ok(),
            },
            topology: Topology::Rooms { size: 8 },
            load: Load::Open {
                stages: vec![
                    stage(None, 50.0, 5),
                    stage(Some(50.0), 150.0, 10),
                    stage(None, 150.0, 10),
                ],
                arrival: Arrival::Poisson,
            },
            phases: Phases {
                warmup: seconds(2),
                drain: seconds(10),
                ..Phases::default()
            },
            payload: Payload {
                size: "lognormal(400B, 1.1)".parse().unwrap(),
                max: Size(65_536),
                crypto: Crypto::Session,
            },
            faults: Faults {
                reconnect_percent_per_minute: 20.0,
                slow_consumers_percent: 1.0,
            },
            thresholds: ["e2e.p99 < 100ms", "errors.rate < 0.1%", "server.rss < 512MiB"]
                .map(str::to_owned)
                .to_vec(),
        };
        assert_eq!(read, expected);
        assert_eq!(read.check(), []);
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let text = format!("schema = \"{SCHEMA}\"");
        assert_eq!(Scenario::parse(&text).unwrap(), Scenario::default());
    }

    #[test]
    fn presets_are_read_as_they_are_written() {
        for preset in Preset::ALL {
            let text = toml::to_string(&preset.scenario()).unwrap();
            assert_eq!(Scenario::parse(&text).unwrap(), preset.scenario(), "{text}");
        }
    }

    #[test]
    fn what_is_no_scenario_is_refused_with_its_place() {
        let with = |rest: &str| refused(&format!("schema = \"{SCHEMA}\"\n{rest}"));
        assert_eq!(
            with("[clients]\ncuont = 5"),
            "line 3, column 1: unknown field `cuont`, expected one of `count`, `devices_per_account`, `connect_rate`; \
             did you mean `count`?"
        );
        assert_eq!(
            with("[payload]\nmax = \"ten\""),
            "line 3, column 7: `ten` is not a size such as `256B` or `64KiB`"
        );
        assert!(with("[topology]\nkind = \"roms\"\nsize = 3").ends_with("did you mean `rooms`?"));
        assert!(with("[load]\nmodel = \"open\"").contains("missing field `stages`"));
        assert!(
            with("[load]\nmodel = \"hold\"\nduration = \"5s\"\nrate = \"5/s\"")
                .contains("unknown field `rate`")
        );
        assert_eq!(
            refused("schema = \"chatctl.bench.scenario/v2\"\nnew = 1"),
            "`chatctl.bench.scenario/v2` is not a scenario of this version: the file opens with \
             `schema = \"chatctl.bench.scenario/v1\"`"
        );
        assert!(refused("name = \"x\"").contains("missing field `schema`"));
        assert!(refused("schema = ").starts_with("line 1, column "));
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_to_be_refused(text in "\\PC{0,40}", more in "[a-z=\\[\\]\n\"{} ]{0,40}") {
            let _ = Scenario::parse(&text);
            let _ = Scenario::parse(&format!("schema = \"{SCHEMA}\"\n{more}"));
        }
    }
}
