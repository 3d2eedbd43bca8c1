//! An agent: it does what one coordinator at a time tells it, and says what it found.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chatctl_client::Token;
use chatctl_protocol::{AccountId, DeviceId};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};
use tokio_util::sync::CancellationToken;

use crate::agent::secret::Secret;
use crate::agent::words::{Answer, MOST_BYTES, Order, Task, VERSION};
use crate::clock::{RunClock, nanos};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run::{Gate, Keeper};
use crate::wire::Passes;

/// An agent's share of a run, ready to be run.
#[derive(Debug)]
pub struct Part {
    /// What is done.
    pub scenario: crate::scenario::Scenario,
    /// The run's number.
    pub run: u64,
    /// Which agent this is, and of how many.
    pub share: (u32, u32),
    /// The relay.
    pub url: String,
    /// Threads to use; the agent decides when there is none.
    pub workers: Option<u32>,
    /// Where clients connect from.
    pub sources: Vec<std::net::IpAddr>,
    /// Who takes part here.
    pub plan: Plan,
    /// The run's clock.
    pub clock: RunClock,
    /// For the coordinator to see.
    pub progress: Arc<Progress>,
    /// Waited at when everybody is connected.
    pub gate: Gate,
    /// Ends the run early.
    pub stop: CancellationToken,
}

/// Runs a part with these tokens and says what was found, or in a sentence why nothing was.
pub type Perform = dyn Fn(Part, Arc<dyn Passes>) -> Result<Outcome, String> + Send + Sync;

/// What an agent tells its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A coordinator has come.
    Came(SocketAddr),
    /// Somebody without the secret was sent away.
    Refused(SocketAddr),
    /// A run is over.
    Ran,
    /// A run, or a coordinator, went wrong.
    Failed(String),
}

/// Serves one coordinator after the other until it is stopped; then a run under way ends early.
pub async fn serve(
    listener: TcpListener,
    secret: &Secret,
    perform: Arc<Perform>,
    tell: impl Fn(News),
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((socket, from)) = accepted else {
            // Out of descriptors, most likely: somebody else's sockets have to go first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        match greet(socket, secret).await {
            Ok(socket) => {
                tell(News::Came(from));
                let told = Session::new(socket, Arc::clone(&perform), stop.child_token())
                    .serve()
                    .await;
                tell(told.map_or_else(News::Failed, |()| News::Ran));
            }
            Err(_) => tell(News::Refused(from)),
        }
    }
}

/// The WebSocket of somebody who knows the secret.
async fn greet(socket: TcpStream, secret: &Secret) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let said = request.headers().get(header::AUTHORIZATION);
        let said = said.and_then(|said| said.to_str().ok()?.strip_prefix("Bearer "));
        if said.is_some_and(|said| secret.is(said)) {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::UNAUTHORIZED;
        Err(refusal)
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MOST_BYTES))
        .max_frame_size(Some(MOST_BYTES));
    let greeting = accept_hdr_async_with_config(socket, check, Some(config));
    match tokio::time::timeout(GREETING, greeting).await {
        Ok(greeted) => greeted,
        Err(_late) => Err(tungstenite::Error::ConnectionClosed),
    }
}

/// One coordinator.
struct Session {
    socket: WebSocketStream<TcpStream>,
    perform: Arc<Perform>,
    /// This agent's clock.
    zero: Instant,
    stop: CancellationToken,
}

/// A run under way.
struct Running {
    progress: Arc<Progress>,
    keeper: Option<Keeper>,
    go: Option<oneshot::Sender<u64>>,
    outcome: oneshot::Receiver<Result<Outcome, String>>,
}

impl Session {
    fn new(socket: WebSocketStream<TcpStream>, perform: Arc<Perform>, stop: CancellationToken) -> Self {
        Self {
            socket,
            perform,
            zero: Instant::now(),
            stop,
        }
    }

    async fn serve(mut self) -> Result<(), String> {
        let guard = self.stop.clone().drop_guard();
        let task = self.task().await?;
        let tokens = self.tokens(&task).await?;
        let told = match self.start(*task, tokens) {
            Ok(running) => self.watch(running).await,
            Err(why) => self.say(&Answer::Failed { why: why.clone() }).await.and(Err(why)),
        };
        drop(guard);
        let _ = self.socket.close(None).await;
        told
    }

    /// Answers questions about the clock until there is something to do.
    async fn task(&mut self) -> Result<Box<Task>, String> {
        loop {
            match self.order().await? {
                Order::Clock => self.tell_time().await?,
                Order::Prepare(task) if task.version == VERSION => return Ok(task),
                Order::Prepare(task) => {
                    let why = format!("the agent speaks version {VERSION}, and not {}", task.version);
                    self.say(&Answer::Failed { why: why.clone() }).await?;
                    return Err(why);
                }
                Order::Stop => return Err("stopped before it began".to_owned()),
                Order::Tokens { .. } | Order::Go { .. } => return Err(OUT_OF_ORDER.to_owned()),
            }
        }
    }

    async fn tokens(&mut self, task: &Task) -> Result<Vec<Token>, String> {
        let mut all = Vec::new();
        while all.len() < task.clients as usize {
            match self.order().await? {
                Order::Tokens { tokens } => all.extend(tokens.iter().map(|token| Token::new(token))),
                Order::Clock => self.tell_time().await?,
                Order::Stop => return Err("stopped before it began".to_owned()),
                Order::Prepare(_) | Order::Go { .. } => return Err(OUT_OF_ORDER.to_owned()),
            }
        }
        Ok(all)
    }

    fn start(&self, task: Task, tokens: Vec<Token>) -> Result<Running, String> {
        let plan = Plan::new(&task.scenario, task.run, task.share).map_err(|error| error.to_string())?;
        if plan.clients.len() != tokens.len() {
            return Err("there is not a token for each client".to_owned());
        }
        let passes: Arc<dyn Passes> = Arc::new(Given::new(&plan, tokens));
        let (gate, keeper) = Gate::new();
        let progress = Arc::new(Progress::default());
        let part = Part {
            scenario: task.scenario,
            run: task.run,
            share: task.share,
            url: task.url,
            workers: task.workers,
            sources: task.sources,
            plan,
            clock: RunClock::starting_at(self.zero + Duration::from_nanos(task.zero)),
            progress: Arc::clone(&progress),
            gate,
            stop: self.stop.clone(),
        };
        let (done, outcome) = oneshot::channel();
        let perform = Arc::clone(&self.perform);
        let run = move || drop(done.send(perform(part, passes)));
        std::thread::Builder::new()
            .name("run".to_owned())
            .spawn(run)
            .map_err(|error| format!("no thread: {error}"))?;
        Ok(Running {
            progress,
            keeper: Some(keeper),
            go: None,
            outcome,
        })
    }

    /// Tells how far the run is until it is over.
    async fn watch(&mut self, mut running: Running) -> Result<(), String> {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            let ready = async {
                match &mut running.keeper {
                    Some(keeper) => (&mut keeper.arrived).await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                done = &mut running.outcome => {
                    let answer = match done {
                        Ok(Ok(outcome)) => Answer::Outcome(Box::new(outcome)),
                        Ok(Err(why)) => Answer::Failed { why },
                        Err(_) => Answer::Failed { why: "the run has died".to_owned() },
                    };
                    return self.say(&answer).await;
                }
                is_ready = ready => {
                    running.go = running.keeper.take().map(|keeper| keeper.go);
                    if is_ready {
                        self.say(&Answer::Ready).await?;
                    }
                }
                _ = tick.tick() => self.say(&progress(&running.progress)).await?,
                order = order(&mut self.socket) => match order? {
                    Order::Clock => self.tell_time().await?,
                    Order::Go { at } => {
                        if let Some(go) = running.go.take() {
                            let _ = go.send(at);
                        }
                    }
                    Order::Stop => self.stop.cancel(),
                    Order::Prepare(_) | Order::Tokens { .. } => return Err(OUT_OF_ORDER.to_owned()),
                },
            }
        }
    }

    async fn tell_time(&mut self) -> Result<(), String> {
        let now = nanos(self.zero.elapsed());
        self.say(&Answer::Clock { now }).await
    }

    fn order(&mut self) -> impl Future<Output = Result<Order, String>> {
        order(&mut self.socket)
    }

    async fn say(&mut self, answer: &Answer) -> Result<(), String> {
        let text = serde_json::to_string(answer).map_err(|error| error.to_string())?;
        let sent = self.socket.send(Message::text(text)).await;
        sent.map_err(|_| GONE.to_owned())
    }
}

/// The next order. Cancel safe.
async fn order(socket: &mut WebSocketStream<TcpStream>) -> Result<Order, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                // The words may hold tokens, and so may what a parser says about them.
                return serde_json::from_str(&text).map_err(|_| OUT_OF_ORDER.to_owned());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => return Err(OUT_OF_ORDER.to_owned()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(GONE.to_owned()),
        }
    }
}

fn progress(progress: &Progress) -> Answer {
    Answer::Progress {
        phase: progress.phase(),
        prepared: progress.prepared.load(Ordering::Relaxed),
        connections: progress.connections.load(Ordering::Relaxed),
        sent: progress.sent.load(Ordering::Relaxed),
        accepted: progress.accepted.load(Ordering::Relaxed),
        delivered: progress.delivered.load(Ordering::Relaxed),
        errors: progress.errors.load(Ordering::Relaxed),
    }
}

/// The tokens that a coordinator gave.
struct Given(HashMap<(AccountId, DeviceId), Token>);

impl Given {
    fn new(plan: &Plan, tokens: Vec<Token>) -> Self {
        let names = plan.clients.iter().map(|client| {
            let account = &plan.accounts[client.account as usize];
            (account.name.clone(), client.device_id.clone())
        });
        Self(names.zip(tokens).collect())
    }
}

impl Passes for Given {
    fn token(&self, account: &AccountId, device_id: &DeviceId) -> Result<Token, String> {
        let token = self.0.get(&(account.clone(), device_id.clone()));
        token
            .cloned()
            .ok_or_else(|| "the coordinator gave no token".to_owned())
    }
}

const OUT_OF_ORDER: &str = "the coordinator said something that makes no sense here";
const GONE: &str = "the coordinator is gone";
const GREETING: Duration = Duration::from_secs(5);
