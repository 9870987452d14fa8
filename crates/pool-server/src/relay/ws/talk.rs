//! Messages both ways on an open socket, turn by turn.
//!
//! One task a socket. While it waits for one side to take a message it takes none from the other: that is the back-pressure.
//! Only the client is always listened to, so that its leaving is noticed; what it says meanwhile waits in a short queue.
//!
//! What happens seldom and holds much (the beginning of a turn, a move) is boxed: the task of an idle socket stays small.

use std::future::Future;

use bytes::Bytes;
use pool_core::Demand;
use pool_core::pool::Event;
use pool_core::standing::Refusal;
use pool_core::usage::Ending;
use pool_core::verdict::Verdict;
use pool_providers::reply::{Failure, Stage};
use pool_providers::socket::{Asked, Fate, Heard, SocketTurns};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::Sockets;
use super::link::{Came, Link, Over};
use super::miss::Miss;
use super::open::{Ground, Leg};
use super::queue::Queue;
use super::turn::Turn;
use crate::clock;

/// See the module's page.
pub struct Talk {
    pub(super) ground: Ground,
    pub(super) turns: Box<dyn SocketTurns>,
    pub(super) client: Link,
    pub(super) leg: Leg,
    /// The upstream connection has failed while something was sent on it.
    pub(super) fallen: Option<Over>,
    pub(super) turn: Option<Turn>,
    /// Turns so far.
    pub(super) count: u32,
    pub(super) queue: Queue,
    /// Upstream's last message within a turn, or the beginning of the turn.
    pub(super) progress: Instant,
    /// When the client of a turn is due a sign of life.
    pub(super) sign: Instant,
    /// When both sides are due a ping.
    ping: Instant,
    pub(super) sockets: Sockets,
}

/// Why a socket ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// It left, or broke the rules.
    #[error("the client's side: {0}")]
    Client(Over),
    /// It left, or cannot be had.
    #[error("upstream's side: {0}")]
    Upstream(Over),
    #[error("it has lasted long enough")]
    Retired,
    #[error("the server stops")]
    Stopping,
    #[error("the client's credential was revoked, paused or ended")]
    Revoked,
}

impl End {
    /// The close code and reason for the client, as far as it is still there.
    fn words(&self, mid_turn: bool) -> (u16, &'static str) {
        match self {
            Self::Client(Over::Breach(code, _)) => (*code, ""),
            Self::Client(_) => (1000, ""),
            Self::Upstream(_) if mid_turn => (1011, "upstream broke off"),
            Self::Upstream(_) => (1001, "upstream has closed"),
            Self::Retired => (1001, "time for a fresh connection"),
            Self::Stopping => (1012, "the pool restarts"),
            Self::Revoked => (1008, "this credential does not open the pool any more"),
        }
    }
}

impl Talk {
    pub fn new(ground: Ground, turns: Box<dyn SocketTurns>, client: Link, leg: Leg, sockets: Sockets) -> Self {
        let now = Instant::now();
        let ping = now + ground.app.config.timeouts.ping;
        Self {
            ground,
            turns,
            client,
            leg,
            fallen: None,
            turn: None,
            count: 0,
            queue: Queue::default(),
            progress: now,
            sign: now,
            ping,
            sockets,
        }
    }

    pub async fn run(mut self) {
        let tenure = self.ground.app.people.tenure(&self.ground.caller);
        let over = tenure.over();
        tokio::pin!(over);
        let end = loop {
            let stepped = tokio::select! {
                biased;
                () = &mut over => Err(End::Revoked),
                stepped = self.step() => stepped,
            };
            if let Err(end) = stepped {
                break end;
            }
        };
        let client_left = matches!(end, End::Client(_));
        let turn = self.turn.take().filter(|turn| turn.shown || client_left);
        let mid_turn = turn.is_some();
        if let Some(turn) = turn {
            let ending = if client_left { Ending::Aborted } else { Ending::Incomplete };
            turn.end(&self.ground, &*self.turns, 200, ending);
        }
        let (code, reason) = end.words(mid_turn);
        tracing::debug!(
            request = self.ground.id, why = %end, code, turns = self.count, secs = self.ground.started.elapsed().as_secs(),
            "a socket ended"
        );
        tokio::join!(self.client.close(code, reason), self.leg.link.close(1000, ""));
    }

    /// One thing that happens.
    async fn step(&mut self) -> Result<(), End> {
        if let Some(over) = self.fallen.take() {
            return Box::pin(self.lost(over)).await;
        }
        if self.turn.is_none()
            && let Some(message) = self.queue.pop()
        {
            return self.asked(message).await;
        }
        let Sockets { stop, cut, .. } = self.sockets.clone();
        let timeouts = self.ground.app.config.timeouts;
        let idle = self.turn.is_none();
        tokio::select! {
            biased;
            () = cut.cancelled() => Err(End::Stopping),
            () = stop.cancelled(), if idle => Err(End::Stopping),
            came = self.client.next(), if self.queue.has_room() => self.heard_client(came).await,
            came = self.leg.link.next() => self.heard_upstream(came).await,
            () = tokio::time::sleep_until(self.leg.opened + timeouts.socket_life), if idle => Err(End::Retired),
            () = tokio::time::sleep_until(self.progress + timeouts.upstream_idle), if !idle => {
                Box::pin(self.lost(Over::Broke("it says nothing".into()))).await
            }
            () = tokio::time::sleep_until(self.sign), if !idle => self.give_sign().await,
            () = tokio::time::sleep_until(self.ping) => self.ping().await,
        }
    }

    async fn heard_client(&mut self, came: Came) -> Result<(), End> {
        let message = client_message(came)?;
        // Asides are for the turn under way; the next turn waits for its end.
        let waits = self.turn.is_some() && self.is_turn(&message);
        if waits || !self.queue.is_empty() {
            self.queue.push(message);
            return Ok(());
        }
        self.asked(message).await
    }

    fn is_turn(&self, message: &Message) -> bool {
        matches!(message, Message::Text(text) if self.turns.asked(text.as_bytes()) == Asked::Turn)
    }

    /// A message of the client's whose time has come.
    async fn asked(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Text(text) if self.turns.asked(text.as_bytes()) == Asked::Turn => Box::pin(self.begin(text)).await,
            message => self.send_up(message).await,
        }
    }

    async fn begin(&mut self, create: Utf8Bytes) -> Result<(), End> {
        let app = self.ground.app.clone();
        self.ground.caller = app.people.current(&self.ground.caller);
        let Ok((menu, demand)) = self.ground.menu(create.as_ref()) else {
            return Err(End::Upstream(Over::Broke("nobody owns this route".into())));
        };
        app.pool.count_request(demand.provider);
        self.count += 1;
        self.sign = Instant::now() + app.config.timeouts.keep_alive;
        let mut turn = Turn::new(&self.ground, self.count, &create, (menu, demand));
        match self.ground.owner(create.as_ref()) {
            Ok(owner) => turn.only = owner,
            Err(failure) => return self.refuse(turn, failure).await,
        }
        let entering = app.enter(&self.ground.caller, &turn.demand, turn.deadline());
        match listening(&mut self.client, &mut self.queue, entering).await? {
            Ok(stay) => turn.stay = stay,
            Err(over) => {
                let refusal = Refusal::over(&turn.demand, over);
                return self.refuse(turn, Failure::Refused(refusal)).await;
            }
        }
        self.place(turn, create).await
    }

    async fn heard_upstream(&mut self, came: Came) -> Result<(), End> {
        let text = match came {
            Came::Text(text) => text,
            Came::Binary(bytes) => return self.send_down(Message::Binary(bytes)).await,
            Came::Over(over) => return Box::pin(self.lost(over)).await,
        };
        self.progress = Instant::now();
        let heard = self.turns.hear(text.as_bytes(), clock::now());
        let app = self.ground.app.clone();
        if !heard.windows.is_empty() {
            app.pool.apply(Event::Read { id: self.leg.account.clone(), windows: heard.windows.clone() });
        }
        let Some(turn) = &mut self.turn else {
            return match heard.fate {
                Fate::Limits => self.show_limits().await,
                Fate::Expired => Err(End::Retired),
                Fate::Hold | Fate::Show => self.send_down(Message::Text(text)).await,
            };
        };
        if heard.fate == Fate::Expired && !turn.shown {
            return Box::pin(self.lost(Over::Broke("its time is up".into()))).await;
        }
        if let Some(judgement) = &heard.failure {
            if !turn.shown && !matches!(judgement.verdict, Verdict::Fatal | Verdict::Deliver) {
                return Box::pin(self.missed(Miss::of(judgement.clone(), heard.status), Some(text))).await;
            }
            turn.note(&app, judgement);
        }
        match heard.fate {
            Fate::Hold if !turn.shown => {
                turn.hold(text);
                if turn.holds_too_much() {
                    self.show_held().await?;
                }
            }
            Fate::Limits => self.show_limits().await?,
            Fate::Hold | Fate::Show | Fate::Expired => {
                if heard.failure.is_none() {
                    turn.serves(&app);
                }
                self.show_held().await?;
                self.send_down(Message::Text(text)).await?;
            }
        }
        self.end_of_turn(&heard);
        Ok(())
    }

    fn end_of_turn(&mut self, heard: &Heard) {
        if self.turns.stage() != Stage::Ended {
            return;
        }
        if let Some(turn) = self.turn.take() {
            self.leg.turns += 1;
            let ending = if heard.failure.is_some() { Ending::Failed } else { Ending::Complete };
            turn.end(&self.ground, &*self.turns, heard.status.unwrap_or(200), ending);
        }
    }

    pub(super) async fn say(&mut self, words: Bytes) -> Result<(), End> {
        match Utf8Bytes::try_from(words) {
            Ok(words) => self.send_down(Message::Text(words)).await,
            Err(_) => Ok(()),
        }
    }

    async fn show_held(&mut self) -> Result<(), End> {
        let Some(turn) = &mut self.turn else { return Ok(()) };
        for message in turn.sent() {
            self.send_down(Message::Text(message)).await?;
        }
        Ok(())
    }

    /// The pool's limits. Codex takes them at any time, also before the first event of an answer.
    async fn show_limits(&mut self) -> Result<(), End> {
        let demand: Option<Demand> = match &self.turn {
            Some(turn) => Some(turn.demand.clone()),
            None => self.ground.demand(&Bytes::new()).ok(),
        };
        let Some(standing) = demand.map(|demand| self.ground.app.standing(&self.ground.caller, &demand)) else {
            return Ok(());
        };
        match self.turns.limits(&standing, clock::now()) {
            Some(limits) => self.say(limits).await,
            None => Ok(()),
        }
    }

    /// The client of a turn has heard nothing for a while. It counts messages as life, not pings.
    async fn give_sign(&mut self) -> Result<(), End> {
        let sign = self.turns.keep_alive();
        self.say(sign).await
    }

    async fn ping(&mut self) -> Result<(), End> {
        self.ping = Instant::now() + self.ground.app.config.timeouts.ping;
        // Whom nobody listens to cannot be heard to answer.
        if self.queue.has_room() {
            self.client.ping().await.map_err(End::Client)?;
        }
        if let Err(over) = self.leg.link.ping().await {
            self.fallen = Some(over);
        }
        Ok(())
    }

    pub(super) async fn send_down(&mut self, message: Message) -> Result<(), End> {
        self.sign = Instant::now() + self.ground.app.config.timeouts.keep_alive;
        self.client.send(message).await.map_err(End::Client)
    }

    /// To upstream, listening to the client meanwhile.
    pub(super) async fn send_up(&mut self, message: Message) -> Result<(), End> {
        let Self { client, leg, queue, ground, .. } = self;
        let sending = tokio::time::timeout(ground.app.config.timeouts.upstream_idle, leg.link.send(message));
        match listening(client, queue, sending).await? {
            Ok(Ok(())) => {}
            Ok(Err(over)) => self.fallen = Some(over),
            Err(_) => self.fallen = Some(Over::Broke("it takes nothing".into())),
        }
        Ok(())
    }
}

fn client_message(came: Came) -> Result<Message, End> {
    match came {
        Came::Text(text) => Ok(Message::Text(text)),
        Came::Binary(bytes) => Ok(Message::Binary(bytes)),
        Came::Over(over) => Err(End::Client(over)),
    }
}

/// Does some work and listens to the client meanwhile: if it leaves, the work is dropped.
pub async fn listening<T>(client: &mut Link, queue: &mut Queue, work: impl Future<Output = T>) -> Result<T, End> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            came = client.next(), if queue.has_room() => queue.push(client_message(came)?),
        }
    }
}
