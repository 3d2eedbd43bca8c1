//! Has everything looked at at once, each thing with a deadline, and tells it in a fixed order.
//!
//! Must not know what is looked at. A probe that panics or hangs is a finding, and takes no other with it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Area;
use super::finding::Finding;

/// Something to look at.
pub(super) struct Probe {
    area: Area,
    name: &'static str,
    deadline: Duration,
    work: BoxFuture<'static, Vec<Finding>>,
}

impl Probe {
    /// Work that waits for others, in an area.
    pub(super) fn of(
        area: Area,
        name: &'static str,
        deadline: Duration,
        work: impl Future<Output = Vec<Finding>> + Send + 'static,
    ) -> Self {
        Self {
            area,
            name,
            deadline,
            work: Box::pin(work),
        }
    }

    /// Work that reads files: on a thread of its own, which is left behind if it hangs.
    pub(super) fn of_files(
        area: Area,
        name: &'static str,
        deadline: Duration,
        work: impl FnOnce() -> Vec<Finding> + Send + 'static,
    ) -> Self {
        Self::of(area, name, deadline, async move {
            match tokio::task::spawn_blocking(work).await {
                Ok(findings) => findings,
                Err(_) => vec![broke_off(name)],
            }
        })
    }
}

/// Looks at everything, in the order of the probes.
pub(super) async fn gather(handle: &Handle, probes: Vec<Probe>) -> Vec<(Area, Finding)> {
    let begun: Vec<_> = probes
        .into_iter()
        .map(|probe| {
            let (area, name, deadline) = (probe.area, probe.name, probe.deadline);
            (area, name, deadline, handle.spawn(timeout(deadline, probe.work)))
        })
        .collect();
    let mut found = Vec::new();
    for (area, name, deadline, work) in begun {
        let findings = match work.await {
            Ok(Ok(findings)) => findings,
            Ok(Err(_)) => vec![late(area, name, deadline)],
            Err(_) => vec![broke_off(name)],
        };
        found.extend(findings.into_iter().map(|finding| (area, finding)));
    }
    found
}

fn late(area: Area, name: &str, deadline: Duration) -> Finding {
    let why = format!("no answer within {}", humantime::format_duration(deadline));
    Finding::warn(name, why, format!("chatctl doctor {}", area.as_str())).meaning(
        "what hangs here may hang for the relay, too: a disk, a mount or a host that does not answer",
    )
}

fn broke_off(name: &str) -> Finding {
    Finding::skipped(
        name,
        "looking at it broke off",
        "chatctl --version  # and report it, with what is on stderr",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    #[tokio::test]
    async fn what_hangs_or_panics_is_told_in_its_place_and_the_rest_goes_on() {
        let (soon, late) = (Duration::from_millis(1), Duration::from_secs(60));
        let probes = vec![
            Probe::of(Area::Config, "hangs", soon, std::future::pending()),
            Probe::of(Area::Disk, "panics", late, async { panic!("on purpose") }),
            Probe::of_files(Area::Disk, "panics elsewhere", late, || panic!("on purpose")),
            Probe::of(Area::Keys, "answers", late, async {
                vec![Finding::ok("answers", "")]
            }),
        ];
        let found = gather(&Handle::current(), probes).await;
        let short: Vec<_> = found
            .iter()
            .map(|(area, finding)| (*area, finding.name.as_str(), finding.mark))
            .collect();
        assert_eq!(
            short,
            [
                (Area::Config, "hangs", Mark::Warn),
                (Area::Disk, "panics", Mark::Skipped),
                (Area::Disk, "panics elsewhere", Mark::Skipped),
                (Area::Keys, "answers", Mark::Ok),
            ]
        );
        assert!(found[..3].iter().all(|(_, finding)| finding.fix.is_some()));
    }
}
