//! `chatctl seed verify`.

use chatctl_relay::config::StoreConfig;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Check that what is stored fits together
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl seed verify --data-dir ./data")]
pub(super) struct Verify {
    #[command(flatten)]
    store: StoreConfig,
}

impl Verify {
    #[expect(clippy::unused_async, reason = "filled next")]
    pub(super) async fn run(self, _out: Out) -> Result<Exit, Failure> {
        let _ = self.store;
        Err(Failure::new(Exit::Failure, "not written yet"))
    }
}
