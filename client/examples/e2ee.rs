//! Two devices write to each other through a relay, end-to-end encrypted.
//!
//! ```console
//! $ chatctl serve --dev --dev-info dev.json &
//! $ cargo run -p chatctl-client --example e2ee -- http://127.0.0.1:8480 TOKEN-OF-ALICE TOKEN-OF-BOB
//! ```
//!
//! The two tokens (`accounts[].token` of the file) are of device `1` of `alice` and of `bob`.

#![expect(clippy::print_stdout, reason = "it shows what happens")]

use std::error::Error;

use chatctl_client::e2ee::{Installation, Vault, safety_number};
use chatctl_client::{Device, Event, Http, Options, Token};
use chatctl_protocol::{AccountId, Address, DeviceId};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, alices, bobs] = arguments.as_slice() else {
        return Err("usage: e2ee URL TOKEN-OF-ALICE TOKEN-OF-BOB".into());
    };
    let mut alice = installation(url, "alice", alices)?;
    let mut bob = installation(url, "bob", bobs)?;
    alice.enrol(50).await?;
    bob.enrol(50).await?;

    let (to_alice, to_bob) = (
        alice.vault().address().account.clone(),
        bob.vault().address().account.clone(),
    );
    alice.send(&to_bob, b"hello, Bob").await?;
    println!("bob reads: {}", next_words(&mut bob).await?);
    bob.send(&to_alice, b"hello, Alice").await?;
    println!("alice reads: {}", next_words(&mut alice).await?);

    let (ours, theirs) = (alice.vault().identity(), bob.vault().identity());
    println!(
        "safety number: {}",
        safety_number((&to_alice, &ours), (&to_bob, &theirs))
    );
    let bobs = bob.vault().address().clone();
    assert!(alice.vault_mut().verify(&bobs, &theirs));
    alice.close().await?;
    bob.close().await?;
    Ok(())
}

fn installation(url: &str, account: &str, token: &str) -> Result<Installation, Box<dyn Error>> {
    let address = Address {
        account: AccountId::parse(account)?,
        device_id: DeviceId::parse("1")?,
    };
    let token = Token::new(token);
    let directory = Http::new(url)?.directory(token.clone());
    let sockets = format!("{}/v1/ws", url.replacen("http", "ws", 1));
    let device = Device::new(Options::new(&sockets), token);
    // An app draws the registration id when it is installed, and keeps the vault on a disk.
    let vault = Vault::new(address, 4711);
    Ok(Installation::new(
        device,
        directory,
        vault,
        Box::new(|_pickle| Ok(())),
    ))
}

/// The next words that arrive.
async fn next_words(me: &mut Installation) -> Result<String, Box<dyn Error>> {
    loop {
        let Event::Mail(mail) = me.next_event().await? else {
            continue;
        };
        let mut words = None;
        for mail in mail {
            words = me.open(&mail)?.map(|decrypted| decrypted.words).or(words);
            me.ack([mail.id])?;
        }
        if let Some(words) = words {
            return Ok(String::from_utf8(words)?);
        }
    }
}
