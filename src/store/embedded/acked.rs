//! Lists of acked envelopes, and the rows that go because of them.
//!
//! Owns what is written of an ack. Must not know when rows go: that is chosen in memory.
//!
//! # Why
//!
//! An ack is a few bytes in one row a commit; the row of its envelope goes later, with its neighbours. Until then the
//! list says that it is no mail any more, also to who opens the store after a crash. An ack that is lost with the last
//! commit of a crash brings its envelope a second time, as any lost ack does.

use std::collections::{BTreeMap, HashSet};

use chatctl_protocol::EnvelopeId;
use rusqlite::Connection;

use crate::store::Error;
use crate::store::embedded::regions::{Burial, Regions};

/// Writes a list down. The ids ascend.
pub(super) fn write(conn: &Connection, list: i64, ids: &[EnvelopeId]) -> Result<(), Error> {
    conn.prepare_cached("INSERT INTO acked VALUES (?1, ?2)")?
        .execute((list, encode(ids)))?;
    Ok(())
}

/// Deletes rows of acked envelopes, and lists that say nothing any more.
pub(super) fn bury(conn: &Connection, burial: &Burial) -> Result<(), Error> {
    let mut remove = conn.prepare_cached("DELETE FROM mail WHERE id = ?1")?;
    for id in &burial.ids {
        remove.execute([id.as_u64().cast_signed()])?;
    }
    let mut forget = conn.prepare_cached("DELETE FROM acked WHERE number = ?1")?;
    for list in &burial.lists {
        forget.execute([list])?;
    }
    Ok(())
}

/// Deletes all rows of acked envelopes at once, from a copy that nobody else has.
pub(super) fn settle(conn: &Connection) -> Result<(), Error> {
    let mut remove = conn.prepare("DELETE FROM mail WHERE id = ?1")?;
    for id in all(conn)? {
        remove.execute([id.as_u64().cast_signed()])?;
    }
    conn.execute("DELETE FROM acked", [])?;
    Ok(())
}

/// Every acked envelope that may have a row.
pub(super) fn all(conn: &Connection) -> Result<HashSet<EnvelopeId>, Error> {
    let mut all = HashSet::new();
    each(conn, |_, ids| all.extend(ids))?;
    Ok(all)
}

/// How many rows of acked envelopes there are.
pub(super) fn rows(conn: &Connection) -> Result<u64, Error> {
    let mut is_there = conn.prepare("SELECT 1 FROM mail WHERE id = ?1")?;
    let mut rows = 0;
    for id in all(conn)? {
        rows += u64::from(is_there.exists([id.as_u64().cast_signed()])?);
    }
    Ok(rows)
}

/// Tells of every list; by which an envelope is acked.
pub(super) fn lists(conn: &Connection, regions: &mut Regions) -> Result<BTreeMap<EnvelopeId, i64>, Error> {
    let mut by = BTreeMap::new();
    each(conn, |list, ids| {
        regions.list(list);
        by.extend(ids.into_iter().map(|id| (id, list)));
    })?;
    Ok(by)
}

fn each(conn: &Connection, mut tell: impl FnMut(i64, Vec<EnvelopeId>)) -> Result<(), Error> {
    let mut select = conn.prepare("SELECT number, ids FROM acked ORDER BY number")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        tell(row.get(0)?, decode(bytes)?);
    }
    Ok(())
}

/// Each id as its distance from the one before, seven bits a byte, the low ones first.
fn encode(ids: &[EnvelopeId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ids.len() * 4 + 8);
    let mut before = 0;
    for id in ids {
        let step = id.as_u64().wrapping_sub(before);
        prost::encoding::encode_varint(step, &mut bytes);
        before = id.as_u64();
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Result<Vec<EnvelopeId>, Error> {
    let mut ids = Vec::with_capacity(bytes.len() / 3);
    let mut id = 0u64;
    while !bytes.is_empty() {
        let step = prost::encoding::decode_varint(&mut bytes)
            .map_err(|_| Error::Corrupt("a list of acked envelopes ends early".into()))?;
        id = id.wrapping_add(step);
        ids.push(EnvelopeId::from_u64(id));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_neighbours_take_a_byte() {
        let ids: Vec<_> = [1, 2, 90, 1 << 61, (1 << 61) + 4096]
            .map(EnvelopeId::from_u64)
            .into();
        let bytes = encode(&ids);
        assert_eq!(bytes.len(), 1 + 1 + 1 + 9 + 2);
        assert_eq!(decode(&bytes).unwrap(), ids);
        assert!(matches!(decode(&bytes[..13]), Err(Error::Corrupt(_))));
    }
}
