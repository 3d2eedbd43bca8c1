//! Whom a command trusts under `https://`: the system's authorities, or those of a file.

use std::path::PathBuf;

use chatctl_client::{Dial, Tls};

use crate::exit::Exit;
use crate::failure::Failure;

/// Whose certificates count.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Authority {
    /// Authorities to trust under https:// instead of the system's: certificates in PEM
    #[arg(id = "authority.ca", long = "ca", value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Authority {
    /// How connections are made. Reads the file, if there is one.
    ///
    /// # Errors
    ///
    /// [`Exit::NoInput`] when it cannot be read; [`Exit::DataErr`] when no certificate is in it.
    pub(crate) fn dial(&self) -> Result<Dial, Failure> {
        let (Some(path), Some(pem)) = (&self.ca, self.pem()?) else {
            return Ok(Dial::default());
        };
        let tls = Tls::of_authorities(&pem).map_err(|error| {
            Failure::new(Exit::DataErr, format!("{} cannot be trusted", path.display()))
                .caused_by(&error)
                .hint("--ca takes certificates in PEM: those of the authority, or the relay's own if it signed itself")
        })?;
        Ok(Dial::trusting(tls))
    }

    /// The file as it is; nothing where the system's authorities are trusted.
    ///
    /// # Errors
    ///
    /// [`Exit::NoInput`] when it cannot be read.
    pub(crate) fn pem(&self) -> Result<Option<Vec<u8>>, Failure> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| {
                Failure::new(Exit::NoInput, format!("cannot read {}", path.display())).caused_by(&error)
            })
        };
        self.ca.as_ref().map(read).transpose()
    }
}
