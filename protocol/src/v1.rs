//! The messages of protocol version 1, generated from the schema.

#![expect(
    missing_docs,
    reason = "generated from relay.proto, where every field is described"
)]
#![expect(clippy::too_many_lines, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/chatctl.v1.rs"));
include!(concat!(env!("OUT_DIR"), "/chatctl.v1.serde.rs"));
