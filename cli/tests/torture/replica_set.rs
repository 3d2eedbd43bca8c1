//! A replica set of this test's own, whose members can be killed, paused, and brought back.
//!
//! `CHATCTL_TEST_MONGOD` says which mongod; `scripts/mongodb` installs one. Must not know what is stored.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, Credential};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::PATIENCE;
use crate::relay::free_port;

/// How members are started and reached.
#[derive(Debug, Default, Clone)]
pub(crate) struct Access {
    /// Further flags of every member.
    pub(crate) flags: Vec<String>,
    /// What a URI needs then, as in `&tls=true`.
    pub(crate) query: String,
}

pub(crate) struct ReplicaSet {
    members: Vec<Member>,
    access: Access,
    _folder: TempDir,
}

struct Member {
    port: u16,
    folder: PathBuf,
    flags: Vec<String>,
    child: Option<Child>,
}

impl ReplicaSet {
    /// A set with a primary.
    pub(crate) async fn start(members: usize) -> Self {
        Self::start_with(members, Access::default()).await
    }

    /// A set with a primary. Access control, if any, must still let this machine in.
    pub(crate) async fn start_with(members: usize, access: Access) -> Self {
        let folder = in_memory();
        let mut set = Self {
            members: (0..members)
                .map(|number| Member::new(folder.path().join(number.to_string()), &access.flags))
                .collect(),
            access,
            _folder: folder,
        };
        for member in &mut set.members {
            member.start();
        }
        set.initiate().await;
        set.primary().await;
        set
    }

    async fn initiate(&self) {
        let members = self.members.iter().enumerate().map(|(number, member)| {
            // All alike: a member that comes back must not take the lead again by itself.
            doc! { "_id": i32::try_from(number).unwrap(), "host": member.host() }
        });
        let config = doc! {
            "_id": "rs0",
            "members": members.collect::<Vec<_>>(),
            // Elections as quick as they get without being held for nothing on a busy machine.
            "settings": { "electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 300, "catchUpTimeoutMillis": 500 },
        };
        for number in 0..self.members.len() {
            self.wait(number, "does not answer", |_hello| true).await;
        }
        let admin = self.client(0).await.database("admin");
        admin
            .run_command(doc! { "replSetInitiate": config })
            .await
            .unwrap();
    }

    /// Where a database in it is.
    pub(crate) fn uri(&self, database: &str) -> String {
        format!(
            "mongodb://{}/{database}?replicaSet=rs0{}",
            self.hosts(),
            self.access.query
        )
    }

    /// As messages name it.
    pub(crate) fn hosts(&self) -> String {
        let hosts: Vec<_> = self.members.iter().map(Member::host).collect();
        hosts.join(",")
    }

    /// The number of the member that takes writes, once there is one.
    pub(crate) async fn primary(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for number in 0..self.members.len() {
                let hello = self.hello(number).await;
                if hello.is_some_and(|hello| says(&hello, "isWritablePrimary")) {
                    return number;
                }
            }
            assert!(Instant::now() < deadline, "no primary");
            sleep(LOOK).await;
        }
    }

    /// Waits until a member follows.
    pub(crate) async fn wait_for_secondary(&self, number: usize) {
        let follows = |hello: &Document| says(hello, "secondary");
        self.wait(number, "does not become a secondary", follows).await;
    }

    /// Ends a member's process where it stands.
    pub(crate) fn kill(&mut self, number: usize) {
        self.members[number].kill();
    }

    /// Starts a member again on what it left.
    pub(crate) fn restart(&mut self, number: usize) {
        self.members[number].start();
    }

    /// A member says nothing any more; its connections stay.
    pub(crate) fn pause(&self, number: usize) {
        self.members[number].signal(Signal::STOP);
    }

    /// A paused member goes on.
    pub(crate) fn resume(&self, number: usize) {
        self.members[number].signal(Signal::CONT);
    }

    /// A client of one member, whatever that is at the moment.
    pub(crate) async fn client(&self, number: usize) -> Client {
        self.client_as(number, None).await
    }

    /// The same, logged in.
    pub(crate) async fn client_as(&self, number: usize, login: Option<Credential>) -> Client {
        let uri = format!(
            "mongodb://{}/?directConnection=true{}",
            self.members[number].host(),
            self.access.query
        );
        let mut options = ClientOptions::parse(uri).await.unwrap();
        options.credential = login;
        options.server_selection_timeout = Some(BRIEFLY);
        options.connect_timeout = Some(BRIEFLY);
        Client::with_options(options).unwrap()
    }

    async fn wait(&self, number: usize, otherwise: &str, is_so: impl Fn(&Document) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !self.hello(number).await.is_some_and(|hello| is_so(&hello)) {
            assert!(
                Instant::now() < deadline,
                "member {number} {otherwise}:\n{}",
                self.members[number].log()
            );
            sleep(LOOK).await;
        }
    }

    /// What a member says it is. A paused one accepts connections and says nothing.
    async fn hello(&self, number: usize) -> Option<Document> {
        let admin = self.client(number).await.database("admin");
        let hello = tokio::time::timeout(BRIEFLY, admin.run_command(doc! { "hello": 1 })).await;
        hello.ok()?.ok()
    }
}

impl Member {
    fn new(folder: PathBuf, flags: &[String]) -> Self {
        fs::create_dir(&folder).unwrap();
        Self {
            port: free_port(),
            folder,
            flags: flags.to_vec(),
            child: None,
        }
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn start(&mut self) {
        let mongod = std::env::var("CHATCTL_TEST_MONGOD").expect(
            "CHATCTL_TEST_MONGOD is not set: eval \"$(scripts/mongodb env)\" installs one and sets it",
        );
        let out = File::create(self.folder.join("out")).unwrap();
        let child = Command::new(mongod)
            .args(["--replSet", "rs0", "--bind_ip", "127.0.0.1", "--nounixsocket"])
            .args(["--port", &self.port.to_string(), "--dbpath"])
            .arg(&self.folder)
            .args(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64"])
            .args([
                "--wiredTigerEngineConfigString",
                "log=(file_max=8MB,prealloc=false)",
            ])
            .args(["--setParameter", "diagnosticDataCollectionEnabled=false"])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn();
        self.child = Some(child.unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the member runs");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// The end of what it said.
    fn log(&self) -> String {
        let said = fs::read_to_string(self.folder.join("out")).unwrap_or_default();
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn says(hello: &Document, what: &str) -> bool {
    hello.get_bool(what).unwrap_or(false)
}

/// A folder in memory if this machine has that. The processes crash here, never the machine.
fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Longest wait for one member's answer.
const BRIEFLY: Duration = Duration::from_secs(1);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);
