//! Whether an fsync reaches the disk, and how long it takes: tried on a file of our own.
//!
//! The file is removed at the end. Must not judge room or file systems.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Area;
use super::disk::{is_memory, mount};
use super::finding::{Finding, as_root, shell};

/// Tries the disk under a directory that is there.
pub(super) fn look(folder: &Path) -> Vec<Finding> {
    if mount(folder).is_some_and(|mount| is_memory(&mount.kind)) {
        let fix = "chatctl doctor disk --data-dir /var/lib/chatctl";
        return vec![Finding::skipped(NAME, "memory has no fsync", fix)];
    }
    vec![match measure(folder) {
        Ok(times) => judge(times),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Finding::skipped(
                NAME,
                format!("{} is not there yet", folder.display()),
                format!("chatctl seed apply --data-dir {}", shell(folder)),
            ),
            io::ErrorKind::PermissionDenied => Finding::skipped(
                NAME,
                format!("{} may not be written", folder.display()),
                as_root(Area::Disk),
            ),
            _ => Finding::bad(
                NAME,
                error.to_string(),
                format!("df -h {0} && dmesg | tail", shell(folder)),
            )
            .meaning("the relay stops when its disk fails"),
        },
    }]
}

/// How long appends of a page take, each with its fdatasync. Stops early on a disk that is very slow.
fn measure(folder: &Path) -> io::Result<Vec<Duration>> {
    // A name of its own: some file systems do nothing for a file that nobody could find again.
    let file = tempfile::Builder::new()
        .prefix(".chatctl-doctor-")
        .tempfile_in(folder)?;
    let mut times = Vec::with_capacity(APPENDS);
    let begun = Instant::now();
    while times.len() < APPENDS && begun.elapsed() < PATIENCE {
        let start = Instant::now();
        file.as_file().write_all(&[0x5a; PAGE])?;
        file.as_file().sync_data()?;
        times.push(start.elapsed());
    }
    file.close()?;
    Ok(times)
}

fn judge(mut times: Vec<Duration>) -> Finding {
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    let (Some(&half), Some(&most)) = (at(50), at(99)) else {
        return Finding::skipped(NAME, "not one append was done in time", "chatctl doctor disk");
    };
    let measured = format!(
        "p50 {half:.1?}, p99 {most:.1?}, of {} appends of 4 KiB with fdatasync",
        times.len()
    );
    if half < IMPLAUSIBLE {
        return Finding::warn(NAME, measured, "lsblk -o NAME,MODEL,ROTA && cat /sys/block/*/queue/write_cache")
            .meaning("the disk may not be telling the truth: only one with a battery or capacitors is as fast; else a power loss takes what was accepted. A virtual machine's disk wants cache=none or writethrough");
    }
    if half > SLOW {
        return Finding::warn(
            NAME,
            measured,
            "iostat -x 1 5  # is somebody else at the disk? else move store.data_dir to an SSD",
        )
        .meaning("every message waits for one fsync at least, so this is the shortest time for a send");
    }
    Finding::ok(NAME, measured)
}

const NAME: &str = "fsync";

const APPENDS: usize = 50;

const PAGE: usize = 4096;

/// Longest time for all of them.
const PATIENCE: Duration = Duration::from_secs(3);

/// No disk without a cache that survives a power loss is faster.
const IMPLAUSIBLE: Duration = Duration::from_micros(20);

/// Slower is felt.
const SLOW: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    fn mark(micros: u64) -> Mark {
        judge(vec![Duration::from_micros(micros); 50]).mark
    }

    #[test]
    fn a_disk_is_neither_too_fast_to_be_true_nor_too_slow_to_be_used() {
        assert_eq!([mark(3), mark(19)], [Mark::Warn; 2]);
        assert_eq!([mark(20), mark(900), mark(20_000)], [Mark::Ok; 3]);
        assert_eq!(mark(20_001), Mark::Warn);
        assert_eq!(judge(Vec::new()).mark, Mark::Skipped);
    }

    #[test]
    fn half_counts_and_not_a_single_slow_one() {
        let mut times = vec![Duration::from_micros(500); 49];
        times.push(Duration::from_secs(1));
        let found = judge(times);
        assert_eq!(found.mark, Mark::Ok);
        assert_eq!(
            found.measured,
            "p50 500.0µs, p99 1.0s, of 50 appends of 4 KiB with fdatasync"
        );
    }

    #[test]
    fn nothing_is_left_in_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!measure(folder.path()).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
