//! `chatctl seed demo`.

use chatctl_relay::config::StoreConfig;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Fill the store with demo accounts
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl seed demo --data-dir ./data")]
pub(super) struct Demo {
    #[command(flatten)]
    store: StoreConfig,
}

impl Demo {
    #[expect(clippy::unused_async, reason = "filled next")]
    pub(super) async fn run(self, _out: Out) -> Result<Exit, Failure> {
        let _ = self.store;
        Err(Failure::new(Exit::Failure, "not written yet"))
    }
}
