//! End-to-end encryption over a relay: Olm sessions (X3DH and the Double Ratchet, by vodozemac) that are made through
//! the relay's key directory.
//!
//! Must not know how mail travels: it turns plaintext into a [`crate::Message`] and [`crate::Mail`] into plaintext.
