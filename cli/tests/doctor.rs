//! The built binary as a doctor: machines that are well, machines that are not, and what to paste then.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

#[path = "config/desk.rs"]
mod desk;
mod dev;
#[path = "doctor/proxy.rs"]
mod proxy;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use desk::Desk;
use dev::Relay;
use proxy::{Manner, Proxy};
use serde_json::Value;

const KEYS: &str = "token keys generate -o keys.json";
const APPLY: &str = "seed apply --data-dir data";
const WELL: &str = "--keys keys.json --data-dir data";

/// A desk with keys and a store.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.ok(KEYS, &[]);
    desk.ok(APPLY, &[]);
    desk
}

/// What a doctor found.
struct Examined {
    code: i32,
    findings: Vec<Value>,
}

impl Examined {
    fn of(desk: &Desk, line: &str) -> Self {
        Self::by(desk.command(&format!("doctor --json {line}")))
    }

    fn by(mut command: Command) -> Self {
        let output = command.output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = document["findings"].as_array().unwrap().clone();
        // The rule for all of them: what is not good says what to do.
        for finding in findings.iter().filter(|finding| finding["result"] != "ok") {
            assert!(
                finding["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
                "{finding}"
            );
        }
        let wrong = findings
            .iter()
            .filter(|finding| finding["result"] == "bad")
            .count();
        let code = output.status.code().unwrap();
        assert_eq!(
            (document["wrong"].clone(), document["ok"].clone()),
            (wrong.into(), (wrong == 0).into())
        );
        assert_eq!(code, i32::from(wrong > 0), "{document:#}");
        Self { code, findings }
    }

    #[track_caller]
    fn find(&self, area: &str, check: &str) -> &Value {
        let found = self
            .findings
            .iter()
            .find(|finding| finding["area"] == area && finding["check"] == check);
        found.unwrap_or_else(|| panic!("no {area}, {check}: {:#?}", self.findings))
    }

    fn result(&self, area: &str, check: &str) -> &str {
        self.find(area, check)["result"].as_str().unwrap()
    }

    fn areas(&self) -> Vec<&str> {
        let mut areas: Vec<_> = self
            .findings
            .iter()
            .map(|finding| finding["area"].as_str().unwrap())
            .collect();
        areas.dedup();
        areas
    }
}

/// A relay of this desk; it says where it is, and a token, in `info.json`.
fn serve(desk: &Desk, more: &str) -> Relay {
    let line = format!("{} --keys keys.json --dev-info info.json {more}", dev::SERVE);
    Relay::start(&mut desk.command(&line))
}

/// The relay's address.
fn address(desk: &Desk) -> String {
    let info: Value = serde_json::from_slice(&std::fs::read(desk.path("info.json")).unwrap()).unwrap();
    let account = &info["accounts"][0];
    desk.write("token", account["token"].as_str().unwrap());
    std::fs::set_permissions(desk.path("token"), Permissions::from_mode(0o600)).unwrap();
    info["url"]
        .as_str()
        .unwrap()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned()
}

#[test]
fn on_a_good_machine_nothing_is_wrong_and_the_order_is_fixed() {
    let desk = desk();
    let examined = Examined::of(&desk, WELL);
    assert_eq!(examined.code, 0);
    let areas = [
        "relay",
        "config",
        "service",
        "descriptors",
        "disk",
        "clock",
        "keys",
        "tls",
        "store",
        "proxy",
    ];
    assert_eq!(examined.areas(), areas);
    let good = [
        ("config", "settings"),
        ("disk", "modes"),
        ("keys", "mode"),
        ("keys", "keys"),
        ("store", "schema"),
        ("store", "contents"),
    ];
    for (area, check) in good {
        assert_eq!(examined.result(area, check), "ok", "{area}: {check}");
    }
    let names: Vec<_> = std::fs::read_dir(desk.path("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("doctor"))
        .collect();
    assert_eq!(names, [""; 0], "it leaves nothing behind");
}

#[test]
fn a_keyset_that_others_may_read_is_wrong_until_its_fix_is_pasted() {
    let desk = desk();
    std::fs::set_permissions(desk.path("keys.json"), Permissions::from_mode(0o644)).unwrap();
    let examined = Examined::of(&desk, &format!("keys {WELL}"));
    assert_eq!((examined.code, examined.areas()), (1, vec!["keys"]));
    let fix = examined.find("keys", "mode")["fix"].as_str().unwrap();
    assert_eq!(fix, "chmod 0600 keys.json");
    let words: Vec<_> = fix.split(' ').collect();
    let pasted = Command::new(words[0])
        .args(&words[1..])
        .current_dir(desk.path(""))
        .status();
    assert!(pasted.unwrap().success());
    assert_eq!(Examined::of(&desk, &format!("keys {WELL}")).code, 0);
}

#[test]
fn people_see_marks_and_fixes_and_quietly_only_what_is_not_good() {
    let desk = desk();
    std::fs::set_permissions(desk.path("keys.json"), Permissions::from_mode(0o644)).unwrap();
    let (code, text, said) = desk.run(&format!("doctor keys store {WELL}"), &[]);
    assert_eq!(code, 1);
    assert!(
        text.contains("\n  ✗ mode ") && text.contains("fix: chmod 0600 keys.json"),
        "{text}"
    );
    assert!(text.contains("  ✓ schema "), "{text}");
    assert!(said.starts_with("error: 1 thing is wrong"), "{said}");
    let (_, quiet, _) = desk.run(&format!("doctor keys store --quiet {WELL}"), &[]);
    assert!(quiet.contains('✗') && !quiet.contains('✓'), "{quiet}");
    let (code, nothing, _) = desk.run("doctor store --quiet --data-dir data", &[]);
    assert_eq!((code, nothing.as_str()), (0, ""));
}

#[test]
fn a_store_in_memory_is_worth_a_warning() {
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        println!("no /dev/shm here");
        return;
    };
    let desk = desk();
    let data = memory.path().join("data").display().to_string();
    desk.ok(&format!("seed apply --data-dir {data}"), &[]);
    let examined = Examined::of(&desk, &format!("disk --data-dir {data}"));
    assert_eq!(examined.result("disk", "file system"), "warn");
    assert_eq!(examined.result("disk", "fsync"), "skipped");
    assert_eq!(examined.code, 0);
}

#[test]
fn a_configuration_that_is_not_good_is_a_finding_and_not_the_end() {
    let desk = desk();
    desk.write("c.toml", "[store]\ndata_dir = \"data\"\n[servr]\nlisten = 5\n");
    let examined = Examined::of(&desk, "config store -c c.toml");
    assert_eq!(examined.code, 1);
    assert_eq!(examined.result("config", "unknown-key"), "bad");
    assert_eq!(
        examined.result("store", "schema"),
        "ok",
        "the rest of the file counts"
    );
}

#[test]
fn few_descriptors_are_a_warning_of_a_shell_and_of_a_relay() {
    let desk = desk();
    let limited = |line: &str| {
        let mut command = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_chatctl");
        command
            .args(["-c", &format!("ulimit -n 256; exec {program} {line}")])
            .current_dir(desk.path(""))
            .env_clear();
        command
    };
    let shell = Examined::by(limited("doctor --json descriptors --data-dir data"));
    assert_eq!(shell.result("descriptors", "limit"), "warn");
    let line = format!("{} --keys keys.json --max-sessions 1000", dev::SERVE);
    let _relay = Relay::start(&mut limited(&line));
    let relay = Examined::of(&desk, &format!("descriptors {WELL} --max-sessions 1000"));
    assert_eq!(
        (relay.code, relay.result("descriptors", "relay's limit")),
        (0, "warn")
    );
    assert!(
        relay.find("descriptors", "relay's limit")["fix"]
            .as_str()
            .unwrap()
            .contains("LimitNOFILE=1544")
    );
}

#[test]
fn a_relay_that_runs_is_asked_and_keeps_its_store() {
    let desk = desk();
    let _relay = serve(&desk, "--max-sessions 10");
    let examined = Examined::of(&desk, &format!("{WELL} --max-sessions 10"));
    assert_eq!(examined.code, 0, "{:#?}", examined.findings);
    let running = examined.find("relay", "running");
    assert!(
        running["measured"]
            .as_str()
            .unwrap()
            .contains("answers at data/admin.sock, process "),
        "{running}"
    );
    assert_eq!(examined.result("relay", "program"), "ok");
    assert_eq!(examined.result("store", "contents"), "ok");
}

#[test]
fn the_way_in_is_tried_as_a_client_goes_it() {
    let desk = desk();
    let _relay = serve(&desk, r#"--limits {"ping_interval_ms":1000}"#);
    let address = address(&desk);
    let straight = Examined::of(
        &desk,
        &format!("proxy --through http://{address} --token-file token --idle 3s"),
    );
    for check in ["reachable", "clock", "body size", "upgrade", "silence"] {
        assert_eq!(
            straight.result("proxy", check),
            "ok",
            "{check}: {:#?}",
            straight.findings
        );
    }
    let measured = straight.find("proxy", "silence")["measured"].as_str().unwrap();
    assert!(measured.contains("the ping came through"), "{measured}");
}

#[test]
fn a_proxy_that_drops_who_is_quiet_is_caught() {
    let desk = desk();
    let _relay = serve(&desk, "");
    let proxy = Proxy::start(&address(&desk), Manner::DropsQuiet(Duration::from_secs(2)));
    for token in ["", "--token-file token"] {
        let line = format!("proxy --through http://{} {token} --idle 5s", proxy.address());
        let examined = Examined::of(&desk, &line);
        let silence = examined.find("proxy", "silence");
        assert_eq!(
            (examined.code, &silence["result"]),
            (1, &"bad".into()),
            "{silence:#}"
        );
        assert!(
            silence["fix"].as_str().unwrap().contains("proxy_read_timeout"),
            "{silence}"
        );
    }
}

#[test]
fn a_proxy_that_takes_the_upgrade_away_is_caught() {
    let desk = desk();
    let _relay = serve(&desk, "");
    let proxy = Proxy::start(&address(&desk), Manner::StripsUpgrade);
    let examined = Examined::of(
        &desk,
        &format!("proxy --through http://{} --idle 1s", proxy.address()),
    );
    let upgrade = examined.find("proxy", "upgrade");
    assert_eq!((examined.code, &upgrade["result"]), (1, &"bad".into()));
    assert!(
        upgrade["meaning"].as_str().unwrap().contains("Upgrade header"),
        "{upgrade}"
    );
    assert!(
        upgrade["fix"]
            .as_str()
            .unwrap()
            .contains("proxy_set_header Upgrade"),
        "{upgrade}"
    );
}

#[test]
fn nobody_there_and_no_way_in_are_said() {
    let desk = desk();
    let examined = Examined::of(&desk, "proxy --through http://127.0.0.1:1");
    assert_eq!((examined.code, examined.result("proxy", "reachable")), (1, "bad"));
    let examined = Examined::of(
        &desk,
        "store --store mongodb://127.0.0.1:1/chat --store-timeout 1s",
    );
    assert_eq!((examined.code, examined.result("store", "reachable")), (1, "bad"));
}

/// Where a server by itself can be had, `CHATCTL_TEST_MONGODB_SINGLE` is its URI.
#[test]
fn a_database_that_is_no_replica_set_is_wrong() {
    let Ok(uri) = std::env::var("CHATCTL_TEST_MONGODB_SINGLE") else {
        println!("CHATCTL_TEST_MONGODB_SINGLE is not set");
        return;
    };
    let examined = Examined::of(&desk(), &format!("store --store {uri}"));
    let found = examined.find("store", "reachable");
    assert_eq!((examined.code, &found["result"]), (1, &"bad".into()));
    assert!(
        found["fix"].as_str().unwrap().contains("rs.initiate()"),
        "{found}"
    );
}

/// The replica set of the other tests has one member, and its version is past its support.
#[test]
fn a_replica_set_of_one_is_worth_a_look() {
    let Ok(uri) = std::env::var("CHATCTL_TEST_MONGODB") else {
        println!("CHATCTL_TEST_MONGODB is not set");
        return;
    };
    let desk = desk();
    let uri = uri.replace("/?", "/doctor_of_one?");
    desk.ok(&format!("seed apply --store {uri}"), &[]);
    let examined = Examined::of(&desk, &format!("store --store {uri}"));
    assert_eq!(examined.code, 0, "{:#?}", examined.findings);
    assert_eq!(examined.result("store", "members"), "warn");
    assert_eq!(examined.result("store", "version"), "warn");
    for check in [
        "reachable",
        "write concern",
        "engine",
        "clock",
        "schema",
        "contents",
    ] {
        assert_eq!(examined.result("store", check), "ok", "{check}");
    }
    desk.ok(&format!("seed reset --store {uri} --confirm doctor_of_one"), &[]);
}
