//! What this machine has and may give: open files, local ports, a disk that is one.
//!
//! Looked at before the first connection, so that a run does not end in the middle for want of them.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use chatctl_loadgen::report::Environment;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::figures::thousands;

/// Makes room for so many connections.
///
/// # Errors
///
/// [`Exit::Usage`] when this machine does not let one process have that many, with what to do about it.
pub(super) fn make_room(clients: usize, sources: &[IpAddr]) -> Result<(), Failure> {
    let clients = clients as u64;
    files(clients + SPARE_FILES)?;
    ports(clients, sources, &fs::read_to_string(PORTS).unwrap_or_default())
}

/// Raises the limit of open files as far as it may be raised; children have it, too.
///
/// # Errors
///
/// [`Exit::Usage`] when it stays below what is needed.
pub(super) fn files(needed: u64) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < needed {
        let message = format!(
            "{} open files are needed, {} are allowed",
            thousands(needed),
            thousands(most)
        );
        return Err(Failure::new(Exit::Usage, message).hint(format!(
            "fewer --clients; or `ulimit -Hn {needed}` as root, or LimitNOFILE={needed}"
        )));
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // What is allowed already may be enough.
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Ok(()),
        Err(_) if limit.current.is_none_or(|current| current >= needed) => Ok(()),
        Err(error) => {
            Err(Failure::new(Exit::Usage, "the limit of open files cannot be raised").caused_by(&error))
        }
    }
}

/// Whether there is a local port for each connection.
fn ports(clients: u64, sources: &[IpAddr], range: &str) -> Result<(), Failure> {
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u64>().ok());
    let (Some(from), Some(to)) = (ends.next(), ends.next()) else {
        return Ok(());
    };
    let each = (to + 1).saturating_sub(from);
    let available = each * sources.len().max(1) as u64;
    if clients <= available {
        return Ok(());
    }
    let wanted = clients.div_ceil(each.max(1)).min(250);
    let named: Vec<_> = (2..wanted + 2).map(|last| format!("127.0.0.{last}")).collect();
    let message = format!("{clients} clients need {clients} local ports, {available} available");
    Err(Failure::new(Exit::Usage, message).hint(format!("add --source-ip {}", named.join(","))))
}

/// Where temporary files may go so that they are on a disk: the usual place, or else here.
pub(super) fn disk() -> PathBuf {
    let usual = std::env::temp_dir();
    match is_memory(&usual) {
        true => std::env::current_dir().unwrap_or(usual),
        false => usual,
    }
}

/// Whether what is written there stays in memory, where waiting for the disk costs nothing.
pub(super) fn is_memory(path: &Path) -> bool {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let covers = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        path.starts_with(point).then_some((point.len(), kind))
    });
    // The longest mount point that covers it; the last one of them hides the others.
    let kind = covers.max_by_key(|(length, _)| *length).map(|(_, kind)| kind);
    matches!(kind, Some("tmpfs" | "ramfs"))
}

/// This machine, for the report.
pub(super) fn environment() -> Environment {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Environment {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args().collect(),
        cpu: model
            .map(|(_, model)| model.trim().to_owned())
            .unwrap_or_default(),
        cores: cores(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        nofile: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        ..Environment::default()
    }
}

/// Processors that can be used.
pub(super) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

/// Open files that are not connections of clients: the store, libraries, requests before the run.
const SPARE_FILES: u64 = 256;
const PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Format;

    #[test]
    fn too_few_ports_are_told_with_the_addresses_that_would_do() {
        let range = "32768\t60999\n";
        let failure = ports(60_000, &[], range).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.report(Format::Text),
            "error: 60000 clients need 60000 local ports, 28232 available\n\
             hint: add --source-ip 127.0.0.2,127.0.0.3,127.0.0.4\n"
        );
        let sources = ["127.0.0.2", "127.0.0.3", "127.0.0.4"].map(|ip| ip.parse().unwrap());
        assert_eq!(ports(60_000, &sources, range), Ok(()));
        assert_eq!(ports(28_232, &[], range), Ok(()));
        assert_eq!(ports(60_000, &[], "?"), Ok(()));
    }

    #[test]
    fn more_files_than_a_process_may_have_are_refused_with_the_number() {
        let failure = files(u64::MAX).err().map(|failure| failure.exit);
        let is_limited = getrlimit(Resource::Nofile).maximum.is_some();
        assert_eq!(failure, is_limited.then_some(Exit::Usage));
        assert_eq!(files(8), Ok(()));
    }

    #[test]
    fn memory_is_told_from_a_disk() {
        assert!(!is_memory(Path::new("/")));
        if Path::new("/dev/shm").exists() {
            assert!(is_memory(Path::new("/dev/shm/chatctl")) || !is_memory(Path::new("/dev/shm")));
        }
    }
}
