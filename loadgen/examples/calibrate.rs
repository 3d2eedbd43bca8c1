//! Says what a message costs the generator on this machine, as JSON:
//! `cargo run --release -p chatctl-loadgen --example calibrate`.

#![expect(clippy::print_stdout, reason = "an example speaks to its terminal")]

use chatctl_loadgen::calibrate::{How, calibrate};
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let found = calibrate(&How::default(), &CancellationToken::new())?;
    println!("{}", serde_json::to_string_pretty(&found)?);
    Ok(())
}
