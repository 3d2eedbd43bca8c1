//! What the system says of this process. From `/proc/self` and calls of its own alone: a sandbox may hide the rest.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Memory that it really has, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Seconds of a processor that it has used.
pub(super) fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// How many files and sockets it may have open: now, and at most. `None` where there is no limit.
pub(super) fn limits() -> (Option<u64>, Option<u64>) {
    let limit = getrlimit(Resource::Nofile);
    (limit.current, limit.maximum)
}

/// How many it has open. Where the system does not keep count, as long as it takes to list them all.
pub(super) fn descriptors() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        // Before Linux 6.2.
        0 => Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_something_of_this_process() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(cpu_seconds() > 0.0);
        let before = descriptors().unwrap();
        let files: Vec<_> = (0..64).map(|_| fs::File::open("/proc/self/status")).collect();
        assert!(descriptors().unwrap() >= before + 32, "{files:?}");
        assert!(limits().0.is_none_or(|soft| soft >= before));
    }
}
