//! Hands over what a worker counted, once a second, and gets back what is empty: memory stays the same for hours.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::clock::Nanos;
use crate::run::shop::Shop;
use crate::run::slice::{Handed, Slice};

/// Hands over what was counted.
#[derive(Clone)]
pub(super) struct Hand {
    pub(super) worker: usize,
    pub(super) began: Rc<Cell<Nanos>>,
    pub(super) shop: Rc<Shop>,
}

impl Hand {
    /// Once a second. When the collector is late, the slice is of several seconds.
    pub(super) async fn every_second(
        self,
        slices: mpsc::Sender<Handed>,
        mut back: mpsc::Receiver<Box<Slice>>,
    ) {
        let mut spare = vec![Box::<Slice>::default()];
        loop {
            let next = (self.shop.now() / SECOND + 1) * SECOND;
            sleep_until(Instant::from_std(self.shop.common.clock.instant(next))).await;
            while let Ok(slice) = back.try_recv() {
                spare.push(slice);
            }
            let Ok(permit) = slices.try_reserve() else {
                continue;
            };
            let Some(empty) = spare.pop() else { continue };
            permit.send(Handed {
                worker: self.worker,
                began: self.began.replace(next),
                slice: self.shop.slice.replace(empty),
            });
        }
    }

    pub(super) fn last(self) -> Handed {
        Handed {
            worker: self.worker,
            began: self.began.get(),
            slice: self.shop.slice.take(),
        }
    }
}

const SECOND: Nanos = 1_000_000_000;
