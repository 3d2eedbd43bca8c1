//! Conversations of a demo: really encrypted, from one device to another through a claimed one-time key, and
//! stored where the recipient finds them.
//!
//! A message stands in its sender's file before it is in the mailbox, and leaves the file's outbox after it,
//! so a run that is stopped sends it once.

use std::sync::Arc;

use bytes::Bytes;
use chatctl_client::e2ee::{self, Identity, Letter};
use chatctl_protocol::{Address, ClientMsgId, EnvelopeId, Suite};
use chatctl_relay::model::{Device, Envelope, UnixMs};
use chatctl_relay::store::{Batch, Claim, ClaimTarget, Posting, SendKey, SendRecord, TOOL_NODE};
use parking_lot::Mutex;
use vodozemac::olm::{Account, SessionConfig};
use vodozemac::{base64_decode, base64_encode};

use super::cast::Talk;
use super::keys::pool_name;
use super::stage::Stage;
use super::state::{Parcel, Sent, State};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::store::{blocking, store_failure};

/// Envelope ids of one run.
#[derive(Debug)]
pub(super) struct Ids(Mutex<EnvelopeId>);

impl Ids {
    /// Ids above everything that the store has used.
    ///
    /// # Errors
    ///
    /// The store's.
    pub(super) async fn begin(stage: &Stage) -> Result<Self, Failure> {
        let start = stage.store.start().await.map_err(|error| store_failure(&error))?;
        let first = EnvelopeId::at(stage.clock.now().0, TOOL_NODE);
        Ok(Self(Mutex::new(
            first.max(start.id_floor.for_node(TOOL_NODE).next()),
        )))
    }

    fn next(&self) -> EnvelopeId {
        let mut last = self.0.lock();
        *last = last.next();
        *last
    }
}

impl Stage {
    /// Holds a conversation that was not held yet; whether it was not.
    ///
    /// # Errors
    ///
    /// Of the store or the state files.
    pub(super) async fn hold(&self, talk: &Talk, ids: &Ids) -> Result<bool, Failure> {
        let (states, from) = (self.states.clone(), talk.from.clone());
        let state = blocking(move || states.load(&from)).await?;
        let (Some(sender), Some(recipient)) = (self.device(&talk.from).await?, self.device(&talk.to).await?)
        else {
            return Err(gone(&talk.to));
        };
        // Left alone above, and said there.
        let Some(mut state) = state.filter(|state| state.registration_id == sender.registration_id) else {
            return Ok(false);
        };
        let place = match find(&state, talk) {
            Some(place) if state.sent[place].outbox.is_empty() => return Ok(false),
            Some(place) => place,
            None => {
                let sent = self.write(&state, talk, &recipient).await?;
                state.sent.push(sent);
                state = self.save(state).await?;
                state.sent.len() - 1
            }
        };
        self.send(&talk.from, &sender, &recipient, (&state.sent[place].outbox, ids))
            .await?;
        state.sent[place].outbox.clear();
        self.save(state).await?;
        Ok(true)
    }

    async fn device(&self, address: &Address) -> Result<Option<Device>, Failure> {
        let list = self.store.devices(&address.account).await;
        let list = list.map_err(|error| store_failure(&error))?;
        Ok(list.device(&address.device_id).cloned())
    }

    /// Claims a key as a client does, checks it, and encrypts.
    async fn write(&self, state: &State, talk: &Talk, recipient: &Device) -> Result<Sent, Failure> {
        let claim = Claim {
            suite: Suite::Olm,
            pools: vec![pool_name()?],
            targets: vec![ClaimTarget {
                mailbox: recipient.mailbox,
                spare_queue: false,
            }],
            now: self.clock.now(),
        };
        let claimed = self
            .store
            .claim(claim)
            .await
            .map_err(|error| store_failure(&error))?;
        let claimed = claimed.into_iter().next().ok_or_else(|| gone(&talk.to))?;
        let item = claimed
            .items
            .into_iter()
            .flatten()
            .next()
            .ok_or_else(|| gone(&talk.to))?;
        let key = e2ee::checked(&claimed.identity, &item.data, item.signature.as_deref());
        let bad_key = || {
            let message = format!(
                "a published key of {} is not signed by its identity",
                talk.to.account
            );
            Failure::new(Exit::DataErr, message)
        };
        let (identity, one_time_key) = key.ok_or_else(bad_key)?;
        // A pickle cannot be cloned, only read again.
        let pickle = serde_json::to_value(&state.olm)
            .and_then(serde_json::from_value)
            .map_err(|_| Failure::new(Exit::Failure, "an account cannot be read again"))?;
        let account = Account::from_pickle(pickle);
        let session =
            account.create_outbound_session(SessionConfig::version_1(), identity.agreement(), one_time_key);
        let mut session = session.map_err(|_| bad_key())?;
        let ours = Identity::of(&account);
        let outbox = talk.lines.iter().map(|line| {
            let letter = Letter::new(&talk.from, &talk.to, &line.name, line.text.as_bytes());
            let encrypted = session.encrypt(letter.introducing(ours).to_bytes());
            let (kind, ciphertext) = encrypted
                .map_err(|error| Failure::from_error(Exit::Failure, &error))?
                .to_parts();
            Ok(Parcel {
                client_msg_id: base64_encode(line.name.as_bytes()),
                kind: u32::try_from(kind).unwrap_or(0),
                payload: base64_encode(ciphertext),
            })
        });
        let outbox = outbox.collect::<Result<_, Failure>>()?;
        Ok(Sent {
            conversation: talk.number,
            to: talk.to.clone(),
            identity: Some(identity),
            session: session.pickle(),
            outbox,
        })
    }

    /// Stores what is not stored yet, each as a send of its own.
    async fn send(
        &self,
        from: &Address,
        sender: &Device,
        recipient: &Device,
        (outbox, ids): (&[Parcel], &Ids),
    ) -> Result<(), Failure> {
        let from = Arc::new(from.clone());
        let mut batch = Batch::default();
        for parcel in outbox {
            let key = SendKey {
                sender: sender.mailbox,
                client_msg_id: name(parcel)?,
            };
            if self
                .store
                .sent(&key)
                .await
                .map_err(|error| store_failure(&error))?
                .is_some()
            {
                continue;
            }
            let now = self.clock.now();
            let envelope = Envelope {
                id: ids.next(),
                mailbox: recipient.mailbox,
                sender: sender.mailbox,
                from: Arc::clone(&from),
                client_msg_id: key.client_msg_id,
                kind: parcel.kind,
                sent_at: i64::try_from(now.0).unwrap_or(i64::MAX),
                accepted_at: now,
                expires_at: now.plus_seconds(self.limits.max_ttl_seconds.into()),
                urgent: false,
                ephemeral: false,
                payload: payload(parcel)?,
            };
            batch.postings.push(posting(key, envelope, now));
        }
        // No later run mints these ids again, whatever the clock does.
        batch.id_ceiling = Some(ids.next());
        let committed = self
            .store
            .commit(batch)
            .await
            .map_err(|error| store_failure(&error))?;
        match committed.refused.is_empty() {
            true => Ok(()),
            false => Err(gone(&from)),
        }
    }
}

fn find(state: &State, talk: &Talk) -> Option<usize> {
    let is_this = |sent: &Sent| sent.conversation == talk.number && sent.to == talk.to;
    state.sent.iter().position(is_this)
}

fn posting(key: SendKey, envelope: Envelope, now: UnixMs) -> Posting {
    Posting {
        record: SendRecord {
            key,
            // An Olm message ends in its MAC.
            digest: envelope.payload.last_chunk().copied().unwrap_or_default(),
            envelope_ids: vec![envelope.id],
            accepted_at: now,
        },
        envelopes: vec![Arc::new(envelope)],
    }
}

fn name(parcel: &Parcel) -> Result<ClientMsgId, Failure> {
    let bytes = base64_decode(&parcel.client_msg_id).ok();
    bytes
        .and_then(|bytes| ClientMsgId::parse(bytes).ok())
        .ok_or_else(spoilt)
}

fn payload(parcel: &Parcel) -> Result<Bytes, Failure> {
    let bytes = base64_decode(&parcel.payload).map_err(|_| spoilt())?;
    Ok(bytes.into())
}

fn spoilt() -> Failure {
    Failure::new(Exit::DataErr, "an outbox in a state file is not base64")
}

fn gone(address: &Address) -> Failure {
    let (account, device) = (&address.account, &address.device_id);
    let message = format!("device {device} of {account}, or its keys, are not in the store any more");
    Failure::new(Exit::TempFail, message).hint("run the command again")
}
