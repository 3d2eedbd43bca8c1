//! Where a run waits for others: agents on several hosts begin their load together.

use tokio::sync::oneshot;

use crate::clock::Nanos;

/// The run's side.
#[derive(Debug)]
pub struct Gate {
    arrived: oneshot::Sender<()>,
    go: oneshot::Receiver<Nanos>,
}

/// The side of whoever knows about the others.
#[derive(Debug)]
pub struct Keeper {
    /// Rings when everybody of this run is connected.
    pub arrived: oneshot::Receiver<()>,
    /// Takes the moment on the run's clock at which the load begins.
    pub go: oneshot::Sender<Nanos>,
}

impl Gate {
    /// A gate, and its keeper.
    #[must_use]
    pub fn new() -> (Self, Keeper) {
        let (arrived, heard) = oneshot::channel();
        let (go, told) = oneshot::channel();
        let keeper = Keeper { arrived: heard, go };
        (Self { arrived, go: told }, keeper)
    }

    /// Says that this run is ready, and waits for the moment to begin; none when the keeper has left.
    pub(super) async fn pass(self) -> Option<Nanos> {
        // A keeper who has left says so below.
        let _ = self.arrived.send(());
        self.go.await.ok()
    }
}
