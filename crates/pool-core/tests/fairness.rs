//! Show: five hours of a pool that is too small for its people: one who runs eight agents without a pause, and nine who ask now and then.
//! The real pool on a virtual clock. The table is in docs/FAIRNESS.md
//! (`UPDATE=1 cargo test -p pool-core --test fairness` writes it anew).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;

use pool_core::account::{Account, AccountKind, Settings};
use pool_core::ask::Rights;
use pool_core::people::UserId;
use pool_core::pool::{Event, Grant};
use pool_core::usage::Drawn;
use pool_core::{
    AccountId, Ask, Client, Credentials, Demand, Fraction, Pool, ProviderId, QuotaWindow, Scope, Secret, SessionKey,
    Source, Span, UnixMs,
};

const KIWI: ProviderId = ProviderId("kiwi");
const START: UnixMs = UnixMs(1_800_000_000_000);
const WINDOW: Span = Span::from_hours(5);
/// What an account holds in it, in units, and what a request takes of that.
const SIZE: f64 = 6e7;
const REQUEST: f64 = 4e4;
const ANSWER: Span = Span::from_secs(20);
const GREEDY_AGENTS: usize = 8;
const MODEST: usize = 9;
const MODEST_PAUSE: Span = Span::from_secs(100);
/// Who was refused asks again after so long.
const AGAIN: Span = Span::from_secs(60);

/// What one person got.
#[derive(Clone, Copy, Debug, Default)]
struct Got {
    served: u32,
    refused: u32,
    /// The minute in which they were last served.
    last: u64,
}

enum Step {
    Ask,
    End(Box<Grant>),
}

struct World {
    pool: Pool,
    /// When, which agent's (number breaks ties), what.
    steps: BinaryHeap<Reverse<(UnixMs, usize)>>,
    agents: Vec<(usize, Step)>,
    drawn: Vec<(AccountId, f64)>,
    got: Vec<Got>,
    /// Does the pool know who asks? Without people everybody is served alike.
    known: bool,
}

impl World {
    fn new(known: bool) -> Self {
        let mut pool = Pool::default();
        let mut drawn = Vec::new();
        for name in ["a", "b"] {
            let id = AccountId(name.into());
            let account = Account {
                id: id.clone(),
                provider: KIWI,
                kind: AccountKind::Subscription,
                name: name.into(),
                file: format!("{name}.json"),
                plan: None,
                email: None,
                settings: Settings::default(),
            };
            let credentials = Box::new(Credentials::lasting(Secret::new("made-up")));
            pool.apply(Event::Seen { account: Box::new(account), credentials }, START);
            drawn.push((id, 0.0));
        }
        let people = (0..GREEDY_AGENTS).map(|_| 0).chain(1..=MODEST);
        let agents: Vec<(usize, Step)> = people.map(|person| (person, Step::Ask)).collect();
        // Modest people do not begin all at once.
        let at = |agent: usize| START + Span(agent.saturating_sub(GREEDY_AGENTS) as u64 * 11_000);
        let steps = (0..agents.len()).map(|agent| Reverse((at(agent), agent))).collect();
        Self { pool, steps, agents, drawn, got: vec![Got::default(); MODEST + 1], known }
    }

    fn play(mut self) -> Vec<Got> {
        while let Some(Reverse((now, agent))) = self.steps.pop().filter(|Reverse((now, _))| *now < START + WINDOW) {
            let person = self.agents[agent].0;
            let next = match std::mem::replace(&mut self.agents[agent].1, Step::Ask) {
                Step::Ask => self.ask(agent, person, now),
                Step::End(grant) => {
                    self.end(person, &grant, now);
                    now + if person == 0 { Span::from_millis(500) } else { MODEST_PAUSE }
                }
            };
            self.steps.push(Reverse((next, agent)));
        }
        self.got
    }

    fn ask(&mut self, agent: usize, person: usize, now: UnixMs) -> UnixMs {
        let (demand, user) = (Demand::any(KIWI, Client::OwnCli), UserId(format!("u-{person}").into()));
        let caller = Rights { owner: false, user: self.known.then_some(&user), ..Rights::OWNER };
        let session = SessionKey::new(KIWI, &user.0, &agent.to_string());
        if let Ok(grant) = self.pool.lease(&Ask::new(&demand, Some(session)).by(caller), now) {
            self.agents[agent].1 = Step::End(Box::new(grant));
            now + ANSWER
        } else {
            self.got[person].refused += 1;
            now + AGAIN
        }
    }

    fn end(&mut self, person: usize, grant: &Grant, now: UnixMs) {
        let got = &mut self.got[person];
        (got.served, got.last) = (got.served + 1, now.since(START).0 / 60_000);
        let id = grant.account.id.clone();
        let drawn = Drawn { units: REQUEST, prefix: 0, warm: Span::ZERO };
        let (user, families) = (grant.user.clone(), Vec::new());
        self.pool.apply(Event::Drew { id: id.clone(), user, session: None, families, drawn }, now);
        self.pool.release(grant);
        let Some((_, total)) = self.drawn.iter_mut().find(|(known, _)| *known == id) else { return };
        *total += REQUEST;
        let window = QuotaWindow {
            name: "5h".into(),
            scope: Scope::Account,
            used: Fraction::new(*total / SIZE).expect("a number"),
            resets_at: Some(START + WINDOW),
            span: Some(WINDOW),
            source: Source::Headers,
            seen_at: now,
        };
        self.pool.apply(Event::Read { id, windows: vec![window] }, now);
    }
}

/// The greedy one, and the nine together: requests served and refused; the shortest time that one was served for.
fn told(got: &[Got]) -> [Got; 2] {
    let sum = got[1..].iter().fold(Got { last: u64::MAX, ..Got::default() }, |sum, one| Got {
        served: sum.served + one.served,
        refused: sum.refused + one.refused,
        last: sum.last.min(one.last),
    });
    [got[0], sum]
}

fn table(rows: [(&str, [Got; 2]); 2]) -> String {
    let mut text = String::from(
        "| | the greedy one: served | refused | last served in minute | each of the nine: served | refused | last served in minute |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (name, [greedy, nine]) in rows {
        let each = |count: u32| f64::from(count) / MODEST as f64;
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {:.0} | {:.0} | {} |",
            greedy.served,
            greedy.refused,
            greedy.last,
            each(nine.served),
            each(nine.refused),
            nine.last
        );
    }
    text
}

#[test]
fn the_rest_of_a_short_pool_goes_to_those_who_have_used_less() {
    let (before, after) = (World::new(false).play(), World::new(true).play());
    let (unfair, fair) = (told(&before), told(&after));
    let table = table([("whoever comes first", unfair), ("as it is", fair)]);
    assert!(f64::from(fair[1].served) > 1.5 * f64::from(unfair[1].served), "{table}");
    // Nothing is kept in vain: as much is served in all, but for what was under way when the windows closed.
    let all = |got: [Got; 2]| got[0].served + got[1].served;
    assert!(all(fair).abs_diff(all(unfair)) <= 20, "{table}");
    // Of the nine none got much less than another.
    let nine = after[1..].iter().map(|got| got.served);
    assert!(nine.clone().max() < nine.min().map(|least| least + least / 8 + 2), "{after:?}");
    in_docs("quota", &table);
}

/// The table stands in docs/FAIRNESS.md.
fn in_docs(name: &str, table: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/FAIRNESS.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let (begin, end) = (format!("<!-- measured: {name} -->\n"), "<!-- end -->");
    let (head, rest) = page.split_once(&begin).expect("the table has a place");
    let (old, tail) = rest.split_once(end).expect("the place has an end");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, format!("{head}{begin}{table}{end}{tail}")).expect("writes");
    } else {
        assert_eq!(old, table, "UPDATE=1 cargo test -p pool-core --test fairness");
    }
}
