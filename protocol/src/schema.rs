//! The schema as data: every message and field of `relay.proto` with its comment.
//!
//! For whoever describes the protocol in another language. Made from the same descriptors as the code in
//! [`crate::v1`], so the two cannot differ. Must not know how it is described.

/// A message of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Its name: `Hello`.
    pub name: &'static str,
    /// Its comment in the schema.
    pub doc: &'static str,
    /// In the order of the schema.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in the schema: `to_account`.
    pub name: &'static str,
    /// Its name in JSON: `toAccount`.
    pub json_name: &'static str,
    /// Its number in protobuf.
    pub number: u32,
    /// What it holds.
    pub kind: Kind,
    /// Whether it is a list.
    pub repeated: bool,
    /// Its comment in the schema.
    pub doc: &'static str,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `bool`.
    Bool,
    /// `uint32`, a varint; a number in JSON.
    Uint32,
    /// `uint64`, a varint; text in JSON.
    Uint64,
    /// `int64`, a varint; text in JSON.
    Int64,
    /// `fixed64`, eight bytes; text in JSON.
    Fixed64,
    /// `string`.
    String,
    /// `bytes`; base64 in JSON.
    Bytes,
    /// A message of this name.
    Message(&'static str),
    /// An enum of this name; its value's name in JSON.
    Enum(&'static str),
}

/// An enum of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enum {
    /// Its name: `Mode`.
    pub name: &'static str,
    /// Its comment in the schema.
    pub doc: &'static str,
    /// In the order of the schema.
    pub values: &'static [EnumValue],
}

/// A value of an enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnumValue {
    /// Its name: `MODE_NOTIFY`.
    pub name: &'static str,
    /// Its number in protobuf.
    pub number: i32,
    /// Its comment in the schema.
    pub doc: &'static str,
}

/// Who sends a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speaker {
    /// The client.
    Client,
    /// The relay.
    Relay,
}

impl Message {
    /// The message of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        MESSAGES.iter().find(|message| message.name == name)
    }
}

impl Field {
    /// Who sends this body of a `Frame`: clients have the numbers below 16, whose tag is one byte.
    #[must_use]
    pub const fn speaker(&self) -> Speaker {
        match self.number < 16 {
            true => Speaker::Client,
            false => Speaker::Relay,
        }
    }
}

/// The bodies that a frame may have, as fields of `Frame`.
#[must_use]
pub fn frames() -> &'static [Field] {
    Message::named("Frame").map_or(&[], |frame| frame.fields)
}

include!(concat!(env!("OUT_DIR"), "/schema.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_and_every_reference_is_there_and_described() {
        for message in MESSAGES {
            assert!(!message.doc.is_empty(), "{}", message.name);
            for field in message.fields {
                match field.kind {
                    Kind::Message(name) => assert!(Message::named(name).is_some(), "{name}"),
                    Kind::Enum(name) => assert!(ENUMS.iter().any(|known| known.name == name), "{name}"),
                    Kind::Bool
                    | Kind::Uint32
                    | Kind::Uint64
                    | Kind::Int64
                    | Kind::Fixed64
                    | Kind::String
                    | Kind::Bytes => {}
                }
            }
        }
        assert_eq!(frames().len(), 19);
    }

    #[test]
    fn a_field_is_what_the_schema_says() {
        let send = Message::named("Send").unwrap();
        let field = Field {
            name: "client_msg_id",
            json_name: "clientMsgId",
            number: 4,
            kind: Kind::Bytes,
            repeated: false,
            doc: "Names the message: a retry with the same bytes here is never a second one.\n\
                  1 to 32 bytes, 16 random ones recommended.",
        };
        assert_eq!(send.fields[3], field);
        assert_eq!(frames()[0].speaker(), Speaker::Client);
        assert_eq!(frames()[18].speaker(), Speaker::Relay);
    }
}
