//! Why a scenario cannot be used.

use std::path::PathBuf;

/// Why.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It does not say what a scenario says.
    #[error("line {line}, column {column}: {message}")]
    Unreadable {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong, and what it could have been.
        message: String,
    },
    /// Another version's file.
    #[error("`{0}` is not a scenario of this version: the file opens with `schema = \"{SCHEMA}\"`", SCHEMA = super::SCHEMA)]
    Version(String),
    /// The file of sizes cannot be read.
    #[error("the sizes in {path} cannot be read", path = path.display())]
    Sizes {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: std::io::Error,
    },
    /// A line of the file of sizes is none.
    #[error("{path}, line {line}: not a size such as `256B`", path = path.display())]
    Size {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// The file of sizes has none.
    #[error("{path} has no sizes", path = path.display())]
    NoSizes {
        /// Which file.
        path: PathBuf,
    },
    /// The file of sizes is longer than one is read.
    #[error("{path} is larger than {most} bytes", path = path.display(), most = super::sizes::LONGEST_FILE)]
    TooManySizes {
        /// Which file.
        path: PathBuf,
    },
}
