//! The store: whether it is there, of this version, and fits together; a database's topology is
//! [`super::database`]'s.
//!
//! Only reads, beside a relay that runs. Must not know what mail is.

use std::path::Path;
use std::time::Duration;

use chatctl_relay::config::{Config, StoreConfig};
use chatctl_relay::directory::check_signatures;
use chatctl_relay::store::embedded::{OpenError, Premises};
use chatctl_relay::store::upkeep::{Check, Depth, Plan, Upkeep, UpkeepError};

use super::Area;
use super::database;
use super::finding::{Finding, as_root, shell};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::figures::bytes;
use crate::store::{self, Place};

/// Looks at the store that the settings name.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    match store::place(&config.store) {
        Ok(Place::Directory(folder)) => embedded(&folder).await,
        Ok(Place::Database(uri)) => database::look(&uri, &config.store).await,
        Err(failure) => vec![refused("store", &failure, "chatctl config show | grep store.")],
    }
}

/// What an operator is told of a store that does not open.
pub(super) fn refused(name: &str, failure: &Failure, fix: &str) -> Finding {
    match failure.exit {
        Exit::NoPerm => Finding::bad(name, failure.sentence(), fix),
        _ => match failure.advice() {
            Some(hint) => Finding::bad(name, failure.sentence(), fix).meaning(hint),
            None => Finding::bad(name, failure.sentence(), fix),
        },
    }
}

async fn embedded(folder: &Path) -> Vec<Finding> {
    let premises = Premises::at(folder);
    let plan = match premises.plan().await {
        Ok(plan) => plan,
        Err(error) => return vec![judge_error(folder, &error)],
    };
    let mut found = vec![judge_plan(&plan, &format!("--data-dir {}", shell(folder)))];
    if plan.found.is_none() {
        return found;
    }
    let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |found| found.len());
    found.push(judge_sizes(size("chatctl.sqlite"), size("chatctl.sqlite-wal")));
    match premises.inspect(depth()).await {
        Ok(checks) => found.push(judge_checks(&checks, &format!("--data-dir {}", shell(folder)))),
        Err(error) => found.push(judge_error(folder, &error)),
    }
    found
}

/// A look at some of everything, short enough to be done beside a relay at any time.
pub(super) fn depth() -> Depth {
    Depth {
        sample: Some(100),
        floor: 0,
        judge: |suite, identity, items| {
            check_signatures(suite, identity, items).map_err(|error| error.to_string())
        },
    }
}

fn judge_error(folder: &Path, error: &UpkeepError) -> Finding {
    if is_denied(error) {
        let why = format!("{} cannot be read", folder.display());
        return Finding::skipped("store", why, as_root(Area::Store));
    }
    let failure = match error {
        UpkeepError::Embedded(error) => store::embedded_failure(folder, error),
        other => Failure::from_error(Exit::DataErr, other),
    };
    refused(
        "store",
        &failure,
        &format!("chatctl seed verify --data-dir {}", shell(folder)),
    )
}

fn is_denied(error: &UpkeepError) -> bool {
    match error {
        UpkeepError::Embedded(OpenError::Io(error)) => error.kind() == std::io::ErrorKind::PermissionDenied,
        _ => false,
    }
}

/// Whether the schema is this version's; `which` names the store as the commands take it.
pub(super) fn judge_plan(plan: &Plan, which: &str) -> Finding {
    let apply = format!("chatctl seed apply {which}");
    let pending = plan.pending().count();
    match plan.found {
        None => Finding::skipped("schema", "nothing was set up yet", apply),
        Some(found) if found > plan.wanted => Finding::bad(
            "schema",
            format!("{found}, and this version knows schemas up to {}", plan.wanted),
            "apt list --upgradable chatctl",
        )
        .meaning("a newer chatctl wrote it: install that one"),
        Some(found) if found < plan.wanted => Finding::bad(
            "schema",
            format!("{found}, and this version needs {}", plan.wanted),
            apply,
        ),
        Some(found) if pending > 0 => {
            let steps = plan
                .pending()
                .take(3)
                .map(|step| step.name.clone())
                .collect::<Vec<_>>()
                .join(", ");
            Finding::bad(
                "schema",
                format!("{found}, but {pending} parts differ: {steps}"),
                apply,
            )
        }
        Some(found) => Finding::ok("schema", format!("{found}, complete")),
    }
}

fn judge_sizes(database: u64, log: u64) -> Finding {
    let measured = format!("{}, and {} in the write-ahead log", bytes(database), bytes(log));
    match log > LONG_LOG.max(database) {
        false => Finding::ok("size", measured),
        true => Finding::warn("size", measured, "chatctl jobs run compact-store --apply")
            .meaning("the log is not copied into the database: something reads for very long, or the disk is nearly full"),
    }
}

/// What an inspection found.
pub(super) fn judge_checks(checks: &[Check], which: &str) -> Finding {
    let looked: u64 = checks.iter().map(|check| check.looked).sum();
    let bad: Vec<_> = checks
        .iter()
        .filter(|check| check.bad > 0 && !check.warning)
        .collect();
    match bad.as_slice() {
        [] => Finding::ok("contents", format!("{looked} things of a sample fit together")),
        some => {
            let named = some
                .iter()
                .map(|check| format!("{}: {} of {} not", check.name, check.bad, check.looked));
            Finding::bad(
                "contents",
                named.collect::<Vec<_>>().join("; "),
                format!("chatctl seed verify {which} --all"),
            )
        }
    }
}

/// How long a look at the store may take.
pub(super) fn deadline(config: &StoreConfig) -> Duration {
    // A database has its own time for each request, and there are several.
    config.timeout.min(Duration::from_secs(5)) + Duration::from_secs(2)
}

/// A log that is larger, and larger than the database, has not been copied for long.
const LONG_LOG: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use chatctl_relay::store::upkeep::{Action, Part, Step};

    use super::super::finding::Mark;
    use super::*;

    fn plan(found: Option<u32>, steps: Vec<Step>) -> Plan {
        Plan {
            found,
            wanted: 3,
            steps,
        }
    }

    #[test]
    fn a_schema_is_this_versions_or_it_is_said_which_way_to_go() {
        let mark = |found, steps| judge_plan(&plan(found, steps), "--data-dir d");
        assert_eq!(mark(Some(3), vec![]).mark, Mark::Ok);
        assert_eq!(mark(None, vec![]).mark, Mark::Skipped);
        let older = mark(Some(2), vec![]);
        assert_eq!(
            (older.mark, older.fix.as_deref()),
            (Mark::Bad, Some("chatctl seed apply --data-dir d"))
        );
        assert_eq!(mark(Some(4), vec![]).mark, Mark::Bad);
        let index = Step {
            action: Action::Create,
            part: Part::Index,
            name: "mail.expiry".into(),
            detail: String::new(),
            documents: 0,
        };
        let missing = mark(Some(3), vec![index.clone()]);
        assert!(
            missing.mark == Mark::Bad && missing.measured.contains("mail.expiry"),
            "{missing:?}"
        );
        let unknown = Step {
            action: Action::Unknown,
            ..index
        };
        assert_eq!(mark(Some(3), vec![unknown]).mark, Mark::Ok);
    }

    #[test]
    fn a_log_that_nobody_copies_is_said() {
        assert_eq!(judge_sizes(10, 200 << 20).mark, Mark::Ok);
        assert_eq!(judge_sizes(1 << 40, 300 << 20).mark, Mark::Ok);
        assert_eq!(judge_sizes(10, 300 << 20).mark, Mark::Warn);
    }

    #[test]
    fn warnings_of_an_inspection_are_not_wrong() {
        let check = |bad, warning| Check {
            name: "rows".into(),
            looked: 9,
            bad,
            warning,
            examples: Vec::new(),
        };
        let mark = |checks: &[Check]| judge_checks(checks, "--data-dir d").mark;
        assert_eq!(mark(&[check(0, false), check(2, true)]), Mark::Ok);
        assert_eq!(mark(&[check(2, false)]), Mark::Bad);
    }
}
