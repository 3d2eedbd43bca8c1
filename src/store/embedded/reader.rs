//! The threads that read: a few connections behind one bounded queue.
//!
//! They see what is committed, and never wait for the writer's fsync. Must not know what is read.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::store::Error;
use crate::store::embedded::writer::stopped;

type Look = Box<dyn FnOnce(&Connection) + Send>;

enum Message {
    Look(Look),
    Stop,
}

/// The way to the readers. Dropping it waits for the threads to end.
#[derive(Debug)]
pub(super) struct Readers {
    queue: Option<mpsc::Sender<Message>>,
    threads: Vec<JoinHandle<()>>,
}

/// Reads that may wait; more wait in their callers.
const QUEUE: usize = 1024;

impl Readers {
    /// Starts a thread for each connection.
    pub(super) fn start(connections: Vec<Connection>) -> std::io::Result<Self> {
        let (queue, looks) = mpsc::channel(QUEUE);
        let looks = Arc::new(Mutex::new(looks));
        let mut threads = Vec::new();
        for (number, conn) in connections.into_iter().enumerate() {
            let looks = Arc::clone(&looks);
            let name = format!("store-reader-{number}");
            let thread = thread::Builder::new()
                .name(name)
                .spawn(move || serve(&conn, &looks))?;
            threads.push(thread);
        }
        Ok(Self {
            queue: Some(queue),
            threads,
        })
    }

    /// Reads on one of the connections.
    pub(super) async fn run<T, F>(&self, look: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let look: Look = Box::new(move |conn| {
            let _ = reply.send(look(conn));
        });
        self.send(Message::Look(look)).await?;
        match answer.await.map_err(|_| stopped())? {
            // A read that fails says nothing about what was written.
            Err(Error::Poisoned(reason)) => Err(Error::Unavailable(reason)),
            answer => answer,
        }
    }

    /// Ends the threads, after the reads that wait.
    pub(super) async fn close(&self) -> Result<(), Error> {
        for _ in &self.threads {
            self.send(Message::Stop).await?;
        }
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), Error> {
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(message).await.map_err(|_| stopped())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(conn: &Connection, looks: &Mutex<mpsc::Receiver<Message>>) {
    loop {
        // The lock is held while waiting on purpose: whoever holds it takes the next one, and the
        // others queue up behind it instead of at the channel.
        let message = looks.lock().blocking_recv();
        match message {
            Some(Message::Look(look)) => look(conn),
            Some(Message::Stop) | None => return,
        }
    }
}
