//! The page of figures, docs/performance.md, and the script behind it: the same figures give the same tables and charts.
//!
//! Nothing is measured here. scripts/compare is Python, which the tests of this repository need anyway.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn compare(arguments: &[&str]) -> Output {
    let script = root().join("scripts/compare");
    Command::new(script).args(arguments).output().unwrap()
}

/// Every file of a folder with what is in it.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let read = entries.map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(entry.path()).unwrap())
    });
    read.collect()
}

#[test]
fn recorded_figures_give_the_same_tables_and_charts() {
    let expected = files(&root().join("fixtures/compare"));
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in expected.iter().filter(|(name, _)| name.ends_with(".json")) {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let output = compare(&["--tables", "--out", folder.path().to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let drawn = files(folder.path());
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&drawn), names(&expected));
    for (name, text) in &expected {
        assert_eq!(
            &drawn[name], text,
            "{name}: scripts/compare --tables --out fixtures/compare"
        );
    }
}

#[test]
fn the_page_is_what_its_figures_give() {
    let output = compare(&["--check"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn help_names_every_workload_and_peer() {
    let output = compare(&["--help"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    for word in [
        "--growth",
        "--syscalls",
        "--quick",
        "--pin",
        "  F  ",
        "frames",
        "jetstream",
        "mosquitto-qos1",
        "websocket",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let output = compare(&["--peers", "nobody", "--page"]);
    assert_eq!(output.status.code(), Some(2));
}
