//! What a chat says: messages on stdout, everything else on stderr; all of it on stdout for programs.
//!
//! What others wrote is shown without anything that a terminal would obey.

use chatctl_client::e2ee::{Decrypted, Known, Trust};
use chatctl_protocol::Address;
use chatctl_relay::model::UnixMs;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::when::rfc3339;

/// One thing that happened. `--json` writes each in a line of its own.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Line {
    event: What,
    /// For a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Whose device it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// Which device it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    /// About the device's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Standing>,
    /// Thirty digits of the device's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// Sixty digits that both sides see.
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_number: Option<String>,
    /// When the relay accepted the message, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_at_ms: Option<u64>,
    /// What was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl Document for Line {
    const SCHEMA: &'static str = "chatctl.chat/v1";
}

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// Something for a person alone.
    #[default]
    Note,
    /// A session with the relay began.
    Connected,
    /// The session is over; it comes back by itself.
    Disconnected,
    /// Somebody wrote.
    Message,
    /// What we wrote is safe.
    Accepted,
    /// What we wrote was not sent.
    NotSent,
    /// Mail that cannot be read, or never arrives.
    Lost,
    /// A device has another identity than before: what it writes waits.
    IdentityChanged,
    /// What is known about a device.
    Device,
}

/// What is known about an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standing {
    /// Seen for the first time, with this message.
    New,
    /// Seen before; nobody has compared digits.
    Unverified,
    /// Another one than before, and accepted; nobody has compared digits.
    Changed,
    /// Somebody has compared digits.
    Verified,
}

impl Standing {
    const fn of(trust: Trust, is_new: bool) -> Self {
        match (trust, is_new) {
            (Trust::Verified, _) => Self::Verified,
            (Trust::Changed, _) => Self::Changed,
            (Trust::Unverified, true) => Self::New,
            (Trust::Unverified, false) => Self::Unverified,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Unverified => "unverified",
            Self::Changed => "changed",
            Self::Verified => "verified",
        }
    }
}

/// The voice of a chat.
#[derive(Debug)]
pub(super) struct Voice(Out);

impl Voice {
    pub(super) fn new(out: &Out) -> Self {
        Self(out.clone())
    }

    /// A message that came.
    ///
    /// # Errors
    ///
    /// Of a stdout that nobody reads any more.
    pub(super) fn message(&self, decrypted: &Decrypted, accepted_at: i64) -> Result<(), Failure> {
        let standing = Standing::of(decrypted.trust, decrypted.is_new_identity);
        let words = String::from_utf8_lossy(&decrypted.words);
        let time = u64::try_from(accepted_at).unwrap_or(0);
        let text = format!(
            "{} {} ({}): {}",
            rfc3339(UnixMs(time)),
            named(&decrypted.from),
            standing.word(),
            harmless(&words)
        );
        let line = Line {
            event: What::Message,
            identity: Some(standing),
            accepted_at_ms: Some(time),
            text: Some(words.into_owned()),
            ..of(&decrypted.from)
        };
        self.0.line(&text, &line)
    }

    /// Something that a person should know, and a program may.
    ///
    /// # Errors
    ///
    /// Of a stdout that nobody reads any more.
    pub(super) fn tell(&self, what: What, note: &str) -> Result<(), Failure> {
        let line = Line {
            event: what,
            ..Line::default()
        };
        self.note(line, note)
    }

    /// The same about a device.
    ///
    /// # Errors
    ///
    /// Of a stdout that nobody reads any more.
    pub(super) fn about(&self, what: What, device: &Address, note: &str) -> Result<(), Failure> {
        let line = Line {
            event: what,
            ..of(device)
        };
        self.note(line, &format!("{}: {note}", named(device)))
    }

    /// A device, and the digits that tell it from an impostor.
    ///
    /// # Errors
    ///
    /// Of a stdout that nobody reads any more.
    pub(super) fn device(&self, known: &Known, safety_number: Option<String>) -> Result<(), Failure> {
        let standing = known.identity.map(|_| Standing::of(known.trust, false));
        let fingerprint = known.identity.map(|one| one.fingerprint(&known.address.account));
        let digits = fingerprint
            .clone()
            .unwrap_or_else(|| "nothing seen of it yet".to_owned());
        let mut note = format!(
            "{} ({}): {digits}",
            named(&known.address),
            standing.map_or("unknown", Standing::word)
        );
        if let Some(number) = &safety_number {
            note = format!("{note}\n  both of you see {number}");
        }
        let line = Line {
            event: What::Device,
            identity: standing,
            fingerprint,
            safety_number,
            ..of(&known.address)
        };
        self.note(line, &note)
    }

    fn note(&self, line: Line, note: &str) -> Result<(), Failure> {
        if !self.0.is_json() {
            self.0.note(note);
            return Ok(());
        }
        let line = Line {
            note: Some(note.to_owned()),
            ..line
        };
        self.0.line("", &line)
    }
}

fn of(device: &Address) -> Line {
    Line {
        account: Some(device.account.as_str().to_owned()),
        device_id: Some(device.device_id.as_str().to_owned()),
        ..Line::default()
    }
}

/// A device for a person.
pub(super) fn named(device: &Address) -> String {
    format!("{}/{}", device.account, device.device_id)
}

/// Text without what a terminal obeys, and without what shows letters in another order than they stand.
fn harmless(text: &str) -> String {
    let is_harmful = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
    };
    text.chars()
        .map(|letter| if is_harmful(letter) { '\u{fffd}' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        assert_eq!(
            harmless("\u{1b}[2J\u{7}grüße \u{202e}olleh\u{9b}1m\n"),
            "�[2J�grüße �olleh�1m�"
        );
    }
}
