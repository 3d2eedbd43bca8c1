//! Looking for idempotency records, many at once: who asks while a look is under way joins the next one.
//!
//! Every send is looked for before it is accepted, so this is the one round trip between a sender's frame
//! and the recipient. Must not know what a record is for.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::records;
use crate::store::{Error, SendKey, SendRecord};

/// Gathers those who look.
#[derive(Debug)]
pub(super) struct Lookups {
    /// Who waits for the next look.
    next: Mutex<Option<Arc<Look>>>,
    /// Looks that may run at once.
    turns: Semaphore,
}

/// One look: gathers names, then has an answer.
#[derive(Debug)]
struct Look {
    keys: Mutex<Vec<SendKey>>,
    /// Held by who runs it.
    running: tokio::sync::Mutex<()>,
    answer: watch::Sender<Option<Answer>>,
}

type Answer = Result<Arc<HashMap<SendKey, SendRecord>>, Error>;

impl Default for Lookups {
    fn default() -> Self {
        Self {
            next: Mutex::default(),
            turns: Semaphore::new(LOOKS_AT_ONCE),
        }
    }
}

impl Lookups {
    /// Looks for one record. Cancel safe: others who joined the same look run it if this one is dropped.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub(super) async fn find(&self, db: &Connection, key: &SendKey) -> Result<Option<SendRecord>, Error> {
        let look = self.join(key);
        let mut answered = look.answer.subscribe();
        let answer = tokio::select! {
            biased;
            answer = answered.wait_for(Option::is_some) => answer.ok().and_then(|answer| answer.clone()),
            answer = self.run(db, &look) => Some(answer),
        };
        match answer {
            Some(Ok(found)) => Ok(found.get(key).cloned()),
            Some(Err(error)) => Err(error),
            None => Err(Error::Unavailable("a look was given up".into())),
        }
    }

    fn join(&self, key: &SendKey) -> Arc<Look> {
        let mut next = self.next.lock();
        let look = next.get_or_insert_with(|| {
            Arc::new(Look {
                keys: Mutex::default(),
                running: tokio::sync::Mutex::default(),
                answer: watch::Sender::new(None),
            })
        });
        look.keys.lock().push(key.clone());
        let look = Arc::clone(look);
        if look.keys.lock().len() >= KEYS_AT_ONCE {
            *next = None;
        }
        look
    }

    /// Waits for a turn, closes the look to others, and does it, unless somebody did meanwhile.
    async fn run(&self, db: &Connection, look: &Arc<Look>) -> Answer {
        let _running = look.running.lock().await;
        if let Some(answer) = look.answer.borrow().clone() {
            return answer;
        }
        let Ok(_turn) = self.turns.acquire().await else {
            return Err(Error::Unavailable("the store is closed".into()));
        };
        let keys = {
            let mut next = self.next.lock();
            if next.as_ref().is_some_and(|next| Arc::ptr_eq(next, look)) {
                *next = None;
            }
            look.keys.lock().clone()
        };
        let answer = records::sent(db, &keys).await.map(Arc::new);
        look.answer.send_replace(Some(answer.clone()));
        answer
    }
}

/// Looks under way at once. Few: those who wait share the next one.
const LOOKS_AT_ONCE: usize = 2;

/// Most names in one look.
const KEYS_AT_ONCE: usize = 512;
