//! Buffers that a thread lends to whichever connection it works for.
//!
//! # Why
//!
//! A connection needs a buffer only while bytes are on their way through the relay: most wait, and what they do not hold
//! is most of what an idle connection would cost. A buffer that was used a moment ago is in the cache, too.

use std::cell::{Cell, RefCell};

thread_local! {
    static FOR_READING: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static FOR_WRITING: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer of [`READ_BYTES`] to read into; what stands in it is of no meaning.
pub(super) fn take_for_reading() -> Vec<u8> {
    let spare = FOR_READING.try_with(|pool| pool.borrow_mut().pop());
    spare.ok().flatten().unwrap_or_else(|| vec![0; READ_BYTES])
}

/// Gives one back.
pub(super) fn give_for_reading(buffer: Vec<u8>) {
    // A thread that ends needs none.
    let _ = FOR_READING.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < MOST_FOR_READING && buffer.len() == READ_BYTES {
            pool.push(buffer);
        }
    });
}

/// An empty buffer to write into. Whoever takes a second one before the first is back has to allocate.
pub(super) fn take_for_writing() -> Vec<u8> {
    FOR_WRITING.try_with(Cell::take).unwrap_or_default()
}

/// Gives it back.
pub(super) fn give_for_writing(mut buffer: Vec<u8>) {
    if buffer.capacity() <= MOST_WRITE_BYTES {
        buffer.clear();
        let _ = FOR_WRITING.try_with(|spare| spare.set(buffer));
    }
}

/// What one read may bring.
pub(super) const READ_BYTES: usize = 16 * 1024;

/// Spare buffers that a thread keeps: connections that still have unread frames hold theirs.
const MOST_FOR_READING: usize = 8;

/// A buffer that has grown beyond this is not kept.
const MOST_WRITE_BYTES: usize = 1024 * 1024;
