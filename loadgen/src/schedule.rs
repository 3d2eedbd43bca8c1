//! When messages are due: every moment of a run, fixed before it.
