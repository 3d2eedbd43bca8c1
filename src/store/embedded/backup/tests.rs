//! Facts about backups and what is restored from them.
