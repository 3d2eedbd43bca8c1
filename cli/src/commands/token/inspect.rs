//! `chatctl token inspect`.

use chatctl_relay::auth::{Inspection, inspect};
use chatctl_relay::config::AuthConfig;
use chatctl_relay::model::{Clock, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Write as _;

use super::{Input, plain};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::when::{relative, rfc3339};

/// Show what stands in a token, without checking it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  printf %s \"$T\" | chatctl token inspect")]
pub(super) struct Inspect {
    #[command(flatten)]
    input: Input,

    #[command(flatten)]
    auth: AuthConfig,
}

/// What stands in a token that nobody verified.
#[derive(Serialize, JsonSchema)]
pub(crate) struct InspectedToken {
    /// Always false: anybody may have written the token.
    verified: bool,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    /// What a relay would refuse it for, as far as that shows without a key.
    warnings: Vec<String>,
}

impl Document for InspectedToken {
    const SCHEMA: &'static str = "chatctl.token.inspect/v1";
}

impl Inspect {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let now = Clock::system().now();
        let token = self.input.token(out)?;
        let inspection = inspect(&token, self.auth.max_token_life, now)
            .map_err(|error| Failure::from_error(Exit::DataErr, &error))?;
        out.note("NOT VERIFIED: anybody may have written this; `chatctl token verify` checks it");
        let text = text(&inspection, now);
        let document = InspectedToken {
            verified: false,
            header: inspection.header,
            claims: inspection.claims,
            warnings: inspection.warnings.iter().map(ToString::to_string).collect(),
        };
        out.result(&text, &document)
    }
}

fn text(inspection: &Inspection, now: UnixMs) -> String {
    let mut text = "header\n".to_owned();
    members(&mut text, &inspection.header, now);
    text.push_str("claims\n");
    members(&mut text, &inspection.claims, now);
    for warning in &inspection.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn members(text: &mut String, members: &Map<String, Value>, now: UnixMs) {
    for (name, value) in members {
        let (name, shown) = (plain(name), plain(&value.to_string()));
        let time = match (name.as_str(), value.as_u64()) {
            ("exp" | "iat" | "nbf", Some(seconds)) if seconds < 100_000_000_000 => {
                let time = UnixMs(seconds * 1000);
                format!("  {} ({})", rfc3339(time), relative(time, now))
            }
            _ => String::new(),
        };
        let _ = writeln!(text, "  {name:<8}{shown}{time}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_told_and_nothing_reaches_the_terminal_raw() {
        let mut text = String::new();
        let claims =
            json!({"exp": 1_795_348_800, "iat": 1_795_348_800_000_u64, "x\u{1b}[2J": "\u{9b}2J\u{202e}"});
        members(&mut text, claims.as_object().unwrap(), UnixMs(1_795_348_740_000));
        assert_eq!(
            text,
            "  exp     1795348800  2026-11-22T12:00:00Z (in 1m)\n  iat     1795348800000\n  x\\u{1b}[2J\"\\u{9b}2J\\u{202e}\"\n"
        );
    }
}
