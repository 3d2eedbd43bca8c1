//! The few lines of a server's `/metrics` that matter here.

/// Counters of a relay's exposition, as of a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exposition {
    /// Commits of mail.
    pub commits: Option<u64>,
    /// Envelopes accepted.
    pub accepted: Option<u64>,
    /// Envelopes that were acked before the disk had them.
    pub elided: Option<u64>,
}

impl Exposition {
    /// Finds the counters in a text of Prometheus or OpenMetrics. Those that are not there are none; labels are added up.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut exposition = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = sample(line) else {
                continue;
            };
            let counter = match name {
                "chatctl_commits_total" => &mut exposition.commits,
                "chatctl_envelopes_accepted_total" => &mut exposition.accepted,
                "chatctl_envelopes_elided_total" => &mut exposition.elided,
                _ => continue,
            };
            *counter = Some(counter.unwrap_or(0).saturating_add(value));
        }
        exposition
    }
}

/// A line's name, without labels, and its value.
fn sample(line: &str) -> Option<(&str, u64)> {
    let name = line.split(['{', ' ']).next()?;
    // A label's value may hold a space; behind the labels there is none but between value and time.
    let rest = line
        .rsplit_once('}')
        .map_or_else(|| line.get(name.len()..), |(_, rest)| Some(rest))?;
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    // Counters are whole; the cast stops at the ends of the range.
    (value >= 0.0).then_some((name, value as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_among_all_the_others() {
        let text = "\
# HELP chatctl_commits Commits of mail.
# TYPE chatctl_commits counter
chatctl_commits_total 1204
chatctl_commits_failed_total 3
chatctl_sessions_closed_total{reason=\"too slow\"} 7
chatctl_envelopes_accepted_total{node=\"a } b\"} 4e3 1795348800.000
chatctl_envelopes_accepted_total{node=\"c\"} 5
chatctl_commit_duration_seconds_bucket{le=\"0.001\"} 12
# EOF
";
        let found = Exposition {
            commits: Some(1204),
            accepted: Some(4005),
            elided: None,
        };
        assert_eq!(Exposition::read(text), found);
    }

    #[test]
    fn what_is_no_exposition_holds_nothing() {
        for text in [
            "",
            "chatctl_commits_total",
            "chatctl_commits_total x",
            "{} 1",
            "<html>}",
            "chatctl_commits_total -1",
        ] {
            assert_eq!(Exposition::read(text), Exposition::default(), "{text}");
        }
    }

    #[test]
    fn a_relays_own_exposition_has_all_of_them() {
        let metrics = chatctl_relay::metrics::Metrics::new();
        metrics.commits.inc();
        metrics.envelopes_accepted.inc_by(2);
        let found = Exposition {
            commits: Some(1),
            accepted: Some(2),
            elided: Some(0),
        };
        assert_eq!(Exposition::read(&metrics.exposition().unwrap()), found);
    }
}
