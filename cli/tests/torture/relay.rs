//! The built binary as a process: started, killed without a warning, started again on the same address,
//! if need be on a small disk of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::sleep;

use crate::disk::Disk;

/// A relay that can lose its process, and what it needs to come back.
pub(crate) struct Relay {
    folder: TempDir,
    data: PathBuf,
    port: u16,
    child: Option<Child>,
    /// A library to preload, and where the bytes go that it saw synced.
    shim: Option<(PathBuf, PathBuf)>,
    /// The small disk that its data is on, if it is not the machine's.
    disk: Option<Disk>,
    /// Where its state is, as flags, if not in the data directory.
    store: Option<Vec<String>>,
    /// Flags of this test.
    flags: Vec<String>,
}

impl Relay {
    /// A folder with token keys, no process yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The shim compares paths as the kernel says them.
        let root = folder.path().canonicalize().unwrap();
        let data = root.join("data-0");
        fs::create_dir(&data).unwrap();
        let relay = Self {
            folder,
            data,
            port: free_port(),
            child: None,
            shim: None,
            disk: None,
            store: None,
            flags: Vec::new(),
        };
        relay.tool(&["token", "keys", "generate", "-o", path(&relay.keys())]);
        relay
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The next start uses this directory.
    pub(crate) fn move_data(&mut self, data: PathBuf) {
        self.data = data;
    }

    /// The next start has its data on a disk of so many bytes.
    pub(crate) fn move_to_small_disk(&mut self, bytes: u64) {
        let at = self.root().join("disk");
        self.disk = Some(Disk::mount(&at, bytes));
        self.data = at.join("data");
    }

    /// The small disk.
    pub(crate) fn disk(&self) -> &Disk {
        self.disk.as_ref().unwrap()
    }

    /// The next start has its state where these flags say.
    pub(crate) fn keep_state_in(&mut self, store: &[&str]) {
        self.store = Some(store.iter().map(|&flag| flag.to_owned()).collect());
    }

    /// The next start has its state where this URI says, password and all.
    pub(crate) fn keep_secret_store(&mut self, uri: &str) {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = self.root().join("store-uri");
        let mut options = File::options();
        let mut written = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .unwrap();
        written.write_all(uri.as_bytes()).unwrap();
        self.keep_state_in(&["--store-uri-file", path(&file)]);
    }

    /// The next start has these flags, too.
    pub(crate) fn set_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    }

    /// The next start runs under the shim.
    pub(crate) fn preload(&mut self, library: PathBuf, shadow: PathBuf) {
        self.shim = Some((library, shadow));
    }

    pub(crate) fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn ws(&self) -> String {
        format!("ws://127.0.0.1:{}/v1/ws", self.port)
    }

    /// A token for a device.
    pub(crate) fn token(&self, account: &str) -> String {
        let keys = self.keys();
        let issue = [
            "token",
            "issue",
            "--keys",
            path(&keys),
            "--sub",
            account,
            "--dev",
            "1",
        ];
        self.tool(&issue).trim().to_owned()
    }

    /// Starts the process and waits until it serves.
    pub(crate) async fn start(&mut self) {
        self.spawn();
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready() {
            let exited = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(
                exited.is_none(),
                "the relay exited with {exited:?}:\n{}",
                self.log()
            );
            assert!(
                Instant::now() < deadline,
                "the relay does not serve:\n{}",
                self.log()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts the process and does not wait, so that it can be killed while it recovers.
    pub(crate) fn spawn(&mut self) {
        let _absent = fs::remove_file(self.info());
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.root().join("log"))
            .unwrap();
        let mut command = match &self.disk {
            Some(disk) => disk.command(BINARY),
            None => Command::new(BINARY),
        };
        command
            .args(["serve", "--dev", "--dev-info", path(&self.info())])
            .args(["--keys", path(&self.keys())])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(WITHOUT_BUDGETS)
            .env("NO_COLOR", "1")
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        match &self.store {
            Some(store) => command.args(store),
            None => command.args(["--data-dir", path(&self.data)]),
        };
        if let Some((library, shadow)) = &self.shim {
            command
                .env("LD_PRELOAD", library)
                .env("PL_LIVE", &self.data)
                .env("PL_SHADOW", shadow);
        }
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits until a process that was spawned has ended by itself; its exit code and all that it said.
    pub(crate) async fn ended(&mut self) -> (i32, String) {
        let deadline = Instant::now() + PATIENCE;
        while !self.has_ended() {
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
        let status = self.child.take().unwrap().wait().unwrap();
        (status.code().unwrap(), self.log())
    }

    /// Bytes of memory that the process has.
    pub(crate) fn memory(&self) -> u64 {
        let pid = self.child.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    /// The number of the process, if there is one.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Kills the process where it stands; nothing of it runs any more on return.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The end of what the processes said.
    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(self.root().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The file appears, whole, once the relay listens.
    fn is_ready(&self) -> bool {
        fs::read(self.info()).is_ok_and(|text| serde_json::from_slice::<serde_json::Value>(&text).is_ok())
    }

    fn keys(&self) -> PathBuf {
        self.root().join("keys.json")
    }

    fn info(&self) -> PathBuf {
        self.root().join("info.json")
    }

    fn tool(&self, args: &[&str]) -> String {
        let output = Command::new(BINARY).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "chatctl {}: {said}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A port outside the range of outgoing connections: a client that tries to reconnect while the relay is
/// down could otherwise be given the relay's own port, and connect to itself.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(15_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_chatctl");
const PATIENCE: Duration = Duration::from_secs(60);

/// Budgets have tests of their own; here they would only hide what is looked for.
const WITHOUT_BUDGETS: [&str; 10] = [
    "--claim-pair-burst",
    "1000000",
    "--claim-target-hourly",
    "1000000",
    "--claim-caller-minute",
    "1000000",
    "--send-rate",
    "1000000",
    "--send-burst",
    "1000000",
];
