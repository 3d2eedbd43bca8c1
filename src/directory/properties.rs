//! The directory against a small model of the claim rule: what is claimed, in which order, how often.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, DeviceId, PoolName, Suite};
use proptest::prelude::*;

use crate::config::{Config, DirectoryConfig};
use crate::directory::{ClaimRequest, Directory, KeyUpload, NewItem, NewPool};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::model::{Clock, UnixMs};
use crate::store::Registration;
use crate::store::model::Model;

const BURST: u32 = 3;
const CALLERS: usize = 3;
const OWNERS: usize = 2;

/// Something that happens.
#[derive(Debug, Clone)]
enum Step {
    /// An owner uploads these items, some of them not for the first time, and maybe a new fallback.
    Upload {
        owner: usize,
        items: Vec<u8>,
        fallback: Option<u8>,
    },
    /// An owner uploads in place of its queue.
    Replace {
        owner: usize,
        items: Vec<u8>,
    },
    Claim {
        caller: usize,
        owner: usize,
    },
    DropQueue {
        owner: usize,
    },
    /// An owner is installed anew.
    Reinstall {
        owner: usize,
    },
    /// The relay crashes and starts again: budgets and caches are gone, what was committed is not.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let owner = 0..OWNERS;
    let items = prop::collection::vec(0u8..24, 0..6);
    let step = prop_oneof![
        4 => (owner.clone(), items.clone(), prop::option::of(100u8..104))
            .prop_map(|(owner, items, fallback)| Step::Upload { owner, items, fallback }),
        1 => (owner.clone(), items).prop_map(|(owner, items)| Step::Replace { owner, items }),
        8 => (0..CALLERS, owner.clone()).prop_map(|(caller, owner)| Step::Claim { caller, owner }),
        1 => owner.clone().prop_map(|owner| Step::DropQueue { owner }),
        1 => owner.prop_map(|owner| Step::Reinstall { owner }),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// What one owner's pool should be.
#[derive(Debug, Default)]
struct Pool {
    queue: VecDeque<u8>,
    issued: HashSet<u8>,
    fallback: Option<u8>,
}

impl Pool {
    fn add(&mut self, items: &[u8]) {
        for item in items {
            if !self.issued.contains(item) && !self.queue.contains(item) {
                self.queue.push_back(*item);
            }
        }
    }
}

fn device(account: String) -> Address {
    Address {
        account: AccountId::parse(&account).unwrap(),
        device_id: DeviceId::parse("1").unwrap(),
    }
}

fn owner(n: usize) -> Address {
    device(format!("owner{n}"))
}

fn otk() -> PoolName {
    PoolName::parse("otk").unwrap()
}

fn item(name: u8) -> NewItem {
    NewItem {
        id: Some(name.to_string().into()),
        data: Bytes::from(vec![name; 32]),
        signature: None,
    }
}

fn start(store: &Arc<Model>) -> Directory {
    let directory = DirectoryConfig {
        key_lint: false,
        claim_pair_burst: BURST,
        ..DirectoryConfig::default()
    };
    let config = Config {
        directory,
        ..Config::default()
    };
    let clock = Clock::manual(UnixMs(1)).0;
    Directory::new(
        store.clone(),
        Hub::new(),
        &config,
        clock,
        Arc::new(Metrics::new()),
    )
}

async fn register(directory: &Directory, device: &Address, registration_id: u32) {
    let registration = Registration {
        registration_id,
        attributes: None,
        max_devices: 8,
        now: UnixMs(1),
    };
    directory.register(device, registration).await.unwrap();
}

async fn upload(directory: &Directory, n: usize, pool: NewPool) {
    let upload = KeyUpload {
        identity: Some(Bytes::from_static(b"identity")),
        statement: None,
        pools: BTreeMap::from([(otk(), pool)]),
    };
    directory.upload(&owner(n), Suite::Olm, upload).await.unwrap();
}

/// The name of the item that a claim brought; `None` without one, and without a keyset.
async fn claim(directory: &Directory, caller: usize, n: usize) -> Option<u8> {
    let request = ClaimRequest {
        suite: Suite::Olm,
        pools: vec![otk()],
        targets: BTreeMap::from([(owner(n).account, None)]),
    };
    let caller = device(format!("caller{caller}"));
    let answer = directory.claim(&caller, request).await.unwrap();
    let mut devices = answer.accounts.into_iter().flat_map(|account| account.devices);
    let item = devices.next()?.items.into_iter().next()??;
    Some(item.id.parse().unwrap())
}

/// Registers an owner that publishes a fallback first of all.
async fn install(directory: &Directory, n: usize, registration_id: u32) -> Pool {
    register(directory, &owner(n), registration_id).await;
    let fallback = Some(99);
    let new = NewPool {
        fallback: fallback.map(item),
        ..NewPool::default()
    };
    upload(directory, n, new).await;
    Pool {
        fallback,
        ..Pool::default()
    }
}

/// The directory, and what it should be.
struct World {
    store: Arc<Model>,
    directory: Directory,
    installs: u32,
    pools: Vec<Pool>,
    spent: HashMap<(usize, usize), u32>,
}

impl World {
    async fn new() -> Self {
        let store = Model::new();
        let directory = start(&store);
        for caller in 0..CALLERS {
            register(&directory, &device(format!("caller{caller}")), 1).await;
        }
        let mut pools = Vec::new();
        for n in 0..OWNERS {
            pools.push(install(&directory, n, 1).await);
        }
        Self {
            store,
            directory,
            installs: 1,
            pools,
            spent: HashMap::new(),
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Upload {
                owner,
                items,
                fallback,
            } => {
                let new = NewPool {
                    add: items.iter().copied().map(item).collect(),
                    replace: None,
                    fallback: fallback.map(item),
                };
                upload(&self.directory, owner, new).await;
                self.pools[owner].add(&items);
                self.pools[owner].fallback = fallback.or(self.pools[owner].fallback);
            }
            Step::Replace { owner, items } => {
                let new = NewPool {
                    replace: Some(items.iter().copied().map(item).collect()),
                    ..NewPool::default()
                };
                upload(&self.directory, owner, new).await;
                self.pools[owner].queue.clear();
                self.pools[owner].add(&items);
            }
            Step::Claim { caller, owner } => {
                let expected = self.expect(caller, owner);
                assert_eq!(claim(&self.directory, caller, owner).await, expected);
            }
            Step::DropQueue { owner: n } => {
                let (owner, pool) = (owner(n), otk());
                self.directory
                    .drop_queue(&owner, &Suite::Olm, &pool)
                    .await
                    .unwrap();
                self.pools[n].queue.clear();
            }
            Step::Reinstall { owner: n } => {
                self.installs += 1;
                self.pools[n] = install(&self.directory, n, self.installs).await;
            }
            Step::Crash => {
                self.store = self.store.reopen();
                self.directory = start(&self.store);
                self.spent.clear();
            }
        }
    }

    /// What the next claim should bring.
    fn expect(&mut self, caller: usize, owner: usize) -> Option<u8> {
        let spent = self.spent.entry((caller, owner)).or_default();
        *spent += 1;
        let pool = &mut self.pools[owner];
        let head = if *spent > BURST {
            None
        } else {
            pool.queue.pop_front()
        };
        pool.issued.extend(head);
        head.or(pool.fallback)
    }

    async fn check(&self) {
        for (n, pool) in self.pools.iter().enumerate() {
            let keyset = self.directory.keyset(&owner(n), &Suite::Olm).await.unwrap();
            let counts = keyset.counts.iter();
            let seen: Vec<_> = counts.map(|c| (c.count as usize, c.fallback)).collect();
            assert_eq!(seen, [(pool.queue.len(), pool.fallback.is_some())]);
        }
    }
}

proptest! {
    #[test]
    fn a_claim_takes_the_head_else_the_fallback_else_nothing(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.step(step).await;
                world.check().await;
            }
        });
    }
}
