//! Reads the imports of `src/` and of `loadgen/src/`, and fails on one that goes up, or sideways, or reaches for a
//! library that belongs to another room.
//!
//! The floors are the table in the `//!` of each `lib.rs`: a line is a floor, and a cell that opens with the
//! name of a declared module is a room. Source is read as tokens, so comments and strings never count, and
//! paths inside macros do. A `super::` that climbs to the crate root counts like `crate::`.
//!
//! Test code (`#[cfg(test)]` modules and files named `tests.rs`, or in a folder `tests`) may also import sideways, because a story of
//! two neighbours has to live somewhere; it may never import from above, and libraries keep their rooms.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test; what is wrong with the sources should stop it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use paths::Named;

#[path = "floors/paths.rs"]
mod paths;

/// The sideways imports that are meant: who, from whom, and why.
const SIDEWAYS: &[Sideways] = &[
    ("config", "model", "a schedule's ticks are instants"),
    (
        "session",
        "switchboard",
        "a session sends, claims and signs on through it",
    ),
    (
        "mailbox",
        "committer",
        "a mailbox answers from the tail, which the committer fills",
    ),
];

/// Libraries with a home: the crate, and the only places under `src/` that may name it.
const HOMES: &[Home] = &[
    ("mongodb", &["store/mongodb"]),
    ("axum", &["http", "server"]),
    ("hyper", &["http", "server", "auth/fetch"]),
    ("hyper_util", &["http", "server", "auth/fetch"]),
    ("hyper_rustls", &["auth/fetch"]),
    ("rusqlite", &["store/embedded"]),
    ("jsonwebtoken", &["auth"]),
    ("aws_lc_rs", &["auth"]),
    ("prometheus_client", &["metrics"]),
    ("croner", &["config/schedule"]),
    ("chrono", &["config/schedule", "jobs/pulse"]),
    ("chrono_tz", &["config/schedule"]),
    ("tokio_cron_scheduler", &["jobs/pulse"]),
    ("listenfd", &["server/listeners"]),
    ("sd_notify", &["server/supervisor"]),
];

/// The libraries of the load generator.
const LOADGEN_HOMES: &[Home] = &[
    ("hdrhistogram", &["packed", "tally", "report", "run"]),
    ("vodozemac", &["crypto"]),
    ("tokio_tungstenite", &["wire", "bare", "agent"]),
    ("sha2", &["scenario/digest", "agent/secret"]),
    ("humantime", &["units", "report/hlog"]),
    ("crc32fast", &["label"]),
];

/// Room to floor.
type Floors = BTreeMap<String, u32>;
/// Who, from whom, and why.
type Sideways = (&'static str, &'static str, &'static str);
/// A crate, and where it may be named.
type Home = (&'static str, &'static [&'static str]);

/// A library of ours, and its rules.
struct House {
    /// Its sources' folder, from the root.
    src: &'static str,
    floors: Floors,
    sideways: &'static [Sideways],
    homes: &'static [Home],
}

impl House {
    fn relay() -> Self {
        Self::new("src", SIDEWAYS, HOMES)
    }

    fn loadgen() -> Self {
        Self::new("loadgen/src", &[], LOADGEN_HOMES)
    }

    fn new(src: &'static str, sideways: &'static [Sideways], homes: &'static [Home]) -> Self {
        let floors = floors_of(&lib(src)).0;
        Self {
            src,
            floors,
            sideways,
            homes,
        }
    }
}

/// What one file does against the rules, in words. `file` is relative to the sources' folder.
fn broken(house: &House, file: &str, source: &str) -> Vec<String> {
    let place = file.trim_end_matches(".rs").trim_end_matches("/mod").to_owned();
    let room = place.split('/').next().unwrap_or_default().to_owned();
    let depth = if room == "lib" {
        0
    } else {
        place.split('/').count()
    };
    let named = paths::named(source, depth, place.split('/').any(|segment| segment == "tests"));

    let mut faults = Vec::new();
    for Named {
        path: [root, segment],
        in_tests,
    } in named.unwrap_or_else(|error| panic!("{}/{file}: {error}", house.src))
    {
        if root == "crate" {
            faults.extend(wrong_floor(house, &room, &segment, in_tests));
        }
        // A name without a path behind it is the room's where that is called like its library.
        let is_room = |homes: &[&str]| {
            segment.is_empty() && homes.iter().any(|home| home.ends_with(&format!("/{root}")))
        };
        let home = house
            .homes
            .iter()
            .find(|(library, homes)| *library == root && !is_room(homes));
        if let Some((library, homes)) = home
            && !homes
                .iter()
                .any(|home| place == *home || place.starts_with(&format!("{home}/")))
        {
            faults.push(format!("{library} belongs to {}", homes.join(" and ")));
        }
    }
    faults
        .iter_mut()
        .for_each(|fault| *fault = format!("{}/{file}: {fault}", house.src));
    faults.dedup();
    faults
}

fn wrong_floor(house: &House, from: &str, to: &str, in_tests: bool) -> Option<String> {
    let (mine, theirs) = (house.floors.get(from)?, house.floors.get(to)?);
    let meant = in_tests
        || house
            .sideways
            .iter()
            .any(|(who, whom, _)| *who == from && *whom == to);
    if from == to || theirs < mine || (theirs == mine && meant) {
        return None;
    }
    let way = if theirs > mine { "up" } else { "sideways" };
    Some(format!(
        "{from} (floor {mine}) imports {way} from {to} (floor {theirs})"
    ))
}

/// The table of `src/lib.rs`, and the modules that it forgot.
fn floors_of(lib: &str) -> (Floors, Vec<String>) {
    let modules: Vec<&str> = lib
        .lines()
        .filter_map(|line| {
            line.trim_start_matches("pub ")
                .strip_prefix("mod ")?
                .strip_suffix(';')
        })
        .collect();
    let mut floors = Floors::new();
    for line in lib.lines().filter_map(|line| line.strip_prefix("//! ")) {
        let Some((floor, cells)) = line.split_once(' ') else {
            continue;
        };
        let Ok(floor) = floor.parse::<u32>() else { continue };
        for cell in cells
            .split("  ")
            .filter_map(|cell| cell.split_whitespace().next())
        {
            if modules.contains(&cell) {
                assert_eq!(
                    floors.insert(cell.to_owned(), floor),
                    None,
                    "{cell} stands on two floors"
                );
            }
        }
    }
    let forgotten = modules.iter().filter(|module| !floors.contains_key(**module));
    let forgotten = forgotten.map(|module| (*module).to_owned()).collect();
    (floors, forgotten)
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("src is readable")
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"));
    files
        .chain(folders.iter().flat_map(|folder| sources(folder)))
        .collect()
}

fn folder(src: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(src)
}

fn lib(src: &str) -> String {
    fs::read_to_string(folder(src).join("lib.rs")).unwrap()
}

#[test]
fn every_module_stands_on_a_floor() {
    for src in ["src", "loadgen/src"] {
        let (floors, forgotten) = floors_of(&lib(src));
        assert_eq!(forgotten, Vec::<String>::new());
        assert!(floors.len() > 10, "{floors:?}");
    }
}

#[test]
fn imports_go_down_and_libraries_stay_home() {
    let mut faults: Vec<String> = Vec::new();
    for house in [House::relay(), House::loadgen()] {
        let src = folder(house.src);
        for path in sources(&src) {
            let file = path
                .strip_prefix(&src)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/");
            faults.extend(broken(&house, &file, &fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The negative controls: each of these must be caught, or the tests above prove nothing.
mod controls {
    use super::*;

    #[track_caller]
    fn caught(file: &str, source: &str, fault: &str) {
        assert_eq!(
            broken(&House::relay(), file, source),
            [format!("src/{file}: {fault}")]
        );
    }

    #[track_caller]
    fn fine(file: &str, source: &str) {
        assert_eq!(broken(&House::relay(), file, source), Vec::<String>::new());
    }

    #[test]
    fn an_import_from_above_is_caught() {
        let fault = "hub (floor 1) imports up from switchboard (floor 3)";
        caught("hub.rs", "use crate::switchboard::Switchboard;", fault);
        caught("hub.rs", "use crate::{model::MailboxId, switchboard};", fault);
        caught("hub.rs", "fn f() { log!(crate::switchboard::NAME) }", fault);
        caught("hub.rs", "use super::switchboard;", fault);
        caught(
            "hub.rs",
            "mod inner { use super::super::{switchboard::X}; }",
            fault,
        );
        caught(
            "hub.rs",
            "#[cfg(test)] mod tests { use crate::switchboard::X; }",
            fault,
        );
    }

    #[test]
    fn the_load_generator_has_floors_of_its_own() {
        let fault = |file: &str, source: &str| broken(&House::loadgen(), file, source);
        assert_eq!(
            fault("scenario/check.rs", "use crate::plan::Plan;"),
            ["loadgen/src/scenario/check.rs: scenario (floor 3) imports up from plan (floor 4)"]
        );
        assert_eq!(
            fault("wire/mod.rs", "use vodozemac::olm;"),
            ["loadgen/src/wire/mod.rs: vodozemac belongs to crypto"]
        );
    }

    #[test]
    fn an_import_from_beside_is_caught() {
        caught(
            "directory/claims.rs",
            "use crate::committer::Committer;",
            "directory (floor 2) imports sideways from committer (floor 2)",
        );
        caught(
            "switchboard/mod.rs",
            "use crate::session::Session;",
            "switchboard (floor 3) imports sideways from session (floor 3)",
        );
        caught(
            "committer/mod.rs",
            "use crate::mailbox::Mailbox;",
            "committer (floor 2) imports sideways from mailbox (floor 2)",
        );
    }

    #[test]
    fn a_library_away_from_home_is_caught() {
        for (file, source, fault) in [
            (
                "session/mod.rs",
                "use axum::Json;",
                "axum belongs to http and server",
            ),
            ("hub.rs", "use ::axum::Json;", "axum belongs to http and server"),
            (
                "session/mod.rs",
                "fn f(b: hyper::Body) {}",
                "hyper belongs to http and server and auth/fetch",
            ),
            (
                "hub.rs",
                "use {hyper_util::rt};",
                "hyper_util belongs to http and server and auth/fetch",
            ),
            (
                "store/mod.rs",
                "use rusqlite as sql;",
                "rusqlite belongs to store/embedded",
            ),
            (
                "http/token.rs",
                "use jsonwebtoken::decode;",
                "jsonwebtoken belongs to auth",
            ),
            (
                "hub.rs",
                "use prometheus_client::registry;",
                "prometheus_client belongs to metrics",
            ),
        ] {
            caught(file, source, fault);
        }
    }

    #[test]
    fn what_is_meant_is_fine() {
        fine("session/mod.rs", "use crate::switchboard::Switchboard;");
        fine("mailbox/mod.rs", "use crate::committer::Tail;");
        fine(
            "store/embedded/schema.rs",
            "use rusqlite::Connection; use super::Writer; use crate::store::Op;",
        );
        fine(
            "http/ws.rs",
            "use {axum::Json, crate::{store, session::Session}}; use hyper::upgrade;",
        );
        fine(
            "hub.rs",
            "// crate::server\n/// [`crate::server`]\nconst A: &str = \"crate::server axum::\";",
        );
        fine(
            "hub.rs",
            "#[cfg(test)] #[expect(x)] mod tests { use super::*; use crate::auth::Verifier; }",
        );
        fine("hub/tests.rs", "use crate::auth::Verifier;");
    }

    #[test]
    fn a_module_without_a_floor_is_caught() {
        let (_, forgotten) = floors_of("//! 0 model   the floor of bus\npub mod model;\npub mod bus;");
        assert_eq!(forgotten, ["bus"]);
    }
}
