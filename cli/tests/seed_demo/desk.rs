//! A folder in which `chatctl` runs, and a relay that it may run.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A folder in which `chatctl` runs.
pub(crate) struct Desk(tempfile::TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        command
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env_clear();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a command that must succeed, and returns its stdout.
    pub(crate) fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same as a document.
    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} --json"))).unwrap()
    }

    /// Runs a command that must fail, and returns its exit code and stderr.
    pub(crate) fn fails(&self, line: &str) -> (i32, String) {
        let output = self.run(line);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// What a command prints, whatever becomes of it.
    #[allow(dead_code, reason = "not every test asks for it")]
    pub(crate) fn output(&self, line: &str) -> String {
        String::from_utf8(self.run(line).stdout).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The files of a folder.
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(self.path(folder)).unwrap().map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        });
        files.collect()
    }

    /// Starts a relay, and waits until it says where it listens.
    pub(crate) fn serve(&self, line: &str) -> Relay {
        let mut child = self
            .command(&format!("{line} --log-format json"))
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = log.find_map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).ok()?;
            Some(line["fields"]["addr"].as_str()?.to_owned())
        });
        // Read on, so that the relay never waits for somebody to read its log.
        std::thread::spawn(move || log.for_each(drop));
        Relay {
            child,
            address: address.unwrap(),
        }
    }
}

/// A relay that runs. Dropping it ends it.
pub(crate) struct Relay {
    child: Child,
    address: String,
}

impl Relay {
    /// Where it listens.
    #[allow(dead_code, reason = "not every test asks for it")]
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process.
    #[allow(dead_code, reason = "not every test asks for it")]
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// What waits for a device: kinds and payloads.
    pub(crate) fn mail(&self, token: &str) -> Vec<(u32, Vec<u8>)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let answer = runtime.block_on(async {
            let url = format!("http://{}/v1/messages", self.address);
            let asked = reqwest::Client::new()
                .get(url)
                .bearer_auth(token)
                .send()
                .await
                .unwrap();
            let asked = asked.error_for_status().unwrap();
            serde_json::from_slice::<Value>(&asked.bytes().await.unwrap()).unwrap()
        });
        let envelope = |envelope: &Value| {
            let kind = envelope["kind"].as_u64().unwrap_or(0);
            let payload = envelope["payload"].as_str().unwrap().trim_end_matches('=');
            (
                u32::try_from(kind).unwrap(),
                vodozemac::base64_decode(payload).unwrap(),
            )
        };
        answer["envelopes"]
            .as_array()
            .unwrap()
            .iter()
            .map(envelope)
            .collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
