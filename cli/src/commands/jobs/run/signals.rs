//! What is said when a run by hand is told to stop.

use crate::exit::Exit;
use crate::failure::Failure;

/// What is said at the first one.
pub(super) const STOPPING: &str = "stops after this step; once more leaves at once";

/// Left at the second one, without waiting.
pub(super) fn left(exit: Exit) -> Failure {
    Failure::new(exit, "left without waiting for the run to stop")
        .hint("what it did is done; its lease ends by itself within a minute")
}
