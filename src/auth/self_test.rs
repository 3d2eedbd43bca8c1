//! Whether this build can sign and verify at all, asked once before anything depends on it.
//!
//! # Why
//!
//! The token library finds out at its first real use whether it has exactly one provider of cryptography,
//! and panics if not: in the middle of somebody's login.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jsonwebtoken::crypto::{sign, verify};
use rand::CryptoRng;

use super::error::KeysetError;
use super::key::{Algorithm, Key, KeyState};
use super::new_key::NewKey;
use crate::model::UnixMs;

/// What this build cannot do.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// No provider of cryptography, or more than one: nothing can be signed or verified.
    #[error("this build has no usable cryptography for {}", .0.as_str())]
    NoProvider(Algorithm),
    /// What was signed does not verify, or what was not signed does.
    #[error("the cryptography of this build is wrong for {}", .0.as_str())]
    Wrong(Algorithm),
    /// A key cannot be made.
    #[error("this build cannot make keys")]
    Key(#[from] KeysetError),
}

/// Signs and verifies with each algorithm, and sees that a wrong signature is refused. Takes a millisecond.
///
/// # Errors
///
/// [`SelfTestError`] for the first algorithm that does not work; never a panic.
pub fn self_test(random: &mut impl CryptoRng) -> Result<(), SelfTestError> {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Hs256] {
        guarded(algorithm, || signs_and_verifies(algorithm, random))?;
    }
    guarded(Algorithm::Rs256, verifies_rs256)
}

/// Runs a test whose panic means that there is no provider.
pub(super) fn guarded(
    algorithm: Algorithm,
    test: impl FnOnce() -> Result<(), SelfTestError>,
) -> Result<(), SelfTestError> {
    // Nothing of what was being done is used after a panic.
    catch_unwind(AssertUnwindSafe(test)).unwrap_or(Err(SelfTestError::NoProvider(algorithm)))
}

fn signs_and_verifies(algorithm: Algorithm, random: &mut impl CryptoRng) -> Result<(), SelfTestError> {
    let wrong = SelfTestError::Wrong(algorithm);
    let new = NewKey::generate(algorithm, Some("self-test"), random, UnixMs(0))?;
    let key = Key::parse(new.entry(KeyState::Active, UnixMs(0)))?;
    let Some(signing) = &key.signing else {
        return Err(wrong);
    };
    let library = algorithm.library();
    let Ok(signature) = sign(b"signed", signing, library) else {
        return Err(wrong);
    };
    let good = verify(&signature, b"signed", &key.verifying, library);
    let bad = verify(&signature, b"changed", &key.verifying, library);
    match (good, bad) {
        (Ok(true), Ok(false)) => Ok(()),
        _ => Err(wrong),
    }
}

/// RS256 is only verified here, so a signature that was made elsewhere is.
fn verifies_rs256() -> Result<(), SelfTestError> {
    let wrong = SelfTestError::Wrong(Algorithm::Rs256);
    let key = jsonwebtoken::DecodingKey::from_rsa_components(RSA_N, "AQAB");
    let Ok(key) = key else { return Err(wrong) };
    let library = Algorithm::Rs256.library();
    let good = verify(RSA_SIGNATURE, b"signed", &key, library);
    let bad = verify(RSA_SIGNATURE, b"changed", &key, library);
    match (good, bad) {
        (Ok(true), Ok(false)) => Ok(()),
        _ => Err(wrong),
    }
}

/// A public key whose private part was thrown away.
const RSA_N: &str = "tjbnJCbbVjdeeP15gzElc7qj_QpuAb-LbZxZ_UnuxVAPYrhvB-Vov6cdzJa9jBTUDofjrDEaCpTAQ9Yy0Xoo9q18iullO915Jaxr94NKhNi54LFpGBLBJuIkbcR41b82copabIBt3ppmfLGB_bwzyjosE6UGuA3-fCjvQ7V0HvJm6ZgfhiTQqltsFOOyQLnGxyRwr8f8ig5_ZuXY_SWarfaLzeLLb4Vpq5cQiraxwxbPl8JRBM1sqMXvES4o0RjARiNNfvyOAdYljDJzbysPZe5agbqxZ9jKdL9EVPi5KRPkikLMG51-63gCNG_tkzqTkoO-Psvdnwi9iF90CyTu-Q";

/// Its signature of the text `signed`.
const RSA_SIGNATURE: &str = "i6HF9WO_F4oP-E00McnLXP-lIaAc62g21KP___cPJt_aM08Yl2cVSZBTpkcR3c4SNcYRHoqWnlWOEZOlCE-EMMBQtVNrOy3QJkrIyS239J0sDP3FNo6bOoKDHIiPyt-WCb9oPFs-RS5w_nZxz1D9bgDzBB3HrN6Hp9cRZbrJ7qRjXFNLPq-pSjFBUMIlrrd9I2GyCuegCJg1ZplqJVjPbb2OY_oASSUfMK3-5B9vTFXUsnIze8_Mt1rTzPHQL861Wc-1bhmQSzQzUO6iateBHTYWv81WpW9OB_6y48CZMn564XeDvu8TKV4ohGPVS0NcEdfkX4YDTpBe1XtDVJxLow";
