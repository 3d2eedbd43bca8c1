//! `chatctl seed reset`.

use chatctl_relay::config::StoreConfig;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Delete everything of chatctl's in the store
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl seed reset --data-dir ./data")]
pub(super) struct Reset {
    #[command(flatten)]
    store: StoreConfig,
}

impl Reset {
    #[expect(clippy::unused_async, reason = "filled next")]
    pub(super) async fn run(self, _out: Out) -> Result<Exit, Failure> {
        let _ = self.store;
        Err(Failure::new(Exit::Failure, "not written yet"))
    }
}
