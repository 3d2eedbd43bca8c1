//! Fills a store with devices and mail of others, for measurements: what is there already, and takes no part.
//!
//!     cargo run --release --example fill -- --data-dir DIR --devices 100000 --envelopes 1000000
//!
//! Goes through the store and past the relay, since only what stands there in the end is wanted. Not for a store that
//! somebody uses: nobody has the keys of these devices, and their mail is bytes of nothing.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, EnvelopeId};
use chatctl_relay::model::{Clock, Envelope, MailboxId, UnixMs};
use chatctl_relay::store::embedded::{Embedded, Options};
use chatctl_relay::store::{Batch, Posting, Registered, Registration, SendKey, SendRecord, Store};
use clap::Parser;
use futures_util::{StreamExt as _, TryStreamExt as _};

/// Fill a store with devices and mail that take no part in a measurement
#[derive(Debug, Parser)]
struct Fill {
    /// Directory of the store (created if missing)
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Devices to register
    #[arg(long, value_name = "N", default_value_t = 1000)]
    devices: usize,

    /// Envelopes to store, one after the other for each of the devices
    #[arg(long, value_name = "N", default_value_t = 0)]
    envelopes: u64,

    /// Bytes of each
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    size: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let fill = Fill::parse();
    let options = Options {
        idempotency_records: usize::try_from(fill.envelopes)?.max(1),
        ..Options::default()
    };
    let store: Arc<dyn Store> = Embedded::open(&fill.data_dir, &options)?;
    let now = Clock::system().now();
    let mailboxes = register(&*store, fill.devices, now).await?;
    if fill.envelopes > 0 {
        post(&*store, &mailboxes, &fill, now).await?;
    }
    store.close().await?;
    Ok(())
}

/// Registers devices, and gives their mailboxes.
async fn register(store: &dyn Store, devices: usize, now: UnixMs) -> Result<Vec<MailboxId>, Box<dyn Error>> {
    let registering = futures_util::stream::iter(0..devices).map(async |number| {
        let registration = Registration {
            registration_id: 1,
            attributes: None,
            max_devices: 1,
            now,
        };
        let address = Address {
            account: AccountId::parse(&format!("filler-{number}"))?,
            device_id: DeviceId::parse("1")?,
        };
        match store.register(&address, registration).await? {
            Registered::Created(device) => Ok(device.mailbox),
            other => Err(format!("{address:?} is there already: {other:?}").into()),
        }
    });
    registering.buffered(AT_ONCE).try_collect().await
}

/// Stores envelopes for them in turn, from the first of them.
async fn post(
    store: &dyn Store,
    mailboxes: &[MailboxId],
    fill: &Fill,
    now: UnixMs,
) -> Result<(), Box<dyn Error>> {
    let sender = *mailboxes.first().ok_or("no device, no mail")?;
    let first = store.start().await?.id_floor.as_u64() + 1;
    let from = Arc::new(Address {
        account: AccountId::parse("filler-0")?,
        device_id: DeviceId::parse("1")?,
    });
    let payload = Bytes::from(vec![0x5a; fill.size]);
    let mut recipients = mailboxes.iter().cycle();
    let mut next = 0;
    while next < fill.envelopes {
        let mut batch = Batch::default();
        for number in next..fill.envelopes.min(next + BATCH) {
            let id = EnvelopeId::from_u64(first + number);
            let client_msg_id =
                ClientMsgId::parse(Bytes::copy_from_slice(&u128::from(number).to_be_bytes()))?;
            let envelope = Envelope {
                id,
                mailbox: *recipients.next().ok_or("no device, no mail")?,
                sender,
                from: Arc::clone(&from),
                client_msg_id,
                kind: 1,
                sent_at: 0,
                accepted_at: now,
                expires_at: now.plus_seconds(LIFE_SECONDS),
                urgent: false,
                ephemeral: false,
                payload: payload.clone(),
            };
            let record = SendRecord {
                key: SendKey {
                    sender,
                    client_msg_id,
                },
                digest: [0; 8],
                envelope_ids: vec![id],
                accepted_at: now,
            };
            batch.postings.push(Posting {
                record,
                envelopes: vec![Arc::new(envelope)],
            });
        }
        next += batch.postings.len() as u64;
        batch.id_ceiling = Some(EnvelopeId::from_u64(first + next));
        store.commit(batch).await?;
    }
    Ok(())
}

/// Registrations that wait at the same time: they share commits.
const AT_ONCE: usize = 256;
/// Envelopes of a commit.
const BATCH: u64 = 5000;
/// Longer than any measurement.
const LIFE_SECONDS: u64 = 7 * 24 * 3600;
