//! `chatctl token keys check`.

use chatctl_relay::auth::private_file;
use chatctl_relay::auth::{Finding, KeysetError, Severity, review};
use chatctl_relay::config::AuthConfig;
use chatctl_relay::model::Clock;
use schemars::JsonSchema;
use serde::Serialize;

use super::Cache;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Find everything that is wrong with the keyset
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl token keys check --keys keys.json")]
pub(super) struct Check {
    #[command(flatten)]
    auth: AuthConfig,

    #[command(flatten)]
    cache: Cache,
}

/// What is wrong with a keyset.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CheckedKeys {
    /// The keyset.
    file: String,
    /// How many findings a relay refuses the file for.
    errors: usize,
    /// How many should not stay so.
    warnings: usize,
    /// The errors first.
    findings: Vec<Found>,
}

#[derive(Serialize, JsonSchema)]
struct Found {
    /// error, warning.
    severity: &'static str,
    /// With which key, if it is one key's.
    kid: Option<String>,
    message: String,
}

impl Document for CheckedKeys {
    const SCHEMA: &'static str = "chatctl.token.keys.check/v1";
}

impl Check {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let now = Clock::system().now();
        let path = super::super::keys_file(&self.auth)?;
        let mut findings = Vec::new();
        let json = match private_file::read(path) {
            Ok(json) => json,
            Err(error @ KeysetError::TooOpen { .. }) => {
                findings.push(Finding {
                    severity: Severity::Error,
                    kid: None,
                    message: error.to_string(),
                });
                // Whoever may read it may know the rest, too.
                std::fs::read(path).unwrap_or_default()
            }
            Err(error) => return Err(error.into()),
        };
        findings.extend(review(&json, &self.cache.waits(&self.auth), now));
        let document = document(path.display().to_string(), &findings);
        let shown = out.result(&text(&document), &document);
        match document.errors {
            0 => shown,
            // Whether or not anybody read the list.
            count => {
                let message = match count {
                    1 => "a relay refuses this keyset: 1 error".to_owned(),
                    count => format!("a relay refuses this keyset: {count} errors"),
                };
                Err(Failure::new(Exit::Config, message).hint("stdout lists them"))
            }
        }
    }
}

fn document(file: String, findings: &[Finding]) -> CheckedKeys {
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let found = |finding: &Finding| Found {
        severity: word(finding.severity),
        kid: finding.kid.clone(),
        message: finding.message.clone(),
    };
    CheckedKeys {
        file,
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        findings: findings.iter().map(found).collect(),
    }
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn text(document: &CheckedKeys) -> String {
    let line = |found: &Found| {
        let key = found.kid.as_deref().map(super::super::plain);
        let key = key.map_or(String::new(), |kid| format!("key {kid}: "));
        format!("{:<8} {key}{}\n", found.severity, found.message)
    };
    let lines: String = document.findings.iter().map(line).collect();
    let (errors, warnings) = (document.errors, document.warnings);
    format!(
        "{lines}{errors} errors, {warnings} warnings in {}\n",
        document.file
    )
}
