//! The built binary and its configuration: layers, complaints, and a relay that reads it again.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

#[path = "config/desk.rs"]
mod desk;
#[path = "config/rotation.rs"]
mod rotation;

use serde_json::Value;

use crate::desk::Desk;

fn setting(desk: &Desk, line: &str, variables: &[(&str, &str)], key: &str) -> (Value, String) {
    let shown = desk.ok(&format!("config show --json {line}"), variables);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let settings = shown["settings"].as_array().unwrap();
    let found = settings.iter().find(|setting| setting["key"] == key).unwrap();
    (
        found["value"].clone(),
        found["origin"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn a_flag_goes_before_a_variable_before_the_file_before_the_default() {
    let desk = Desk::new();
    desk.write("c.toml", "[mail]\nsend_rate = 2\n[limits]\nwindow = 2\n");
    let variable = [("CHATCTL_MAIL__SEND_RATE", "3")];
    let of = |line: &str, variables: &[(&str, &str)]| setting(&desk, line, variables, "mail.send_rate");
    assert_eq!(of("", &[]), (100.into(), "default".into()));
    assert_eq!(of("-c c.toml", &[]), (2.into(), "file".into()));
    assert_eq!(of("-c c.toml", &variable), (3.into(), "variable".into()));
    assert_eq!(
        of("-c c.toml --send-rate 4", &variable),
        (4.into(), "flag".into())
    );
    let member = [("CHATCTL_LIMITS__WINDOW", "3")];
    let window = |variables: &[(&str, &str)]| setting(&desk, "-c c.toml", variables, "limits.window");
    assert_eq!(window(&[]), (2.into(), "file".into()));
    assert_eq!(window(&member), (3.into(), "variable".into()));
}

#[test]
fn jobs_are_told_by_flag_by_variable_and_by_file() {
    let desk = Desk::new();
    desk.write(
        "c.toml",
        "[jobs]\nexternal = true\nset = [\"expire-mail=every 30s; timeout=5m\", \"trim-history=off\"]\n",
    );
    let of = |line: &str, variables: &[(&str, &str)], key: &str| setting(&desk, line, variables, key);
    let external = |line, variables: &[(&str, &str)]| of(line, variables, "jobs.external");
    assert_eq!(external("", &[]), (false.into(), "default".into()));
    assert_eq!(external("-c c.toml", &[]), (true.into(), "file".into()));
    let variable = [("CHATCTL_JOBS__EXTERNAL", "false")];
    assert_eq!(
        external("-c c.toml", &variable),
        (false.into(), "variable".into())
    );
    assert_eq!(external("--no-jobs", &variable), (true.into(), "flag".into()));
    let (set, origin) = of("-c c.toml", &[], "jobs.set");
    assert_eq!(
        (set.to_string().contains("trim-history=off"), origin.as_str()),
        (true, "file")
    );
    let two = [("CHATCTL_JOBS__SET", "expire-mail=*/5 * * * *|prune-records=off")];
    let (set, origin) = of("", &two, "jobs.set");
    assert_eq!(
        (set.to_string().contains("prune-records=off"), origin.as_str()),
        (true, "variable")
    );
    let flags = "--job trim-history=off --job prune-records=@hourly";
    let (set, origin) = of(flags, &two, "jobs.set");
    let set = set.to_string();
    assert!(
        set.contains("trim-history=off") && set.contains("prune-records=@hourly"),
        "{set}"
    );
    assert_eq!(origin, "flag");
}

#[test]
fn a_schedule_that_is_none_is_told_with_the_place_where_it_stands() {
    let desk = Desk::new();
    desk.write(
        "c.toml",
        "[jobs]\nset = [\"trim-history=off\", \"expire-mail=evry 30s\"]\n",
    );
    let (exit, _, stderr) = desk.run("serve --dev -c c.toml", &[]);
    let place = "error: c.toml:2:7: jobs.set: \"evry 30s\" is not a schedule";
    assert!(exit == 78 && stderr.starts_with(place), "{exit} {stderr}");
    let variable = [("CHATCTL_JOBS__SET", "expire-mail=evry 30s")];
    let (exit, _, stderr) = desk.run("serve --dev", &variable);
    let place = "error: CHATCTL_JOBS__SET: \"evry 30s\" is not a schedule";
    assert!(exit == 78 && stderr.starts_with(place), "{exit} {stderr}");
    let (exit, _, stderr) = desk.run("serve --dev --job expire-mail=evry", &[]);
    let flag = "'--job <JOB=SCHEDULE>': \"evry\" is not a schedule";
    assert!(exit == 2 && stderr.contains(flag), "{exit} {stderr}");
    let (exit, _, stderr) = desk.run("serve --dev --job sweep=off", &[]);
    assert!(
        exit == 2 && stderr.contains("there is no job \"sweep\""),
        "{exit} {stderr}"
    );
}

#[test]
fn of_places_for_the_store_the_highest_source_wins() {
    let desk = Desk::new();
    desk.write("c.toml", "[store]\ndata_dir = \"data\"\n");
    let uri = [("CHATCTL_STORE__URI", "mongodb://db/chat")];
    let of = |line: &str, variables: &[(&str, &str)], key: &str| setting(&desk, line, variables, key).0;
    assert_eq!(of("-c c.toml", &[], "store.data_dir"), "data");
    assert_eq!(of("-c c.toml", &uri, "store.data_dir"), Value::Null);
    assert_eq!(of("-c c.toml", &uri, "store.uri"), "mongodb://db/chat");
    let flag = "-c c.toml --data-dir other";
    assert_eq!(of(flag, &uri, "store.data_dir"), "other");
    assert_eq!(of(flag, &uri, "store.uri"), Value::Null);
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_no_secret_is_shown() {
    let desk = Desk::new();
    desk.write(
        "c.toml",
        "[servr]\nlisten = \"c4nary\"\n[auth]\njwt_secret = \"c4nary\"\n[mail]\ncommit_interval = 5\n\
         [store]\nuri = \"mongodb://me:c4nary@db/chat\"\n",
    );
    let variables = [
        ("CHATCTL_SERVER_LISTEN", "c4nary"),
        ("CHATCTL_AUTH__JWT_SECRET", "c4nary"),
    ];
    let (exit, stdout, stderr) = desk.run("config check c.toml", &variables);
    assert_eq!(exit, 78, "{stdout}{stderr}");
    for part in [
        "error[unknown-key]: c.toml:1:2: unknown table \"servr\"\n    1 | [servr]\n      |  ^^^^^\n  hint: did you mean \"server\"?",
        "error[secret]: c.toml:4:1: ",
        "error[type]: c.toml:6:19: mail.commit_interval must be a duration in quotes such as \"5ms\"",
        "error[secret]: c.toml:8:7: ",
        "error[secret]: CHATCTL_AUTH__JWT_SECRET",
        "CHATCTL_SERVER__LISTEN",
    ] {
        assert!(stdout.contains(part), "{part}\n---\n{stdout}");
    }
    assert_eq!(stderr, "error: 5 errors, 1 warning in 1 file\n");
    for line in [
        "config check c.toml --json",
        "config show -c c.toml",
        "serve -c c.toml",
    ] {
        let (exit, stdout, stderr) = desk.run(line, &variables);
        assert_eq!(exit, 78, "{line}: {stderr}");
        assert!(!format!("{stdout}{stderr}").contains("c4nary"), "{line}");
    }
    let (_, stdout, stderr) = desk.run("config show --store mongodb://me:c4nary@db/chat", &[]);
    assert!(
        !format!("{stdout}{stderr}").contains("c4nary"),
        "{stdout}{stderr}"
    );
}

#[test]
fn what_init_writes_passes_check_and_a_missing_file_is_missing() {
    let desk = Desk::new();
    desk.ok("config init new.toml", &[]);
    assert_eq!(desk.run("config init new.toml", &[]).0, 73);
    desk.ok("config init -o new.toml --force", &[]);
    let said = desk.ok("config check --strict new.toml", &[]);
    assert_eq!(said, "ok: 1 file, 0 settings, 0 warnings\n");
    assert_eq!(desk.run("config check nowhere.toml", &[]).0, 66);
    assert_eq!(desk.run("config show -c nowhere.toml", &[]).0, 66);
    assert_eq!(desk.run("reload --data-dir .", &[]).0, 69);
}
