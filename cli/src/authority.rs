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
    /// As [`Self::tls`].
    pub(crate) fn dial(&self) -> Result<Dial, Failure> {
        Ok(self.tls()?.map(Dial::trusting).unwrap_or_default())
    }

    /// Whom to trust; nothing where that is the system's to say.
    ///
    /// # Errors
    ///
    /// [`Exit::NoInput`] when the file cannot be read; [`Exit::DataErr`] when no certificate is in it.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, Failure> {
        let Some(path) = &self.ca else { return Ok(None) };
        let pem = std::fs::read(path).map_err(|error| {
            Failure::new(Exit::NoInput, format!("cannot read {}", path.display())).caused_by(&error)
        })?;
        let tls = Tls::of_authorities(&pem).map_err(|error| {
            Failure::new(Exit::DataErr, format!("{} cannot be trusted", path.display()))
                .caused_by(&error)
                .hint("--ca takes certificates in PEM: those of the authority, or the relay's own if it signed itself")
        })?;
        Ok(Some(tls))
    }
}
