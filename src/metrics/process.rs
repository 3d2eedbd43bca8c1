//! What the system says of this process, under the names that every exporter has for it.
//!
//! Looks when somebody asks, at `/proc/self` alone: under the unit there is nothing else of `/proc`. What cannot
//! be read is left out.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// This process.
#[derive(Debug)]
pub(super) struct Process {
    started_at: f64,
}

impl Process {
    /// One that has just started.
    pub(super) fn started_now() -> Self {
        Self {
            started_at: seconds(clock_gettime(ClockId::Realtime)),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let cpu = ConstCounter::new(cpu_seconds());
        let help = "Processor time that the process has used.";
        let metric = encoder.encode_descriptor("cpu", help, Some(&Unit::Seconds), cpu.metric_type())?;
        cpu.encode(metric)?;
        let start = ConstGauge::new(self.started_at);
        let help = "When the process started, as Unix time.";
        let metric =
            encoder.encode_descriptor("start_time", help, Some(&Unit::Seconds), start.metric_type())?;
        start.encode(metric)?;
        let status = fs::read_to_string(STATUS).unwrap_or_default();
        let gauges = [
            (
                "resident_memory",
                "Memory that the process holds.",
                BYTES,
                kilobytes(&status, "VmRSS:"),
            ),
            (
                "virtual_memory",
                "Address space of the process.",
                BYTES,
                kilobytes(&status, "VmSize:"),
            ),
            (
                "threads",
                "Threads of the process.",
                None,
                field(&status, "Threads:"),
            ),
            (
                "open_fds",
                "Descriptors that the process has open.",
                None,
                open_descriptors(),
            ),
            (
                "max_fds",
                "Descriptors that the process may have open.",
                None,
                getrlimit(Resource::Nofile).current,
            ),
        ];
        for (name, help, unit, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// What there is, where the system tells everything.
pub(super) const NAMES: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_start_time_seconds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_threads",
    "process_open_fds",
    "process_max_fds",
];

const BYTES: Option<&Unit> = Some(&Unit::Bytes);

#[expect(clippy::cast_precision_loss, reason = "microseconds of Unix time fit")]
fn seconds(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Processor time that the process has used, in seconds.
#[must_use]
pub fn cpu_seconds() -> f64 {
    seconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// Memory that the process holds, in bytes.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    kilobytes(&fs::read_to_string(STATUS).ok()?, "VmRSS:")
}

/// A number of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    field(status, name).map(|kilobytes| kilobytes * 1024)
}

/// Descriptors that the process has open. Newer systems say the number as the directory's size; else it is counted, in
/// about 30 ms for 100,000.
#[must_use]
pub fn open_descriptors() -> Option<u64> {
    match fs::metadata(DESCRIPTORS).ok()?.len() {
        // One of those that are found is the look's own.
        0 => Some((fs::read_dir(DESCRIPTORS).ok()?.count() as u64).saturating_sub(1)),
        open => Some(open),
    }
}

const DESCRIPTORS: &str = "/proc/self/fd";
const STATUS: &str = "/proc/self/status";

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_process_is_told_under_the_standard_names() {
        let mut registry = Registry::with_prefix("process");
        registry.register_collector(Box::new(Process::started_now()));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for name in NAMES {
            let start = format!("{name} ");
            let value = text.lines().find_map(|line| line.strip_prefix(start.as_str()));
            let value: f64 = value.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap();
            assert!(value > 0.0, "{name}");
        }
    }

    #[test]
    fn the_status_is_read_by_name() {
        let status = "Name:\tchatctl\nVmSize:\t  200 kB\nVmRSS:\t   12 kB\nThreads:\t7\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(12 * 1024));
        assert_eq!(field(status, "Threads:"), Some(7));
        assert_eq!(field(status, "Nothing:"), None);
    }

    #[test]
    fn the_system_says_something_of_this_process() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(cpu_seconds() > 0.0);
        let before = open_descriptors().unwrap();
        let files: Vec<_> = (0..64).map(|_| fs::File::open("/proc/self/status")).collect();
        assert!(open_descriptors().unwrap() >= before + 32, "{files:?}");
        assert!(
            getrlimit(Resource::Nofile)
                .current
                .is_none_or(|soft| soft >= before)
        );
    }
}
