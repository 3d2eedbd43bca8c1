//! How each command is run so that it answers.

/// A command that answers.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) command: &'static str,
    /// Lines that come first, in the same folder; the stdout of each is the stdin of the next, and of the command
    /// itself if that has no other.
    pub(crate) before: &'static [&'static str],
    /// Files that are there.
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) stdin: &'static str,
    /// The command line. None: it is tried elsewhere, because it does not end by itself or needs a relay.
    pub(crate) line: Option<&'static str>,
    /// How it ends.
    pub(crate) code: i32,
    /// Whether `-o` takes its result; not where it names the command's own file.
    pub(crate) to_file: bool,
    /// A line that names a file that is not there.
    pub(crate) missing_file: Option<&'static str>,
}

const ANSWERS: Recipe = Recipe {
    command: "",
    before: &[],
    files: &[],
    stdin: "",
    line: None,
    code: 0,
    to_file: true,
    missing_file: None,
};

const KEYS: &str = "token keys generate -o keys.json";
const ISSUE: &str = "token issue --keys keys.json --sub alice --dev 1";
/// The one of RFC 8032, 7.1, test 1.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";
const APPLY: &str = "seed apply --data-dir data";

/// Every command.
pub(crate) const RECIPES: &[Recipe] = &[
    // Until a signal: it has a test of its own.
    Recipe {
        command: "serve",
        missing_file: Some("serve --keys /nowhere/keys.json --data-dir data"),
        ..ANSWERS
    },
    Recipe {
        command: "seed plan",
        line: Some("seed plan --data-dir data"),
        missing_file: Some("seed plan --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "seed apply",
        line: Some(APPLY),
        missing_file: Some("seed apply --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "seed verify",
        before: &[APPLY],
        line: Some("seed verify --data-dir data"),
        missing_file: Some("seed verify --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "seed reset",
        before: &[APPLY],
        line: Some("seed reset --data-dir data --confirm data"),
        missing_file: Some("seed reset --store-uri-file /nowhere/uri --confirm x"),
        ..ANSWERS
    },
    Recipe {
        command: "seed demo",
        before: &[APPLY],
        line: Some("seed demo --data-dir data --users 2 --prekeys 1 --state-dir state"),
        missing_file: Some("seed demo --store-uri-file /nowhere/uri --state-dir state"),
        ..ANSWERS
    },
    Recipe {
        command: "seed import-legacy",
        before: &[APPLY],
        // Without the old database there is nothing to answer; `seed_demo` has one.
        missing_file: Some("seed import-legacy --data-dir data --from-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "token issue",
        before: &[KEYS],
        line: Some(ISSUE),
        missing_file: Some("token issue --keys /nowhere/keys.json --sub alice --dev 1"),
        ..ANSWERS
    },
    Recipe {
        command: "token verify",
        before: &[KEYS, ISSUE],
        line: Some("token verify --keys keys.json"),
        missing_file: Some("token verify --keys /nowhere/keys.json"),
        ..ANSWERS
    },
    Recipe {
        command: "token inspect",
        before: &[KEYS, ISSUE],
        line: Some("token inspect"),
        missing_file: Some("token inspect --token-file /nowhere/token"),
        ..ANSWERS
    },
    Recipe {
        command: "token revoke",
        before: &[APPLY],
        line: Some("token revoke --data-dir data --sub alice --reason lost"),
        missing_file: Some("token revoke --data-dir data --jti-of /nowhere/token"),
        ..ANSWERS
    },
    Recipe {
        command: "token revocations list",
        before: &[APPLY, "token revoke --data-dir data --jti 5f0c9a1e"],
        line: Some("token revocations list --data-dir data"),
        missing_file: Some("token revocations list --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "token revocations prune",
        before: &[APPLY],
        line: Some("token revocations prune --data-dir data"),
        missing_file: Some("token revocations prune --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    // Needs a relay and somebody to talk to: `chat` has both.
    Recipe {
        command: "chat",
        missing_file: Some(
            "chat --url http://127.0.0.1:1 --as alice --to bob --state state --token-file /nowhere/token",
        ),
        ..ANSWERS
    },
    Recipe {
        command: "backup",
        before: &[APPLY],
        line: Some("backup --data-dir data -o backup.sqlite"),
        to_file: false,
        missing_file: Some("backup --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "restore",
        before: &[APPLY, "backup --data-dir data -o backup.sqlite"],
        line: Some("restore backup.sqlite --data-dir other"),
        missing_file: Some("restore /nowhere/backup.sqlite --data-dir data"),
        ..ANSWERS
    },
    Recipe {
        command: "jobs list",
        before: &[APPLY],
        line: Some("jobs list --data-dir data"),
        missing_file: Some("jobs list --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "jobs run",
        before: &[APPLY],
        line: Some("jobs run prune-revocations --data-dir data --apply"),
        missing_file: Some("jobs run expire-mail --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "jobs history",
        before: &[APPLY],
        line: Some("jobs history --data-dir data"),
        missing_file: Some("jobs history --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "jobs pause",
        before: &[APPLY],
        line: Some("jobs pause expire-mail --data-dir data --for 2h"),
        missing_file: Some("jobs pause expire-mail --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "jobs resume",
        before: &[APPLY],
        line: Some("jobs resume expire-mail --data-dir data"),
        missing_file: Some("jobs resume expire-mail --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "jobs unlock",
        before: &[APPLY],
        line: Some("jobs unlock expire-mail --data-dir data --confirm expire-mail"),
        missing_file: Some("jobs unlock expire-mail --store-uri-file /nowhere/uri"),
        ..ANSWERS
    },
    Recipe {
        command: "bench conn",
        line: Some("bench conn --clients 4 --duration 1s --allow-invalid"),
        missing_file: Some("bench conn --relay-config /nowhere/relay.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "bench pairs",
        line: Some(
            "bench pairs --clients 4 --rate 20/s --duration 1s --allow-invalid --crypto none --warmup 0s",
        ),
        missing_file: Some("bench pairs --relay-config /nowhere/relay.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "bench fanout",
        line: Some(
            "bench fanout --clients 4 --recipients 3 --rate 10/s --duration 1s --allow-invalid --crypto none --warmup 0s",
        ),
        missing_file: Some("bench fanout --relay-config /nowhere/relay.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "bench rooms",
        line: Some(
            "bench rooms --clients 4 --room-size 4 --rate 10/s --duration 1s --allow-invalid --crypto none --warmup 0s",
        ),
        missing_file: Some("bench rooms --relay-config /nowhere/relay.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "bench offline",
        line: Some("bench offline --clients 4 --each 5 --allow-invalid --crypto none"),
        missing_file: Some("bench offline --relay-config /nowhere/relay.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "bench prekeys",
        line: Some(
            "bench prekeys --clients 4 --targets 2 --keys-each 50 --rate 20/s --duration 1s --allow-invalid",
        ),
        missing_file: Some("bench prekeys --relay-config /nowhere/relay.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "bench storm",
        line: Some("bench storm --clients 4 --times 1 --pause 100ms --allow-invalid"),
        missing_file: Some("bench storm --relay-config /nowhere/relay.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "bench idle",
        line: Some("bench idle --clients 4 --duration 1s --allow-invalid"),
        missing_file: Some("bench idle --relay-config /nowhere/relay.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "bench run",
        before: &[
            "bench scenario pairs --clients 4 --rate 20/s --duration 1s --warmup 0s --crypto none -o s.toml",
        ],
        line: Some("bench run s.toml --allow-invalid"),
        missing_file: Some("bench run /nowhere/s.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "bench capacity",
        line: Some(
            "bench capacity --clients 4 --crypto none --warmup 0s --start 10/s --max 10/s --each-run 1s --slo e2e.p99<30s",
        ),
        missing_file: Some("bench capacity --relay-config /nowhere/relay.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "bench report",
        before: &["bench idle --clients 4 --duration 1s --json --allow-invalid -o r.json"],
        line: Some("bench report r.json"),
        missing_file: Some("bench report /nowhere/r.json"),
        ..ANSWERS
    },
    Recipe {
        command: "bench compare",
        before: &["bench idle --clients 4 --duration 1s --json --allow-invalid -o r.json"],
        line: Some("bench compare r.json r.json --anyway"),
        missing_file: Some("bench compare /nowhere/r.json /nowhere/r.json"),
        ..ANSWERS
    },
    Recipe {
        command: "bench calibrate",
        line: Some("bench calibrate --duration 1s"),
        ..ANSWERS
    },
    // Until a signal: it has a test of its own.
    Recipe {
        command: "bench agent",
        missing_file: Some("bench agent --listen 127.0.0.1:0 --secret-file /nowhere/secret"),
        ..ANSWERS
    },
    Recipe {
        command: "bench list",
        line: Some("bench list"),
        ..ANSWERS
    },
    Recipe {
        command: "bench scenario",
        line: Some("bench scenario pairs"),
        ..ANSWERS
    },
    Recipe {
        command: "doctor",
        before: &[KEYS, APPLY],
        line: Some("doctor --keys keys.json --data-dir data"),
        missing_file: Some("doctor -c /nowhere/chatctl.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "config init",
        line: Some("config init"),
        // It names the command's own file, of which it tells on stdout.
        to_file: false,
        ..ANSWERS
    },
    Recipe {
        command: "config check",
        files: &[("chatctl.toml", "[mail]\nsend_rate = 7\n")],
        line: Some("config check chatctl.toml"),
        missing_file: Some("config check /nowhere/chatctl.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "config show",
        files: &[("chatctl.toml", "[mail]\nsend_rate = 7\n")],
        line: Some("config show -c chatctl.toml"),
        missing_file: Some("config show -c /nowhere/chatctl.toml"),
        ..ANSWERS
    },
    // Needs a relay: `config` has one with a thousand sockets.
    Recipe {
        command: "reload",
        missing_file: Some("reload -c /nowhere/chatctl.toml"),
        ..ANSWERS
    },
    // Both need a relay: `status` has one.
    Recipe {
        command: "status",
        missing_file: Some("status -c /nowhere/chatctl.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "top",
        missing_file: Some("top -c /nowhere/chatctl.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "jobs next",
        line: Some("jobs next expire-mail"),
        missing_file: Some("jobs next -c /nowhere/chatctl.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "jobs lint",
        line: Some("jobs lint every 7m"),
        ..ANSWERS
    },
    Recipe {
        command: "jobs units",
        line: Some("jobs units expire-mail"),
        missing_file: Some("jobs units -c /nowhere/chatctl.toml"),
        ..ANSWERS
    },
    Recipe {
        command: "token keys generate",
        line: Some(KEYS),
        to_file: false,
        ..ANSWERS
    },
    Recipe {
        command: "token keys list",
        before: &[KEYS],
        line: Some("token keys list --keys keys.json"),
        missing_file: Some("token keys list --keys /nowhere/keys.json"),
        ..ANSWERS
    },
    Recipe {
        command: "token keys rotate",
        before: &[KEYS],
        line: Some("token keys rotate --keys keys.json --phase publish"),
        // It cannot be done twice.
        to_file: false,
        missing_file: Some("token keys rotate --keys /nowhere/keys.json --phase publish"),
        ..ANSWERS
    },
    Recipe {
        command: "token keys export",
        before: &[KEYS],
        line: Some("token keys export --keys keys.json"),
        missing_file: Some("token keys export --keys /nowhere/keys.json"),
        ..ANSWERS
    },
    Recipe {
        command: "token keys import",
        before: &[KEYS],
        stdin: PUBLIC_KEY,
        line: Some("token keys import - --kid old --keys keys.json"),
        // It cannot be done twice.
        to_file: false,
        missing_file: Some("token keys import /nowhere/key.pem --kid old --keys keys.json"),
        ..ANSWERS
    },
    Recipe {
        command: "token keys check",
        before: &[KEYS],
        line: Some("token keys check --keys keys.json"),
        missing_file: Some("token keys check --keys /nowhere/keys.json"),
        ..ANSWERS
    },
    Recipe {
        command: "openapi generate",
        line: Some("openapi generate"),
        ..ANSWERS
    },
    Recipe {
        command: "openapi check",
        line: Some("openapi check"),
        missing_file: Some("openapi check /nowhere/openapi.json"),
        ..ANSWERS
    },
    Recipe {
        command: "openapi diff",
        before: &["openapi generate -o old.json", "openapi generate -o new.json"],
        line: Some("openapi diff old.json new.json --fail-on any"),
        missing_file: Some("openapi diff /nowhere/old.json /nowhere/new.json"),
        ..ANSWERS
    },
    Recipe {
        command: "openapi routes",
        line: Some("openapi routes"),
        ..ANSWERS
    },
    Recipe {
        command: "openapi html",
        line: Some("openapi html"),
        ..ANSWERS
    },
    Recipe {
        command: "asyncapi generate",
        line: Some("asyncapi generate"),
        ..ANSWERS
    },
    Recipe {
        command: "schema",
        line: Some("schema"),
        ..ANSWERS
    },
    Recipe {
        command: "commands",
        line: Some("commands"),
        ..ANSWERS
    },
    Recipe {
        command: "completions",
        line: Some("completions bash"),
        ..ANSWERS
    },
    Recipe {
        command: "man",
        line: Some("man token issue"),
        ..ANSWERS
    },
];
