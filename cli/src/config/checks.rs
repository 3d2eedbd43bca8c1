//! Settings that are good one by one and not together, and files that settings name.

use chatctl_relay::auth::{Keyset, private_file};
use chatctl_relay::config::Config;

use crate::config::certificate;
use crate::config::problem::Problem;

/// Everything that is wrong with settings as a whole.
pub(crate) fn all(config: &Config) -> Vec<Problem> {
    let mut problems = contradictions(config);
    problems.extend(files(config));
    problems
}

/// Bounds that leave no room for each other: the smaller one, the larger one, and why that cannot be.
pub(crate) fn contradictions(config: &Config) -> Vec<Problem> {
    let limits = &config.limits;
    let over = bounds(config).into_iter().filter(|(_, low, _, high)| low > high);
    let mut problems: Vec<_> = over
        .map(|(low_key, low, high_key, high)| {
            Problem::error(
                "conflict",
                low_key,
                format!("{low_key} ({low}) is more than {high_key} ({high})"),
            )
        })
        .collect();
    let zeros = [
        ("limits.window", limits.window),
        ("limits.max_payload_bytes", limits.max_payload_bytes),
        ("limits.max_devices", limits.max_devices),
        ("limits.hello_timeout_ms", limits.hello_timeout_ms),
        ("limits.ping_interval_ms", limits.ping_interval_ms),
    ];
    let zeros = zeros.into_iter().filter(|(_, value)| *value == 0);
    problems.extend(zeros.map(|(key, _)| {
        Problem::error(
            "conflict",
            key,
            format!("{key} is 0: nobody could use this relay"),
        )
    }));
    // In JSON, payloads are base64: four bytes for three.
    if u64::from(limits.max_payload_bytes) * 4 / 3 > u64::from(limits.max_frame_bytes)
        && limits.max_payload_bytes <= limits.max_frame_bytes
    {
        let message = "the largest payload does not fit into limits.max_frame_bytes in the JSON encoding";
        problems.push(Problem::warning("conflict", "limits.max_payload_bytes", message));
    }
    if config.mail.send_rate == 0 {
        let message = "mail.send_rate is 0, which means 1";
        problems.push(Problem::warning("conflict", "mail.send_rate", message));
    }
    problems
}

/// Bounds of which the first may not be more than the second.
fn bounds(config: &Config) -> [(&'static str, u64, &'static str, u64); 5] {
    let limits = &config.limits;
    let wide = u64::from;
    [
        (
            "limits.window",
            wide(limits.window),
            "limits.max_window",
            wide(limits.max_window),
        ),
        (
            "limits.window_bytes",
            wide(limits.window_bytes),
            "limits.max_window_bytes",
            wide(limits.max_window_bytes),
        ),
        (
            "limits.max_payload_bytes",
            wide(limits.max_payload_bytes),
            "limits.max_frame_bytes",
            wide(limits.max_frame_bytes),
        ),
        (
            "limits.max_payload_bytes",
            wide(limits.max_payload_bytes),
            "limits.mailbox_bytes",
            limits.mailbox_bytes,
        ),
        (
            "limits.max_payload_bytes",
            wide(limits.max_payload_bytes),
            "mail.tail_bytes",
            config.mail.tail_bytes as u64,
        ),
    ]
}

/// Files that cannot be used, without a word of what stands in them.
fn files(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(path) = &config.auth.keys
        && let Err(error) = Keyset::load(path)
    {
        problems.push(file_problem("auth.keys", &error));
    }
    problems.extend(certificate::problems(&config.server));
    if let Some(path) = &config.store.uri_file
        && let Err(error) = private_file::read(path)
    {
        problems.push(file_problem("store.uri_file", &error));
    }
    if let Some(path) = &config.store.data_dir
        && path.exists()
        && !path.is_dir()
    {
        let message = format!("store.data_dir: {} is not a directory", path.display());
        problems.push(Problem::error("file", "store.data_dir", message));
    }
    problems
}

fn file_problem(key: &str, error: &(dyn std::error::Error + 'static)) -> Problem {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    Problem::error("file", key, format!("{key}: {error}{causes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_contradict_nothing() {
        assert_eq!(all(&Config::default()), []);
    }

    #[test]
    fn bounds_that_leave_no_room_are_named_both() {
        let mut config = Config::default();
        config.limits.window = 1_000;
        config.limits.max_payload_bytes = 300 * 1024;
        config.auth.keys = Some("/nowhere/keys.json".into());
        let said: Vec<_> = all(&config).into_iter().map(|problem| problem.message).collect();
        assert_eq!(
            said[..2],
            [
                "limits.window (1000) is more than limits.max_window (256)",
                "limits.max_payload_bytes (307200) is more than limits.max_frame_bytes (262144)",
            ]
        );
        assert!(said[2].starts_with("auth.keys: "), "{said:?}");
    }
}
