//! The last bytes of a backup's file, which say whether all of those before them are there and unchanged.
//!
//! Must not know what the bytes are. SQLite does not mind them: its file's header says where its pages end.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

/// Bytes of a seal.
pub(super) const SEAL: u64 = (MARK.len() + 32) as u64;

/// Whose it is, and of which form.
const MARK: &[u8; 16] = b"chatctl backup 1";

/// Reads bytes, and their seal behind them.
#[derive(Debug)]
pub(super) struct Sealing<R> {
    inner: R,
    hash: Option<Sha256>,
    seal: Vec<u8>,
}

impl<R: Read> Sealing<R> {
    /// Bytes that have no seal yet.
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Some(Sha256::new()),
            seal: Vec::new(),
        }
    }
}

impl<R: Read> Read for Sealing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Some(hash) = &mut self.hash {
            let read = self.inner.read(buffer)?;
            if read > 0 {
                hash.update(buffer.get(..read).unwrap_or_default());
                return Ok(read);
            }
            let digest = self.hash.take().map(Sha256::finalize);
            self.seal.extend_from_slice(MARK);
            self.seal.extend(digest.into_iter().flatten());
        }
        let read = self.seal.as_slice().read(buffer)?;
        self.seal.drain(..read);
        Ok(read)
    }
}

/// Hears how many bytes were read, and says whether to go on.
pub type Told<'a> = &'a dyn Fn(u64) -> ControlFlow<()>;

/// What a seal says of what is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It is all there.
    Whole,
    /// There is no seal: it is something else, or its end is missing.
    NoSeal,
    /// It was changed on its way.
    Other,
}

/// Copies a file of so many bytes without its seal, and says what the seal says. Tells how far it is, and asks whether
/// to go on.
///
/// # Errors
///
/// Of either side; [`io::ErrorKind::Interrupted`] when it is not to go on.
pub(super) fn unseal(
    from: &mut impl Read,
    bytes: u64,
    into: &mut impl Write,
    told: Told<'_>,
) -> io::Result<Found> {
    let Some(mut left) = bytes.checked_sub(SEAL) else {
        return Ok(Found::NoSeal);
    };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let chunk = buffer.get_mut(..most).unwrap_or_default();
        from.read_exact(chunk)?;
        hash.update(&*chunk);
        into.write_all(chunk)?;
        left -= most as u64;
        if told(bytes - SEAL - left).is_break() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    let mut seal = Vec::new();
    from.read_to_end(&mut seal)?;
    let digest = hash.finalize();
    Ok(match seal.strip_prefix(MARK) {
        None => Found::NoSeal,
        Some(sealed) if *sealed == *digest => Found::Whole,
        Some(_) => Found::Other,
    })
}

/// Bytes that are read at once.
const CHUNK: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        Sealing::new(bytes).read_to_end(&mut all).unwrap();
        all
    }

    fn look(bytes: &[u8]) -> (Found, Vec<u8>) {
        let mut out = Vec::new();
        let found = unseal(&mut &*bytes, bytes.len() as u64, &mut out, &|_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        (found, out)
    }

    #[test]
    fn what_was_sealed_comes_back_and_what_was_cut_or_changed_is_found() {
        for bytes in [&b""[..], b"x", &vec![7; 3 * CHUNK + 1]] {
            let whole = sealed(bytes);
            assert_eq!(whole.len() as u64, bytes.len() as u64 + SEAL);
            assert_eq!(look(&whole), (Found::Whole, bytes.to_vec()));
            for cut in [1, 47, 48, 49] {
                let short = &whole[..whole.len().saturating_sub(cut)];
                assert_eq!(look(short).0, Found::NoSeal, "{cut}");
            }
            let last = whole.len() - 1;
            for place in [0, last] {
                let mut other = whole.clone();
                other[place] ^= 1;
                assert_ne!(look(&other).0, Found::Whole, "{place}");
            }
        }
    }

    #[test]
    fn a_reader_with_little_room_gets_the_same_bytes() {
        let (mut sealing, mut all, mut one) = (Sealing::new(&b"abc"[..]), Vec::new(), [0]);
        while sealing.read(&mut one).unwrap() == 1 {
            all.push(one[0]);
        }
        assert_eq!(all, sealed(b"abc"));
    }
}
