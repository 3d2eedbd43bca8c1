//! How a group of accounts is made: how many, who of them writes, and who reads it.

use std::ops::Range;

use crate::scenario::Topology;

impl Topology {
    /// Accounts of a group.
    #[must_use]
    pub fn members(self) -> u32 {
        match self {
            Self::Pairs | Self::Dialogues => 2,
            Self::Fanout { recipients: others } | Self::Fanin { senders: others } => {
                others.max(1).saturating_add(1)
            }
            Self::Rooms { size } => size.max(2),
        }
    }

    /// Members of a group that write.
    #[must_use]
    pub fn writers(self) -> Range<u32> {
        match self {
            Self::Pairs | Self::Fanout { .. } => 0..1,
            Self::Dialogues | Self::Rooms { .. } => 0..self.members(),
            Self::Fanin { .. } => 1..self.members(),
        }
    }

    /// Members of a group that one of its writers writes to.
    pub fn readers(self, writer: u32) -> impl Iterator<Item = u32> {
        let readers = match self {
            Self::Fanin { .. } => 0..1,
            Self::Pairs | Self::Dialogues | Self::Fanout { .. } | Self::Rooms { .. } => 0..self.members(),
        };
        readers.filter(move |reader| *reader != writer)
    }
}
