//! `chatctl seed import-legacy`.

use chatctl_relay::config::StoreConfig;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Take accounts over from an older chat's database
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl seed import-legacy --data-dir ./data")]
pub(super) struct ImportLegacy {
    #[command(flatten)]
    store: StoreConfig,
}

impl ImportLegacy {
    #[expect(clippy::unused_async, reason = "filled next")]
    pub(super) async fn run(self, _out: Out) -> Result<Exit, Failure> {
        let _ = self.store;
        Err(Failure::new(Exit::Failure, "not written yet"))
    }
}
