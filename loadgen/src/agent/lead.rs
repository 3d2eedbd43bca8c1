//! The coordinator: it gives each agent its share, lets all of them begin together, and adds up what they found.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;

use crate::agent::offset::{Exchange, Offset};
use crate::agent::secret::Secret;
use crate::agent::words::{Answer, MOST_BYTES, Order, Task, VERSION};
use crate::clock::{RunClock, nanos};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::progress::{Phase, Progress};
use crate::report::AgentFigures;
use crate::scenario::Scenario;
use crate::wire::Passes;

/// A run on many hosts.
pub struct Lead<'a> {
    /// What to do, all together.
    pub scenario: &'a Scenario,
    /// The run's number.
    pub run: u64,
    /// The relay, as agents reach it.
    pub url: &'a str,
    /// Tokens of everybody.
    pub passes: &'a dyn Passes,
    /// Threads for each agent; they decide when there is none.
    pub workers: Option<u32>,
    /// Where clients connect from.
    pub sources: &'a [IpAddr],
    /// The run's clock.
    pub clock: RunClock,
    /// Sums of what agents say, while it lasts.
    pub progress: &'a Progress,
    /// Ends the run early.
    pub stop: &'a CancellationToken,
}

/// What all agents found.
#[derive(Debug)]
pub struct Found {
    /// The sum.
    pub outcome: Outcome,
    /// Who took part.
    pub agents: Vec<AgentFigures>,
    /// Clients of all of them.
    pub clients: u32,
}

/// An agent that does not do its part.
#[derive(Debug, thiserror::Error)]
#[error("agent {address}: {what}")]
pub struct AgentError {
    /// Which one.
    pub address: String,
    /// What is wrong, in a few words.
    pub what: String,
}

impl std::fmt::Debug for Lead<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lead({})", self.scenario.name)
    }
}

impl Lead<'_> {
    /// Runs the scenario on these agents (`host:port`).
    ///
    /// # Errors
    ///
    /// [`AgentError`] of the first agent that fails; the others stop.
    pub async fn run(&self, agents: &[String], secret: &Secret) -> Result<Found, AgentError> {
        let meeting = agents.iter().map(|agent| Peer::meet(agent, secret, self.clock));
        let mut peers = try_join_all(meeting).await?;
        let sums = Sums::new(self.progress, peers.len());
        let all = peers.len() as u32;
        let prepared = peers
            .iter_mut()
            .zip(0..)
            .map(|(peer, nth)| self.prepare(peer, (nth, all)));
        try_join_all(prepared).await?;
        let stop = self.stop;
        try_join_all(
            peers
                .iter_mut()
                .zip(0..)
                .map(|(peer, nth)| peer.until_ready(&sums, nth, stop)),
        )
        .await?;
        // Everybody hears of it before it begins.
        let at = self.clock.now() + nanos(AHEAD);
        for peer in &mut peers {
            peer.say(&Order::Go { at }).await?;
        }
        let outcomes = peers
            .iter_mut()
            .zip(0..)
            .map(|(peer, nth)| peer.outcome(&sums, nth, stop));
        let mut sum = Outcome::default();
        for outcome in try_join_all(outcomes).await? {
            sum.merge(outcome);
        }
        self.progress.enter(Phase::Done);
        Ok(Found {
            outcome: sum,
            clients: peers.iter().map(|peer| peer.clients).sum(),
            agents: peers.iter().map(Peer::figures).collect(),
        })
    }

    async fn prepare(&self, peer: &mut Peer, share: (u32, u32)) -> Result<(), AgentError> {
        peer.learn_time().await?;
        let plan =
            Plan::new(self.scenario, self.run, share).map_err(|error| peer.wrong(&error.to_string()))?;
        peer.clients = plan.clients.len() as u32;
        let task = Task {
            version: VERSION,
            scenario: self.scenario.clone(),
            run: self.run,
            zero: peer.offset.theirs(0),
            clients: peer.clients,
            share,
            url: self.url.to_owned(),
            workers: self.workers,
            sources: self.sources.to_vec(),
        };
        peer.say(&Order::Prepare(Box::new(task))).await?;
        for clients in plan.clients.chunks(TOKENS_AT_ONCE) {
            let tokens = clients.iter().map(|client| {
                let account = &plan.accounts[client.account as usize];
                let token = self.passes.token(&account.name, &client.device_id);
                token
                    .map(|token| token.secret().to_owned())
                    .map_err(|why| peer.wrong(&why))
            });
            let tokens = tokens.collect::<Result<_, _>>()?;
            peer.say(&Order::Tokens { tokens }).await?;
        }
        Ok(())
    }
}

/// An agent, as the coordinator knows it.
struct Peer {
    address: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    clock: RunClock,
    offset: Offset,
    clients: u32,
    is_stopped: bool,
    outcome: Option<Outcome>,
}

impl Peer {
    async fn meet(address: &str, secret: &Secret, clock: RunClock) -> Result<Self, AgentError> {
        let wrong = |what: String| AgentError {
            address: address.to_owned(),
            what,
        };
        let request = format!("ws://{address}/").into_client_request();
        let mut request = request.map_err(|_| wrong("not an address such as `10.0.0.7:8490`".to_owned()))?;
        let mut secret = HeaderValue::from_str(&secret.header()).map_err(|error| wrong(error.to_string()))?;
        secret.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, secret);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MOST_BYTES))
            .max_frame_size(Some(MOST_BYTES));
        let connecting = connect_async_with_config(request, Some(config), true);
        let connected = timeout(PATIENCE, connecting)
            .await
            .map_err(|_| wrong("does not answer".to_owned()))?;
        let (socket, _) = connected.map_err(|error| match error {
            tungstenite::Error::Http(response) if response.status() == 401 => {
                wrong("does not know the secret".to_owned())
            }
            error => wrong(error.to_string()),
        })?;
        Ok(Self {
            address: address.to_owned(),
            socket,
            clock,
            offset: Offset {
                ahead: 0,
                uncertainty: 0,
            },
            clients: 0,
            is_stopped: false,
            outcome: None,
        })
    }

    async fn learn_time(&mut self) -> Result<(), AgentError> {
        let mut exchanges = Vec::with_capacity(EXCHANGES);
        while exchanges.len() < EXCHANGES {
            let asked = self.clock.now();
            self.say(&Order::Clock).await?;
            let answer = timeout(PATIENCE, self.hear()).await;
            let answer = answer.map_err(|_| self.wrong("does not answer"))??;
            let Answer::Clock { now: theirs } = answer else {
                return Err(self.wrong("says something that makes no sense here"));
            };
            let answered = self.clock.now();
            exchanges.push(Exchange {
                asked,
                theirs,
                answered,
            });
        }
        self.offset = Offset::of(&exchanges).unwrap_or(self.offset);
        Ok(())
    }

    async fn until_ready(
        &mut self,
        sums: &Sums<'_>,
        nth: usize,
        stop: &CancellationToken,
    ) -> Result<(), AgentError> {
        while self.outcome.is_none() {
            if self.step(sums, nth, stop).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn outcome(
        &mut self,
        sums: &Sums<'_>,
        nth: usize,
        stop: &CancellationToken,
    ) -> Result<Outcome, AgentError> {
        loop {
            if let Some(outcome) = self.outcome.take() {
                return Ok(outcome);
            }
            self.step(sums, nth, stop).await?;
        }
    }

    /// Hears one thing; whether it was that the agent is ready.
    async fn step(
        &mut self,
        sums: &Sums<'_>,
        nth: usize,
        stop: &CancellationToken,
    ) -> Result<bool, AgentError> {
        let answer = tokio::select! {
            answer = timeout(SILENCE, hear(&mut self.socket, &self.address)) => {
                answer.map_err(|_| self.wrong("has gone silent"))??
            }
            () = stop.cancelled(), if !self.is_stopped => {
                self.is_stopped = true;
                self.say(&Order::Stop).await?;
                return Ok(false);
            }
        };
        match answer {
            Answer::Ready => return Ok(true),
            Answer::Outcome(outcome) => self.outcome = Some(*outcome),
            Answer::Failed { why } => return Err(self.wrong(&why)),
            Answer::Progress { .. } => sums.note(nth, &answer),
            Answer::Clock { .. } => {}
        }
        Ok(false)
    }

    fn hear(&mut self) -> impl Future<Output = Result<Answer, AgentError>> {
        hear(&mut self.socket, &self.address)
    }

    async fn say(&mut self, order: &Order) -> Result<(), AgentError> {
        let text = serde_json::to_string(order).map_err(|error| self.wrong(&error.to_string()))?;
        let sent = self.socket.send(Message::text(text)).await;
        sent.map_err(|_| self.wrong("is gone"))
    }

    fn wrong(&self, what: &str) -> AgentError {
        wrong(&self.address, what)
    }

    fn figures(&self) -> AgentFigures {
        AgentFigures {
            address: self.address.clone(),
            clients: self.clients,
            clock_offset_seconds: self.offset.ahead as f64 / 1e9,
            clock_uncertainty_seconds: self.offset.uncertainty as f64 / 1e9,
        }
    }
}

/// The next answer. Cancel safe.
async fn hear(
    socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>,
    address: &str,
) -> Result<Answer, AgentError> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(&text)
                    .map_err(|_| wrong(address, "says something that makes no sense here"));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(wrong(address, "is gone")),
        }
    }
}

fn wrong(address: &str, what: &str) -> AgentError {
    AgentError {
        address: address.to_owned(),
        what: what.to_owned(),
    }
}

/// Sums of what agents say about their progress.
struct Sums<'a> {
    progress: &'a Progress,
    last: Mutex<Vec<(Phase, [u64; COUNTERS])>>,
}

impl<'a> Sums<'a> {
    fn new(progress: &'a Progress, agents: usize) -> Self {
        Self {
            progress,
            last: Mutex::new(vec![(Phase::Setup, [0; COUNTERS]); agents]),
        }
    }

    fn note(&self, nth: usize, answer: &Answer) {
        let Answer::Progress {
            phase,
            prepared,
            connections,
            sent,
            accepted,
            delivered,
            errors,
        } = answer
        else {
            return;
        };
        let mut last = self.last.lock();
        if let Some(last) = last.get_mut(nth) {
            *last = (
                *phase,
                [*prepared, *connections, *sent, *accepted, *delivered, *errors],
            );
        }
        let shown = self.progress;
        let counters = [
            &shown.prepared,
            &shown.connections,
            &shown.sent,
            &shown.accepted,
            &shown.delivered,
            &shown.errors,
        ];
        for (at, counter) in counters.into_iter().enumerate() {
            counter.store(last.iter().map(|(_, said)| said[at]).sum(), Ordering::Relaxed);
        }
        // The slowest one tells where the run is.
        if let Some(phase) = last.iter().map(|(phase, _)| *phase).min() {
            shown.enter(phase);
        }
    }
}

const COUNTERS: usize = 6;
/// Questions about the time; the quickest answer counts.
const EXCHANGES: usize = 20;
const TOKENS_AT_ONCE: usize = 1000;
/// Between the order to begin and the beginning.
const AHEAD: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);
/// An agent says something every second while it runs.
const SILENCE: Duration = Duration::from_secs(30);
