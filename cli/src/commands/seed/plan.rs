//! `chatctl seed plan`.

use chatctl_relay::config::StoreConfig;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Show what `apply` would change; write nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl seed plan --data-dir ./data")]
pub(super) struct Plan {
    #[command(flatten)]
    store: StoreConfig,
}

impl Plan {
    #[expect(clippy::unused_async, reason = "filled next")]
    pub(super) async fn run(self, _out: Out) -> Result<Exit, Failure> {
        let _ = self.store;
        Err(Failure::new(Exit::Failure, "not written yet"))
    }
}
