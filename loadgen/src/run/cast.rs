//! The clients of a worker, made from the plan: who writes, and whose streams end where.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::crypto::Keyring;
use crate::ledger::Ledger;
use crate::run::client::Client;
use crate::run::inbox::{Inbox, Incoming};
use crate::run::outbox::Outbox;
use crate::run::shop::Shop;
use crate::run::unanswered::Limits;

/// The clients of a share, and whom they know.
pub(super) fn clients_of(shop: &Rc<Shop>, share: Vec<(u32, Keyring)>) -> Vec<Rc<Client>> {
    let plan = shop.common.plan.clone();
    let desks: HashMap<u32, usize> = share.iter().map(|(place, _)| *place).zip(0..).collect();
    let mut incoming: HashMap<u32, Vec<Incoming>> = HashMap::new();
    let mut outboxes = HashMap::new();
    let writers = plan
        .senders
        .iter()
        .filter(|sender| desks.contains_key(&sender.client))
        .count();
    let limits = Limits::shared_by(writers);
    for sender in &plan.senders {
        let Some(trail) = shop.common.trails.get(&sender.client) else {
            continue;
        };
        if desks.contains_key(&sender.client) {
            outboxes.insert(sender.client, Outbox::new(&plan, sender, trail.clone(), limits));
        }
        let accounts = sender.to.iter().filter_map(|to| plan.accounts.get(*to as usize));
        let devices = accounts.map(|account| account.devices.len() as u64).sum();
        for (stream, to) in (sender.first_stream..).zip(&sender.to) {
            let readers = plan
                .accounts
                .get(*to as usize)
                .map(|account| account.devices.clone());
            for device in readers
                .into_iter()
                .flatten()
                .filter(|device| desks.contains_key(device))
            {
                incoming.entry(device).or_default().push(Incoming {
                    stream,
                    ledger: Ledger::default(),
                    floor: 0,
                    from: sender.client,
                    desk: desks.get(&sender.client).copied(),
                    devices,
                    trail: trail.clone(),
                });
            }
        }
    }
    let desks = shop.desks.iter().cloned();
    let clients = share.into_iter().zip(desks).map(|((place, keyring), desk)| {
        let streams = incoming.remove(&place).unwrap_or_default();
        Rc::new(Client {
            shop: shop.clone(),
            desk,
            place,
            inbox: RefCell::new(Inbox::new(streams, shop.common.rules.is_slow(place))),
            outbox: outboxes.remove(&place).map(RefCell::new),
            keyring: RefCell::new(keyring),
            draining: Cell::new(None),
        })
    });
    clients.collect()
}
