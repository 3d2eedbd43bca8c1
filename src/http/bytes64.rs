//! Byte fields of JSON bodies: base64, forgiving in, standard out.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// Bytes as base64: either alphabet and any padding are read, the standard alphabet with padding is
/// written.
#[derive(Clone, PartialEq, Eq, Default, ToSchema)]
#[schema(value_type = String, format = "byte", example = "AAECAw==")]
pub struct Bytes64(Bytes);

impl std::fmt::Debug for Bytes64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes64({} bytes)", self.0.len())
    }
}

impl AsRef<[u8]> for Bytes64 {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes64> for Bytes {
    fn from(bytes: Bytes64) -> Self {
        bytes.0
    }
}

impl From<Bytes> for Bytes64 {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl<'de> Deserialize<'de> for Bytes64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let engine = if text.contains(['-', '_']) {
            &URL_SAFE
        } else {
            &ANY
        };
        let bytes = engine
            .decode(text.as_bytes())
            .map_err(|_| D::Error::custom("not base64"))?;
        Ok(Self(bytes.into()))
    }
}

impl Serialize for Bytes64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

const FORGIVING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const ANY: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, FORGIVING);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_are_read_and_one_is_written() {
        for text in ["\"+/8=\"", "\"-_8=\"", "\"-_8\"", "\"+/8\""] {
            let bytes: Bytes64 = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&bytes).unwrap(), "\"+/8=\"");
        }
        assert!(serde_json::from_str::<Bytes64>("\"!\"").is_err());
    }
}
