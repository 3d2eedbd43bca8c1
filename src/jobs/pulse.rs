//! The tick source: tokio-cron-scheduler in UTC, which does nothing here but wake the runner once a second.
//!
//! Which ticks are due is worked out from the clock and the schedules (`runner`), so that a wake-up that comes late, twice
//! or never loses nothing.
