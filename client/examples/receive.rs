//! Receives mail: stores each message in a file, and only then acks it.
//!
//! ```text
//! CHATCTL_URL=http://127.0.0.1:8480 cargo run -p chatctl-client --example receive -- bob.token mail.txt
//! ```
//!
//! Kill it at any moment: what is in the file has arrived, what is not comes again. With a number as the third argument it
//! leaves after so many messages.

mod demo;

use std::fs::{File, OpenOptions};
use std::io::Write as _;

use chatctl_client::{Device, Error, Event, Mail, Options};
use futures_util::StreamExt as _;

use demo::{Outcome, arguments, token_file, ws_url};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "whoever runs the example reads it there")]
async fn main() -> Outcome {
    let arguments = arguments("receive TOKEN_FILE STORE_FILE [COUNT]", 2)?;
    let mut store = OpenOptions::new().append(true).create(true).open(&arguments[1])?;
    let mut left = arguments.get(2).map_or(Ok(usize::MAX), |count| count.parse())?;
    let mut device = Device::new(Options::new(&ws_url()), token_file(&arguments[0]));
    while left > 0 {
        match device.next().await {
            Some(Ok(Event::Mail(mail))) => {
                // First it is stored, so that nothing can take it away; then the relay may forget it.
                keep(&mut store, &mail)?;
                device.ack(mail.iter().map(|mail| mail.id));
                left = left.saturating_sub(mail.len());
                println!("{} stored and acked", mail.len());
            }
            // Mail that will never come is said, never silent.
            Some(Ok(Event::Gap(gap))) => println!("{} messages are lost", gap.dropped),
            Some(Ok(Event::Connected(session))) => println!("connected, {} wait", session.pending),
            Some(Ok(Event::Disconnected { why, retry_in })) => println!("{why:?}, again in {retry_in:?}"),
            Some(Ok(_)) => {}
            // The relay does not want this device back.
            Some(Err(error @ Error::Stopped(_))) => return Err(error.into()),
            // Told, and tried again by itself.
            Some(Err(error)) => println!("{error}"),
            None => break,
        }
    }
    device.close().await?;
    Ok(())
}

/// One line for each message, on the disk when it returns.
fn keep(store: &mut File, mail: &[Mail]) -> Outcome {
    let mut lines = String::new();
    for mail in mail {
        let from = mail.from.as_ref().map_or("?", |from| from.account.as_str());
        let text = String::from_utf8_lossy(&mail.payload);
        lines += &format!("{} {from}: {text}\n", mail.accepted_at);
    }
    store.write_all(lines.as_bytes())?;
    store.sync_data()?;
    Ok(())
}
