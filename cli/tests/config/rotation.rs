//! A relay with a thousand connected clients gets other keys, and nobody notices.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use chatctl_client::Socket;
use chatctl_protocol::v1::{Hello, Ping, frame::Body};
use chatctl_protocol::{AccountId, Address, DeviceId, Encoding};
use chatctl_relay::auth::private_file::{self, Access, Existing};
use chatctl_relay::auth::{Grant, Keyset, Signer};
use chatctl_relay::model::Clock;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use rustix::process::{Pid, Resource, Signal};
use serde_json::{Map, Value, json};

use crate::desk::Desk;

const CLIENTS: usize = 1_000;

/// A relay, killed on drop, and its log.
struct Relay {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    address: String,
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Relay {
    fn start(desk: &Desk) -> Self {
        let mut command = desk.command("serve -c c.toml --listen 127.0.0.1:0 --log-format json");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut relay = Self {
            child,
            log,
            address: String::new(),
        };
        let line = relay.logged("listening");
        relay.address = line["fields"]["addr"].as_str().unwrap().to_owned();
        relay
    }

    /// The next line of the log that says this.
    fn logged(&mut self, message: &str) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the relay has ended");
            let Ok(line) = serde_json::from_str::<Value>(&line) else {
                panic!("{line}");
            };
            if line["fields"]["message"] == message {
                return line;
            }
        }
    }

    fn hang_up(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::HUP).unwrap();
    }

    async fn connect(&self, token: String) -> Option<Socket> {
        let url = format!("ws://{}/v1/ws", self.address);
        let mut socket = Socket::connect(&url, Encoding::Proto, 1 << 20).await.unwrap();
        let hello = Hello {
            token,
            ..Hello::default()
        };
        socket.send(Body::Hello(hello)).await.unwrap();
        match socket.next().await {
            Some(Ok(Body::HelloOk(_))) => Some(socket),
            Some(Ok(Body::Goodbye(_))) | None => None,
            other => panic!("{other:?}"),
        }
    }

    async fn member(&self, http: &reqwest::Client, signer: &Signer, name: String) -> Socket {
        let token = token(signer, &name, None);
        let url = format!("http://{}/v1/devices/1", self.address);
        let body = json!({"registration_id": 1});
        let answer = http
            .put(url)
            .bearer_auth(&token)
            .header("Content-Type", "application/json");
        let answer = answer.body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        self.connect(token).await.unwrap()
    }
}

fn token(signer: &Signer, account: &str, scope: Option<&str>) -> String {
    let grant = Grant {
        issuer: "chatctl".into(),
        audience: "chatctl".into(),
        address: Address {
            account: AccountId::parse(account).unwrap(),
            device_id: DeviceId::parse("1").unwrap(),
        },
        scope: scope.map(Into::into),
        life: Duration::from_secs(3600),
        extra: Map::new(),
    };
    let now = Clock::system().now();
    signer.issue(&grant, &mut rand::rng(), now).unwrap().token
}

async fn answers(socket: &mut Socket) -> bool {
    socket.send(Body::Ping(Ping { id: 7 })).await.unwrap();
    while let Some(Ok(frame)) = socket.next().await {
        match frame {
            Body::Pong(pong) => return pong.id == 7,
            Body::QueueEmpty(_) => {}
            other => panic!("{other:?}"),
        }
    }
    false
}

/// Retires the keys of the file, and puts one new one beside them.
fn rotate(desk: &Desk) {
    let read =
        |name: &str| -> Value { serde_json::from_slice(&std::fs::read(desk.path(name)).unwrap()).unwrap() };
    desk.ok("token keys generate -o new.json --force", &[]);
    let mut keys = read("keys.json");
    let newer = read("new.json")["keys"][0].clone();
    for key in keys["keys"].as_array_mut().unwrap() {
        key["state"] = "retired".into();
    }
    keys["keys"].as_array_mut().unwrap().push(newer);
    let text = keys.to_string();
    private_file::write(
        &desk.path("keys.json"),
        text.as_bytes(),
        Access::Owner,
        Existing::Replace,
    )
    .unwrap();
}

#[tokio::test]
async fn a_thousand_sockets_stay_while_the_keys_change_under_them() {
    let many = rustix::process::getrlimit(Resource::Nofile);
    let limit = rustix::process::Rlimit {
        current: many.maximum,
        ..many
    };
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    let desk = Desk::new();
    desk.ok("token keys generate -o keys.json", &[]);
    desk.write(
        "c.toml",
        "[auth]\nkeys = \"keys.json\"\n[store]\ndata_dir = \"data\"\n",
    );
    let mut relay = Relay::start(&desk);
    let old = Keyset::load(&desk.path("keys.json")).unwrap();
    let signer = Signer::new(&old).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let members = (0..CLIENTS).map(|n| relay.member(&http, &signer, format!("user{n}")));
    let mut sockets: Vec<_> = stream::iter(members).buffer_unordered(64).collect().await;

    let begun = Instant::now();
    rotate(&desk);
    relay.hang_up();
    let line = relay.logged("reloaded");
    let took = begun.elapsed();
    assert_eq!(line["fields"]["applied"], "auth.keys (content)");

    assert!(
        relay.connect(token(&signer, "user0", None)).await.is_none(),
        "a retired key"
    );
    let new = Keyset::load(&desk.path("keys.json")).unwrap();
    let new = Signer::new(&new).unwrap();
    let checks = sockets
        .iter_mut()
        .map(|socket| async { Ok::<_, ()>(answers(socket).await) });
    let kept: Vec<_> = stream::iter(checks)
        .buffer_unordered(64)
        .try_collect()
        .await
        .unwrap();
    let kept = kept.iter().filter(|answered| **answered).count();
    println!("{kept} of {CLIENTS} sockets stayed; the new keys were followed in {took:?}");
    assert_eq!(kept, CLIENTS);
    assert!(
        relay.connect(token(&new, "user0", None)).await.is_some(),
        "the new key"
    );
}

#[tokio::test]
async fn a_reload_applies_what_is_live_defers_the_rest_and_refuses_a_bad_file() {
    let desk = Desk::new();
    desk.ok("token keys generate -o keys.json", &[]);
    let good = "[auth]\nkeys = \"keys.json\"\n[store]\ndata_dir = \"data\"\n";
    desk.write("c.toml", good);
    let _relay = Relay::start(&desk);
    let reload = || desk.run("reload --data-dir data --json", &[]);

    desk.write(
        "c.toml",
        &format!("{good}[mail]\nsend_rate = 7\ntail_bytes = 5000000\n"),
    );
    let (exit, stdout, stderr) = reload();
    assert_eq!(exit, 0, "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["generation"], 2);
    assert_eq!(
        answer["applied"],
        json!([{"key": "mail.send_rate", "from": "100", "to": "7"}])
    );
    assert_eq!(
        answer["deferred"],
        json!([{"key": "mail.tail_bytes", "from": "67108864", "to": "5000000"}])
    );

    desk.write(
        "c.toml",
        &format!("{good}[mial]\nsend_rate = 8\n[mail]\nlook_again = 5\n"),
    );
    let (exit, _, stderr) = reload();
    assert_eq!(exit, 78, "{stderr}");
    assert!(stderr.contains("kept the old configuration"), "{stderr}");
    assert!(
        stderr.contains("did you mean") && stderr.contains("mail.look_again"),
        "{stderr}"
    );
    // Also where the command reads the same file to find the relay.
    let (exit, _, stderr) = desk.run("reload -c c.toml", &[]);
    assert_eq!(exit, 78, "{stderr}");
    assert!(stderr.contains("kept the old configuration"), "{stderr}");
}

/// The one list of what is live keeps its word: another value of each setting is followed or deferred, as it says.
#[tokio::test]
async fn every_live_setting_is_applied_and_every_other_one_deferred() {
    let desk = Desk::new();
    desk.ok("token keys generate -o keys.json", &[]);
    desk.ok("token keys generate -o other.json", &[]);
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    desk.write("relay.pem", &certified.cert.pem());
    desk.write("relay.key", &certified.signing_key.serialize_pem());
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(desk.path("relay.key"), private).unwrap();
    let good = "[auth]\nkeys = \"keys.json\"\n[store]\ndata_dir = \"data\"\n";
    desk.write("c.toml", good);
    let _relay = Relay::start(&desk);
    let shown: Value = serde_json::from_str(&desk.ok("config show -c c.toml --json", &[])).unwrap();
    let (mut live, mut fixed, mut toml) = (Vec::new(), Vec::new(), String::new());
    for setting in shown["settings"].as_array().unwrap() {
        let key = setting["key"].as_str().unwrap();
        // A relay has one place for its store; and what a flag says goes before the file.
        let left_out = [
            "store.uri",
            "store.uri_file",
            "store.data_dir",
            "server.listen",
            "log.format",
        ];
        if left_out.contains(&key) {
            continue;
        }
        let (table, name) = key.rsplit_once('.').unwrap();
        let value = another(key, &setting["value"]);
        toml.push_str(&format!("{table}.{name} = {value}\n"));
        match setting["live"].as_bool().unwrap() {
            true => live.push(key.to_owned()),
            false => fixed.push(key.to_owned()),
        }
    }
    desk.write("c.toml", &format!("store.data_dir = \"data\"\n{toml}"));
    let (exit, stdout, stderr) = desk.run("reload --data-dir data --json", &[]);
    assert_eq!(exit, 0, "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let keys = |what: &str| -> Vec<String> {
        let changes = answer[what].as_array().unwrap().iter();
        let mut keys: Vec<_> = changes
            .map(|change| change["key"].as_str().unwrap().to_owned())
            .filter(|key| !key.ends_with(" (content)"))
            .collect();
        keys.sort();
        keys
    };
    live.sort();
    fixed.sort();
    assert_eq!((keys("applied"), keys("deferred")), (live, fixed));
    println!(
        "{} live, {} deferred",
        keys("applied").len(),
        keys("deferred").len()
    );
}

/// Another good value of a setting, as TOML.
fn another(key: &str, value: &Value) -> String {
    match (key, value) {
        ("auth.keys", _) => "\"other.json\"".to_owned(),
        ("server.tls_certificate", _) => "\"relay.pem\"".to_owned(),
        ("server.tls_key", _) => "\"relay.key\"".to_owned(),
        ("server.trusted_proxies", _) => "[\"127.0.0.1\"]".to_owned(),
        ("auth.trust", _) => "[\"other=http://127.0.0.1:9/jwks.json\"]".to_owned(),
        ("jobs.set", _) => "[\"trim-history=off\"]".to_owned(),
        ("jobs.time_zone", _) => "\"Europe/Berlin\"".to_owned(),
        ("jobs.idle_devices", _) => "\"8d\"".to_owned(),
        ("log.level", _) => "\"debug\"".to_owned(),
        ("server.metrics_listen", _) => "\"127.0.0.1:0\"".to_owned(),
        ("telemetry.otlp_endpoint", _) => "\"http://127.0.0.1:9\"".to_owned(),
        ("telemetry.sample_ratio", _) => "0.5".to_owned(),
        ("mail.commit_interval", _) => "\"7ms\"".to_owned(),
        (_, Value::Number(number)) => (number.as_u64().unwrap() + 1).to_string(),
        (_, Value::Bool(is_on)) => (!is_on).to_string(),
        (_, Value::String(text))
            if text.ends_with(['s', 'd', 'm', 'h']) && text.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            "\"7s\"".to_owned()
        }
        (_, Value::String(_) | Value::Null | Value::Array(_) | Value::Object(_)) => "\"else\"".to_owned(),
    }
}
