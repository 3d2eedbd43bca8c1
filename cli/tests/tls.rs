//! The built binary inside TLS: what is refused, another certificate while it runs, operators and people over https.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

#[path = "seed_demo/desk.rs"]
#[expect(dead_code, reason = "the module is shared with `seed_demo`")]
mod desk;
#[path = "tls/papers.rs"]
mod papers;

use std::process::Command;

use serde_json::{Value, json};

use crate::desk::{Desk, Relay};

const CONFIG: &str = "
[server]
listen = \"127.0.0.1:0\"
tls_certificate = \"relay.pem\"
tls_key = \"relay.key\"
[auth]
keys = \"keys.json\"
[store]
data_dir = \"data\"
";

fn desk() -> Desk {
    let desk = Desk::new();
    papers::issue(&desk.path(""), "relay", 2100);
    std::fs::write(desk.path("c.toml"), CONFIG).unwrap();
    desk.ok("token keys generate -o keys.json");
    desk.ok("token issue --keys keys.json --sub ops --dev 1 --scope admin -o ops.token");
    desk
}

/// How operators reach it from elsewhere.
fn from_afar(relay: &Relay, ca: &str) -> String {
    let url = relay.url().replace("http:", "https:");
    format!("--url {url} --ca {ca} --token-file ops.token")
}

#[test]
fn a_renewed_certificate_is_followed_and_a_bad_one_is_not() {
    let desk = desk();
    std::fs::copy(desk.path("relay.pem"), desk.path("old.pem")).unwrap();
    let relay = desk.serve("serve -c c.toml");
    let reloaded = desk.json(&format!("reload {}", from_afar(&relay, "old.pem")));
    assert_eq!(
        (&reloaded["generation"], &reloaded["applied"]),
        (&2.into(), &json!([]))
    );

    // The key alone: the hook has done half of its work.
    std::fs::copy(desk.path("relay.key"), desk.path("old.key")).unwrap();
    papers::issue(&desk.path(""), "new", 2090);
    std::fs::copy(desk.path("new.key"), desk.path("relay.key")).unwrap();
    let (exit, said) = desk.fails(&format!("reload {}", from_afar(&relay, "old.pem")));
    assert_eq!(exit, 78, "{said}");
    assert!(
        said.contains("the key in relay.key is not that of the first certificate in relay.pem"),
        "{said}"
    );

    std::fs::copy(desk.path("new.pem"), desk.path("relay.pem")).unwrap();
    let reloaded = desk.json(&format!("reload {}", from_afar(&relay, "old.pem")));
    let change = &reloaded["applied"][0];
    assert_eq!(change["key"], "server.tls (content)", "{reloaded}");
    let says = |end: &str, year: &str| {
        change[end]
            .as_str()
            .unwrap()
            .starts_with(&format!("until {year}-01-01T00:00:00Z, SHA-256 "))
    };
    assert!(says("from", "2100") && says("to", "2090"), "{change}");

    let (exit, said) = desk.fails(&format!("reload {}", from_afar(&relay, "old.pem")));
    assert_eq!(exit, 77, "{said}");
    assert!(said.contains("--ca"), "{said}");
    let listed = desk.json(&format!(
        "token revocations list {}",
        from_afar(&relay, "new.pem")
    ));
    assert_eq!(listed["revocations"], json!([]));
    desk.ok(&format!(
        "token revoke --sub alice --device 1 {}",
        from_afar(&relay, "new.pem")
    ));
    desk.ok(&format!("jobs list {}", from_afar(&relay, "new.pem")));
}

#[test]
fn files_that_do_not_fit_are_refused_before_anything_listens() {
    let desk = desk();
    papers::issue(&desk.path(""), "other", 2100);
    let check = |text: &str| {
        std::fs::write(desk.path("c.toml"), text).unwrap();
        let (exit, said) = desk.fails("config check c.toml --json");
        let found: Value = serde_json::from_str(&desk.output("config check c.toml --json")).unwrap();
        (
            exit,
            found["problems"][0]["message"]
                .as_str()
                .unwrap_or(&said)
                .to_owned(),
        )
    };
    let mismatch = CONFIG.replace("relay.key", "other.key");
    let words = "the key in other.key is not that of the first certificate in relay.pem";
    assert_eq!(check(&mismatch), (78, format!("server.tls_key: {words}")));
    let (exit, said) = desk.fails("serve -c c.toml");
    assert_eq!(exit, 78);
    assert!(said.contains(words) && said.contains("hint: "), "{said}");

    let alone = CONFIG.replace("tls_key = \"relay.key\"\n", "");
    let words = "server.tls_certificate is set, and server.tls_key is not";
    assert_eq!(check(&alone), (78, format!("server.tls_certificate: {words}")));

    papers::mode(&desk.path("relay.key"), 0o644);
    let words = "relay.key is readable by group or others (0644)";
    assert_eq!(check(CONFIG), (78, format!("server.tls_key: {words}")));
    papers::mode(&desk.path("relay.key"), 0o640);
    desk.ok("config check c.toml");

    papers::issue(&desk.path(""), "relay", 2021);
    let found = desk.json("config check c.toml");
    let problem = &found["problems"][0];
    assert_eq!(
        (&found["ok"], &problem["severity"]),
        (&true.into(), &"warning".into())
    );
    let ended =
        "server.tls_certificate: the certificate has ended at 2021-01-01T00:00:00Z, and clients refuse it";
    assert_eq!(problem["message"], ended);
}

#[test]
fn credentials_are_found_unless_a_file_is_named() {
    let desk = desk();
    papers::issue(&desk.path(""), "tls", 2100);
    std::fs::rename(desk.path("tls.pem"), desk.path("tls-certificate")).unwrap();
    std::fs::rename(desk.path("tls.key"), desk.path("tls-key")).unwrap();
    let origins = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        let folder = desk.path("");
        command
            .args(line.split(' '))
            .env_clear()
            .env("CREDENTIALS_DIRECTORY", &folder);
        let output = command.current_dir(&folder).output().unwrap();
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        let of = |key: &str| {
            let mut settings = shown["settings"].as_array().unwrap().iter();
            settings.find(|setting| setting["key"] == key).unwrap()["origin"].clone()
        };
        [of("server.tls_certificate"), of("server.tls_key")]
    };
    assert_eq!(origins("config show --json"), ["credential", "credential"]);
    assert_eq!(origins("config show --json -c c.toml"), ["file", "file"]);
    assert_eq!(
        origins("config show --json --tls-certificate relay.pem"),
        ["flag", "default"]
    );
}

#[test]
fn people_chat_over_https() {
    let desk = desk();
    let relay = desk.serve("serve -c c.toml");
    papers::chat(
        &desk.path(""),
        &relay.url().replace("http:", "https:"),
        "relay.pem",
    );
}
