//! One-time keys over crashes: an owner who uploads, callers who claim, and the book of both.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::http::{Answer, Http};
use crate::world::World;

pub(crate) const OWNER: &str = "keys-owner";

/// What was uploaded and what was handed out.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    offered: u32,
    stored: u32,
    issued: HashSet<String>,
    /// Claims that may have used an item up without telling.
    unanswered: usize,
    violations: Vec<String>,
}

impl Keyring {
    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    pub(crate) fn summary(&self) -> String {
        let Self {
            stored, unanswered, ..
        } = self;
        format!(
            "{stored} keys stored, {} issued, {unanswered} claims unanswered",
            self.issued.len()
        )
    }

    /// After the pool was emptied: keys whose upload was answered went somewhere.
    pub(crate) fn check_nothing_vanished(&mut self) {
        let issued = self.issued.len();
        if (self.stored as usize) > issued + self.unanswered {
            let summary = self.summary();
            self.violated(format!("keys vanished: {summary}"));
        }
    }

    fn issued(&mut self, item: &Value) {
        let id = item["id"].as_str().unwrap_or_default();
        let known = id.strip_prefix('k').and_then(|number| number.parse().ok());
        let Some(number) = known.filter(|&number: &u32| number < self.offered) else {
            return self.violated(format!("a claim brought what was never uploaded: {item}"));
        };
        if item["data"].as_str() != Some(&data_of(number)) {
            return self.violated(format!("a claim brought other bytes than uploaded: {item}"));
        }
        if !self.issued.insert(id.to_owned()) {
            self.violated(format!("one-time key {id} was handed out twice"));
        }
    }

    fn violated(&mut self, what: String) {
        if self.violations.len() < 20 {
            self.violations.push(what);
        }
    }
}

/// Keeps the pool filled; repeats uploads that were not answered, and now and then ones that were.
pub(crate) async fn own(world: Arc<World>, http: Http) {
    let mut random = world.random(200);
    let mut done: Vec<Value> = Vec::new();
    while world.is_loading() {
        let first = world.keyring().offered;
        let body = upload_of(first);
        world.keyring().offered += BATCH;
        if put(&world, &http, &body).await {
            world.keyring().stored += BATCH;
            done.push(body);
        }
        while world.is_loading() && is_full(&world) {
            sleep(Duration::from_millis(20)).await;
        }
        if random.random_bool(0.3) && !done.is_empty() {
            // The answer got lost on the way, thinks the client. Issued items must stay issued.
            put(&world, &http, &done[random.random_range(0..done.len())]).await;
        }
    }
}

/// Claims until the load is over.
pub(crate) async fn claim(world: Arc<World>, http: Http) {
    while world.is_loading() {
        if !claim_one(&world, &http).await {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Claims until nothing is left; the relay must be up.
pub(crate) async fn empty(world: &World, http: &Http) {
    while claim_one(world, http).await {}
}

/// Whether it brought an item.
async fn claim_one(world: &World, http: &Http) -> bool {
    let wanted = json!({
        "suite": "x-test",
        "pools": ["otk"],
        "targets": [{"account": OWNER, "devices": ["1"]}],
    });
    match http.post("/v1/keys/claim", &wanted).await {
        Answer::Ok(answer) => {
            let item = &answer["results"][OWNER]["devices"]["1"]["items"]["otk"];
            if item.is_object() {
                world.keyring().issued(item);
            } else if !answer["results"][OWNER]["devices"]["1"]["items"].is_object() {
                world
                    .keyring()
                    .violated(format!("the owner's keyset is gone: {answer}"));
            }
            item.is_object()
        }
        Answer::Unsent => false,
        Answer::Unknown => {
            world.keyring().unanswered += 1;
            false
        }
        Answer::Refused(status, problem) => {
            world
                .keyring()
                .violated(format!("a claim was refused with {status}: {problem}"));
            false
        }
    }
}

/// Uploads until it is answered, or the load is over. Whether it is stored for sure.
async fn put(world: &World, http: &Http, body: &Value) -> bool {
    loop {
        match http.put("/v1/keys/x-test", body).await {
            Answer::Ok(_) => return true,
            Answer::Refused(422, problem) if problem["code"] == "limit_exceeded" => {}
            Answer::Refused(status, problem) => {
                let refused = format!("an upload was refused with {status}: {problem}");
                world.keyring().violated(refused);
                return false;
            }
            Answer::Unsent | Answer::Unknown => {}
        }
        if !world.is_loading() {
            return false;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn is_full(world: &World) -> bool {
    let keyring = world.keyring();
    keyring.offered as usize > keyring.issued.len() + keyring.unanswered + 3 * BATCH as usize
}

fn upload_of(first: u32) -> Value {
    let items: Vec<_> = (first..first + BATCH)
        .map(|number| json!({"id": format!("k{number}"), "data": data_of(number)}))
        .collect();
    json!({"identity": STANDARD.encode(OWNER), "pools": {"otk": {"add": items}}})
}

fn data_of(number: u32) -> String {
    STANDARD.encode(format!("one-time key number {number}"))
}

const BATCH: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_handed_out_twice_is_found() {
        let mut keyring = Keyring {
            offered: BATCH,
            stored: BATCH,
            ..Keyring::default()
        };
        let item = |number: u32| json!({"id": format!("k{number}"), "data": data_of(number)});
        keyring.issued(&item(3));
        assert_eq!(keyring.violations(), [""; 0]);
        keyring.issued(&item(3));
        assert_eq!(keyring.violations(), ["one-time key k3 was handed out twice"]);
        keyring.issued(&item(BATCH));
        keyring.check_nothing_vanished();
        assert_eq!(keyring.violations().len(), 3);
    }
}
