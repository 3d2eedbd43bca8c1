//! What messages carry behind their labels: random bytes of drawn sizes, or what a client's sessions encrypt.

use std::ops::Range;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::label::LABEL_BYTES;
use crate::scenario::{Crypto, Drawer, Payload, ScenarioError};

/// Where bodies come from.
pub(super) struct Bodies {
    sizes: Drawer,
    noise: Box<[u8]>,
    dice: Xoshiro256PlusPlus,
    crypto: Crypto,
}

/// The body of one message.
#[derive(Debug)]
pub(super) enum Body {
    /// The same random bytes for all of its recipients.
    Noise(Range<usize>),
    /// What was encrypted for each of its devices.
    Sealed(Vec<Sealed>),
}

/// Ciphertext, and Olm's type of it.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) kind: u32,
    pub(super) bytes: Vec<u8>,
}

impl Bodies {
    /// # Errors
    ///
    /// [`ScenarioError`] when sizes come from a file that has none.
    pub(super) fn new(payload: &Payload, seed: u64) -> Result<Self, ScenarioError> {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut noise = vec![0; NOISE_BYTES + payload.max.0 as usize];
        dice.fill_bytes(&mut noise);
        Ok(Self {
            sizes: Drawer::new(payload, seed)?,
            noise: noise.into(),
            dice,
            crypto: payload.crypto,
        })
    }

    pub(super) const fn crypto(&self) -> Crypto {
        self.crypto
    }

    /// How many bytes the next body is to have.
    pub(super) fn size(&mut self) -> usize {
        self.sizes.draw().saturating_sub(LABEL_BYTES)
    }

    /// Random bytes.
    pub(super) fn noise(&mut self) -> Body {
        let size = self.size().min(self.noise.len() - NOISE_BYTES);
        let start = self.dice.random_range(0..NOISE_BYTES);
        Body::Noise(start..start + size)
    }

    /// The bytes of a body for its `device`th device, and their kind.
    pub(super) fn part<'a>(&'a self, body: &'a Body, device: usize) -> (u32, &'a [u8]) {
        match body {
            Body::Noise(range) => (0, self.noise.get(range.clone()).unwrap_or_default()),
            Body::Sealed(sealed) => sealed
                .get(device)
                .map_or((0, &[]), |sealed| (sealed.kind, &sealed.bytes)),
        }
    }
}

/// Different starts of random bodies.
const NOISE_BYTES: usize = 1 << 20;
