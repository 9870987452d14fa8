//! Where a turn is served: on the account that the socket is on, on another one, or nowhere.

use std::time::Duration;

use pool_core::Ask;
use pool_core::pool::Event;
use pool_core::scan::splice;
use pool_core::standing::RefusalWhy;
use pool_core::verdict::Verdict;
use pool_providers::reply::Failure;
use pool_providers::request::{Body, Carry, Serving};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::link::Over;
use super::miss::Miss;
use super::open::{Ground, REFUSALS};
use super::seek::NoLease;
use super::talk::{End, Talk, listening};
use super::turn::Turn;
use crate::clock;
use crate::pool::Lease;
use crate::relay::attempt;
use crate::relay::miss::failed;
use crate::relay::path::{head, provider};

/// Waits between tries, doubling.
const PAUSE: Duration = Duration::from_millis(200);

impl Talk {
    /// Puts a turn on an account: the one that the socket is on, as long as that can serve it.
    pub(super) async fn place(&mut self, mut turn: Turn, create: Utf8Bytes) -> Result<(), End> {
        let app = self.ground.app.clone();
        loop {
            let open = Some(&self.leg.account).filter(|open| turn.left.as_ref() != Some(open));
            let (tried, only) = (turn.tried(), turn.only.clone());
            let ask = Ask::new(&turn.demand, Some(turn.session)).within(turn.parent).after(&tried).only(only.as_ref());
            let ask = ask.by(self.ground.rights());
            let leasing = self.ground.lease(&ask, open, turn.patience());
            let lease = match listening(&mut self.client, &mut self.queue, leasing).await? {
                Ok(lease) => lease,
                Err(NoLease::OverHttp) if turn.stands_alone() => return self.over_http(&turn).await,
                Err(NoLease::OverHttp) => return self.start_over(&turn).await,
                Err(NoLease::Refused(_)) if turn.stands_alone() && turn.forgive() => {
                    let pause = tokio::time::sleep(PAUSE * turn.trail.transient.clamp(1, 8));
                    listening(&mut self.client, &mut self.queue, pause).await?;
                    continue;
                }
                Err(NoLease::Refused(refusal)) => match turn.refused(*refusal) {
                    Ok(()) => continue,
                    Err(_) if !turn.stands_alone() => return self.start_over(&turn).await,
                    Err(refusal) => return self.refuse(turn, Failure::Refused(refusal)).await,
                },
            };
            let here = lease.account.id == self.leg.account && !turn.has_left(&lease);
            if !here && !turn.stands_alone() {
                return self.start_over(&turn).await;
            }
            turn.take(lease);
            if here {
                return self.send_turn(turn, create).await;
            }
            match self.reconnect(&mut turn).await? {
                Ok(()) => return self.send_turn(turn, create).await,
                Err(miss) if turn.lease.as_ref().is_none_or(|lease| miss.ends_the_search(lease)) => {
                    return self.over_http(&turn).await;
                }
                Err(miss) if miss.has_no_sockets() && turn.trail.attempts.len() >= REFUSALS => {
                    return self.over_http(&turn).await;
                }
                Err(miss) if turn.failed(&app, &miss.judgement) => {}
                Err(miss) => return self.refuse(turn, down(&self.ground, &miss)).await,
            }
        }
    }

    /// Another upstream connection, to the turn's account.
    async fn reconnect(&mut self, turn: &mut Turn) -> Result<Result<(), Miss>, End> {
        let Turn { lease: Some(lease), demand, trail, left, .. } = turn else {
            return Ok(Err(Miss::broken("no account")));
        };
        let connecting = self.ground.connect(lease, demand, trail);
        match listening(&mut self.client, &mut self.queue, connecting).await? {
            Ok((leg, _)) => {
                let old = std::mem::replace(&mut self.leg, leg);
                self.sockets.spawn(old.link.close(1000, ""));
                self.fallen = None;
                *left = None;
                Ok(Ok(()))
            }
            Err(miss) => Ok(Err(miss)),
        }
    }

    /// Sends what began the turn, as its account may have it.
    async fn send_turn(&mut self, turn: Turn, create: Utf8Bytes) -> Result<(), End> {
        let Some(lease) = &turn.lease else { return Ok(()) };
        let message = self.fitted(create, lease, turn.carry, turn.menu.model());
        self.turns.begin(&lease.account, &turn.demand, clock::now());
        self.progress = Instant::now();
        self.turn = Some(turn);
        self.send_up(Message::Text(message)).await
    }

    /// The message without what only another account understands, and with the name of the model that it gets.
    fn fitted(&self, create: Utf8Bytes, lease: &Lease, carry: Carry, model: Option<&str>) -> Utf8Bytes {
        let ground = &self.ground;
        let body = Body { bytes: create.clone().into(), whole: true };
        let bases = &ground.app.config.bases;
        let serving = Serving { account: &lease.account, credentials: &lease.credentials, bases, carry, model };
        let edits = provider(&ground.app.registry, ground.route)
            .and_then(|provider| provider.outbound(ground.route, &head(&ground.parts), &body, &serving))
            .map(|outbound| outbound.edits)
            .unwrap_or_default();
        if edits.is_empty() {
            return create;
        }
        let edits = edits.iter().map(|edit| (edit.range.clone(), &edit.with[..]));
        let fitted = splice::apply(&body.bytes, edits).ok().and_then(|bytes| Utf8Bytes::try_from(bytes).ok());
        fitted.unwrap_or(create)
    }

    /// The turn's account failed before anything was shown. `words`: upstream's own.
    pub(super) async fn missed(&mut self, miss: Miss, words: Option<Utf8Bytes>) -> Result<(), End> {
        let Some(mut turn) = self.turn.take() else { return Ok(()) };
        let app = self.ground.app.clone();
        turn.forget_held();
        let Turn { lease: Some(lease), trail, renewed, .. } = &mut turn else { return Ok(()) };
        self.ground.settle(lease, &miss, *renewed, trail);
        match (miss.judgement.verdict, turn.create()) {
            (Verdict::StripThenSame, Some(create)) if turn.carry != Carry::Bare => {
                turn.carry = Carry::Bare;
                app.pool.apply(Event::Stripped { session: turn.session });
                self.send_turn(turn, create).await
            }
            (Verdict::StripThenSame, _) => self.own_words(turn, words).await,
            (Verdict::RefreshThenSame, _) if !turn.renewed => self.renew(turn, miss).await,
            _ => self.elsewhere(turn, miss, words).await,
        }
    }

    /// The credential was refused in the middle of a socket: another connection with a new one.
    async fn renew(&mut self, mut turn: Turn, miss: Miss) -> Result<(), End> {
        turn.renewed = true;
        let app = self.ground.app.clone();
        if let Some(lease) = &mut turn.lease {
            let renewing = attempt::renew(&app, lease);
            if listening(&mut self.client, &mut self.queue, renewing).await?.is_err() {
                return self.elsewhere(turn, miss, None).await;
            }
        }
        self.reopen(turn).await
    }

    /// The same turn on another connection to the same account.
    async fn reopen(&mut self, mut turn: Turn) -> Result<(), End> {
        let Some(create) = turn.create().filter(|_| turn.stands_alone()) else {
            return self.start_over(&turn).await;
        };
        match self.reconnect(&mut turn).await? {
            Ok(()) => self.send_turn(turn, create).await,
            Err(miss) if turn.lease.as_ref().is_none_or(|lease| miss.ends_the_search(lease)) => {
                self.over_http(&turn).await
            }
            Err(miss) => self.elsewhere(turn, miss, None).await,
        }
    }

    /// The turn's account is no longer asked: another one is, or the client learns of it.
    async fn elsewhere(&mut self, mut turn: Turn, miss: Miss, words: Option<Utf8Bytes>) -> Result<(), End> {
        let again = turn.failed(&self.ground.app, &miss.judgement);
        let Some(create) = turn.create().filter(|_| turn.stands_alone()) else {
            return self.start_over(&turn).await;
        };
        match again {
            true => self.place(turn, create).await,
            false if words.is_some() && miss.judgement.is_transient() => self.own_words(turn, words).await,
            false => self.refuse(turn, down(&self.ground, &miss)).await,
        }
    }

    /// The upstream connection is gone, or of no use.
    pub(super) async fn lost(&mut self, over: Over) -> Result<(), End> {
        let Some(mut turn) = self.turn.take_if(|turn| !turn.shown) else { return Err(End::Upstream(over)) };
        let alone = turn.stands_alone();
        turn.leave(&self.leg.account);
        // One that has served is closed at some time, and that may be now: nobody's fault, once.
        if self.leg.turns > 0 && !std::mem::replace(&mut turn.reopened, true) {
            turn.forget_held();
            self.reopen(turn).await?;
        } else {
            self.turn = Some(turn);
            self.missed(Miss::broken(format!("the socket ended before an answer came: {over}")), None).await?;
        }
        if alone { Ok(()) } else { Err(End::Upstream(over)) }
    }

    /// Makes the client send the whole conversation again.
    async fn start_over(&mut self, turn: &Turn) -> Result<(), End> {
        tracing::info!(
            request = self.ground.id,
            turn = self.count,
            binding = %turn.demand.binding,
            "a conversation starts over"
        );
        self.turns.end();
        let words = self.turns.start_over();
        self.say(words).await
    }

    /// There is no socket to be had for the turn. The client connects anew, and is told to use HTTP.
    async fn over_http(&mut self, turn: &Turn) -> Result<(), End> {
        self.start_over(turn).await
    }

    pub(super) async fn refuse(&mut self, turn: Turn, failure: Failure) -> Result<(), End> {
        let refusal = if let Failure::Refused(refusal) = &failure { Some(refusal) } else { None };
        match refusal.map(|refusal| &refusal.why) {
            Some(RefusalWhy::OwnLimit(limit)) => {
                tracing::info!(request = self.ground.id, turn = self.count, %limit, "somebody's own limit is reached");
            }
            why => tracing::warn!(request = self.ground.id, turn = self.count, ?why, "no account could serve a turn"),
        }
        self.turns.end();
        let reply = self.ground.failure(&failure);
        if self.ground.is_worth_a_record(refusal) {
            turn.unserved(&self.ground, refusal, reply.status.as_u16());
        }
        let words = self.turns.refuse(&reply);
        self.say(words).await
    }

    async fn own_words(&mut self, turn: Turn, words: Option<Utf8Bytes>) -> Result<(), End> {
        self.turns.end();
        let status = turn.trail.attempts.last().and_then(|attempt| attempt.status).filter(|status| *status >= 400);
        turn.unserved(&self.ground, None, status.unwrap_or(502));
        match words {
            Some(words) => self.send_down(Message::Text(words)).await,
            None => Ok(()),
        }
    }
}

fn down(ground: &Ground, miss: &Miss) -> Failure {
    let message = failed(&ground.app, &ground.caller, &miss.judgement.reason);
    Failure::UpstreamDown { message, retry_after: Duration::from_secs(2) }
}
