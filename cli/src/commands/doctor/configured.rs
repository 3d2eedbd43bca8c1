//! The configuration: everything that `chatctl config check` finds, and what it finds with these flags.
//!
//! What is wrong with files of keys and of the store is told by their own areas.

use std::path::Path;

use chatctl_relay::config::Config;

use super::Area;
use super::finding::{Finding, as_root, shell};
use crate::commands::config::problems;
use crate::config::problem::{Problem, Severity};
use crate::config::{DEFAULT_FILE, checks};

/// Looks at the file that was read, or would have been, and at the settings as a whole.
pub(super) fn look(file: Option<&Path>, config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let is_closed =
        std::fs::File::open(path).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    if is_closed {
        let why = format!(
            "{} cannot be read: what follows is about the defaults",
            path.display()
        );
        found.push(Finding::skipped("file", why, as_root(Area::Config)));
    }
    let read = problems(file.filter(|_| !is_closed));
    let mut problems = match read {
        Ok(problems) => problems,
        Err(failure) => {
            found.push(Finding::bad(
                "file",
                failure.sentence(),
                "chatctl config init -o chatctl.toml",
            ));
            return found;
        }
    };
    for problem in checks::all(config) {
        if !problems.iter().any(|known| known.message == problem.message) {
            problems.push(problem);
        }
    }
    problems.retain(|problem| !OTHERS.contains(&(problem.code, problem.key.as_str())));
    found.extend(problems.iter().map(|problem| judge(problem, file)));
    if found.is_empty() {
        found.push(Finding::ok(
            "settings",
            match file {
                Some(file) => format!("{} and the variables are good", file.display()),
                None => "no file; the variables are good".to_owned(),
            },
        ));
    }
    found
}

fn judge(problem: &Problem, file: Option<&Path>) -> Finding {
    let spot = problem.spot.as_ref().map(|spot| format!("{}: ", spot.place()));
    let measured = format!("{}{}", spot.unwrap_or_default(), problem.message);
    let check = match file {
        Some(file) => format!("chatctl config check {}", shell(file)),
        None => "chatctl config check".to_owned(),
    };
    let finding = match problem.severity {
        Severity::Error => Finding::bad(problem.code, measured, check),
        Severity::Warning => Finding::warn(problem.code, measured, check),
    };
    match &problem.hint {
        Some(hint) => finding.meaning(hint.clone()),
        None => finding,
    }
}

/// Problems that other areas tell, better.
const OTHERS: [(&str, &str); 2] = [("file", "auth.keys"), ("file", "store.uri_file")];

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    #[test]
    fn problems_keep_their_severity_and_their_place() {
        let problem = Problem::error("unknown-key", "servr", "unknown table").hint("did you mean server?");
        let found = judge(&problem, Some(Path::new("/etc/c.toml")));
        assert_eq!(
            found,
            Finding::bad("unknown-key", "unknown table", "chatctl config check /etc/c.toml")
                .meaning("did you mean server?")
        );
        let warning = judge(&Problem::warning("variable", "X", "X is not known"), None);
        assert_eq!(
            (warning.mark, warning.fix.as_deref()),
            (Mark::Warn, Some("chatctl config check"))
        );
    }

    #[test]
    fn flags_are_judged_with_the_rest() {
        let mut config = Config::default();
        config.limits.window = 1_000;
        config.auth.keys = Some("/nowhere/keys.json".into());
        let found = look(None, &config);
        assert!(
            found.iter().any(|found| found.measured.contains("limits.window")),
            "{found:?}"
        );
        assert!(
            !found.iter().any(|found| found.measured.contains("auth.keys")),
            "{found:?}"
        );
    }
}
