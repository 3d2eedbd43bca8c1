//! A wire without its preparations: for servers that know nobody and want nobody registered.

use std::task::{Context, Poll};

use crate::wire::{Heard, Post, Receipt, Trouble, Who, Wire};

/// The wire.
pub(super) struct Direct<W>(W);

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
