//! JetStream: the stream that keeps mail, a consumer for each account, and what its answers say.

use bytes::Bytes;
use chatctl_protocol::AccountId;
use serde::Deserialize;
use serde_json::json;
use std::sync::atomic::Ordering;

use crate::plan::Plan;
use crate::progress::Progress;
use crate::wire::Trouble;
use crate::wire::dial::{Address, fatal};
use crate::wire::nats::codec::{self, Reply, Word};
use crate::wire::nats::{ANSWERS, DELIVERIES, Link, SUBJECTS};

/// Makes an empty stream, and a consumer for each account.
pub(super) async fn create(address: &Address, plan: &Plan, progress: &Progress) -> Result<(), Trouble> {
    let mut api = Api::open(address).await?;
    // One that an earlier run left behind; most often there is none.
    let _ = api.request("STREAM.DELETE", "", b"").await;
    // Mail is removed once it is acked, as from a mailbox.
    let config = json!({
        "name": STREAM, "subjects": [format!("{SUBJECTS}>")], "retention": "workqueue", "storage": "file",
        "num_replicas": 1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "discard": "new",
    });
    api.request("STREAM.CREATE", "", config.to_string().as_bytes())
        .await?;
    for accounts in plan.accounts.chunks(AT_ONCE) {
        for account in accounts {
            api.ask(
                "CONSUMER.DURABLE.CREATE",
                &format!(".{}", consumer(&account.name)),
                consumer_config(&account.name).to_string().as_bytes(),
            );
        }
        for account in accounts {
            api.answer().await?;
            progress.prepared.fetch_add(
                u64::from(account.devices.end - account.devices.start),
                Ordering::Relaxed,
            );
        }
    }
    Ok(())
}

/// Removes the stream with its consumers.
pub(super) async fn remove(address: &Address) -> Result<(), Trouble> {
    Api::open(address)
        .await?
        .request("STREAM.DELETE", "", b"")
        .await
        .map(drop)
}

/// Whether mail waits for an account. `link` listens to the inbox already.
pub(super) async fn mail_waits(link: &mut Link, inbox: &str, account: &AccountId) -> Result<bool, Trouble> {
    let subject = format!("$JS.API.CONSUMER.INFO.{STREAM}.{}", consumer(account));
    codec::publish(
        &mut link.pipe.out,
        ("", &subject),
        Reply::To(inbox, 0),
        [b"", b""],
    );
    let info: ConsumerInfo = parse(&answer(link).await?)?;
    Ok(info.num_pending + info.num_ack_pending > 0)
}

/// What the reply subject of a delivered message tells of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// 1 at the first delivery.
    pub(super) attempt: u64,
    /// How many messages still wait behind it.
    pub(super) behind: u64,
}

/// Reads `$JS.ACK.[domain.account.]stream.consumer.attempt.sequence.sequence.time.behind[.token]`.
pub(super) fn delivery(reply: &Bytes) -> Option<Delivery> {
    let text = std::str::from_utf8(reply).ok()?;
    let first = match text.split('.').count() {
        9 => 4,
        11.. => 6,
        _ => return None,
    };
    let mut fields = text.split('.').skip(first);
    Some(Delivery {
        attempt: fields.next()?.parse().ok()?,
        behind: fields.nth(3)?.parse().ok()?,
    })
}

/// Why JetStream did not take a message or a request: a class for the report. None when it did.
pub(super) fn refusal(payload: &[u8]) -> Option<String> {
    // Most answers are good ones; only the others are worth a parser.
    if !payload.windows(ERROR.len()).any(|part| part == ERROR) {
        return None;
    }
    let code = serde_json::from_slice::<Failed>(payload).map_or(0, |failed| failed.error.err_code);
    Some(format!("jetstream.{code}"))
}

/// Requests and their answers, in order.
struct Api {
    link: Link,
    inbox: String,
    asked: u64,
}

impl Api {
    async fn open(address: &Address) -> Result<Self, Trouble> {
        let mut link = Link::open(address, None).await?;
        let inbox = format!("_INBOX.{:016x}.", rand::random::<u64>());
        codec::subscribe(&mut link.pipe.out, &format!("{inbox}*"), ANSWERS);
        Ok(Self {
            link,
            inbox,
            asked: 0,
        })
    }

    fn ask(&mut self, what: &str, which: &str, body: &[u8]) {
        self.asked += 1;
        let subject = format!("$JS.API.{what}.{STREAM}{which}");
        let reply = Reply::To(&self.inbox, self.asked);
        codec::publish(&mut self.link.pipe.out, ("", &subject), reply, [b"", body]);
    }

    async fn answer(&mut self) -> Result<Bytes, Trouble> {
        answer(&mut self.link).await
    }

    async fn request(&mut self, what: &str, which: &str, body: &[u8]) -> Result<Bytes, Trouble> {
        self.ask(what, which, body);
        self.answer().await
    }
}

/// The next answer of the server, and not of a publisher.
async fn answer(link: &mut Link) -> Result<Bytes, Trouble> {
    loop {
        match link.word().await? {
            Word::Message { payload, .. } => {
                return match refusal(&payload) {
                    None => Ok(payload),
                    Some(class) => Err(fatal(&class)),
                };
            }
            Word::Error(_) => return Err(fatal("nats.error")),
            Word::Ping | Word::Pong | Word::Other => {}
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Trouble> {
    serde_json::from_slice(payload).map_err(|_| fatal("frame.unreadable"))
}

/// A consumer's name has no dots.
fn consumer(account: &AccountId) -> String {
    account.as_str().replace('.', "_")
}

fn consumer_config(account: &AccountId) -> serde_json::Value {
    json!({ "stream_name": STREAM, "config": {
        "durable_name": consumer(account),
        "filter_subject": format!("{SUBJECTS}{account}"),
        "deliver_subject": format!("{DELIVERIES}{account}"),
        "deliver_policy": "all", "replay_policy": "instant",
        "ack_policy": "explicit", "ack_wait": ACK_WAIT_NANOS, "max_ack_pending": UNACKED,
    }})
}

#[derive(Deserialize)]
struct ConsumerInfo {
    num_pending: u64,
    num_ack_pending: u64,
}

#[derive(Deserialize)]
struct Failed {
    error: Failure,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    err_code: u32,
}

const STREAM: &str = "chatctl-bench";
const ERROR: &[u8] = br#""error":"#;
/// Requests that are not answered yet.
const AT_ONCE: usize = 64;
/// When mail that is not acked comes again.
const ACK_WAIT_NANOS: u64 = 30_000_000_000;
/// Unacked mail of a consumer.
const UNACKED: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_subject_tells_of_its_delivery() {
        for reply in [
            "$JS.ACK.s.c.2.10.11.1700000000.3",
            "$JS.ACK._.hash.s.c.2.10.11.1700000000.3.x",
        ] {
            let told = Delivery {
                attempt: 2,
                behind: 3,
            };
            assert_eq!(
                delivery(&Bytes::from_static(reply.as_bytes())),
                Some(told),
                "{reply}"
            );
        }
        assert_eq!(delivery(&Bytes::from_static(b"_INBOX.x")), None);
    }

    #[test]
    fn a_refusal_has_a_class() {
        assert_eq!(refusal(br#"{"stream":"s","seq":1}"#), None);
        let refused = br#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#;
        assert_eq!(refusal(refused), Some("jetstream.10077".to_owned()));
    }
}
