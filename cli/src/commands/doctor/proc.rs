//! What the kernel says of processes and mounts, read out of its text files.
//!
//! Must not judge.

use std::fs;
use std::path::{Path, PathBuf};

/// Limits of open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// That holds now; the largest number stands for no limit.
    pub(super) soft: u64,
    /// To which the process may raise it.
    pub(super) hard: u64,
}

/// The limits of a process, if they may be read.
pub(super) fn descriptors(pid: u32) -> Option<Descriptors> {
    descriptors_in(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)
}

fn descriptors_in(limits: &str) -> Option<Descriptors> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace().map(|word| match word {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    });
    Some(Descriptors {
        soft: numbers.next()??,
        hard: numbers.next()??,
    })
}

/// Who a process is: user and group.
pub(super) fn owner(pid: u32) -> Option<(u32, u32)> {
    owner_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn owner_in(status: &str) -> Option<(u32, u32)> {
    // Real, effective, saved, of the file system: the second is what counts.
    let second = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((second("Uid:")?, second("Gid:")?))
}

/// The program that a process runs, if that may be known.
pub(super) fn program(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// A number that the kernel keeps in a file.
pub(super) fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// User and group of a name in `/etc/passwd`.
pub(super) fn user(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let mut rest = passwd.lines().find_map(|line| {
        let (found, rest) = line.split_once(':')?;
        (found == name).then(|| rest.split(':').skip(1))
    })?;
    Some((rest.next()?.parse().ok()?, rest.next()?.parse().ok()?))
}

/// Where something is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// `ext4`.
    pub(super) kind: String,
    /// `/dev/sda1`.
    pub(super) source: String,
    /// Of the mount and of the file system, with commas.
    pub(super) options: String,
    /// `8:1`.
    pub(super) device: String,
}

/// The mount that a path without links lies in, by `/proc/self/mountinfo`.
pub(super) fn mount_of(mountinfo: &str, path: &Path) -> Option<Mount> {
    let mut best: Option<(usize, Mount)> = None;
    for line in mountinfo.lines() {
        let Some((point, mount)) = mount_in(line) else {
            continue;
        };
        let length = point.components().count();
        // Of two on the same place the later one is on top.
        if path.starts_with(&point) && best.as_ref().is_none_or(|(longest, _)| length >= *longest) {
            best = Some((length, mount));
        }
    }
    best.map(|(_, mount)| mount)
}

fn mount_in(line: &str) -> Option<(PathBuf, Mount)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let device = left.next()?.to_owned();
    let point = left.nth(1)?;
    let options = left.next()?;
    let mut right = right.split(' ');
    let (kind, source) = (right.next()?.to_owned(), right.next()?.to_owned());
    let options = format!("{options},{}", right.next().unwrap_or_default());
    let point = point
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\134", "\\");
    let mount = Mount {
        kind,
        source,
        options,
        device,
    };
    Some((PathBuf::from(point), mount))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_owners_are_read_as_the_kernel_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units
Max processes             95894                95894                processes
Max open files            1024                 unlimited            files
";
        let read = Descriptors {
            soft: 1024,
            hard: u64::MAX,
        };
        assert_eq!(descriptors_in(limits), Some(read));
        let status = "Name:\tchatctl\nUid:\t0\t997\t997\t997\nGid:\t0\t996\t996\t996\n";
        assert_eq!(owner_in(status), Some((997, 996)));
        let passwd = "root:x:0:0:root:/root:/bin/bash\nchatctl:x:997:996::/:/usr/sbin/nologin\n";
        assert_eq!(user(passwd, "chatctl"), Some((997, 996)));
        assert_eq!(user(passwd, "chat"), None);
    }

    #[test]
    fn a_path_lies_in_the_mount_that_is_nearest_and_on_top() {
        let mountinfo = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 0:26 / /var/lib rw - tmpfs tmpfs rw
31 22 8:17 / /var/lib rw,noatime - xfs /dev/sdb1 rw,nobarrier
32 22 0:5 / /var/lib/chat\\040ctl rw - nfs4 host:/x rw
";
        let of = |path: &str| mount_of(mountinfo, Path::new(path)).map(|mount| mount.kind);
        assert_eq!(of("/srv"), Some("ext4".into()));
        assert_eq!(of("/var/library"), Some("ext4".into()));
        assert_eq!(of("/var/lib/chat ctl/x"), Some("nfs4".into()));
        let xfs = mount_of(mountinfo, Path::new("/var/lib/chatctl")).unwrap();
        assert_eq!((xfs.device.as_str(), xfs.source.as_str()), ("8:17", "/dev/sdb1"));
        assert_eq!(xfs.options, "rw,noatime,rw,nobarrier");
    }
}
