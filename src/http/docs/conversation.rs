//! The conversation of `docs/protocol.md`, read out of it: the page shows what a test replays.

use serde_json::Value;

/// A part of the conversation.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    /// What happens, in words.
    Words(String),
    /// What somebody says.
    Frame(Frame),
}

/// A frame on its way.
#[derive(Debug, PartialEq)]
pub(super) struct Frame {
    /// `alice → relay`.
    pub(super) way: String,
    /// As JSON.
    pub(super) json: Value,
    /// As protobuf, hexadecimal, in lines.
    pub(super) hex: String,
}

/// The parts, in their order.
pub(super) fn parts() -> Vec<Part> {
    let text = include_str!("../../../docs/protocol.md");
    let section = text.split_once(HEADING).map_or("", |(_, rest)| rest);
    let section = section
        .split_once("\n## ")
        .map_or(section, |(section, _)| section);
    let mut parts = Vec::new();
    // Between two fences stand words, inside of them frames.
    for (at, piece) in section.split("```").enumerate() {
        match at % 2 {
            0 if piece.trim().is_empty() => {}
            0 => parts.push(Part::Words(piece.trim().to_owned())),
            _ => parts.extend(frame(piece).map(Part::Frame)),
        }
    }
    parts
}

/// A block: `frame` and the way, the JSON, the bytes.
fn frame(block: &str) -> Option<Frame> {
    let (head, body) = block.split_once('\n')?;
    let way = head.strip_prefix("frame ")?.trim().to_owned();
    let is_hex = |line: &&str| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (hex, json): (Vec<_>, Vec<_>) = body.lines().partition(is_hex);
    Some(Frame {
        way,
        json: serde_json::from_str(&json.join("\n")).ok()?,
        hex: hex.join("\n"),
    })
}

const HEADING: &str = "\n## A whole conversation\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conversation_is_read_whole() {
        let parts = parts();
        let frames: Vec<_> = parts
            .iter()
            .filter_map(|part| match part {
                Part::Frame(frame) => Some(frame),
                Part::Words(_) => None,
            })
            .collect();
        assert!(frames.len() >= 12, "{}", frames.len());
        assert_eq!(frames[0].way, "alice → relay");
        assert!(frames[0].json.get("hello").is_some());
        assert!(frames.iter().all(|frame| !frame.hex.is_empty()));
    }
}
