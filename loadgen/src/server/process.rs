//! A process as `/proc` shows it: what it used so far, and which one listens on a port.

use std::fs;
use std::io;
use std::path::Path;

/// What a process used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Processor time, its own and the kernel's for it, in seconds.
    pub cpu: Option<f64>,
    /// Resident memory, in bytes.
    pub rss: Option<u64>,
    /// Resident memory at the most so far, in bytes.
    pub rss_max: Option<u64>,
    /// Bytes given to the disk. Only its owner may see it.
    pub written: Option<u64>,
}

impl Process {
    /// Looks at a process of this host. What cannot be seen is none.
    #[must_use]
    pub fn look(pid: u32) -> Self {
        Self::look_in(Path::new(&format!("/proc/{pid}")))
    }

    /// Looks at this process.
    #[must_use]
    pub fn own() -> Self {
        Self::look_in(Path::new("/proc/self"))
    }

    fn look_in(folder: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let status = read("status");
        Self {
            cpu: cpu(&read("stat")),
            rss: labelled(&status, "VmRSS:").map(kibibytes),
            rss_max: labelled(&status, "VmHWM:").map(kibibytes),
            written: labelled(&read("io"), "write_bytes:"),
        }
    }
}

/// The process that listens on a TCP port of this host, if its owner lets it be seen.
#[must_use]
pub fn listener_on(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| inode_of(table, port))?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| holds(*pid, &link).unwrap_or(false))
}

/// Whether a process has an open file of this name.
fn holds(pid: u32, link: &str) -> io::Result<bool> {
    for file in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A file may be closed in between.
        if fs::read_link(file?.path()).is_ok_and(|target| target.as_os_str() == link) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The inode of the socket that listens on a port, in `/proc/net/tcp`.
fn inode_of(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (_, hex) = fields.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(hex, 16) == Ok(port) && fields.get(3) == Some(&LISTEN);
        is_it.then(|| fields.get(9)?.parse().ok())?
    })
}

/// Processor time in `/proc/PID/stat`.
fn cpu(stat: &str) -> Option<f64> {
    // The name stands in parentheses and may hold any of them itself.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let mut ticks = || times.next()?.parse::<u32>().ok();
    let (user, system) = (ticks()?, ticks()?);
    Some((f64::from(user) + f64::from(system)) / TICKS)
}

/// The number behind a label.
fn labelled(text: &str, label: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next()?.parse().ok()
}

const fn kibibytes(number: u64) -> u64 {
    number.saturating_mul(1024)
}

/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// Ticks of a second in `/proc`: what the kernel promises to programs on every processor that chatctl is built for,
/// whatever its own timer does.
const TICKS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// With a name that tries to be more than one field.
    const STAT: &str = "4711 (a) R (b) S 1 4711 4711 0 -1 4194560 1803 0 12 0 250 125 0 0 20 0 9 0 8191 1073741824 2500 \
        18446744073709551615 1 1 0 0 0 0 0 4096 17642 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";

    #[test]
    fn files_of_proc_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("stat", STAT);
        put(
            "status",
            "Name:\tchatctl\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n",
        );
        put(
            "io",
            "rchar: 1\nwchar: 2\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n",
        );
        let found = Process {
            cpu: Some(3.75),
            rss: Some(10 << 20),
            rss_max: Some(20 << 20),
            written: Some(8192),
        };
        assert_eq!(Process::look_in(folder.path()), found);
    }

    #[test]
    fn what_is_not_there_or_makes_no_sense_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Process::look_in(folder.path()), Process::default());
        for text in ["", ")", "1 (x) S 1 2", "1 (x) S 1 2 3 4 5 6 7 8 9 10 u s"] {
            assert_eq!(cpu(text), None, "{text}");
        }
        assert_eq!(inode_of("head\n\n0: 1 2\n0: 0100007F:zz 0 0A\n", 80), None);
    }

    #[test]
    fn a_listener_is_told_from_a_connection_to_the_same_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2120 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 111 1 0 20 4 30 10 -1
   1: 0100007F:2120 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 222 1 0 100 0 0 10 0
";
        assert_eq!(inode_of(table, 0x2120), Some(222));
        assert_eq!(inode_of(table, 0x2121), None);
    }

    #[test]
    fn this_process_is_found_by_its_port_and_uses_something() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listener_on(port), Some(std::process::id()));
        let seen = Process::look(std::process::id());
        assert!(seen.cpu.is_some(), "{seen:?}");
        assert!(seen.rss.is_some_and(|rss| rss > 100_000), "{seen:?}");
        assert!(seen.rss_max >= seen.rss, "{seen:?}");
    }
}
