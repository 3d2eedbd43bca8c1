//! What a database is, for who has to judge whether it can be trusted: members, versions, defaults, clocks.
//!
//! Only asks. What the user may not ask stays unknown, and is no error. Must not judge.

use std::time::{Duration, Instant};

use mongodb::bson::{Bson, Document, Timestamp, doc};

use crate::model::{Clock, UnixMs};
use crate::store::mongodb::connect::{OpenError, refusal};
use crate::store::mongodb::connection::Connection;

/// What is known of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Hosts and ports.
    pub hosts: String,
    /// The server's version.
    pub version: String,
    /// The replica set's name.
    pub replica_set: Option<String>,
    /// Whether a router answers, and not a member.
    pub is_sharded: bool,
    /// Members with a vote.
    pub voting: Option<usize>,
    /// Members with a vote and without data.
    pub arbiters: usize,
    /// What a write waits for that does not say it, where that may be asked.
    pub default_write: Option<String>,
    /// The storage engine, where that may be asked.
    pub engine: Option<String>,
    /// Whether the journal is on, where that may be asked and is said.
    pub journal: Option<bool>,
    /// How far the log of changes goes back, where that may be asked.
    pub oplog: Option<Duration>,
    /// Milliseconds by which the server's clock is ahead of ours.
    pub skew_ms: Option<i64>,
    /// Of a command that does nothing.
    pub round_trips: Vec<Duration>,
}

/// Asks a database for everything.
///
/// # Errors
///
/// [`OpenError`] when it does not even say hello.
pub(super) async fn gather(db: &Connection, clock: &Clock) -> Result<Facts, OpenError> {
    let refused = |error| refusal(&db.hosts, db.timeout, &error);
    let mut round_trips = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let begun = Instant::now();
        db.database
            .run_command(doc! { "ping": 1 })
            .await
            .map_err(refused)?;
        round_trips.push(begun.elapsed());
    }
    let before = clock.now();
    let hello = db
        .database
        .run_command(doc! { "hello": 1 })
        .await
        .map_err(refused)?;
    let skew_ms = skew(&hello, before, clock.now());
    let build = db
        .database
        .run_command(doc! { "buildInfo": 1 })
        .await
        .map_err(refused)?;
    let (voting, arbiters) = members(db, &hello).await;
    let options = admin(db, doc! { "getCmdLineOpts": 1 }).await.unwrap_or_default();
    let status = admin(db, doc! { "serverStatus": 1, "metrics": 0, "wiredTiger": 0 }).await;
    Ok(Facts {
        hosts: db.hosts.clone(),
        version: build.get_str("version").unwrap_or("unknown").to_owned(),
        replica_set: hello.get_str("setName").ok().map(str::to_owned),
        is_sharded: hello.get_str("msg").ok() == Some("isdbgrid"),
        voting,
        arbiters,
        default_write: default_write(db).await,
        engine: status.and_then(|status| {
            let engine = status.get_document("storageEngine").ok()?;
            engine.get_str("name").ok().map(str::to_owned)
        }),
        journal: journal(&options),
        oplog: oplog(db).await,
        skew_ms,
        round_trips,
    })
}

/// By how much the server's clock is ahead: it was read somewhere between two looks at ours.
fn skew(hello: &Document, before: UnixMs, after: UnixMs) -> Option<i64> {
    let theirs = hello.get_datetime("localTime").ok()?.timestamp_millis();
    let middle = i64::try_from(before.0 / 2 + after.0 / 2).ok()?;
    Some(theirs - middle)
}

/// Members with a vote, and those of them that only vote.
async fn members(db: &Connection, hello: &Document) -> (Option<usize>, usize) {
    if let Some(answer) = admin(db, doc! { "replSetGetConfig": 1 }).await
        && let Ok(config) = answer.get_document("config")
        && let Ok(members) = config.get_array("members")
    {
        let members: Vec<_> = members.iter().filter_map(Bson::as_document).collect();
        let voting = members.iter().filter(|member| is_voting(member));
        let arbiters = members
            .iter()
            .filter(|member| member.get_bool("arbiterOnly").unwrap_or(false));
        return (Some(voting.count()), arbiters.count());
    }
    // Every client is told these; who has no vote is among them, too, but hardly anybody has such members.
    let count = |name: &str| hello.get_array(name).map_or(0, Vec::len);
    let arbiters = count("arbiters");
    match count("hosts") + count("passives") + arbiters {
        0 => (None, arbiters),
        some => (Some(some), arbiters),
    }
}

fn is_voting(member: &Document) -> bool {
    match member.get("votes") {
        Some(Bson::Int32(votes)) => *votes > 0,
        Some(Bson::Int64(votes)) => *votes > 0,
        Some(Bson::Double(votes)) => *votes > 0.0,
        Some(_) | None => true,
    }
}

async fn default_write(db: &Connection) -> Option<String> {
    let answer = admin(db, doc! { "getDefaultRWConcern": 1 }).await?;
    let concern = answer.get_document("defaultWriteConcern").ok()?;
    match concern.get("w")? {
        Bson::String(word) => Some(word.clone()),
        number => Some(number.to_string()),
    }
}

fn journal(options: &Document) -> Option<bool> {
    let storage = options
        .get_document("parsed")
        .ok()?
        .get_document("storage")
        .ok()?;
    storage.get_document("journal").ok()?.get_bool("enabled").ok()
}

/// The time between the oldest change and the newest.
async fn oplog(db: &Connection) -> Option<Duration> {
    let log = db.client.database("local").collection::<Document>("oplog.rs");
    let end = async |order: i32| -> Option<Timestamp> {
        let found = log
            .find_one(doc! {})
            .sort(doc! { "$natural": order })
            .projection(doc! { "ts": 1 });
        found.await.ok()??.get_timestamp("ts").ok()
    };
    let (oldest, newest) = (end(1).await?, end(-1).await?);
    Some(Duration::from_secs(
        newest.time.saturating_sub(oldest.time).into(),
    ))
}

/// Asks what only some users may ask.
async fn admin(db: &Connection, command: Document) -> Option<Document> {
    db.client.database("admin").run_command(command).await.ok()
}

/// How often the way there and back is tried.
const PINGS: usize = 15;

#[cfg(test)]
mod tests {
    use mongodb::bson::DateTime;

    use super::*;

    #[test]
    fn a_servers_clock_is_compared_with_the_middle_of_the_question() {
        let hello = doc! { "localTime": DateTime::from_millis(5_000) };
        assert_eq!(skew(&hello, UnixMs(2_000), UnixMs(4_000)), Some(2_000));
        assert_eq!(skew(&doc! {}, UnixMs(0), UnixMs(0)), None);
    }

    #[test]
    fn a_member_votes_unless_it_is_said_otherwise() {
        assert!(is_voting(&doc! {}) && is_voting(&doc! { "votes": 1 }));
        assert!(!is_voting(&doc! { "votes": 0 }) && !is_voting(&doc! { "votes": 0_i64 }));
    }

    #[test]
    fn a_journal_is_off_only_where_that_is_said() {
        let said = |on: bool| doc! { "parsed": { "storage": { "journal": { "enabled": on } } } };
        assert_eq!(
            (journal(&said(false)), journal(&said(true)), journal(&doc! {})),
            (Some(false), Some(true), None)
        );
    }
}
