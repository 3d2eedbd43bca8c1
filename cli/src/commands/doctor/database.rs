//! A database that the relay may trust with mail: a replica set, with journals, members enough and a clock.
//!
//! Owns the judgement; what is measured is the store's to ask. Must not show more of a URI than its hosts.

use chatctl_relay::config::StoreConfig;
use chatctl_relay::model::{Clock, UnixMs};
use chatctl_relay::store::mongodb::{Facts, Premises, Uri};
use chatctl_relay::store::upkeep::Upkeep as _;

use super::clock::judge_skew;
use super::finding::Finding;
use super::store::{depth, judge_checks, judge_plan, refused};
use crate::exit::Exit;
use crate::figures::span;
use crate::store;
use crate::when;

/// Looks at a database.
pub(super) async fn look(uri: &Uri, config: &StoreConfig) -> Vec<Finding> {
    let which = match (&config.uri_file, &config.uri) {
        (Some(file), _) => format!("--store-uri-file {}", super::finding::shell(file)),
        (None, Some(_)) => "--store URI".to_owned(),
        (None, None) => String::new(),
    };
    let premises = match Premises::reach(uri, &store::options(config)).await {
        Ok(premises) => premises,
        Err(error) => {
            let failure = store::mongodb_failure(&error);
            return vec![refused("reachable", &failure, fix_for(failure.exit))];
        }
    };
    let mut found = match premises.facts(&Clock::system()).await {
        Ok(facts) => judge(&facts, super::clock::now()),
        Err(error) => {
            let failure = store::mongodb_failure(&error);
            return vec![refused("reachable", &failure, fix_for(failure.exit))];
        }
    };
    match premises.plan().await {
        Ok(plan) => found.push(judge_plan(&plan, &which)),
        Err(error) => found.push(Finding::bad(
            "schema",
            error.to_string(),
            format!("chatctl seed plan {which}"),
        )),
    }
    match premises.inspect(depth()).await {
        Ok(checks) => found.push(judge_checks(&checks, &which)),
        Err(error) => found.push(Finding::bad(
            "contents",
            error.to_string(),
            format!("chatctl seed verify {which}"),
        )),
    }
    found
}

fn fix_for(exit: Exit) -> &'static str {
    match exit {
        Exit::Config => "mongosh --eval 'rs.initiate()'  # after a start with --replSet rs0",
        Exit::NoPerm => {
            r#"mongosh --eval 'db.getSiblingDB("admin").grantRolesToUser("chatctl", [{role: "readWrite", db: "chatctl"}, {role: "dbAdmin", db: "chatctl"}])'"#
        }
        _ => "systemctl status mongod",
    }
}

fn judge(facts: &Facts, now: UnixMs) -> Vec<Finding> {
    let mut found = vec![judge_latency(facts), judge_version(&facts.version, now)];
    found.push(judge_members(facts));
    found.push(judge_writes(facts));
    found.extend(judge_engine(facts));
    found.extend(facts.oplog.map(judge_oplog));
    found.extend(
        facts
            .skew_ms
            .map(|skew| judge_skew("clock", "the database", skew)),
    );
    found
}

fn judge_latency(facts: &Facts) -> Finding {
    let mut times = facts.round_trips.clone();
    times.sort_unstable();
    let name = "reachable";
    let Some(half) = times.get(times.len() / 2) else {
        return Finding::ok(name, facts.hosts.clone());
    };
    let measured = format!(
        "{}, {half:.1?} for a round trip (p50 of {})",
        facts.hosts,
        times.len()
    );
    match half.as_millis() {
        0..20 => Finding::ok(name, measured),
        _ => Finding::warn(
            name,
            measured,
            "ping -c 20 HOST  # then move the relay to the network of the database",
        )
        .meaning("a send waits for several round trips"),
    }
}

/// Ends of support, as MongoDB has announced them.
fn judge_version(version: &str, now: UnixMs) -> Finding {
    let series: String = version.split('.').take(2).collect::<Vec<_>>().join(".");
    let end = ENDS
        .iter()
        .find(|(known, _)| *known == series)
        .and_then(|(_, end)| when::parse(end).ok());
    match end {
        Some(end) if end <= now => Finding::warn(
            "version",
            format!(
                "{version}, whose support ended on {}",
                when::rfc3339(end).chars().take(10).collect::<String>()
            ),
            "mongosh --eval 'db.version()'  # then upgrade one release at a time, to 8.0",
        )
        .meaning("no more corrections, nor those that matter for safety"),
        Some(_) | None => Finding::ok("version", version),
    }
}

fn judge_members(facts: &Facts) -> Finding {
    let name = "members";
    let add = "mongosh --eval 'rs.add(\"HOST2:27017\"); rs.add(\"HOST3:27017\")'";
    if facts.is_sharded {
        return Finding::ok(name, "a sharded cluster");
    }
    let set = facts.replica_set.as_deref().unwrap_or("no name");
    let arbiters = facts.arbiters;
    let Some(voting) = facts.voting else {
        return Finding::skipped(name, format!("{set}: the members cannot be seen"), add);
    };
    let measured = format!("{set}: {voting} with a vote, {arbiters} of them without data");
    match (voting, arbiters) {
        (..=1, _) => Finding::warn(name, measured, add).meaning(
            "one machine: when it is away, so is the chat, and when its disk is lost, so is the mail",
        ),
        (_, 1..) => Finding::warn(name, measured, add)
            .meaning("when a member with data is away, nothing can be confirmed by a majority that holds it"),
        (voting, 0) if voting % 2 == 0 => {
            Finding::warn(name, measured, add).meaning("an even number bears no more losses than one less")
        }
        _ => Finding::ok(name, measured),
    }
}

fn judge_writes(facts: &Facts) -> Finding {
    let default = facts.default_write.as_deref().unwrap_or("not told");
    Finding::ok(
        "write concern",
        format!("majority with journal, as the relay asks for; the default is {default}"),
    )
}

fn judge_engine(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(engine) = &facts.engine {
        found.push(match engine.as_str() {
            "wiredTiger" => Finding::ok("engine", engine.clone()),
            other => Finding::bad(
                "engine",
                other,
                "sudo sed -i 's/engine:.*/engine: wiredTiger/' /etc/mongod.conf  # and a new data directory",
            )
            .meaning("what is confirmed may be in memory alone"),
        });
    }
    if facts.journal == Some(false) {
        found.push(
            Finding::bad(
                "journal",
                "off",
                "sudo sed -i '/journal:/,+1d' /etc/mongod.conf && sudo systemctl restart mongod",
            )
            .meaning("no write can be confirmed as the relay asks for it"),
        );
    }
    found
}

fn judge_oplog(window: std::time::Duration) -> Finding {
    let measured = format!("{} of changes", span(window));
    match window.as_secs() / 3600 {
        24.. => Finding::ok("oplog", measured),
        _ => Finding::warn(
            "oplog",
            measured,
            "mongosh --eval 'db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 48})'",
        )
        .meaning(
            "a member that is away for longer has to copy everything; a set that is young has not more yet",
        ),
    }
}

const ENDS: [(&str, &str); 6] = [
    ("4.2", "2023-04-30T00:00:00Z"),
    ("4.4", "2024-02-29T00:00:00Z"),
    ("5.0", "2024-10-31T00:00:00Z"),
    ("6.0", "2025-07-31T00:00:00Z"),
    ("7.0", "2027-08-31T00:00:00Z"),
    ("8.0", "2029-10-31T00:00:00Z"),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::finding::Mark;
    use super::*;

    fn facts() -> Facts {
        Facts {
            hosts: "db1:27017".into(),
            version: "8.0.4".into(),
            replica_set: Some("rs0".into()),
            is_sharded: false,
            voting: Some(3),
            arbiters: 0,
            default_write: Some("majority".into()),
            engine: Some("wiredTiger".into()),
            journal: None,
            oplog: Some(Duration::from_secs(48 * 3600)),
            skew_ms: Some(3),
            round_trips: vec![Duration::from_millis(1); 9],
        }
    }

    fn not_good(facts: &Facts) -> Vec<(String, Mark)> {
        let now = when::parse("2026-11-23T00:00:00Z").unwrap();
        let found = judge(facts, now)
            .into_iter()
            .filter(|finding| finding.mark != Mark::Ok);
        found
            .inspect(|finding| assert!(finding.fix.is_some(), "{finding:?}"))
            .map(|finding| (finding.name, finding.mark))
            .collect()
    }

    #[test]
    fn each_thing_that_a_database_lacks_is_named() {
        let one = |change: fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            not_good(&facts)
        };
        let is = |name: &str, mark| vec![(name.to_owned(), mark)];
        assert_eq!(one(|_| {}), []);
        assert_eq!(one(|facts| facts.voting = Some(1)), is("members", Mark::Warn));
        assert_eq!(one(|facts| facts.voting = Some(4)), is("members", Mark::Warn));
        assert_eq!(one(|facts| facts.arbiters = 1), is("members", Mark::Warn));
        assert_eq!(one(|facts| facts.voting = None), is("members", Mark::Skipped));
        assert_eq!(
            one(|facts| facts.version = "6.0.5".into()),
            is("version", Mark::Warn)
        );
        assert_eq!(
            one(|facts| facts.engine = Some("inMemory".into())),
            is("engine", Mark::Bad)
        );
        assert_eq!(one(|facts| facts.journal = Some(false)), is("journal", Mark::Bad));
        assert_eq!(
            one(|facts| facts.oplog = Some(Duration::from_secs(3600))),
            is("oplog", Mark::Warn)
        );
        assert_eq!(one(|facts| facts.skew_ms = Some(-9_000)), is("clock", Mark::Bad));
        assert_eq!(
            one(|facts| facts.round_trips = vec![Duration::from_millis(80)]),
            is("reachable", Mark::Warn)
        );
    }

    #[test]
    fn a_server_by_itself_is_wrong_with_the_command_that_makes_it_a_set() {
        let alone = chatctl_relay::store::mongodb::OpenError::NotReplicated { hosts: "db1".into() };
        let failure = store::mongodb_failure(&alone);
        let found = refused("reachable", &failure, fix_for(failure.exit));
        assert_eq!(found.mark, Mark::Bad);
        assert!(found.fix.unwrap().contains("rs.initiate()"));
        assert!(found.meaning.unwrap().contains("--replSet rs0"));
    }
}
