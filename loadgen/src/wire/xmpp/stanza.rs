//! The few stanzas that a bench writes and reads. One is one WebSocket message.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stanza {
    /// A chat message with its body.
    Message {
        body: String,
    },
    /// A stanza that came back, or a request that was refused.
    Refused {
        id: u64,
        word: String,
    },
    /// A presence, a result, a message without a body: they count, and mean nothing.
    Other,
    /// `<a/>`: the server's count.
    Answer,
    /// `<r/>`: it asks for ours.
    Ask,
    Open,
    Close,
    Features,
    Success,
    Enabled,
    /// Signing on, or the stream, has failed: a class for the report.
    Failure(String),
}

impl Stanza {
    /// Reads a stanza.
    pub(super) fn read(text: &str) -> Result<Self, quick_xml::Error> {
        let mut reader = Reader::from_str(text);
        loop {
            return match reader.read_event()? {
                Event::Empty(tag) => Ok(Self::named(&tag)),
                Event::Start(tag) => match tag.local_name().as_ref() {
                    b"message" | b"iq" | b"presence" => stanza(&mut reader, &tag),
                    b"failure" | b"failed" | b"error" => Ok(Self::Failure(condition(&mut reader)?)),
                    _ => Ok(Self::named(&tag)),
                },
                Event::Eof => Ok(Self::Other),
                _ => continue,
            };
        }
    }

    /// What a tag says without its content.
    fn named(tag: &BytesStart<'_>) -> Self {
        match tag.local_name().as_ref() {
            b"open" => Self::Open,
            b"close" => Self::Close,
            b"features" => Self::Features,
            b"success" => Self::Success,
            b"enabled" => Self::Enabled,
            b"a" => Self::Answer,
            b"r" => Self::Ask,
            b"failure" | b"failed" | b"error" => Self::Failure("xmpp.failed".to_owned()),
            _ => Self::Other,
        }
    }
}

/// The rest of a message, request or presence.
fn stanza(reader: &mut Reader<&[u8]>, tag: &BytesStart<'_>) -> Result<Stanza, quick_xml::Error> {
    let (mut is_error, mut id) = (false, 0);
    for attribute in tag.attributes().with_checks(false).flatten() {
        match attribute.key.as_ref() {
            b"type" => is_error = &*attribute.value == b"error",
            b"id" => {
                id = std::str::from_utf8(&attribute.value)
                    .ok()
                    .and_then(|id| id.parse().ok())
                    .unwrap_or(0)
            }
            _ => {}
        }
    }
    loop {
        match reader.read_event()? {
            Event::Start(tag) if is_error && tag.local_name().as_ref() == b"error" => {
                return Ok(Stanza::Refused {
                    id,
                    word: condition(reader)?,
                });
            }
            Event::Start(tag) if !is_error && tag.local_name().as_ref() == b"body" => {
                let body = reader.read_text(tag.name())?;
                return Ok(Stanza::Message {
                    body: body.into_owned(),
                });
            }
            Event::Eof => return Ok(Stanza::Other),
            _ => {}
        }
    }
}

/// The first tag inside of an error: what is wrong.
fn condition(reader: &mut Reader<&[u8]>) -> Result<String, quick_xml::Error> {
    loop {
        match reader.read_event()? {
            Event::Empty(tag) | Event::Start(tag) => {
                return Ok(format!(
                    "xmpp.{}",
                    String::from_utf8_lossy(tag.local_name().as_ref())
                ));
            }
            Event::Eof => return Ok("xmpp.failed".to_owned()),
            _ => {}
        }
    }
}

/// Whether an account's name is the same in XMPP, and wants no escapes.
pub(super) fn is_fit(account: &str) -> bool {
    account
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_+=.-".contains(&byte))
}

pub(super) fn open(domain: &str) -> String {
    format!("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{domain}' version='1.0'/>")
}

pub(super) fn auth(proof: &str) -> String {
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{proof}</auth>")
}

/// The account's password is its name.
pub(super) fn register(account: &str) -> String {
    format!(
        "<iq xmlns='jabber:client' type='set' id='1'><query xmlns='jabber:iq:register'>\
         <username>{account}</username><password>{account}</password></query></iq>"
    )
}

pub(super) fn message(to: &str, domain: &str, id: u64, body: &str) -> String {
    format!(
        "<message xmlns='jabber:client' type='chat' to='{to}@{domain}' id='{id}'><body>{body}</body></message>"
    )
}

pub(super) fn handled(count: u32) -> String {
    format!("<a xmlns='urn:xmpp:sm:3' h='{count}'/>")
}

pub(super) const UNREGISTER: &str =
    "<iq xmlns='jabber:client' type='set' id='1'><query xmlns='jabber:iq:register'><remove/></query></iq>";
pub(super) const BIND: &str = "<iq xmlns='jabber:client' type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind></iq>";
pub(super) const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3'/>";
pub(super) const PRESENCE: &str = "<presence xmlns='jabber:client'/>";
pub(super) const ASK: &str = "<r xmlns='urn:xmpp:sm:3'/>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_are_read_as_servers_write_them() {
        let read = |text: &str| Stanza::read(text).unwrap();
        let message = message("bob", "localhost", 7, "AAE=");
        assert_eq!(
            read(&message),
            Stanza::Message {
                body: "AAE=".to_owned()
            }
        );
        let refused = "<message type='error' id='7'><body>AAE=</body><error type='cancel'><service-unavailable/></error></message>";
        let word = "xmpp.service-unavailable".to_owned();
        assert_eq!(read(refused), Stanza::Refused { id: 7, word });
        assert_eq!(
            read("<iq type='result' id='1'><bind><jid>a@b/c</jid></bind></iq>"),
            Stanza::Other
        );
        assert_eq!(
            read("<stream:features xmlns:stream='s'><bind/></stream:features>"),
            Stanza::Features
        );
        assert_eq!(
            read("<failure xmlns='x'><not-authorized/></failure>"),
            Stanza::Failure("xmpp.not-authorized".to_owned())
        );
        let told = [
            "<a h='3'/>",
            "<r/>",
            "<success xmlns='x'/>",
            "<enabled/>",
            "<open/>",
            "<close/>",
        ]
        .map(read);
        assert_eq!(
            told,
            [
                Stanza::Answer,
                Stanza::Ask,
                Stanza::Success,
                Stanza::Enabled,
                Stanza::Open,
                Stanza::Close
            ]
        );
        assert!(Stanza::read("<message><body>").is_err());
    }
}
