//! Open files and queues: whether as many clients fit as the settings promise.
//!
//! Must not know what a session costs in memory; here each is a descriptor.

use chatctl_relay::config::Config;
use chatctl_relay::http::descriptors::Descriptors as Limits;
use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use super::proc::{Descriptors, number};
use super::running::Running;

/// Descriptors that a relay with these settings may need: one for each session, and some for itself. Never fewer than
/// with which the relay lets so many in.
pub(super) fn needed(config: &Config) -> u64 {
    let sessions = config.server.max_sessions as u64;
    let own = u64::from(config.store.pool) + RESERVE;
    sessions.saturating_add(own).max(Limits::wanted_for(sessions))
}

/// Looks at the relay's limits or at our own, and at the kernel's.
pub(super) fn look(running: &Running, config: &Config) -> Vec<Finding> {
    let needed = needed(config);
    let mut found = vec![match running.known() {
        Some(known) => match known.descriptors {
            Some(limits) => judge_relay(limits, needed),
            None => Finding::skipped(
                "relay's limit",
                "its process is not on this machine, or its limits cannot be read",
                super::finding::as_root(super::Area::Descriptors),
            ),
        },
        None => judge_own(own(), needed),
    }];
    if let Some(open) = running
        .says("/sessions/descriptors/open")
        .and_then(serde_json::Value::as_u64)
    {
        found.push(Finding::ok("open now", open.to_string()));
    }
    let one = number("/proc/sys/fs/nr_open");
    found.extend(one.map(|most| judge_kernel("fs.nr_open", most, needed)));
    let all = number("/proc/sys/fs/file-max");
    found.extend(all.map(|most| judge_kernel("fs.file-max", most, needed)));
    found.extend(number("/proc/sys/net/core/somaxconn").map(judge_backlog));
    if let Ok(range) = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range") {
        found.extend(ports(&range).map(|text| Finding::ok("ephemeral ports", text)));
    }
    found
}

fn own() -> Descriptors {
    let limit = getrlimit(Resource::Nofile);
    Descriptors {
        soft: limit.current.unwrap_or(u64::MAX),
        hard: limit.maximum.unwrap_or(u64::MAX),
    }
}

fn judge_relay(limits: Descriptors, needed: u64) -> Finding {
    let measured = format!("{} for the relay that runs", plain(limits.soft));
    match limits.soft >= needed {
        true => Finding::ok("relay's limit", measured),
        // It knows, and takes as many as it has room for.
        false => Finding::warn(
            "relay's limit",
            format!("{measured}, and server.max_sessions needs {needed}"),
            format!("printf '[Service]\\nLimitNOFILE={needed}\\n' | sudo install -D -m 0644 /dev/stdin /etc/systemd/system/chatctl.service.d/files.conf && sudo systemctl daemon-reload && sudo systemctl restart chatctl"),
        )
        .meaning("sessions beyond what it has room for are answered 503"),
    }
}

/// Where no relay runs, a shell's limit says little about a service: never worse than a warning.
fn judge_own(limits: Descriptors, needed: u64) -> Finding {
    let measured = format!(
        "{} in this shell, {} at most",
        plain(limits.soft),
        plain(limits.hard)
    );
    match limits.hard.min(limits.soft) >= needed {
        true => Finding::ok("limit", measured),
        false => Finding::warn(
            "limit",
            format!("{measured}; server.max_sessions needs {needed}"),
            match limits.hard >= needed {
                true => format!("ulimit -Sn {needed}"),
                false => format!("sudo prlimit --pid $$ --nofile={needed}"),
            },
        )
        .meaning(
            "a relay that is started from here cannot hold as many sessions; a service has limits of its own",
        ),
    }
}

fn judge_kernel(name: &str, most: u64, needed: u64) -> Finding {
    match most >= needed {
        true => Finding::ok(name, plain(most)),
        false => Finding::bad(
            name,
            format!("{most}, and server.max_sessions needs {needed}"),
            sysctl(name, needed.saturating_mul(2)),
        ),
    }
}

fn judge_backlog(most: u64) -> Finding {
    match most >= BACKLOG {
        true => Finding::ok("net.core.somaxconn", most.to_string()),
        false => Finding::warn(
            "net.core.somaxconn",
            format!("{most}, and the relay asks for {BACKLOG}"),
            sysctl("net.core.somaxconn", 4096),
        )
        .meaning("when everybody comes back at once, some are turned away and try again later"),
    }
}

fn sysctl(name: &str, value: u64) -> String {
    format!("echo {name}={value} | sudo tee -a /etc/sysctl.d/60-chatctl.conf && sudo sysctl --system")
}

fn ports(range: &str) -> Option<String> {
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u32>().ok());
    let (low, high) = (ends.next()?, ends.next()?);
    let count = high.checked_sub(low)? + 1;
    Some(format!(
        "{low} to {high}: a proxy on this machine has {count} connections to each address"
    ))
}

fn plain(limit: u64) -> String {
    match limit {
        u64::MAX => "no limit".to_owned(),
        limit => limit.to_string(),
    }
}

/// For the store, listeners, requests and files.
const RESERVE: u64 = 512;

/// Connections that wait to be accepted, as the relay asks for it.
const BACKLOG: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    const fn limits(soft: u64, hard: u64) -> Descriptors {
        Descriptors { soft, hard }
    }

    #[test]
    fn a_session_is_a_descriptor_and_the_relay_needs_some_itself() {
        let mut config = Config::default();
        config.server.max_sessions = 1_000;
        assert_eq!(needed(&config), 1_000 + 32 + 512);
    }

    #[test]
    fn a_relay_that_cannot_hold_what_it_promises_is_wrong_and_a_shell_only_a_warning() {
        assert_eq!(judge_relay(limits(1544, 1544), 1544).mark, Mark::Ok);
        assert_eq!(judge_relay(limits(1543, 9999), 1544).mark, Mark::Warn);
        assert_eq!(judge_own(limits(1544, u64::MAX), 1544).mark, Mark::Ok);
        let own = judge_own(limits(1024, 1 << 20), 1544);
        assert_eq!(
            (own.mark, own.fix.as_deref()),
            (Mark::Warn, Some("ulimit -Sn 1544"))
        );
        let hard = judge_own(limits(1024, 1024), 1544);
        assert!(hard.fix.unwrap().contains("prlimit"));
    }

    #[test]
    fn the_kernels_bounds_count_too() {
        assert_eq!(judge_kernel("fs.nr_open", 1 << 20, 100_000).mark, Mark::Ok);
        assert_eq!(judge_kernel("fs.nr_open", 1024, 100_000).mark, Mark::Bad);
        assert_eq!(
            (judge_backlog(128).mark, judge_backlog(4096).mark),
            (Mark::Warn, Mark::Ok)
        );
        let said = "32768 to 60999: a proxy on this machine has 28232 connections to each address";
        assert_eq!(ports("32768\t60999\n").as_deref(), Some(said));
    }
}
