//! A wire without its preparations, and its tokens: for servers that know nobody and want nobody registered.
//!
//! The relay's own wire becomes one to the bare relay that speaks its frames ([`crate::bare`]). What an OK means there is
//! nothing: the message was handed on, and is kept nowhere.

use std::task::{Context, Poll};

use chatctl_client::Token;
use chatctl_protocol::{AccountId, DeviceId};

use crate::wire::{Heard, Passes, Post, Receipt, Trouble, Who, Wire};

/// The wire.
#[derive(Debug)]
pub struct Direct<W>(W);

impl<W: Wire> Wire for Direct<W> {
    type Place = W::Place;

    async fn connect(place: &W::Place, who: &Who) -> Result<Self, Trouble> {
        W::connect(place, who).await.map(Self)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        self.0.poll_ready(cx)
    }

    fn post(&mut self, post: Post<'_>) -> Result<(), Trouble> {
        self.0.post(post)
    }

    fn ack(&mut self, receipt: Receipt) {
        self.0.ack(receipt);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        self.0.poll_flush(cx)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, Trouble>> {
        self.0.poll_next(cx)
    }
}

/// Tokens that say who is there, which is all that a server without accounts wants.
#[derive(Debug)]
pub struct NamesForTokens;

impl Passes for NamesForTokens {
    fn token(&self, account: &AccountId, device_id: &DeviceId) -> Result<Token, String> {
        Ok(Token::new(&format!("{account}/{device_id}")))
    }
}
