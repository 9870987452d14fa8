//! The simulator against the relay: the same conversations over the same accounts, predicted and played.
//!
//! The relay speaks to accounts whose quota is drawn by the tokens of its requests, and the simulator gets the accounts as
//! the pool knows them and the steps at the times at which the relay took them. Both decide with the same core, so what they
//! do must be the same to the step. `cargo test -p pool-server --test prediction -- --nocapture` prints the figures.

mod support;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use pool_core::{AccountId, Span, TokenCounts, UnixMs};
use pool_server::clock;
use pool_sim::rng::Rng;
use pool_sim::{AccountSpec, Contestant, Options, Outcome, Scenario, Session, Step, run};
use pool_testkit::request::Request;
use pool_testkit::{FakeAccount, FakeWindow, World, weight};
use serde_json::{Value, json};
use support::Rig;

/// Name, plan, what a week holds in fresh input tokens, the week over the short window, and hours until the week ends.
const ACCOUNTS: [(&str, &str, f64, f64, u64); 6] = [
    ("pro-a", "default_claude_pro", 1.6e6, 8.0, 30),
    ("pro-b", "default_claude_pro", 2.4e6, 8.0, 140),
    ("max-a", "default_claude_max_5x", 6.4e6, 8.0, 71),
    // Its week is as short as its five hours.
    ("max-b", "default_claude_max_5x", 0.6e6, 1.0, 12),
    ("big-a", "default_claude_max_20x", 14e6, 8.0, 100),
    ("big-b", "default_claude_max_20x", 20e6, 8.0, 55),
];
const SESSIONS: usize = 36;

/// What comes of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Done {
    session: usize,
    step: usize,
    account: String,
    tokens: TokenCounts,
}

/// The steps that were served, in their order, and those that nobody could take.
#[derive(Debug)]
struct Run {
    served: Vec<Done>,
    blocked: u64,
    /// Tries that the provider refused.
    refused: u64,
}

impl Run {
    /// Steps that another account served than the conversation's step before.
    fn moves(&self) -> usize {
        let mut last: HashMap<usize, &str> = HashMap::new();
        let before = self.served.iter().map(|done| (last.insert(done.session, &done.account), &done.account));
        before.filter(|(before, account)| before.is_some_and(|before| before != *account)).count()
    }

    /// Units that the account gave.
    fn work_of(&self, account: &str) -> f64 {
        self.served.iter().filter(|done| done.account == account).map(|done| done.tokens.units()).sum()
    }

    fn work(&self) -> f64 {
        self.served.iter().map(|done| done.tokens.units()).sum()
    }
}

/// Conversations of people who sit down within an hour. A step's `prefix` is what the step before has sent; its
/// `new` is the answer to that and what follows it, as the provider counts them.
fn trace(seed: u64) -> Vec<Session> {
    let mut rng = Rng::new(seed);
    let mut between = |least: f64, most: f64| (least + (most - least) * rng.unit()).round();
    (0..SESSIONS)
        .map(|index| {
            let (mut prefix, mut answer) = (0.0, 0.0);
            let steps = (0..between(5.0, 11.0) as usize).map(|step| {
                let fresh = if step == 0 { between(15_000.0, 70_000.0) } else { between(300.0, 8000.0) };
                let new = answer + fresh;
                let out = between(100.0, 1500.0);
                let gap = if step == 0 { 0.0 } else { between(2.0, 200.0) };
                let step = Step { gap, new, out, secs: between(2.0, 20.0), prefix: Some(prefix) };
                (prefix, answer) = (prefix + new, out);
                step
            });
            let steps = steps.collect();
            let start = between(0.0, 3600.0);
            Session { session: format!("s{index}"), user: String::new(), provider: None, model: None, start, steps }
        })
        .collect()
}

/// Every step as (session, step), in the order of the trace's times.
fn order(sessions: &[Session]) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    for (index, session) in sessions.iter().enumerate() {
        let mut at = session.start;
        for (number, step) in session.steps.iter().enumerate() {
            at += step.gap;
            all.push((at, index, number));
            at += step.secs;
        }
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.into_iter().map(|(_, session, step)| (session, step)).collect()
}

/// The step as Claude Code would send it: all that was said, with a mark to cache it.
fn request(session: &Session, number: usize) -> Request {
    let text = |role: &str, text: String| json!({"role": role, "content": [{"type": "text", "text": text}]});
    let mut messages: Vec<Value> = Vec::new();
    let mut answer = 0.0;
    for (at, step) in session.steps[..=number].iter().enumerate() {
        let name = format!("{} {at}", session.session);
        if at > 0 {
            messages.push(text("assistant", weight::weighing(answer as u64, &name)));
        }
        let fresh = (step.new - answer) as u64;
        messages.push(text("user", weight::asking(fresh, step.out as u64, &name)));
        answer = step.out;
    }
    let mut request = Request::claude(&session.session);
    let mut body: Value = serde_json::from_slice(&request.body).expect("JSON");
    messages.last_mut().expect("a message")["content"][0]["cache_control"] = json!({"type": "ephemeral"});
    body["messages"] = messages.into();
    request.body = body.to_string().into_bytes();
    request
}

fn world() -> World {
    let account = |(name, plan, weekly, ratio, ends): (&str, &str, f64, f64, u64)| {
        let week = FakeWindow::week().capacity(weekly).resets_in(Duration::from_hours(ends));
        FakeAccount::claude(name).plan(plan).windows([FakeWindow::five_hours().capacity(weekly / ratio), week])
    };
    ACCOUNTS.into_iter().map(account).fold(World::new(), World::account)
}

/// The accounts as the pool has found them, for a simulation that begins now.
fn specs(rig: &Rig, now: UnixMs) -> Vec<AccountSpec> {
    let spec = |(name, _, weekly_units, short_ratio, _): (&str, &str, f64, f64, u64)| {
        rig.app.pool.read(|pool, _| {
            let slot = pool.slots().find(|slot| slot.account.name == name).expect("an account of this name");
            let week = slot.windows.iter().find(|window| window.name == "week").and_then(|week| week.resets_at);
            let provider = slot.account.provider;
            // The simulator makes ids of provider and name; equal ids break ties alike.
            let AccountId(id) = &slot.account.id;
            AccountSpec {
                name: id.strip_prefix(&format!("{provider}-")).expect("an id of its provider").to_owned(),
                provider,
                plan: slot.account.plan.clone(),
                weekly_units,
                short_ratio,
                phase_hours: week.expect("a reading").since(now).0 as f64 / 3_600_000.0,
            }
        })
    };
    ACCOUNTS.into_iter().map(spec).collect()
}

/// Plays the steps through the relay, one after the other. A conversation that nobody can serve ends there. The steps get the
/// times at which they really were.
async fn play(rig: &Rig, sessions: &mut [Session], begin: Instant) -> Run {
    let mut blocked = HashSet::new();
    let mut sent = Vec::new();
    let mut ended: HashMap<usize, u64> = HashMap::new();
    let mut last = 0;
    let stamp = |last: &mut u64| {
        *last = (*last + 1).max(u64::try_from(begin.elapsed().as_millis()).expect("a short while"));
        *last
    };
    let secs = |millis: u64| millis as f64 / 1000.0;
    for (index, number) in order(sessions) {
        if blocked.contains(&index) {
            continue;
        }
        let begun = stamp(&mut last);
        let session = &mut sessions[index];
        let seen = rig.send(&request(session, number)).await;
        match ended.get(&index) {
            Some(before) => session.steps[number].gap = secs(begun - before),
            None => session.start = secs(begun),
        }
        match seen.status {
            Some(200) => sent.push((index, number)),
            Some(429) => drop(blocked.insert(index)),
            _ => panic!("{index}, {number}: {}", seen.text()),
        }
        settled(rig, sent.len() as u64).await;
        let end = stamp(&mut last);
        session.steps[number].secs = secs(end - begun);
        ended.insert(index, end);
    }
    let books = rig.fake.books();
    assert!(books.violations.is_empty(), "{:?}", books.violations);
    let answers = books.inference().filter(|request| request.status == Some(200));
    let served = answers.zip(sent).map(|(request, (session, step))| {
        let told = request.tokens.expect("an answer");
        let tokens = TokenCounts {
            input: told.input,
            cache_read: told.cache_read,
            cache_write_5m: told.cache_write_5m,
            output: told.output,
            ..TokenCounts::default()
        };
        let account = request.account.clone().expect("an account");
        assert_eq!(request.conversation, Some(format!("s{session}")));
        Done { session, step, account, tokens }
    });
    let refused = books.inference().filter(|request| request.status == Some(429)).count() as u64;
    Run { served: served.collect(), blocked: blocked.len() as u64, refused }
}

/// Waits until both sides have booked so many answers: their last bytes come before that.
async fn settled(rig: &Rig, answers: u64) {
    let booked = || rig.fake.accounts().iter().map(|account| account.books().completed).sum::<u64>();
    let idle = || rig.app.pool.read(|pool, _| pool.slots().all(|slot| slot.in_flight == 0));
    let deadline = Instant::now() + Duration::from_secs(20);
    while booked() < answers || !idle() {
        assert!(Instant::now() < deadline, "an answer is not booked");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn predict(accounts: &[AccountSpec], sessions: &[Session], options: &Options) -> Run {
    let contestant = Contestant::named("ours").expect("our policy");
    let Outcome { served, blocked_steps, refused_upstream, .. } =
        run(&Scenario { accounts, sessions, options }, &contestant, &mut |_| ());
    let done = |served: &pool_sim::Served| Done {
        session: served.session,
        step: served.step,
        account: ACCOUNTS[served.account].0.to_owned(),
        tokens: served.tokens,
    };
    Run { served: served.iter().map(done).collect(), blocked: blocked_steps, refused: refused_upstream }
}

/// The figures side by side.
fn table(runs: &[(&str, &Run)]) -> String {
    let mut text = String::new();
    let mut row = |name: &str, figure: &dyn Fn(&Run) -> String| {
        let figures: Vec<String> = runs.iter().map(|(_, run)| format!("{:>20}", figure(run))).collect();
        let _ = writeln!(text, "{name:<18}{}", figures.concat());
    };
    row("steps", &|run| run.served.len().to_string());
    row("moves", &|run| run.moves().to_string());
    row("refused upstream", &|run| run.refused.to_string());
    row("blocked", &|run| run.blocked.to_string());
    for (name, _, weekly, ratio, _) in ACCOUNTS {
        row(&format!("{name}, units"), &|run| {
            let work = run.work_of(name);
            format!("{work:.0} ({:.1} %)", 100.0 * work * ratio / weekly)
        });
    }
    let heads: Vec<String> = runs.iter().map(|(head, _)| format!("{head:>20}")).collect();
    format!("{:<18}{}\n{text}", "", heads.concat())
}

/// What the traces grow from.
const SEEDS: [u64; 3] = [4, 8, 11];

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_predicts_what_the_relay_does() {
    for seed in SEEDS {
        let rig = Rig::start(world()).await;
        let (begin, now) = (Instant::now(), clock::now());
        let accounts = specs(&rig, now);
        let mut sessions = trace(seed);
        let real = play(&rig, &mut sessions, begin).await;
        let length = Span(u64::try_from(begin.elapsed().as_millis()).expect("a short while") + 60_000);
        // The relay begins without having watched its accounts; headers tell four digits, of what was before the reply.
        let options = Options { sizes_known: false, quantise: 0.01, at_head: true, length, ..Options::default() };
        let predicted = predict(&accounts, &sessions, &options);
        let at_end = predict(&accounts, &sessions, &Options { at_head: false, ..options });
        println!(
            "trace {seed}\n{}",
            table(&[("relay", &real), ("predicted", &predicted), ("read at the end", &at_end)])
        );

        let unlike = predicted.served.iter().zip(&real.served).find(|(predicted, real)| predicted != real);
        assert_eq!(unlike, None, "trace {seed}: predicted, and what the relay did");
        let counts = |run: &Run| (run.served.len(), run.moves(), run.refused, run.blocked);
        assert_eq!(counts(&predicted), counts(&real), "trace {seed}: steps, moves, refused, blocked");
        for (name, _, weekly, ratio, _) in ACCOUNTS {
            let drawn = rig.fake.account(name).used("5h").expect("a window") * weekly / ratio;
            near(drawn, predicted.work_of(name), 1e-9);
        }
        // The trace is one that spends accounts: else nothing would be shown.
        assert!(real.moves() >= 5 && real.refused >= 3 && real.blocked >= 1, "trace {seed}");
        // Told at the end of replies, the pool asks nobody in vain, and some choices differ; the sums stay.
        assert_eq!(at_end.refused, 0, "trace {seed}");
        near(at_end.served.len() as f64, real.served.len() as f64, 0.1);
        near(at_end.work(), real.work(), 0.1);
    }
}

/// At most this share apart?
fn near(found: f64, wanted: f64, share: f64) {
    assert!((found - wanted).abs() <= share * wanted, "{found} is not within {share} of {wanted}");
}
