//! The keys for tokens: the file, who may read it, how old the keys are.
//!
//! What is wrong with a keyset itself is the library's review. Must not show more of a key than its name.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use chatctl_relay::auth::{Keyset, Severity, Waits, overdue, review};
use chatctl_relay::config::Config;
use chatctl_relay::model::UnixMs;

use super::Area;
use super::finding::{Finding, as_root, shell};
use super::running::Running;
use crate::figures::tame;

/// Looks at the keyset that the settings name. `owner` is who the relay runs as, if that is known.
pub(super) fn look(
    running: &Running,
    config: &Config,
    owner: Option<(u32, u32)>,
    now: UnixMs,
) -> Vec<Finding> {
    let mut found: Vec<_> = of_relay(running).into_iter().collect();
    let Some(path) = &config.auth.keys else {
        if found.is_empty() {
            found.push(
                Finding::bad(
                    "keyset",
                    "no file is named: auth.keys",
                    "chatctl token keys generate -o keys.json && chatctl doctor --keys keys.json",
                )
                .meaning("the relay does not start without one"),
            );
        }
        return found;
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            found.push(unreadable(path, &error));
            return found;
        }
    };
    if !is_credential(path) {
        found.push(judge_mode(path, metadata.permissions().mode() & 0o7777));
        found.extend(owner.and_then(|owner| judge_owner(path, &File::of(path, &metadata), owner)));
    }
    // Whoever may read it although others may, too, learns nothing new: its mode was said above.
    match fs::read(path) {
        Ok(json) => found.extend(judge_keys(&json, path, config, now)),
        Err(error) => found.push(unreadable(path, &error)),
    }
    found
}

/// What the relay that runs says of its keys.
fn of_relay(running: &Running) -> Option<Finding> {
    let word = |pointer: &str| running.says(pointer).and_then(serde_json::Value::as_str);
    Some(match word("/keys/from")? {
        "credential" => Finding::ok(
            "from",
            "a systemd credential: other keys are followed after `systemctl restart chatctl`, not after a reload",
        ),
        "memory" => Finding::warn(
            "from",
            "memory: this is a demo",
            "chatctl token keys generate -o /etc/chatctl/keys.json",
        )
        .meaning("all tokens are refused after a restart"),
        _ => match word("/keys/signing_kid") {
            Some(kid) => Finding::ok(
                "from",
                format!("a file, which a reload reads again; {} signs", tame(kid)),
            ),
            None => Finding::ok("from", "a file, which a reload reads again"),
        },
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    let measured = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => Finding::skipped("keyset", measured, as_root(Area::Keys)),
        _ => Finding::bad(
            "keyset",
            measured,
            format!("chatctl token keys generate -o {}", shell(path)),
        )
        .meaning("the relay does not start without one"),
    }
}

/// Whether systemd made the file for this process alone: its modes show an access list.
fn is_credential(path: &Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .is_some_and(|folder| !folder.is_empty() && path.parent() == Some(Path::new(&folder)))
}

fn judge_mode(path: &Path, mode: u32) -> Finding {
    let measured = format!("{} has mode {mode:04o}", path.display());
    match mode & 0o077 {
        0 => Finding::ok("mode", measured),
        _ => Finding::bad("mode", measured, format!("chmod 0600 {}", shell(path)))
            .meaning("the relay refuses it, and whoever has read it can make tokens: rotate the keys if others had the time"),
    }
}

/// Whose a file is, and whose the folder around it.
#[derive(Debug, Clone, Copy)]
struct File {
    owner: u32,
    folder_mode: u32,
    folder_owner: u32,
    folder_group: u32,
}

impl File {
    fn of(path: &Path, metadata: &Metadata) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::metadata(folder.unwrap_or(Path::new(".")));
        Self {
            owner: metadata.uid(),
            // Where it cannot be looked at, it was passed all the same.
            folder_mode: folder
                .as_ref()
                .map_or(0o755, |folder| folder.permissions().mode()),
            folder_owner: folder.as_ref().map_or(0, |folder| folder.uid()),
            folder_group: folder.as_ref().map_or(0, |folder| folder.gid()),
        }
    }

    const fn lets_pass(&self, (user, group): (u32, u32)) -> bool {
        let bit = if self.folder_owner == user {
            0o100
        } else if self.folder_group == group {
            0o010
        } else {
            0o001
        };
        self.folder_mode & bit != 0
    }
}

/// Whether the relay's user can read a file that is its owner's alone.
fn judge_owner(path: &Path, file: &File, owner: (u32, u32)) -> Option<Finding> {
    let (user, group) = owner;
    if user == 0 {
        return None;
    }
    if file.owner != user {
        let measured = format!("it is user {}'s, and the relay runs as user {user}", file.owner);
        let fix = format!("sudo chown {user}:{group} {}", shell(path));
        return Some(Finding::bad("owner", measured, fix).meaning("the relay cannot read it"));
    }
    if !file.lets_pass(owner) {
        let folder: PathBuf = path.parent().map(Path::to_owned).unwrap_or_default();
        let measured = format!("user {user} may not enter {}", folder.display());
        let fix = format!("sudo chgrp {group} {0} && sudo chmod g+x {0}", shell(&folder));
        return Some(Finding::bad("owner", measured, fix).meaning("the relay cannot reach it"));
    }
    Some(Finding::ok(
        "owner",
        format!("user {user}, as whom the relay runs"),
    ))
}

/// What is wrong with the keys, and how old they are.
fn judge_keys(json: &[u8], path: &Path, config: &Config, now: UnixMs) -> Vec<Finding> {
    let waits = Waits {
        verifier_cache: VERIFIER_CACHE,
        token_life: config.auth.max_token_life,
    };
    let mut findings = review(json, &waits, now);
    let facts: Vec<_> = Keyset::from_json(json)
        .map(|keyset| keyset.facts().collect())
        .unwrap_or_default();
    for finding in overdue(&facts, &waits, config.jobs.key_age, now) {
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    let file = shell(path);
    let judged = findings.iter().map(|finding| {
        let whose = finding.kid.as_ref().map(|kid| format!("key {}: ", tame(kid)));
        let measured = format!("{}{}", whose.unwrap_or_default(), finding.message);
        match finding.severity {
            Severity::Error => Finding::bad(
                "keyset",
                measured,
                format!("chatctl token keys check --keys {file}"),
            )
            .meaning("the relay refuses it"),
            Severity::Warning => Finding::warn(
                "keys",
                measured,
                format!("chatctl token keys rotate --keys {file} --phase auto && chatctl reload"),
            ),
        }
    });
    let mut judged: Vec<_> = judged.collect();
    if judged.is_empty() {
        let named = facts
            .iter()
            .map(|key| format!("{} {}", tame(&key.kid), key.state.as_str()));
        judged.push(Finding::ok("keys", named.collect::<Vec<_>>().join(", ")));
    }
    judged
}

/// How long those who check tokens elsewhere may keep the public keys, as `token keys` takes it.
const VERIFIER_CACHE: std::time::Duration = std::time::Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use chatctl_relay::auth::private_file::{self, Existing};

    use super::super::finding::Mark;
    use super::*;

    const START: UnixMs = UnixMs(1_800_000_000_000);

    fn keyset() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let keyset = Keyset::generate(&mut rand::rng(), START).unwrap();
        keyset.save(&path, Existing::Keep).unwrap();
        private_file::read(&path).unwrap()
    }

    #[test]
    fn a_keyset_is_its_owners_alone() {
        assert_eq!(judge_mode(Path::new("k"), 0o600).mark, Mark::Ok);
        assert_eq!(judge_mode(Path::new("k"), 0o400).mark, Mark::Ok);
        let open = judge_mode(Path::new("/etc/k"), 0o644);
        assert_eq!(
            (open.mark, open.fix.as_deref()),
            (Mark::Bad, Some("chmod 0600 /etc/k"))
        );
    }

    #[test]
    fn the_relays_user_must_be_able_to_read_it() {
        let file = File {
            owner: 9,
            folder_mode: 0o750,
            folder_owner: 0,
            folder_group: 9,
        };
        let mark = |file: File, owner| judge_owner(Path::new("/etc/k"), &file, owner).map(|found| found.mark);
        assert_eq!(mark(file, (9, 9)), Some(Mark::Ok));
        assert_eq!(mark(file, (0, 0)), None);
        assert_eq!(mark(File { owner: 0, ..file }, (9, 9)), Some(Mark::Bad));
        assert_eq!(mark(file, (9, 8)), Some(Mark::Bad));
        assert_eq!(
            mark(
                File {
                    folder_mode: 0o755,
                    ..file
                },
                (9, 8)
            ),
            Some(Mark::Ok)
        );
    }

    #[test]
    fn a_key_is_old_by_the_setting() {
        let (json, config) = (keyset(), Config::default());
        let at = |days: u64| judge_keys(&json, Path::new("k"), &config, START.plus_seconds(days * 86_400));
        assert_eq!(at(89)[0].mark, Mark::Ok);
        let old = at(90);
        assert_eq!((old.len(), old[0].mark), (1, Mark::Warn), "{old:?}");
        assert!(old[0].fix.as_ref().unwrap().contains("rotate"));
        // The library's own bound says the same in the same words: once is enough.
        assert_eq!(at(400).len(), 1);
    }

    #[test]
    fn what_is_no_keyset_is_refused() {
        let found = judge_keys(b"{}", Path::new("k"), &Config::default(), START);
        assert!(found.iter().any(|found| found.mark == Mark::Bad), "{found:?}");
    }
}
