//! The relay daemon of chatctl as a library.
//!
//! It carries ciphertext between devices, keeps it for those that are away, and keeps their public
//! keys. Nothing here can decrypt: its dependencies hold signature checks and nothing more.
//!
//! # Floors
//!
//! A room imports only from floors below its own; `tests/floors.rs` reads the imports.
//!
//! ```text
//! 5 server         builds, runs, drains; every spawn
//! 4 http           the doors: ws, devices, keys, messages, health, token, problem
//! 3 switchboard    the only holder of store and hub        session (one device, no socket)        jobs (clean-up)
//! 2 mailbox        directory (devices, bundles, claims)    committer (tail, group commit)
//! 1 store          hub (who is here; the bells)            auth
//! 0 model          config          metrics          trace (spans)          (and the protocol package)
//! ```

pub mod auth;
pub mod committer;
pub mod config;
pub mod directory;
pub mod http;
pub mod hub;
pub mod jobs;
pub mod mailbox;
pub mod metrics;
pub mod model;
pub mod server;
pub mod session;
pub mod store;
pub mod switchboard;
pub mod trace;
