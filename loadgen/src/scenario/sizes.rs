//! Sizes of payloads: how they are written, and drawn.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::label::LABEL_BYTES;
use crate::scenario::{Crypto, Payload, ScenarioError};
use crate::units::{Size, UnitError};

/// Sizes of payloads. Written `256B`, `lognormal(MEDIAN, SIGMA)`, `chat` (the measured distribution of chat
/// messages: `lognormal(17 letters, 1.15)` and 40 bytes of framing, padded and encrypted), or `file:PATH` (a size on
/// each line).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Sizes {
    /// All the same.
    Fixed(Size),
    /// Log-normal.
    LogNormal {
        /// Half are smaller.
        median: Size,
        /// Of the logarithm.
        sigma: f64,
    },
    /// As measured at a chat provider (reference: 474,562 messages, ProcessOne).
    Chat,
    /// Drawn from a file's lines.
    File(PathBuf),
}

/// Draws sizes. The same seed draws the same ones.
#[derive(Debug, Clone)]
pub struct Drawer {
    source: Source,
    least: usize,
    most: usize,
    dice: Xoshiro256PlusPlus,
}

#[derive(Debug, Clone)]
enum Source {
    Fixed(u64),
    LogNormal { mu: f64, sigma: f64 },
    Chat,
    Lines(Vec<u32>),
}

impl Drawer {
    /// A drawer of a scenario's sizes. Reads the file of [`Sizes::File`], once.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] when that file has no sizes that can be read.
    pub fn new(payload: &Payload, seed: u64) -> Result<Self, ScenarioError> {
        let source = match &payload.size {
            Sizes::Fixed(size) => Source::Fixed(size.0),
            Sizes::LogNormal { median, sigma } => Source::LogNormal {
                mu: (median.0.max(1) as f64).ln(),
                sigma: *sigma,
            },
            Sizes::Chat => Source::Chat,
            Sizes::File(path) => Source::Lines(lines(path)?),
        };
        let least = least(payload.crypto);
        Ok(Self {
            source,
            least,
            most: usize::try_from(payload.max.0).unwrap_or(usize::MAX).max(least),
            dice: Xoshiro256PlusPlus::seed_from_u64(seed),
        })
    }

    /// The bytes of the next payload, its label included: at least [`least`], at most the scenario's `max`.
    pub fn draw(&mut self) -> usize {
        let bytes = match &self.source {
            Source::Fixed(bytes) => *bytes,
            Source::LogNormal { mu, sigma } => (mu + sigma * normal(&mut self.dice)).exp() as u64,
            Source::Chat => chat((CHAT_MU + CHAT_SIGMA * normal(&mut self.dice)).exp() as u64),
            Source::Lines(lines) => u64::from(lines[self.dice.random_range(0..lines.len())]),
        };
        usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .clamp(self.least, self.most)
    }
}

/// The smallest payload: a label, and a body that says which message it is.
#[must_use]
pub const fn least(crypto: Crypto) -> usize {
    match crypto {
        Crypto::None => LABEL_BYTES + 4,
        // An Olm message of one block.
        Crypto::Session | Crypto::Staged => LABEL_BYTES + olm(16) as usize,
    }
}

/// The payload of a chat message of so many letters: framed, padded to blocks so that its length tells little,
/// encrypted, labelled.
const fn chat(letters: u64) -> u64 {
    let content = letters.saturating_add(CHAT_FRAMING);
    let padded = (content / CHAT_BLOCK)
        .saturating_add(1)
        .saturating_mul(CHAT_BLOCK)
        - 1;
    olm(padded) + LABEL_BYTES as u64
}

/// What Olm makes of so many bytes: whole cipher blocks, keys, counters, and a tag.
const fn olm(bytes: u64) -> u64 {
    (bytes / 16).saturating_mul(16).saturating_add(63)
}

/// A standard normal number, by Box and Muller.
fn normal(dice: &mut Xoshiro256PlusPlus) -> f64 {
    let (one, two) = (1.0 - dice.random::<f64>(), dice.random::<f64>());
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos()
}

/// A file's sizes: one on each line; empty lines and those that open with `#` are none.
fn lines(path: &Path) -> Result<Vec<u32>, ScenarioError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST_FILE + 1).read_to_string(&mut text))
        .map_err(|error| ScenarioError::Sizes {
            path: path.to_owned(),
            error,
        })?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(ScenarioError::TooManySizes {
            path: path.to_owned(),
        });
    }
    let mut sizes = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let size = line.parse::<Size>().ok();
        let size = size.and_then(|size| u32::try_from(size.0).ok());
        sizes.push(size.ok_or_else(|| ScenarioError::Size {
            path: path.to_owned(),
            line: at + 1,
        })?);
    }
    match sizes.is_empty() {
        true => Err(ScenarioError::NoSizes {
            path: path.to_owned(),
        }),
        false => Ok(sizes),
    }
}

impl FromStr for Sizes {
    type Err = UnitError;

    fn from_str(word: &str) -> Result<Self, UnitError> {
        let bad = || UnitError::new(word, SIZES);
        let word = word.trim();
        if word == "chat" {
            return Ok(Self::Chat);
        }
        if let Some(path) = word.strip_prefix("file:") {
            return match path.is_empty() {
                true => Err(bad()),
                false => Ok(Self::File(path.into())),
            };
        }
        let Some(inside) = word.strip_prefix("lognormal") else {
            return word.parse().map(Self::Fixed).map_err(|_| bad());
        };
        let inside = inside
            .trim()
            .strip_prefix('(')
            .and_then(|inside| inside.strip_suffix(')'));
        let (median, sigma) = inside.and_then(|inside| inside.split_once(',')).ok_or_else(bad)?;
        let sigma: f64 = sigma.trim().parse().map_err(|_| bad())?;
        let median: Size = median.parse().map_err(|_| bad())?;
        match (0.0..=MOST_SIGMA).contains(&sigma) && median.0 > 0 {
            true => Ok(Self::LogNormal { median, sigma }),
            false => Err(bad()),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => size.fmt(f),
            Self::LogNormal { median, sigma } => write!(f, "lognormal({median}, {sigma})"),
            Self::Chat => f.write_str("chat"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl TryFrom<String> for Sizes {
    type Error = UnitError;

    fn try_from(word: String) -> Result<Self, UnitError> {
        word.parse()
    }
}

impl From<Sizes> for String {
    fn from(sizes: Sizes) -> Self {
        sizes.to_string()
    }
}

const SIZES: &str = "a size such as `256B`, `lognormal(400B, 1.1)`, `chat` or `file:PATH`";
/// Letters of chat messages.
const CHAT_MU: f64 = 2.83;
const CHAT_SIGMA: f64 = 1.15;
const CHAT_FRAMING: u64 = 40;
const CHAT_BLOCK: u64 = 80;
/// With more, most sizes are the smallest or the largest one.
const MOST_SIGMA: f64 = 10.0;
/// About a million lines.
pub(super) const LONGEST_FILE: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn payload(size: &str, crypto: Crypto) -> Payload {
        Payload {
            size: size.parse().unwrap(),
            max: Size(4096),
            crypto,
        }
    }

    fn drawn(size: &str, seed: u64) -> Vec<usize> {
        let mut drawer = Drawer::new(&payload(size, Crypto::None), seed).unwrap();
        (0..20_000).map(|_| drawer.draw()).collect()
    }

    fn median(mut sizes: Vec<usize>) -> usize {
        sizes.sort_unstable();
        sizes[sizes.len() / 2]
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for word in [
            "256B",
            "64KiB",
            "lognormal(400B, 1.1)",
            "lognormal(1KiB, 0)",
            "chat",
            "file:a b.txt",
        ] {
            assert_eq!(word.parse::<Sizes>().unwrap().to_string(), word);
        }
        assert_eq!(
            "lognormal( 1024 ,2)".parse(),
            Ok(Sizes::LogNormal {
                median: Size(1024),
                sigma: 2.0
            })
        );
        for word in [
            "",
            "chatty",
            "file:",
            "lognormal",
            "lognormal(400B)",
            "lognormal(0B, 1)",
            "lognormal(400B, -1)",
            "lognormal(400B, NaN)",
            "lognormal(400B, 1",
        ] {
            assert!(word.parse::<Sizes>().is_err(), "{word}");
        }
    }

    #[test]
    fn sizes_are_drawn_as_they_are_distributed() {
        assert!(drawn("256B", 1).iter().all(|size| *size == 256));
        let sizes = drawn("lognormal(400B, 1.1)", 1);
        // A standard deviation of a drawn median is about 1.4 percent here.
        assert!((380..420).contains(&median(sizes.clone())), "{}", median(sizes));
        let below = |sizes: &[usize], size| sizes.iter().filter(|one| **one < size).count();
        let sizes = drawn("lognormal(400B, 1.1)", 2);
        // 84.1 percent are below a sigma more.
        let share = below(&sizes, (400.0 * 1.1f64.exp()) as usize);
        assert!((16_500..17_150).contains(&share), "{share}");
    }

    #[test]
    fn most_chat_messages_are_one_padded_block_or_two() {
        assert_eq!((chat(1), chat(39), chat(40)), (171, 171, 251));
        let sizes = drawn("chat", 3);
        let with = |size| sizes.iter().filter(|one| **one == size).count();
        // ln 39.. is 0.73 sigma above the mean: 77 percent; up to 119 letters, 95.5 percent.
        assert!((14_900..15_900).contains(&with(171)), "{}", with(171));
        assert!((3_300..4_100).contains(&with(251)), "{}", with(251));
        assert!(sizes.iter().all(|size| *size >= 171 && *size <= 4096));
    }

    #[test]
    fn a_files_sizes_are_drawn_and_bad_lines_are_told() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "# bytes\n100\n\n1KiB\n").unwrap();
        let word = format!("file:{}", file.path().display());
        let drawn: std::collections::BTreeSet<_> = drawn(&word, 5).into_iter().collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [100, 1024]);
        writeln!(file, "many").unwrap();
        let error = Drawer::new(&payload(&word, Crypto::None), 5).unwrap_err();
        assert!(matches!(error, ScenarioError::Size { line: 5, .. }), "{error}");
        let error = Drawer::new(&payload("file:/nowhere/at/all", Crypto::None), 5).unwrap_err();
        assert!(matches!(error, ScenarioError::Sizes { .. }), "{error}");
        file.as_file().set_len(LONGEST_FILE + 1).unwrap();
        let error = Drawer::new(&payload(&word, Crypto::None), 5).unwrap_err();
        assert!(matches!(error, ScenarioError::TooManySizes { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn no_size_is_below_the_least_or_above_the_most(
            median in 1u64..1 << 40,
            sigma in 0.0..10f64,
            max in 0u64..1 << 20,
            seed: u64,
            encrypted: bool,
        ) {
            let crypto = if encrypted { Crypto::Session } else { Crypto::None };
            for size in [Sizes::Fixed(Size(median)), Sizes::LogNormal { median: Size(median), sigma }, Sizes::Chat] {
                let payload = Payload { size, max: Size(max), crypto };
                let (mut one, mut two) = (Drawer::new(&payload, seed).unwrap(), Drawer::new(&payload, seed).unwrap());
                for _ in 0..20 {
                    let drawn = one.draw();
                    prop_assert!(drawn >= least(crypto) && drawn <= (max as usize).max(least(crypto)));
                    prop_assert_eq!(drawn, two.draw());
                }
            }
        }
    }
}
