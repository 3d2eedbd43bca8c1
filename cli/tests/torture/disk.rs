//! A small disk of a relay's own: a tmpfs in a private mount namespace, gone with the process that holds it.
//!
//! Needs to be root, or a system that lets everybody make user namespaces; a test that cannot mount fails.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The mounted disk.
pub(crate) struct Disk {
    at: PathBuf,
    /// Lives in the namespace until this goes.
    holder: Child,
    in_user_namespace: bool,
}

impl Disk {
    /// Mounts a disk of so many bytes at a path, for processes of [`Disk::command`] only.
    pub(crate) fn mount(at: &Path, bytes: u64) -> Self {
        fs::create_dir_all(at).unwrap();
        let is_root = Command::new("id")
            .arg("-u")
            .output()
            .is_ok_and(|id| id.stdout.trim_ascii() == b"0");
        let namespaces: &[&str] = if is_root {
            &["--mount"]
        } else {
            &["--mount", "--user", "--map-root-user"]
        };
        let mut holder = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", HOLD])
            .arg(at)
            .arg(bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the full-disk test needs unshare and nsenter (util-linux)");
        let mut said = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        if said != "mounted\n" {
            let mut error = String::new();
            holder.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("the full-disk test needs to mount a tmpfs, as root or in a user namespace: {error}");
        }
        Self {
            at: at.to_owned(),
            holder,
            in_user_namespace: !is_root,
        }
    }

    /// A command that sees the disk. The program takes the place of what is spawned.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if self.in_user_namespace {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(program);
        command
    }

    /// Takes every byte that is left.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        loop {
            match ballast.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("the disk cannot be filled: {error}"),
            }
        }
    }

    /// Gives back what [`Disk::fill`] took.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    /// As seen from outside of the namespace.
    fn ballast(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.at.strip_prefix("/").unwrap()).join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }
}

/// Mounts, says so, and waits to be killed, or for its parent to go.
const HOLD: &str = r#"mount -t tmpfs -o "size=$1,mode=0700" tmpfs "$0" && echo mounted && exec cat"#;
