//! What a line on stdin means: words, or a command that begins with a slash.

use chatctl_protocol::DeviceId;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Words to send.
    Say(String),
    /// `/who`
    Who,
    /// `/verify`, or `/verify DEVICE DIGITS`.
    Verify(Option<(DeviceId, String)>),
    /// `/accept DEVICE`
    Accept(DeviceId),
    /// `/quit`
    Quit,
    /// Nothing to do.
    Nothing,
    /// A slash and something else.
    Unknown,
}

impl Command {
    /// Reads a line.
    pub(super) fn parse(line: &str) -> Self {
        let line = line.trim_end_matches(['\n', '\r']);
        if let Some(rest) = line.strip_prefix("//") {
            return Self::Say(format!("/{rest}"));
        }
        if !line.starts_with('/') {
            return match line.is_empty() {
                true => Self::Nothing,
                false => Self::Say(line.to_owned()),
            };
        }
        let mut words = line.split_whitespace();
        let (verb, device) = (words.next(), words.next().map(DeviceId::parse));
        let digits: String = words.flat_map(str::chars).collect();
        match (verb, device) {
            (Some("/who"), None) => Self::Who,
            (Some("/verify"), None) => Self::Verify(None),
            (Some("/verify"), Some(Ok(device))) if !digits.is_empty() => Self::Verify(Some((device, digits))),
            (Some("/accept"), Some(Ok(device))) => Self::Accept(device),
            (Some("/quit"), None) => Self::Quit,
            _ => Self::Unknown,
        }
    }
}

/// What can be said instead of words.
pub(super) const HELP: &str = "/who lists devices, /verify shows digits to compare, /verify DEVICE DIGITS trusts them, \
/accept DEVICE accepts another identity, /quit leaves; // sends a line that begins with /";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_words_unless_it_begins_with_a_slash() {
        let device = DeviceId::parse("1").unwrap();
        let say = |words: &str| Command::Say(words.to_owned());
        assert_eq!(Command::parse("hello\r\n"), say("hello"));
        assert_eq!(Command::parse("  /quit"), say("  /quit"));
        assert_eq!(Command::parse("//quit"), say("/quit"));
        assert_eq!(Command::parse("\n"), Command::Nothing);
        assert_eq!(Command::parse("/quit"), Command::Quit);
        assert_eq!(Command::parse("/who "), Command::Who);
        assert_eq!(Command::parse("/verify"), Command::Verify(None));
        assert_eq!(
            Command::parse("/verify 1 12345 67890"),
            Command::Verify(Some((device.clone(), "1234567890".to_owned())))
        );
        assert_eq!(Command::parse("/verify 1"), Command::Unknown);
        assert_eq!(Command::parse("/accept 1"), Command::Accept(device));
        assert_eq!(Command::parse("/accept a/b"), Command::Unknown);
        assert_eq!(Command::parse("/else"), Command::Unknown);
    }
}
