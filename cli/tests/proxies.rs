//! The snippets of docs/proxies.md, as they stand there: two people chat through each proxy, and nobody can pass for
//! somebody else.
//!
//! `eval "$(scripts/proxies)"` says where the proxies are; without it there is nothing to try.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

#[path = "seed_demo/desk.rs"]
#[expect(dead_code, reason = "the module is shared with `seed_demo`")]
mod desk;
#[path = "tls/papers.rs"]
mod papers;

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chatctl_client::{Dial, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::desk::{Desk, Relay};

/// New sessions per minute and address. Two people need two.
const RATE: usize = 6;

/// A relay that trusts proxies on 127.0.0.1, and a proxy before it.
struct Front {
    desk: Desk,
    relay: Relay,
    proxy: Option<Child>,
    port: u16,
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(child) = &mut self.proxy {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program, if the machine has been told where it is.
#[expect(
    clippy::print_stdout,
    reason = "who reads the tests' output should know what was left out"
)]
fn program(name: &str) -> Option<PathBuf> {
    let program = std::env::var_os(format!("CHATCTL_TEST_{}", name.to_uppercase()));
    if program.is_none() {
        println!("not tried: there is no {name} (scripts/proxies says where it is)");
    }
    program.map(PathBuf::from)
}

/// The snippet in a language, from the document.
fn snippet(language: &str) -> String {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/proxies.md");
    let text = std::fs::read_to_string(document).unwrap();
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

/// The text with every one of these in another's place; each must be there.
fn adapted(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text.replace(from, to)
    })
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Front {
    fn open() -> Self {
        let desk = Desk::new();
        papers::issue(&desk.path(""), "relay", 2100);
        desk.ok("token keys generate -o keys.json");
        let relay = desk.serve(&format!(
            "serve --keys keys.json --data-dir data --listen 127.0.0.1:0 --trusted-proxy 127.0.0.1 --connect-rate {RATE}"
        ));
        Self {
            desk,
            relay,
            proxy: None,
            port: free_port(),
        }
    }

    fn address(&self) -> String {
        self.relay.url().replace("http://", "")
    }

    fn path(&self, name: &str) -> String {
        self.desk.path(name).display().to_string()
    }

    fn start(&mut self, command: &mut Command, settings: &str) {
        std::fs::write(self.desk.path("proxy.conf"), settings).unwrap();
        let log = std::fs::File::create(self.desk.path("proxy.log")).unwrap();
        let command = command.current_dir(self.desk.path("")).stdin(Stdio::null());
        let command = command.stdout(log.try_clone().unwrap()).stderr(log);
        self.proxy = Some(command.env("HOME", self.desk.path("")).spawn().unwrap());
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = || std::fs::read_to_string(self.desk.path("proxy.log")).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The story of each proxy.
    fn serves(&self) {
        let url = format!("https://localhost:{}", self.port);
        papers::chat(&self.desk.path(""), &url, "relay.pem");
        let statuses = tokio::runtime::Runtime::new().unwrap().block_on(async {
            let mut statuses = vec![self.ask("/metrics", "").await, self.ask("/healthz", "").await];
            for forged in 0..=RATE {
                statuses.push(self.upgrade(forged).await);
            }
            statuses
        });
        let mut expected = vec![404, 200];
        expected.extend([101; RATE]);
        expected.push(429);
        assert_eq!(statuses, expected);
    }

    /// Opens a session from another address than the proxy's, and claims to be somebody else each time.
    async fn upgrade(&self, forged: usize) -> u16 {
        let headers = format!(
            "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: chatctl.v1.json\r\n\
             x-forwarded-for: 192.0.2.{forged}\r\nforwarded: for=192.0.2.{forged}\r\n"
        );
        self.ask("/v1/ws", &headers).await
    }

    async fn ask(&self, path: &str, headers: &str) -> u16 {
        let pem = std::fs::read(self.desk.path("relay.pem")).unwrap();
        let dial = Dial::trusting(Tls::of_authorities(&pem).unwrap()).at("127.0.0.2".parse().unwrap());
        let mut stream = dial.stream("127.0.0.1", self.port, true).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost:{}\r\n{headers}\r\n",
            self.port
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
    }
}

#[test]
fn people_chat_through_nginx() {
    let Some(program) = program("nginx") else { return };
    let mut front = Front::open();
    let server = adapted(
        &snippet("nginx"),
        &[
            ("listen 443 ssl", &format!("listen 127.0.0.1:{} ssl", front.port)),
            ("server_name chat.example.org", "server_name localhost"),
            (
                "/etc/letsencrypt/live/chat.example.org/fullchain.pem",
                &front.path("relay.pem"),
            ),
            (
                "/etc/letsencrypt/live/chat.example.org/privkey.pem",
                &front.path("relay.key"),
            ),
            ("127.0.0.1:8480", &front.address()),
        ],
    );
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};\n", front.path(kind)));
    let settings = format!(
        "daemon off;\nmaster_process off;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{}{server}\n}}\n",
        front.path("pid"),
        paths.concat()
    );
    let (prefix, file) = (front.path(""), front.path("proxy.conf"));
    let mut command = Command::new(program);
    command.args(["-p", &prefix, "-c", &file, "-e", "stderr"]);
    front.start(&mut command, &settings);
    front.serves();
}

#[test]
fn people_chat_through_caddy() {
    let Some(program) = program("caddy") else { return };
    let mut front = Front::open();
    let site = format!(
        "https://localhost:{} {{\n    bind 127.0.0.1\n    tls {} {}",
        front.port,
        front.path("relay.pem"),
        front.path("relay.key")
    );
    let server = adapted(
        &snippet("caddyfile"),
        &[
            ("chat.example.org {", &site),
            ("127.0.0.1:8480", &front.address()),
        ],
    );
    let settings = format!(
        "{{\n    admin off\n    auto_https disable_redirects\n    default_sni localhost\n    storage file_system {}\n}}\n{server}\n",
        front.path("caddy")
    );
    let mut command = Command::new(program);
    command.args([
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        &front.path("proxy.conf"),
    ]);
    front.start(&mut command, &settings);
    front.serves();
}

#[test]
fn people_chat_through_haproxy() {
    let Some(program) = program("haproxy") else { return };
    let mut front = Front::open();
    let read = |name: &str| std::fs::read_to_string(front.desk.path(name)).unwrap();
    std::fs::write(
        front.desk.path("both.pem"),
        read("relay.pem") + &read("relay.key"),
    )
    .unwrap();
    let settings = adapted(
        &snippet("haproxy"),
        &[
            ("bind :443", &format!("bind 127.0.0.1:{}", front.port)),
            ("/etc/haproxy/chat.example.org.pem", &front.path("both.pem")),
            ("127.0.0.1:8480", &front.address()),
        ],
    );
    let file = front.path("proxy.conf");
    let mut command = Command::new(program);
    command.args(["-db", "-f", &file]);
    front.start(&mut command, &(settings + "\n"));
    front.serves();
}
