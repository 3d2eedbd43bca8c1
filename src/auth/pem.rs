//! Keys as PEM: what is read out of a file, and what public keys are exported as.
//!
//! Owns the two forms that are read, PKCS#8 (private) and SPKI (public). Must not know keysets.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use spki::der::asn1::UintRef;
use spki::der::{Decode as _, Reader as _, SliceReader};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::error::PemError;

/// One key as it stands in a PEM text, in DER.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// PKCS#8.
    Private(Vec<u8>),
    /// SPKI.
    Public(Vec<u8>),
}

/// Reads the one key of a PEM text.
///
/// # Errors
///
/// [`PemError`]; a key that is encrypted or in an older form is named as such.
pub(super) fn parse(text: &str) -> Result<Section, PemError> {
    let mut lines = text.lines().map(str::trim);
    let label = lines
        .by_ref()
        .find_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .ok_or(PemError::NoPem)?;
    let mut body = String::new();
    let end = format!("-----END {label}-----");
    loop {
        match lines.next().ok_or(PemError::NoPem)? {
            line if line == end => break,
            // The older form of encryption has headers in the text.
            line if line.starts_with("Proc-Type:") && line.contains("ENCRYPTED") => {
                return Err(PemError::Encrypted);
            }
            line => body.push_str(line),
        }
    }
    let section: fn(Vec<u8>) -> Section = match label {
        "PRIVATE KEY" => Section::Private,
        "PUBLIC KEY" => Section::Public,
        "ENCRYPTED PRIVATE KEY" => return Err(PemError::Encrypted),
        "EC PRIVATE KEY" | "RSA PRIVATE KEY" | "OPENSSH PRIVATE KEY" => return Err(PemError::OtherForm),
        _ => return Err(PemError::NotAKey),
    };
    if lines.any(|line| line.starts_with("-----BEGIN ")) {
        return Err(PemError::Several);
    }
    STANDARD.decode(body).map(section).map_err(|_| PemError::NoPem)
}

/// Whether a text holds what only its owner may read.
#[must_use]
pub fn is_private_pem(text: &[u8]) -> bool {
    const WORD: &[u8] = b"PRIVATE KEY-----";
    text.windows(WORD.len()).any(|window| window == WORD)
}

/// What stands in an SPKI.
pub(super) enum PublicKey<'a> {
    Ed25519(&'a [u8]),
    P256(&'a [u8]),
    Rsa { n: &'a [u8], e: &'a [u8] },
}

/// Takes an SPKI apart; `None` when it is none, or of a kind that is not used here.
pub(super) fn public_key(der: &[u8]) -> Option<PublicKey<'_>> {
    let spki = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let bits = spki.subject_public_key.as_bytes()?;
    let curve = || spki.algorithm.parameters_oid().ok();
    match spki.algorithm.oid {
        ED25519 => Some(PublicKey::Ed25519(bits)),
        EC if curve() == Some(P256) => Some(PublicKey::P256(bits)),
        RSA => {
            let mut reader = SliceReader::new(bits).ok()?;
            let (n, e) = reader
                .sequence(|reader| -> spki::der::Result<_> {
                    Ok((UintRef::decode(reader)?, UintRef::decode(reader)?))
                })
                .ok()?;
            Some(PublicKey::Rsa {
                n: n.as_bytes(),
                e: e.as_bytes(),
            })
        }
        _ => None,
    }
}

/// Writes an SPKI as PEM.
pub(super) fn public_pem(key: &PublicKey<'_>) -> String {
    let (algorithm, bits) = match key {
        PublicKey::Ed25519(x) => (tlv(0x30, &[&oid(ED25519)]), x.to_vec()),
        PublicKey::P256(point) => (tlv(0x30, &[&oid(EC), &oid(P256)]), point.to_vec()),
        PublicKey::Rsa { n, e } => {
            let null = [0x05, 0x00];
            (
                tlv(0x30, &[&oid(RSA), &null]),
                tlv(0x30, &[&integer(n), &integer(e)]),
            )
        }
    };
    let der = tlv(0x30, &[&algorithm, &tlv(0x03, &[&[0], &bits])]);
    let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        // Writing to a string does not fail.
        let _ = writeln!(pem, "{}", String::from_utf8_lossy(line));
    }
    pem + "-----END PUBLIC KEY-----\n"
}

fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    tlv(0x06, &[oid.as_bytes()])
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    // A first bit that is set would make it negative.
    let is_high = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let zero: &[u8] = if is_high { &[0] } else { &[] };
    tlv(0x02, &[zero, bytes])
}

/// A tag, a length and a value of DER.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = value.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut der = vec![tag];
    match u8::try_from(value.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        // A length has eight bytes at most.
        _ => {
            der.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
            der.extend(significant);
        }
    }
    der.extend(value);
    der
}

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
