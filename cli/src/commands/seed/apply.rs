//! `chatctl seed apply`.

use chatctl_relay::config::StoreConfig;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Make the store what this version needs
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl seed apply --data-dir ./data")]
pub(super) struct Apply {
    #[command(flatten)]
    store: StoreConfig,
}

impl Apply {
    #[expect(clippy::unused_async, reason = "filled next")]
    pub(super) async fn run(self, _out: Out) -> Result<Exit, Failure> {
        let _ = self.store;
        Err(Failure::new(Exit::Failure, "not written yet"))
    }
}
