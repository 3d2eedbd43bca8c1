//! The runner: which ticks are due, and one run for each of them.
