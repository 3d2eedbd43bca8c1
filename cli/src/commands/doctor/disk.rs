//! The disk under the data directory: room, the file system, who may read what lies there.
//!
//! Whether it tells the truth about what it has written is [`super::fsync`]'s. Must not know what the files hold.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Area;
use super::finding::{Finding, as_root, shell};
use super::proc::{self, Mount};
use crate::figures::bytes;

/// Looks at a data directory, or where it will be. `owner` is who the relay runs as, if that is known.
pub(super) fn look(folder: &Path, reserve: u64, owner: Option<u32>) -> Vec<Finding> {
    let place = match nearest(folder) {
        Ok(place) => place,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let why = format!("{} cannot be looked into", folder.display());
            return vec![Finding::skipped("data directory", why, as_root(Area::Disk))];
        }
        Err(error) => {
            let why = format!("{}: {error}", folder.display());
            let fix = format!("sudo install -d -m 0700 -o chatctl -g chatctl {}", shell(folder));
            return vec![Finding::bad("data directory", why, fix)];
        }
    };
    let mut found = Vec::new();
    if let Some(mount) = mount(&place) {
        found.push(judge_kind(&mount));
        found.extend(judge_options(&mount));
        found.extend(cache(&mount));
    }
    match room(&place, folder, reserve) {
        Ok(room) => found.push(judge_room(&room, folder)),
        Err(error) => found.push(Finding::skipped(
            "free space",
            error.to_string(),
            as_root(Area::Disk),
        )),
    }
    found.push(match entries(folder) {
        Ok(entries) if entries.is_empty() => {
            let fix = format!("chatctl seed apply --data-dir {}", shell(folder));
            Finding::skipped(
                "modes",
                format!("{} is not there yet: the relay makes it", folder.display()),
                fix,
            )
        }
        Ok(entries) => judge_modes(&entries, owner),
        Err(_) => Finding::skipped("modes", "the files cannot be looked at", as_root(Area::Disk)),
    });
    found
}

/// The mount of a path.
pub(super) fn mount(place: &Path) -> Option<Mount> {
    let place = place.canonicalize().ok()?;
    proc::mount_of(&fs::read_to_string("/proc/self/mountinfo").ok()?, &place)
}

/// Whether a file system is in memory.
pub(super) fn is_memory(kind: &str) -> bool {
    matches!(kind, "tmpfs" | "ramfs" | "devtmpfs")
}

/// The path itself, or the nearest folder above that is there.
fn nearest(folder: &Path) -> io::Result<PathBuf> {
    let mut missing = None;
    for place in folder.ancestors() {
        let place = if place.as_os_str().is_empty() {
            Path::new(".")
        } else {
            place
        };
        match fs::metadata(place) {
            Ok(found) if found.is_dir() => return Ok(place.to_owned()),
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(missing.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

fn judge_kind(mount: &Mount) -> Finding {
    let measured = format!("{} on {}", mount.kind, mount.source);
    let elsewhere = "sudo install -d -m 0700 -o chatctl -g chatctl /var/lib/chatctl  # on a local disk, then store.data_dir = \"/var/lib/chatctl\"";
    let why = match mount.kind.as_str() {
        kind if is_memory(kind) => "it is memory: mail and keys are lost when the machine stops",
        "overlay" | "aufs" => {
            "it is a container's layer: mail and keys are lost with the container; mount a volume"
        }
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "virtiofs" | "ceph" | "glusterfs" | "afs" => {
            "it is another machine's disk: locks and shared memory of the store do not hold there"
        }
        kind if kind == "fuse" || kind.starts_with("fuse.") => {
            "it is a program's file system: whether fsync reaches a disk is that program's choice"
        }
        _ => return Finding::ok("file system", measured),
    };
    Finding::warn("file system", measured, elsewhere).meaning(why)
}

/// Options that make an fsync mean less, or nothing.
fn judge_options(mount: &Mount) -> Option<Finding> {
    let has = |name: &str| mount.options.split(',').any(|option| option == name);
    let Mount { options, source, .. } = mount;
    let measured = |name: &str| format!("{name} ({source})");
    for name in ["nobarrier", "barrier=0"] {
        if has(name) {
            return Some(
                Finding::bad("mount options", measured(name), "findmnt -o TARGET,OPTIONS  # then: sudo mount -o remount,barrier TARGET, and the same in /etc/fstab")
                    .meaning("a power loss may take what was answered as accepted"),
            );
        }
    }
    if options.split(',').next() == Some("ro") {
        return Some(
            Finding::bad(
                "mount options",
                measured("ro"),
                "dmesg | grep -i remount  # look at the disk, then mount it writable again",
            )
            .meaning("nothing can be written"),
        );
    }
    has("data=writeback").then(|| {
        Finding::warn(
            "mount options",
            measured("data=writeback"),
            "findmnt -o TARGET,OPTIONS  # then data=ordered instead, in /etc/fstab",
        )
        .meaning("after a power loss files may hold what was never written to them")
    })
}

/// What the disk keeps in its cache. For information: fsync is what empties it.
fn cache(mount: &Mount) -> Option<Finding> {
    let base = PathBuf::from(format!("/sys/dev/block/{}", mount.device))
        .canonicalize()
        .ok()?;
    // A partition has its queue one floor up.
    let queue = [base.join("queue"), base.parent()?.join("queue")]
        .into_iter()
        .find(|queue| queue.is_dir())?;
    let read = |name: &str| {
        fs::read_to_string(queue.join(name))
            .ok()
            .map(|text| text.trim().to_owned())
    };
    Some(Finding::ok(
        "write cache",
        cache_words(&read("write_cache")?, read("fua").as_deref()),
    ))
}

fn cache_words(mode: &str, fua: Option<&str>) -> String {
    match (mode, fua) {
        ("write through", _) => "write through: nothing waits in it".to_owned(),
        (mode, Some("1")) => format!("{mode}, with FUA: an fsync waits for the disk itself"),
        (mode, _) => format!("{mode}: an fsync has it emptied"),
    }
}

/// How much room there is, and how fast it goes.
#[derive(Debug, Clone, Copy)]
struct Room {
    free: u64,
    /// Names for files that are left; none where the file system does not count them.
    names: Option<u64>,
    reserve: u64,
    /// What the store takes.
    taken: u64,
    /// How old it is, if the file system knows.
    age: Option<Duration>,
}

fn room(place: &Path, folder: &Path, reserve: u64) -> io::Result<Room> {
    let disk = rustix::fs::statvfs(place)?;
    let size = |name: &str| fs::metadata(folder.join(name)).map_or(0, |found| found.len());
    let born = fs::metadata(folder.join(DATABASE)).and_then(|found| found.created());
    Ok(Room {
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        names: (disk.f_files > 0).then_some(disk.f_favail),
        reserve,
        taken: size(DATABASE) + size(LOG),
        age: born.ok().and_then(|born| born.elapsed().ok()),
    })
}

fn judge_room(room: &Room, folder: &Path) -> Finding {
    let Room {
        free, reserve, taken, ..
    } = *room;
    let name = "free space";
    let measured = format!(
        "{} free, {} taken, {} kept back",
        bytes(free),
        bytes(taken),
        bytes(reserve)
    );
    let fix = format!(
        "df -h {0} && sudo du -xh --max-depth=2 {0} | sort -h | tail",
        shell(folder)
    );
    if room.names == Some(0) {
        return Finding::bad(name, "no names for files are left (inodes)", fix);
    }
    let Some(room_left) = free.checked_sub(reserve) else {
        return Finding::bad(name, measured, fix)
            .meaning("sends are refused until there is more than store.disk_reserve");
    };
    match days_left(room_left, taken, room.age) {
        Some(days) if days < 14 => Finding::warn(
            name,
            format!("{measured}; enough for {days} days as it has grown so far"),
            fix,
        )
        .meaning("sends are refused when only store.disk_reserve is left"),
        Some(days) => Finding::ok(
            name,
            format!("{measured}; enough for {days} days as it has grown so far"),
        ),
        // The log alone may take as much for a moment, and so may a compaction.
        None if room_left < taken.max(LITTLE) => Finding::warn(name, measured, fix)
            .meaning("little more than the store takes now, or less than 1 GiB"),
        None => Finding::ok(name, measured),
    }
}

/// Days until the room is gone, where the store is old and large enough to say.
fn days_left(room: u64, taken: u64, age: Option<Duration>) -> Option<u64> {
    let days = age?.as_secs() / DAY;
    if days == 0 || taken < 64 * MIB {
        return None;
    }
    room.checked_div((taken / days).max(1))
}

/// A file or a folder of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    path: PathBuf,
    is_folder: bool,
    mode: u32,
    owner: u32,
}

impl Entry {
    fn of(path: &Path, found: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            is_folder: found.is_dir(),
            mode: found.permissions().mode() & 0o7777,
            owner: found.uid(),
        }
    }
}

/// The directory and the store's files, as far as they are there.
fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for path in [folder.to_owned()]
        .into_iter()
        .chain(FILES.map(|name| folder.join(name)))
    {
        match fs::metadata(&path) {
            Ok(found) => entries.push(Entry::of(&path, &found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(entries)
}

/// Everything belongs to the relay's user, and nobody else may read it.
fn judge_modes(entries: &[Entry], owner: Option<u32>) -> Finding {
    let Some(folder) = entries.first() else {
        return Finding::ok("modes", "nothing there");
    };
    let owner = owner.unwrap_or(folder.owner);
    let root = shell(&folder.path);
    if let Some(open) = entries.iter().find(|entry| entry.mode & 0o077 != 0) {
        let wanted = if open.is_folder { "0700" } else { "0600" };
        let measured = format!("{} has mode {:04o}", open.path.display(), open.mode);
        return Finding::bad("modes", measured, format!("chmod {wanted} {}", shell(&open.path)))
            .meaning("others on this machine may read who writes to whom");
    }
    if let Some(foreign) = entries.iter().find(|entry| entry.owner != owner) {
        let measured = format!(
            "{} is user {}'s, and the relay runs as user {owner}",
            foreign.path.display(),
            foreign.owner
        );
        return Finding::bad("modes", measured, format!("sudo chown -R {owner} {root}"))
            .meaning("the relay cannot open it");
    }
    Finding::ok("modes", format!("{root} and its files are user {owner}'s alone"))
}

const DATABASE: &str = "chatctl.sqlite";
const LOG: &str = "chatctl.sqlite-wal";

/// The store's files.
const FILES: [&str; 4] = [DATABASE, LOG, "chatctl.sqlite-shm", "chatctl.lock"];

const MIB: u64 = 1024 * 1024;

const DAY: u64 = 24 * 3600;

/// Less room than this is worth a word.
const LITTLE: u64 = 1024 * MIB;

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    fn mount(kind: &str, options: &str) -> Mount {
        Mount {
            kind: kind.into(),
            source: "/dev/sda1".into(),
            options: options.into(),
            device: "8:1".into(),
        }
    }

    #[test]
    fn a_store_belongs_on_a_local_disk() {
        for kind in ["ext4", "xfs", "btrfs", "zfs"] {
            assert_eq!(judge_kind(&mount(kind, "rw")).mark, Mark::Ok, "{kind}");
        }
        for kind in ["tmpfs", "overlay", "nfs4", "9p", "fuse.sshfs", "fuse"] {
            let found = judge_kind(&mount(kind, "rw"));
            assert_eq!((found.mark, found.fix.is_some()), (Mark::Warn, true), "{kind}");
        }
    }

    #[test]
    fn options_that_weaken_an_fsync_are_named() {
        let mark = |options: &str| judge_options(&mount("ext4", options)).map(|finding| finding.mark);
        assert_eq!(mark("rw,relatime,rw,errors=remount-ro"), None);
        assert_eq!(mark("rw,rw,nobarrier"), Some(Mark::Bad));
        assert_eq!(mark("rw,rw,barrier=0"), Some(Mark::Bad));
        assert_eq!(mark("ro,rw"), Some(Mark::Bad));
        assert_eq!(mark("rw,rw,data=writeback"), Some(Mark::Warn));
    }

    #[test]
    fn room_is_judged_by_the_reserve_and_by_growth() {
        let mark = |free: u64, taken: u64, days: u64| {
            let age = Some(Duration::from_secs(days * DAY));
            let room = Room {
                free: free * MIB,
                names: None,
                reserve: 64 * MIB,
                taken: taken * MIB,
                age,
            };
            judge_room(&room, Path::new("/d")).mark
        };
        assert_eq!(mark(63, 10, 0), Mark::Bad);
        assert_eq!(mark(2000, 10, 0), Mark::Ok);
        assert_eq!(mark(900, 10, 0), Mark::Warn);
        // 100 MiB a day: 13 days, then 20.
        assert_eq!(mark(64 + 1_300, 1_000, 10), Mark::Warn);
        assert_eq!(mark(64 + 2_000, 1_000, 10), Mark::Ok);
        let room = Room {
            free: 1 << 40,
            names: Some(0),
            reserve: 0,
            taken: 0,
            age: None,
        };
        assert_eq!(judge_room(&room, Path::new("/d")).mark, Mark::Bad);
    }

    #[test]
    fn what_others_may_read_and_what_is_anothers_is_wrong() {
        let entry = |name: &str, mode, owner| Entry {
            path: name.into(),
            is_folder: name == "/d",
            mode,
            owner,
        };
        let good = [entry("/d", 0o700, 9), entry("/d/chatctl.sqlite", 0o600, 9)];
        assert_eq!(judge_modes(&good, None).mark, Mark::Ok);
        assert_eq!(judge_modes(&good, Some(9)).mark, Mark::Ok);
        let foreign = judge_modes(&good, Some(10));
        assert_eq!(
            (foreign.mark, foreign.fix.as_deref()),
            (Mark::Bad, Some("sudo chown -R 10 /d"))
        );
        let open = judge_modes(&[entry("/d", 0o755, 9)], None);
        assert_eq!(
            (open.mark, open.fix.as_deref()),
            (Mark::Bad, Some("chmod 0700 /d"))
        );
        let half = judge_modes(
            &[entry("/d", 0o700, 9), entry("/d/chatctl.sqlite", 0o600, 0)],
            None,
        );
        assert_eq!(half.mark, Mark::Bad);
    }

    #[test]
    fn a_cache_is_told_with_what_empties_it() {
        assert_eq!(
            cache_words("write through", Some("0")),
            "write through: nothing waits in it"
        );
        assert!(cache_words("write back", Some("1")).contains("FUA"));
    }
}
