//! Sends a text to all devices of an account, and waits until it is safe.
//!
//! ```text
//! CHATCTL_URL=http://127.0.0.1:8480 cargo run -p chatctl-client --example send -- alice.token bob hello
//! ```
//!
//! The text goes as it is, to keep the example short. A chat encrypts it first: see `chatctl_client::e2ee`.

mod demo;

use std::time::Duration;

use chatctl_client::{Device, Directory, Http, Message, Options, SendOutcome};
use chatctl_protocol::{AccountId, Code};

use demo::{Outcome, arguments, token_file, url, ws_url};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "whoever runs the example reads it there")]
async fn main() -> Outcome {
    let arguments = arguments("send TOKEN_FILE ACCOUNT TEXT", 3)?;
    let (token, to, text) = (
        &arguments[0],
        AccountId::parse(&arguments[1])?,
        arguments[2..].join(" "),
    );
    let directory = Http::new(&url())?.directory(token_file(token));
    let mut device = Device::new(Options::new(&ws_url()), token_file(token));
    let mut message = address(&directory, &to, &text).await?;
    for _ in 0..TRIES {
        // Over breaks of the connection, and while the relay says "not now": it is one message.
        match device.deliver(message.clone(), Duration::from_secs(60)).await? {
            SendOutcome::Accepted { envelope_ids, .. } => {
                println!("safe, for {} devices", envelope_ids.len());
                device.close().await?;
                return Ok(());
            }
            // The account has other devices than we thought: nobody got it, so it is written anew.
            SendOutcome::Refused(refusal) if refusal.code == Some(Code::DeviceMismatch) => {
                message = address(&directory, &to, &text).await?;
            }
            SendOutcome::Refused(refusal) => return Err(format!("refused: {}", refusal.word).into()),
        }
    }
    Err("the devices of the account change all the time".into())
}

/// A message to each device that the account has now.
async fn address(directory: &Directory, to: &AccountId, text: &str) -> Outcome<Message> {
    let list = directory.devices(to, None).await?;
    let parts = list.devices.into_iter();
    Ok(parts.fold(Message::new(to.clone()), |message, device| {
        message.device(device.device_id, device.registration_id, 0, text.to_owned())
    }))
}

const TRIES: usize = 3;
