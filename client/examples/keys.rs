//! Registers a device, publishes keys for it, and claims one of each device of an account.
//!
//! ```text
//! CHATCTL_URL=http://127.0.0.1:8480 cargo run -p chatctl-client --example keys -- bob.token 1 4242 bob
//! ```
//!
//! The registration id is what the app drew when it was installed. Another one means another installation: mail and keys of
//! the old one go. The keys here are random bytes in a suite of their own; `chatctl_client::e2ee` makes real ones.

mod demo;

use std::collections::BTreeMap;

use bytes::Bytes;
use chatctl_client::{Http, Item, KeyUpload, PoolUpload};
use chatctl_protocol::{AccountId, DeviceId, PoolName, Suite};

use demo::{Outcome, arguments, token_file, url};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "whoever runs the example reads it there")]
async fn main() -> Outcome {
    let arguments = arguments("keys TOKEN_FILE DEVICE_ID REGISTRATION_ID ACCOUNT", 4)?;
    let (device, of) = (DeviceId::parse(&arguments[1])?, AccountId::parse(&arguments[3])?);
    let (suite, pool) = (Suite::parse("x-demo")?, PoolName::parse("own")?);
    let directory = Http::new(&url())?.directory(token_file(&arguments[0]));

    directory.register(&device, arguments[2].parse()?).await?;
    println!("registered");

    let own = PoolUpload {
        add: (0..3).map(|_| key()).collect(),
        // Handed out when the others are used up, and never used up itself.
        fallback: Some(key()),
        replace: None,
    };
    let upload = KeyUpload {
        identity: Some(key().data),
        statement: None,
        pools: BTreeMap::from([(pool.clone(), own)]),
    };
    // The same upload may be tried again, whatever became of it.
    let counts = directory.upload(&suite, &upload).await?;
    println!(
        "published: {} one-time keys",
        counts.get(&pool).map_or(0, |pool| pool.count)
    );

    let list = directory.devices(&of, Some(&suite)).await?;
    let devices: Vec<_> = list.devices.into_iter().map(|device| device.device_id).collect();
    let claimed = directory.claim(&suite, &[pool], (&of, &devices)).await?;
    for (device, keys) in &claimed.devices {
        let items = keys.items.values().flatten().count();
        println!(
            "claimed {items} of {of}/{device}, registration {}",
            keys.registration_id
        );
    }
    println!("without keys: {:?}", claimed.missing);
    Ok(())
}

fn key() -> Item {
    let (id, data): (u64, [u8; 32]) = (rand::random(), rand::random());
    Item {
        id: format!("{id:016x}"),
        data: Bytes::copy_from_slice(&data),
        signature: None,
    }
}
