//! The terminal: taken over for as long as [`Screen`] lives, and given back on every way out. Keys come from a thread.

use std::io;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;

use super::frame::draw;
use super::model::Model;

/// A terminal that is taken over. A panic gives it back, too, before it is told.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Takes it over.
    ///
    /// # Errors
    ///
    /// Of a terminal that cannot be read key by key.
    pub(super) fn take() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                // Half of it may be done.
                ratatui::restore();
                Err(error)
            }
        }
    }

    /// Draws the model.
    ///
    /// # Errors
    ///
    /// Of a terminal that is gone.
    pub(super) fn show(&mut self, model: &Model, colored: bool) -> io::Result<()> {
        self.0.draw(|frame| draw(frame, model, colored)).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What happens at the terminal, until the receiver is gone or the terminal is.
///
/// # Errors
///
/// Of a system that has no threads to give.
pub(super) fn events() -> io::Result<mpsc::Receiver<Event>> {
    let (tell, events) = mpsc::channel(16);
    let read = move || {
        while !tell.is_closed() {
            let happened = match event::poll(PATIENCE) {
                Ok(true) => event::read(),
                Ok(false) => continue,
                Err(_) => return,
            };
            let told = happened.is_ok_and(|event| tell.blocking_send(event).is_ok());
            if !told {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(events)
}

/// How long a thread that nobody listens to any more may stay.
const PATIENCE: Duration = Duration::from_millis(100);
