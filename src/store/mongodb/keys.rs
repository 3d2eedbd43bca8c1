//! Keysets, pools, the key log.

use crate::store::mongodb::layout::Collection;

pub(super) const COLLECTIONS: &[Collection] = &[];
