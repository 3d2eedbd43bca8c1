//! Every command of the built binary, by the same rules: a help with an example, `--json` as its schema says,
//! exit codes as documented, one voice for errors, nothing of what is secret, and no offence at a closed pipe.
//!
//! The commands come from the binary itself. One without a recipe in `recipes.rs` fails, so a new command cannot
//! be forgotten here.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

use std::collections::BTreeMap;

use serde_json::Value;

use desk::{Desk, Ended};
use recipes::RECIPES;

mod desk;
mod recipes;

/// What stands wherever a secret may stand, and must never be shown.
const CANARY: &str = "hunter2-canary";

#[test]
fn every_command_has_a_recipe_a_document_and_exit_codes() {
    let desk = Desk::new();
    let named: Vec<_> = RECIPES.iter().map(|recipe| recipe.command).collect();
    for command in desk.commands() {
        let name = command["command"].as_str().unwrap();
        assert!(named.contains(&name), "no recipe for `chatctl {name}`");
        assert!(command["document"].is_string(), "no document of `chatctl {name}`");
        assert!(command["exits"].as_array().unwrap().len() >= 6, "{name}");
    }
    assert_eq!(
        named.len(),
        desk.commands().len(),
        "a recipe for what is no command"
    );
}

#[test]
fn every_help_has_an_example_and_shows_nothing_of_the_environment() {
    let desk = Desk::new();
    let commands = desk.commands();
    let variables: Vec<_> = commands
        .iter()
        .flat_map(|command| command["arguments"].as_array().unwrap())
        .filter_map(|argument| argument["variable"].as_str())
        .collect();
    assert!(variables.len() > 30, "{variables:?}");
    for command in &commands {
        let name = command["command"].as_str().unwrap();
        for flag in ["--help", "-h"] {
            let mut run = desk.command(&format!("{name} {flag}"));
            run.envs(variables.iter().map(|variable| (variable, CANARY)));
            let ended = Ended::of(run, "");
            assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{name} {flag}");
            assert!(
                ended.stdout.contains("Example"),
                "{name} {flag}: {}",
                ended.stdout
            );
            assert!(!ended.stdout.contains(CANARY), "{name} {flag}: {}", ended.stdout);
        }
    }
}

#[test]
fn every_answer_is_as_its_schema_says_and_ends_as_documented() {
    let mut checks = 0;
    for recipe in RECIPES {
        let Some(line) = recipe.line else { continue };
        let desk = Desk::new();
        let command = desk.named(recipe.command);
        let text = desk.recipe(recipe, line);
        assert_eq!(text.code, recipe.code, "{line}: {text:?}");
        assert!(ends_as_documented(&command, text.code), "{line}: {text:?}");
        let desk = Desk::new();
        let json = desk.recipe(recipe, &format!("{line} --json"));
        assert_eq!(json.code, recipe.code, "{line} --json: {json:?}");
        let document: Value = serde_json::from_str(&json.stdout)
            .unwrap_or_else(|error| panic!("{line} --json: {error}: {json:?}"));
        let name = command["document"].as_str().unwrap();
        desk.fits(&document, name, line);
        for said in [&text, &json] {
            let all = format!("{}{}", said.stdout, said.stderr);
            for secret in desk.secrets() {
                assert!(!all.contains(&secret), "{line}: {said:?}");
            }
        }
        checks += 2;
    }
    println!("{} commands, {checks} answers checked", RECIPES.len());
}

/// The one command that does not end by itself.
#[test]
fn a_relay_says_where_it_is_and_ends_in_order_at_a_signal() {
    let desk = Desk::new();
    let mut child = desk
        .command("serve --dev --listen 127.0.0.1:0 --json")
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut documents = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
    let document = documents.next().unwrap().unwrap();
    desk.fits(&document, "chatctl.serve.dev/v1", "serve");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(documents.next().is_none(), "one document");
    assert_eq!(Ended::from(child.wait_with_output().unwrap()).code, 0);
}

#[test]
fn a_result_goes_to_a_file_whole_and_never_over_another_unasked() {
    for recipe in RECIPES.iter().filter(|recipe| recipe.to_file) {
        let Some(line) = recipe.line else { continue };
        let to_file = format!("{line} -o out.txt");
        let desk = Desk::new();
        let ended = desk.recipe(recipe, &to_file);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (recipe.code, ""),
            "{to_file}: {ended:?}"
        );
        let written = std::fs::read(desk.path("out.txt")).unwrap();
        assert!(!written.is_empty(), "{to_file}");
        let desk = Desk::new();
        std::fs::write(desk.path("out.txt"), "mine").unwrap();
        let refused = desk.recipe(recipe, &to_file);
        // Whatever else the command has to say: a file in the way is said, and kept.
        assert!(
            [73, recipe.code].contains(&refused.code) && refused.code != 0,
            "{to_file}: {refused:?}"
        );
        assert_eq!(std::fs::read(desk.path("out.txt")).unwrap(), b"mine", "{to_file}");
        let forced = desk.recipe(recipe, &format!("{to_file} --force"));
        assert_eq!(forced.code, recipe.code, "{to_file} --force: {forced:?}");
        assert_ne!(std::fs::read(desk.path("out.txt")).unwrap(), b"mine", "{to_file}");
    }
}

#[test]
fn a_reader_that_had_enough_is_no_failure() {
    for recipe in RECIPES.iter().filter(|recipe| recipe.code == 0) {
        let Some(line) = recipe.line else { continue };
        let desk = Desk::new();
        let ended = desk.recipe_into_closed_pipe(recipe, line);
        assert_eq!(ended.code, 0, "{line}: {ended:?}");
        assert!(!ended.stderr.contains("error"), "{line}: {ended:?}");
        assert!(!ended.stderr.contains("panic"), "{line}: {ended:?}");
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error_in_the_readers_format() {
    let desk = Desk::new();
    for command in desk.commands() {
        let name = command["command"].as_str().unwrap();
        let text = desk.run(&format!("{name} --no-such-flag"), "");
        assert_eq!((text.code, text.stdout.as_str()), (2, ""), "{name}: {text:?}");
        assert!(text.stderr.starts_with("error: "), "{name}: {text:?}");
        let json = desk.run(&format!("{name} --no-such-flag --json"), "");
        assert_eq!((json.code, json.stdout.as_str()), (2, ""), "{name}: {json:?}");
        let error: Value = serde_json::from_str(&json.stderr).unwrap();
        assert_eq!(
            (&error["error"]["code"], &error["error"]["exit"]),
            (&"USAGE".into(), &2.into()),
            "{name}"
        );
    }
}

/// Values that cannot be right, for every kind of value that has a form.
#[test]
fn a_value_of_the_wrong_form_is_a_usage_error_for_every_argument() {
    let desk = Desk::new();
    let mut tried = BTreeMap::new();
    for command in desk.commands() {
        let name = command["command"].as_str().unwrap();
        for argument in command["arguments"].as_array().unwrap() {
            let (Some(flag), Some(kind)) = (argument["flag"].as_str(), argument["value"].as_str()) else {
                continue;
            };
            let has_choices = !argument["choices"].as_array().unwrap().is_empty();
            if !has_choices && !KINDS_WITH_A_FORM.contains(&kind) {
                continue;
            }
            let ended = desk.run(&format!("{name} --{flag} ☂"), "");
            assert_eq!(
                (ended.code, ended.stdout.as_str()),
                (2, ""),
                "{name} --{flag}: {ended:?}"
            );
            assert!(
                ended.stderr.contains(&format!("--{flag}")),
                "{name} --{flag}: {ended:?}"
            );
            *tried.entry(kind.to_owned()).or_insert(0) += 1;
        }
    }
    println!("values refused, by kind: {tried:?}");
    assert!(tried.values().sum::<usize>() > 40, "{tried:?}");
}

/// What stands for a value that cannot be just any text.
const KINDS_WITH_A_FORM: [&str; 9] = [
    "DURATION", "COUNT", "BYTES", "ADDR", "BOOL", "JSON", "N", "TIME", "LEVEL",
];

/// A database's password, wherever a command may be given it.
#[test]
fn no_command_shows_the_stores_password() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = Desk::new();
    // Nobody listens there.
    let uri = format!("mongodb://chat:{CANARY}@127.0.0.1:1/chat?replicaSet=rs0");
    std::fs::write(desk.path("uri"), &uri).unwrap();
    std::fs::set_permissions(desk.path("uri"), std::fs::Permissions::from_mode(0o600)).unwrap();
    desk.ok("token keys generate -o keys.json");
    let mut tried = 0;
    for command in desk.commands() {
        let name = command["command"].as_str().unwrap();
        let arguments = command["arguments"].as_array().unwrap();
        if !arguments.iter().any(|argument| argument["id"] == "store.uri") {
            continue;
        }
        let rest = match name {
            "serve" => "--keys keys.json",
            "seed demo" => "--state-dir state",
            "seed import-legacy" => "--from mongodb://127.0.0.1:1",
            "seed reset" => "--confirm chat",
            "token revoke" => "--sub alice",
            _ => "",
        };
        let typed = desk.run(&format!("{name} {rest} --store {uri}"), "");
        let mut variable = desk.command(&format!("{name} {rest}"));
        variable.env("CHATCTL_STORE__URI", &uri);
        let variable = Ended::of(variable, "");
        let file = desk.run(
            &format!("{name} {rest} --store-uri-file uri --store-timeout 1s"),
            "",
        );
        for (ended, how) in [(typed, "typed"), (variable, "variable"), (file, "file")] {
            assert!(!format!("{ended:?}").contains(CANARY), "{name}, {how}: {ended:?}");
            let is_shown = name.starts_with("config ") && ended.code == 0;
            assert!(ended.code != 0 || is_shown, "{name}, {how}: {ended:?}");
            assert!(
                ends_as_documented(&command, ended.code),
                "{name}, {how}: {ended:?}"
            );
            tried += 1;
        }
    }
    println!("{tried} ways to give a password, none shown");
    assert!(tried >= 27, "{tried}");
}

#[test]
fn a_file_that_is_not_there_is_said_so() {
    let desk = Desk::new();
    for recipe in RECIPES.iter() {
        let Some(line) = recipe.missing_file else { continue };
        let command = desk.named(recipe.command);
        let ended = desk.run(line, "");
        assert_eq!((ended.code, ended.stdout.as_str()), (66, ""), "{line}: {ended:?}");
        assert!(ends_as_documented(&command, 66), "{line}");
        assert!(ended.stderr.contains("/nowhere"), "{line}: {ended:?}");
    }
}

#[test]
fn colours_are_for_who_wants_them() {
    let desk = Desk::new();
    let line = "token issue --keys /nowhere/keys.json --sub alice --dev 1";
    let has_colours = |line: &str, variables: &[(&str, &str)]| {
        let mut command = desk.command(line);
        command.envs(variables.iter().copied());
        Ended::of(command, "").stderr.contains('\u{1b}')
    };
    assert!(!has_colours(line, &[]), "no terminal");
    assert!(has_colours(&format!("{line} --color always"), &[]));
    assert!(has_colours(line, &[("CLICOLOR_FORCE", "1")]));
    assert!(!has_colours(line, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!has_colours(
        &format!("{line} --color never"),
        &[("CLICOLOR_FORCE", "1")]
    ));
    assert!(has_colours("token --no-such-flag --color=always", &[]));
    assert!(!has_colours(
        "token --no-such-flag --color never",
        &[("CLICOLOR_FORCE", "1")]
    ));
}

fn ends_as_documented(command: &Value, code: i32) -> bool {
    let exits = command["exits"].as_array().unwrap();
    exits.iter().any(|exit| exit["code"] == code)
}
