//! Mail as a story speaks it: letters go out, envelopes come in, acks go back.

use bytes::Bytes;
use chatctl_protocol::v1::{Ack, DeviceMessage, Envelope, Send, SendErr, SendOk, frame::Body};

use crate::relay::Person;
use crate::socket::RawSocket;

/// A message to these devices of one account, named after its number and its text.
pub(crate) fn letter(number: u64, to: &[Person], text: impl Into<Bytes>) -> Send {
    let payload = text.into();
    let message = |to: &Person| DeviceMessage {
        device_id: to.device_id.to_owned(),
        registration_id: to.registration_id,
        kind: 7,
        payload: payload.clone(),
    };
    Send {
        id: number,
        to_account: to.first().map_or_else(String::new, |to| to.account.to_owned()),
        messages: to.iter().map(message).collect(),
        client_msg_id: name(number),
        sent_at: 1000,
        ..Send::default()
    }
}

/// The name of the letter of a number.
pub(crate) fn name(number: u64) -> Bytes {
    Bytes::copy_from_slice(format!("letter-{number:09}").as_bytes())
}

impl RawSocket {
    /// Sends a letter and waits until it is safe.
    pub(crate) async fn post(&mut self, letter: Send) -> SendOk {
        self.try_post(letter).await.expect("the letter is taken")
    }

    /// Sends a letter and waits for its answer.
    pub(crate) async fn try_post(&mut self, letter: Send) -> Result<SendOk, SendErr> {
        let id = letter.id;
        self.send(Body::Send(letter)).await;
        self.answer(id).await
    }

    /// Waits for the answer to a letter.
    pub(crate) async fn answer(&mut self, of: u64) -> Result<SendOk, SendErr> {
        self.find(|body| match body {
            Body::SendOk(ok) if ok.id == of => Some(Ok(ok.clone())),
            Body::SendErr(error) if error.id == of => Some(Err(error.clone())),
            _ => None,
        })
        .await
    }

    /// The next envelopes, in the order in which they come.
    pub(crate) async fn mail(&mut self, count: usize) -> Vec<Envelope> {
        let mut mail = Vec::new();
        while mail.len() < count {
            let deliver = self
                .find(|body| match body {
                    Body::Deliver(deliver) => Some(deliver.envelopes.clone()),
                    _ => None,
                })
                .await;
            mail.extend(deliver);
        }
        assert_eq!(mail.len(), count, "{mail:?}");
        mail
    }

    /// Acks envelopes.
    pub(crate) async fn ack(&mut self, mail: &[Envelope]) {
        let ids = mail.iter().map(|envelope| envelope.id).collect();
        self.send(Body::Ack(Ack { ids })).await;
    }
}

/// What the envelopes say, and at which attempt.
pub(crate) fn texts(mail: &[Envelope]) -> Vec<(&str, u32)> {
    mail.iter()
        .map(|envelope| (std::str::from_utf8(&envelope.payload).unwrap(), envelope.attempt))
        .collect()
}
