//! The doors of devices and keys, over a store in memory.
