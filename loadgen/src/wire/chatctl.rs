//! The relay, over its own protocol.
