//! Histograms as text: HdrHistogram V2, compressed, in base64, as other tools read them. Nothing is lost.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};

/// A histogram as text.
#[must_use]
pub fn pack(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    // A vector takes every byte, and counts are within what the format holds.
    let _ = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
    STANDARD.encode(bytes)
}

/// The histogram of a text; none when it is not one.
#[must_use]
pub fn unpack(text: &str) -> Option<Histogram<u64>> {
    let bytes = STANDARD.decode(text).ok()?;
    Deserializer::new().deserialize(&mut Cursor::new(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_comes_back_whole() {
        let mut histogram = Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3).unwrap();
        for value in [1, 999_999, 1_000_000_000] {
            histogram.record_n(value, 7).unwrap();
        }
        assert_eq!(unpack(&pack(&histogram)), Some(histogram));
        assert_eq!(unpack("AAAA"), None);
        assert_eq!(unpack("!"), None);
    }
}
