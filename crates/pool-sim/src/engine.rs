//! A run: conversations step after step on a virtual clock, each step asking the real pool for an account.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use pool_core::ask::{Ask, Rights};
use pool_core::eligible::eligible;
use pool_core::pool::{Event, Grant};
use pool_core::usage::Drawn;
use pool_core::verdict::{Cause, Penalty, Until};
use pool_core::{AccountId, Credentials, Pool, ProviderId, QuotaWindow, Scope, Secret, Span, UnixMs};

use crate::options::Options;
use crate::outside;
use crate::policies::Contestant;
use crate::pool_file::AccountSpec;
use crate::report::{Ledger, Outcome, Served, rounded};
use crate::talk::{Talk, cost_of, hours, secs, whole};
use crate::trace::Session;
use crate::warm_up;
use crate::world::{Quota, WARM};

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Scenario<'a> {
    pub accounts: &'a [AccountSpec],
    pub sessions: &'a [Session],
    pub options: &'a Options,
}

/// Some moment after 1970, since to the core zero means never.
const START: UnixMs = UnixMs(1_760_000_000_000);
/// Nobody knows when an account can serve again: ask anew after this.
const ASK_AGAIN: Span = Span::from_mins(1);
const MINUTE: Span = Span::from_mins(1);
/// With use outside the pool an account is asked what it has left when no reply has told for so long (`probe_seconds`).
const PROBE: Span = Span::from_mins(5);

/// Plays the scenario with one policy. `progress` is told the share done, 0 to 1, now and then.
pub fn run(scenario: &Scenario<'_>, contestant: &Contestant, progress: &mut dyn FnMut(f64)) -> Outcome {
    play(Run::new(scenario, contestant), progress)
}

/// Is shown the pool and the time.
pub type Watch<'a> = dyn FnMut(&Pool, UnixMs) + 'a;

/// The same; the pool is shown to `watch` at every minute.
pub fn run_watched<'a>(scenario: &Scenario<'a>, contestant: &'a Contestant, watch: &'a mut Watch<'a>) -> Outcome {
    let mut run = Run::new(scenario, contestant);
    run.at(START + MINUTE, Happening::Look);
    run.watch = Some(watch);
    play(run, &mut |_| ())
}

fn play(mut run: Run<'_>, progress: &mut dyn FnMut(f64)) -> Outcome {
    let length = run.scenario.options.length.0.max(1) as f64;
    run.prepare();
    let mut told = 0_u64;
    while let Some(Reverse((now, _, happening))) = run.queue.pop() {
        told += 1;
        if told.is_multiple_of(1024) {
            progress((now.since(START).0 as f64 / length).min(1.0));
        }
        run.handle(happening, now);
    }
    progress(1.0);
    run.outcome()
}

/// What happens at a time. Indexes are into the scenario's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A conversation's next step is wanted.
    Ready(usize),
    Ended(usize),
    /// A reading arrives that was made a while ago.
    Told(usize),
    /// Some account may be able to serve again.
    Wake,
    Outside(usize),
    Probe(usize),
    Revoked(usize),
    SignedIn(usize),
    Look,
}

/// An account of the run.
struct Member {
    id: AccountId,
    quota: Quota,
    revoked: bool,
    read_at: UnixMs,
}

struct Run<'a> {
    scenario: Scenario<'a>,
    contestant: &'a Contestant,
    pool: Pool,
    members: Vec<Member>,
    by_id: HashMap<AccountId, usize>,
    talks: Vec<Talk>,
    queue: BinaryHeap<Reverse<(UnixMs, u64, Happening)>>,
    sequence: u64,
    waiting: Vec<usize>,
    wake_at: Option<UnixMs>,
    /// Readings on their way, in the order of their arrival.
    readings: HashMap<usize, VecDeque<Vec<QuotaWindow>>>,
    end: UnixMs,
    outcome: Outcome,
    watch: Option<&'a mut Watch<'a>>,
}

impl<'a> Run<'a> {
    fn new(scenario: &Scenario<'a>, contestant: &'a Contestant) -> Self {
        let scenario = scenario.clone();
        let members: Vec<Member> = scenario
            .accounts
            .iter()
            .map(|spec| Member {
                id: warm_up::account_id(spec),
                quota: Quota::new(spec, START),
                revoked: false,
                read_at: START,
            })
            .collect();
        let usual = scenario.accounts.first().map_or(ProviderId(""), |spec| spec.provider);
        let talks = scenario.sessions.iter().map(|session| Talk::new(session, scenario.accounts, usual)).collect();
        Self {
            pool: contestant.pool(scenario.accounts, scenario.options),
            by_id: members.iter().enumerate().map(|(index, member)| (member.id.clone(), index)).collect(),
            members,
            talks,
            queue: BinaryHeap::new(),
            sequence: 0,
            waiting: Vec::new(),
            wake_at: None,
            readings: HashMap::new(),
            end: START + scenario.options.length,
            outcome: Outcome {
                name: contestant.name,
                steps: 0,
                blocked_steps: 0,
                blocked_hours: 0.0,
                extra_tokens_pct: 0.0,
                moves: 0,
                warm_moves: 0,
                refused_upstream: 0,
                wasted_pct: 0.0,
                served: Vec::new(),
                ledger: Ledger::default(),
            },
            scenario,
            contestant,
            watch: None,
        }
    }

    fn at(&mut self, time: UnixMs, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((time, self.sequence, happening)));
    }

    fn prepare(&mut self) {
        let Scenario { accounts, sessions, options } = self.scenario;
        for spec in accounts {
            self.pool.apply(warm_up::seen(spec), START);
        }
        if options.sizes_known {
            warm_up::learn(&mut self.pool, accounts, START);
        }
        for account in 0..self.members.len() {
            self.read(account, START);
        }
        for failure in &options.failures {
            let Some(index) = accounts.iter().position(|spec| spec.name == failure.account) else { continue };
            self.at(START + failure.after, Happening::Revoked(index));
            if let Some(lasts) = failure.lasts {
                self.at(START + failure.after + lasts, Happening::SignedIn(index));
            }
        }
        if options.outside > 0.0 {
            self.plan_outside();
        }
        for (index, session) in sessions.iter().enumerate() {
            let gap = session.steps.first().map_or(0.0, |step| step.gap);
            self.at(START + secs(session.start) + secs(gap), Happening::Ready(index));
        }
    }

    fn plan_outside(&mut self) {
        let Scenario { accounts, options, .. } = self.scenario;
        for (index, spec) in accounts.iter().enumerate() {
            for after in outside::draws(spec, options) {
                self.at(START + after, Happening::Outside(index));
            }
            self.at(START + PROBE, Happening::Probe(index));
        }
    }

    fn handle(&mut self, happening: Happening, now: UnixMs) {
        match happening {
            Happening::Ended(talk) => self.ended(talk, now),
            Happening::Told(account) => {
                let arrived = self.readings.get_mut(&account).and_then(VecDeque::pop_front);
                if let Some(windows) = arrived {
                    self.tell(account, windows, now);
                }
            }
            // Nothing begins after the end.
            _ if now >= self.end => {}
            Happening::Ready(talk) => {
                self.talks[talk].ready_at = now;
                if !self.begin(talk, now) {
                    self.waiting.push(talk);
                }
            }
            Happening::Wake => self.wake(now),
            Happening::Outside(account) => {
                let units = outside::units(&self.scenario.accounts[account], self.scenario.options);
                self.members[account].quota.draw_outside(units, now);
            }
            Happening::Probe(account) => {
                let Member { revoked, read_at, .. } = self.members[account];
                if read_at + PROBE <= now && !revoked {
                    self.read(account, now);
                }
                let due = self.members[account].read_at + PROBE;
                self.at(due.max(now + ASK_AGAIN), Happening::Probe(account));
            }
            Happening::Revoked(account) => self.members[account].revoked = true,
            Happening::Look => {
                if let Some(watch) = &mut self.watch {
                    watch(&self.pool, now);
                }
                self.at(now + MINUTE, Happening::Look);
            }
            Happening::SignedIn(account) => {
                let member = &mut self.members[account];
                member.revoked = false;
                let credentials = Box::new(Credentials::lasting(Secret::new("simulated-again")));
                self.pool.apply(Event::Renewed { id: member.id.clone(), credentials }, now);
                self.wake(now);
            }
        }
    }

    /// Those who wait try again, in the order in which they came.
    fn wake(&mut self, now: UnixMs) {
        if self.wake_at.is_some_and(|at| at <= now) {
            self.wake_at = None;
        }
        // What refuses one conversation refuses all of its provider: nobody here is bound to an account.
        let mut refused: Vec<ProviderId> = Vec::new();
        for talk in std::mem::take(&mut self.waiting) {
            let provider = self.talks[talk].demand.provider;
            if refused.contains(&provider) {
                self.waiting.push(talk);
            } else if !self.begin(talk, now) {
                refused.push(provider);
                self.waiting.push(talk);
            }
        }
    }

    /// Begins a conversation's next step, or finds that nobody can take it.
    fn begin(&mut self, talk: usize, now: UnixMs) -> bool {
        let mut tried: Vec<AccountId> = match self.contestant.gate {
            Some(gate) => {
                let shut = self.pool.slots().filter(|slot| !gate(slot, now));
                shut.map(|slot| slot.account.id.clone()).collect()
            }
            None => Vec::new(),
        };
        loop {
            let Talk { demand, key, .. } = &self.talks[talk];
            let Ok(grant) = self.pool.lease(&Ask::new(demand, Some(*key)).after(&tried), now) else {
                self.wake_later(now);
                return false;
            };
            debug_assert!(self.is_able(&grant, &tried, talk, now), "{} was chosen and cannot serve", grant.account.id);
            let account = self.by_id[&grant.account.id];
            if self.ask_upstream(account, &grant, now) {
                self.send(talk, account, grant, now);
                return true;
            }
            self.outcome.refused_upstream += 1;
            self.pool.release(&grant);
            tried.push(grant.account.id.clone());
        }
    }

    /// Might the pool give this account away, as far as it knows?
    fn is_able(&self, grant: &Grant, tried: &[AccountId], talk: usize, now: UnixMs) -> bool {
        let demand = &self.talks[talk].demand;
        let slot = self.pool.slot(&grant.account.id).filter(|slot| slot.account.provider == demand.provider);
        slot.is_some_and(|slot| eligible(slot, demand, Rights::OWNER, now).is_ok())
            && !tried.contains(&grant.account.id)
    }

    /// Does the provider take a request of this account? If not, the pool hears what the relay would have read from the refusal.
    fn ask_upstream(&mut self, account: usize, grant: &Grant, now: UnixMs) -> bool {
        let quantise = self.scenario.options.quantise;
        let member = &mut self.members[account];
        let id = member.id.clone();
        if member.revoked {
            let why = "its credential was revoked".into();
            self.pool.apply(Event::SignInNeeded { id, epoch: grant.epoch, why }, now);
            return false;
        }
        let Err(until) = member.quota.admit(now) else { return true };
        let windows = member.quota.reading(now, quantise);
        let penalty = Penalty { scope: Scope::Account, cause: Cause::QuotaSpent, until: Until::At(until) };
        self.pool.apply(Event::Penalised { id: id.clone(), penalty }, now);
        self.pool.apply(Event::Read { id, windows }, now);
        false
    }

    fn send(&mut self, index: usize, account: usize, grant: Grant, now: UnixMs) {
        let talk = &mut self.talks[index];
        let step = &self.scenario.sessions[index].steps[talk.step];
        if let Some(measured) = step.prefix {
            talk.context.tokens = whole(measured);
        }
        let warm = talk.context.warm_on(account, now);
        let tokens = cost_of(step, talk.context.tokens, warm);
        let in_time = talk.ended_at.is_some_and(|ended| now < ended + WARM);
        let least = cost_of(step, talk.context.tokens, if in_time { talk.context.tokens } else { 0 });
        let sums = &mut self.outcome;
        sums.steps += 1;
        sums.served.push(Served { session: index, step: talk.step, account, tokens });
        sums.ledger.cost += tokens.units();
        sums.ledger.least_cost += least.units();
        if let Some(last) = talk.last.filter(|last| *last != account) {
            sums.moves += 1;
            sums.warm_moves += u64::from(talk.context.warm_on(last, now) > 0);
        }
        let waited = now.since(talk.ready_at);
        sums.blocked_steps += u64::from(waited > Span::ZERO);
        sums.blocked_hours += hours(waited);
        talk.last = Some(account);
        talk.running = Some((grant, account, tokens));
        let ends = now + secs(step.secs);
        self.at(ends, Happening::Ended(index));
        if self.scenario.options.at_head {
            self.read(account, now);
        }
    }

    fn ended(&mut self, index: usize, now: UnixMs) {
        let talk = &mut self.talks[index];
        let Some((grant, account, tokens)) = talk.running.take() else { return };
        let units = tokens.units();
        let session = &self.scenario.sessions[index];
        let step = &session.steps[talk.step];
        talk.context.grow(whole(step.new) + whole(step.out), account, step.prefix.is_none(), now);
        talk.ended_at = Some(now);
        talk.step += 1;
        let next = session.steps.get(talk.step).map(|step| now + secs(step.gap));
        let key = talk.key;
        let member = &mut self.members[account];
        member.quota.draw(units, now);
        let id = member.id.clone();
        self.pool.apply(Event::Served { id: id.clone(), families: Vec::new() }, now);
        let drawn = Drawn { units, prefix: tokens.prefix(), warm: WARM };
        self.pool.apply(Event::Drew { id, user: None, session: Some(key), families: Vec::new(), drawn }, now);
        if !self.scenario.options.at_head {
            self.read(account, now);
        }
        self.pool.release(&grant);
        if let Some(next) = next {
            self.at(next, Happening::Ready(index));
        }
    }

    /// A reading is made now and reaches the pool after the delay.
    fn read(&mut self, account: usize, now: UnixMs) {
        let Options { quantise, delay, .. } = *self.scenario.options;
        let member = &mut self.members[account];
        member.read_at = now;
        let windows = member.quota.reading(now, quantise);
        if delay == Span::ZERO || now == START {
            self.tell(account, windows, now);
        } else {
            self.readings.entry(account).or_default().push_back(windows);
            self.at(now + delay, Happening::Told(account));
        }
    }

    fn tell(&mut self, account: usize, mut windows: Vec<QuotaWindow>, now: UnixMs) {
        for window in &mut windows {
            window.seen_at = now;
        }
        self.pool.apply(Event::Read { id: self.members[account].id.clone(), windows }, now);
    }

    /// Nobody can serve: those who wait try again when a window ends or a cooldown does, as the pool knows them.
    fn wake_later(&mut self, now: UnixMs) {
        let ends = self.pool.slots().flat_map(|slot| {
            let windows = slot.windows.iter().filter_map(|window| window.resets_at);
            windows.chain(slot.cooldowns.iter().map(|cooldown| cooldown.until))
        });
        let next = ends.filter(|time| *time > now).min().unwrap_or(now + ASK_AGAIN);
        if self.wake_at.is_none_or(|at| next < at) {
            self.wake_at = Some(next);
            self.at(next, Happening::Wake);
        }
    }

    fn outcome(mut self) -> Outcome {
        for talk in std::mem::take(&mut self.waiting) {
            self.outcome.blocked_steps += 1;
            self.outcome.blocked_hours += hours(self.end.since(self.talks[talk].ready_at));
        }
        let (mut wasted, mut ended) = (0.0, 0.0);
        let ledger = &mut self.outcome.ledger;
        for Member { quota, .. } in &mut self.members {
            quota.roll(self.end);
            wasted += quota.wasted;
            ended += quota.ended;
            ledger.drawn_inside += quota.drawn_inside;
            ledger.drawn_outside += quota.drawn_outside;
        }
        ledger.left_in_flight = self.pool.slots().map(|slot| slot.in_flight).sum();
        let percent = |part: f64, whole: f64| if whole > 0.0 { rounded(100.0 * part / whole) } else { 0.0 };
        Outcome {
            blocked_hours: rounded(self.outcome.blocked_hours),
            extra_tokens_pct: percent(ledger.cost - ledger.least_cost, ledger.least_cost),
            wasted_pct: percent(wasted, ended),
            ..self.outcome
        }
    }
}
