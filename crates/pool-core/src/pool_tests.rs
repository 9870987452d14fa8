use std::collections::BTreeMap;

use super::*;
use crate::account::ProviderId;
use crate::account::{AccountKind, Settings};
use crate::binding::Binding;
use crate::decision::Cached;
use crate::demand::Client;
use crate::owners::Whose;
use crate::policy::Why;
use crate::quota::{Fraction, Source};
use crate::secret::Secret;
use crate::standing::Ineligible;
use crate::standing::RefusalWhy;
use crate::verdict::Until;

const CLAUDE: ProviderId = ProviderId("claude");
const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn id(name: &str) -> AccountId {
    AccountId(name.into())
}

fn account(name: &str, kind: AccountKind) -> Account {
    Account {
        id: id(name),
        provider: CLAUDE,
        kind,
        name: name.into(),
        file: format!("claude/{name}.json"),
        plan: None,
        email: None,
        settings: Settings::default(),
    }
}

fn credentials(token: &str) -> Credentials {
    Credentials {
        access: Secret::new(token),
        refresh: None,
        expires_at: None,
        refreshed_at: None,
        bound: BTreeMap::new(),
    }
}

fn pool(accounts: &[(&str, AccountKind)]) -> Pool {
    let mut pool = Pool::default();
    for (name, kind) in accounts {
        pool.apply(
            Event::Seen { account: Box::new(account(name, *kind)), credentials: Box::new(credentials("made-up")) },
            NOW,
        );
    }
    pool
}

fn window(name: &str, used: f64, resets_in: Span) -> QuotaWindow {
    QuotaWindow {
        name: name.into(),
        scope: Scope::Account,
        used: Fraction::new(used).expect("a number"),
        resets_at: Some(NOW + resets_in),
        span: Some(if name == "week" { Span::from_hours(168) } else { Span::from_hours(5) }),
        source: Source::Headers,
        seen_at: NOW,
    }
}

fn demand() -> Demand {
    Demand {
        provider: CLAUDE,
        client: Client::OwnCli,
        model: Some("opus-1".into()),
        families: vec!["opus".into()],
        session: None,
        parent: None,
        binding: Binding::Cache,
        keep: None,
        light: false,
        kinds: &[],
    }
}

fn chosen(pool: &mut Pool, demand: &Demand, session: Option<u8>) -> String {
    let session = session.map(|number| SessionKey([number; 16]));
    let grant = pool.lease(&Ask::new(demand, session), NOW).expect("somebody can serve");
    pool.release(&grant);
    grant.account.name.clone()
}

fn read(pool: &mut Pool, name: &str, windows: Vec<QuotaWindow>) {
    pool.apply(Event::Read { id: id(name), windows }, NOW);
}

fn penalise(pool: &mut Pool, name: &str, scope: Scope, cause: Cause, until: Until) {
    pool.apply(Event::Penalised { id: id(name), penalty: Penalty { scope, cause, until } }, NOW);
}

use AccountKind::{ApiKey, Subscription};

#[test]
fn the_most_headroom_wins_counting_the_tightest_window() {
    let mut pool = pool(&[("a", Subscription), ("b", Subscription)]);
    read(&mut pool, "a", vec![window("5h", 0.1, Span::from_hours(1)), window("week", 0.9, Span::from_hours(50))]);
    read(&mut pool, "b", vec![window("5h", 0.6, Span::from_hours(1)), window("week", 0.3, Span::from_hours(50))]);
    assert_eq!(chosen(&mut pool, &demand(), None), "b");
}

#[test]
fn an_unknown_account_is_neither_full_nor_empty() {
    let mut pool = pool(&[("known", Subscription), ("unknown", Subscription)]);
    read(&mut pool, "known", vec![window("5h", 0.2, Span::from_hours(1))]);
    assert_eq!(chosen(&mut pool, &demand(), None), "known");
    read(&mut pool, "known", vec![window("5h", 0.8, Span::from_hours(1))]);
    assert_eq!(chosen(&mut pool, &demand(), None), "unknown");
}

#[test]
fn subscriptions_come_before_paid_keys_and_serve_only_their_own_client() {
    let mut pool = pool(&[("key", ApiKey), ("plan", Subscription)]);
    read(&mut pool, "plan", vec![window("5h", 0.9, Span::from_hours(1))]);
    assert_eq!(chosen(&mut pool, &demand(), None), "plan");
    let sdk = Demand { client: Client::Other, ..demand() };
    assert_eq!(chosen(&mut pool, &sdk, None), "key");
    read(&mut pool, "plan", vec![window("5h", 1.0, Span::from_hours(1))]);
    assert_eq!(chosen(&mut pool, &demand(), None), "key");
}

#[test]
fn priority_beats_headroom() {
    let mut pool = pool(&[("a", Subscription)]);
    let mut first = account("b", Subscription);
    first.settings.priority = 1;
    pool.apply(Event::Seen { account: Box::new(first), credentials: Box::new(credentials("made-up")) }, NOW);
    read(&mut pool, "b", vec![window("5h", 0.9, Span::from_hours(1))]);
    assert_eq!(chosen(&mut pool, &demand(), None), "b");
}

#[test]
fn a_conversation_stays_where_it_is_until_its_account_cannot_serve() {
    let mut pool = pool(&[("a", Subscription), ("b", Subscription)]);
    let first = chosen(&mut pool, &demand(), Some(1));
    let other = if first == "a" { "b" } else { "a" };
    read(&mut pool, &first, vec![window("5h", 0.98, Span::from_hours(1))]);
    assert_eq!(chosen(&mut pool, &demand(), Some(1)), first);
    penalise(&mut pool, &first, Scope::Account, Cause::QuotaSpent, Until::For(Span::from_hours(1)));
    assert_eq!(chosen(&mut pool, &demand(), Some(1)), other);
    let session = SessionKey([1; 16]);
    assert_eq!(pool.pins.get(session, NOW).map(|pin| pin.account.clone()), Some(id(other)));
}

#[test]
fn requests_in_flight_spread_a_rush() {
    let names = ["a", "b", "c", "d"];
    let mut pool = pool(&names.map(|name| (name, Subscription)));
    let grants: Vec<Grant> = (0..40)
        .map(|number| pool.lease(&Ask::new(&demand(), Some(SessionKey([number; 16]))), NOW).expect("served"))
        .collect();
    for name in names {
        assert_eq!(grants.iter().filter(|grant| grant.account.name == name).count(), 10);
    }
    for grant in &grants {
        pool.release(grant);
    }
    assert!(pool.slots().all(|slot| slot.in_flight == 0));
}

#[test]
fn a_family_limit_leaves_the_account_open_for_other_models() {
    let mut pool = pool(&[("a", Subscription)]);
    penalise(&mut pool, "a", Scope::Family("opus".into()), Cause::QuotaSpent, Until::At(NOW + Span::from_hours(2)));
    let refused = pool.lease(&Ask::new(&demand(), None), NOW).expect_err("opus is spent");
    assert_eq!(
        refused.why,
        RefusalWhy::AllSpent { resets_at: Some(NOW + Span::from_hours(2)), window: None, span: None }
    );
    let haiku = Demand { families: vec!["haiku".into()], ..demand() };
    assert_eq!(chosen(&mut pool, &haiku, None), "a");
}

#[test]
fn when_all_are_spent_the_earliest_reset_is_told() {
    let mut pool = pool(&[("a", Subscription), ("b", Subscription)]);
    // `a` has a free 5 hours in one hour, but its week is spent for two days: two days it is.
    read(&mut pool, "a", vec![window("5h", 1.0, Span::from_hours(1)), window("week", 1.0, Span::from_hours(48))]);
    read(&mut pool, "b", vec![window("5h", 1.0, Span::from_hours(3))]);
    let refused = pool.lease(&Ask::new(&demand(), None), NOW).expect_err("all are spent");
    let RefusalWhy::AllSpent { resets_at, window, .. } = refused.why else { panic!("{:?}", refused.why) };
    assert_eq!((resets_at, window.as_deref()), (Some(NOW + Span::from_hours(3)), Some("5h")));
}

#[test]
fn a_cooldown_ends_with_fresh_evidence_and_not_with_a_late_reply() {
    let mut pool = pool(&[("a", Subscription)]);
    penalise(&mut pool, "a", Scope::Account, Cause::QuotaSpent, Until::For(Span::from_hours(150)));
    let mut reading = window("week", 0.1, Span::from_hours(160));
    reading.seen_at = NOW + Span::from_secs(1);
    read(&mut pool, "a", vec![reading.clone()]);
    assert!(pool.lease(&Ask::new(&demand(), None), NOW).is_err(), "this reply was under way before the limit");
    reading.seen_at = NOW + Span::from_secs(60);
    read(&mut pool, "a", vec![reading]);
    assert!(pool.lease(&Ask::new(&demand(), None), NOW).is_ok());
}

#[test]
fn passing_trouble_makes_an_account_the_last_choice_but_still_a_choice() {
    let mut pool = pool(&[("a", Subscription), ("b", ApiKey)]);
    penalise(&mut pool, "a", Scope::Account, Cause::UpstreamFailing, Until::BackOff);
    assert_eq!(chosen(&mut pool, &demand(), None), "b");
    penalise(&mut pool, "b", Scope::Account, Cause::QuotaSpent, Until::For(Span::from_hours(1)));
    assert_eq!(chosen(&mut pool, &demand(), None), "a");
    pool.apply(Event::Served { id: id("a"), families: demand().families }, NOW);
    assert!(pool.slot(&id("a")).expect("there").cooldowns.is_empty());
}

#[test]
fn failures_in_a_row_wait_longer_and_failures_at_once_are_one() {
    let mut pool = pool(&[("a", Subscription)]);
    let failing = || Penalty { scope: Scope::Account, cause: Cause::UpstreamFailing, until: Until::BackOff };
    for (at, strikes) in [(0, 1), (500, 1), (3000, 2), (9000, 3), (600_000, 4), (2_000_000, 1)] {
        pool.apply(Event::Penalised { id: id("a"), penalty: failing() }, NOW + Span(at));
        let cooldown = &pool.slot(&id("a")).expect("there").cooldowns[0];
        assert_eq!(cooldown.strikes, strikes, "at {at} ms");
    }
}

#[test]
fn a_seen_file_keeps_what_we_know_and_new_credentials_start_an_epoch() {
    let mut pool = pool(&[("a", Subscription)]);
    read(&mut pool, "a", vec![window("5h", 0.3, Span::from_hours(1))]);
    pool.apply(Event::Bound { id: id("a"), values: vec![("project", "p1".into())] }, NOW);
    pool.apply(Event::SignInNeeded { id: id("a"), epoch: 1, why: "expired".into() }, NOW);
    let seen = |token: &str| Event::Seen {
        account: Box::new(account("a", Subscription)),
        credentials: Box::new(credentials(token)),
    };
    pool.apply(seen("made-up"), NOW);
    let slot = pool.slot(&id("a")).expect("there");
    assert_eq!((slot.epoch, slot.needs_login.is_some()), (1, true), "the same credentials help nobody");
    pool.apply(seen("made-up-2"), NOW);
    let slot = pool.slot(&id("a")).expect("there");
    assert_eq!((slot.epoch, slot.needs_login.is_some(), slot.windows.len()), (2, false, 1));
    assert_eq!(slot.credentials.bound.get("project").map(String::as_str), Some("p1"));
    pool.apply(Event::SignInNeeded { id: id("a"), epoch: 1, why: "old news".into() }, NOW);
    assert!(pool.slot(&id("a")).expect("there").needs_login.is_none());
}

#[test]
fn a_clock_set_back_frees_what_the_future_had_blocked() {
    let mut pool = pool(&[("a", Subscription)]);
    penalise(&mut pool, "a", Scope::Account, Cause::QuotaSpent, Until::For(Span::from_hours(5)));
    read(&mut pool, "a", vec![window("5h", 1.0, Span::from_hours(5))]);
    let earlier = NOW - Span::from_hours(40 * 24);
    assert!(pool.lease(&Ask::new(&demand(), None), NOW).is_err());
    assert!(pool.lease(&Ask::new(&demand(), None), earlier).is_ok());
}

#[test]
fn state_bound_to_one_account_is_not_taken_to_another() {
    let mut pool = pool(&[("a", Subscription), ("b", Subscription)]);
    let first = chosen(&mut pool, &demand(), Some(7));
    penalise(&mut pool, &first, Scope::Account, Cause::QuotaSpent, Until::For(Span::from_hours(1)));
    let bound = Demand { binding: Binding::StoredAnswer, ..demand() };
    let refused = pool.lease(&Ask::new(&bound, Some(SessionKey([7; 16]))), NOW).expect_err("its owner is spent");
    assert!(matches!(refused.why, RefusalWhy::AllSpent { resets_at: Some(_), .. }));
    // One that waits for a person is not waited for: trying again would not help.
    pool.apply(Event::SignInNeeded { id: id(&first), epoch: 1, why: "revoked".into() }, NOW);
    let refused = pool.lease(&Ask::new(&bound, Some(SessionKey([7; 16]))), NOW).expect_err("its owner is out");
    assert_eq!(refused.why, RefusalWhy::NeedsPerson);
    assert!(refused.considered.iter().any(|(_, why)| *why == Ineligible::BoundElsewhere));
}

#[test]
fn what_lives_on_an_account_is_served_there_or_nowhere() {
    let mut pool = pool(&[("a", ApiKey), ("b", ApiKey)]);
    let (file, ann) = (ObjectKey::new(CLAUDE, "file_1"), Creator::new("ann"));
    pool.apply(Event::Created { id: id("b"), creator: ann, objects: vec![file] }, NOW);
    assert_eq!(pool.whose(file, ann, NOW), Whose::Own(&id("b")));
    assert_eq!(pool.whose(file, Creator::new("bob"), NOW), Whose::Foreign);

    // Wherever the conversation is pinned, and however it is bound there.
    let (a, b) = (id("a"), id("b"));
    let session = Some(SessionKey([3; 16]));
    pool.pins.set(SessionKey([3; 16]), &a, Binding::Cache, NOW);
    let bound = Demand { binding: Binding::StoredAnswer, ..demand() };
    let grant = pool.lease(&Ask::new(&bound, session).only(Some(&b)), NOW).expect("it can serve");
    assert_eq!((&grant.account.id, grant.pin), (&b, PinState::Moved));

    // Nobody stands in for it, and the refusal speaks of it alone.
    penalise(&mut pool, "b", Scope::Account, Cause::QuotaSpent, Until::For(Span::from_hours(1)));
    let refused = pool.lease(&Ask::new(&demand(), None).only(Some(&b)), NOW).expect_err("its owner is spent");
    assert!(matches!(refused.why, RefusalWhy::AllSpent { resets_at: Some(_), .. }), "{:?}", refused.why);
    assert_eq!(refused.considered.len(), 1);
    let refused = pool.lease(&Ask::new(&demand(), None).only(Some(&a)).after(&[id("a")]), NOW);
    assert!(refused.is_err(), "tried already");

    // As long as its account is gone, so is it.
    pool.apply(Event::Gone { id: id("b") }, NOW);
    assert_eq!(pool.whose(file, ann, NOW), Whose::Unknown);
    assert_eq!(pool.whose(file, Creator::new("bob"), NOW), Whose::Foreign);
}

#[test]
fn refusals_say_what_would_help() {
    let mut nobody = pool(&[]);
    assert_eq!(nobody.lease(&Ask::new(&demand(), None), NOW).expect_err("empty").why, RefusalWhy::NoAccounts);
    let mut plans = pool(&[("a", Subscription)]);
    let sdk = Demand { client: Client::Other, ..demand() };
    assert_eq!(plans.lease(&Ask::new(&sdk, None), NOW).expect_err("plans only").why, RefusalWhy::NoneOfThisKind);
    plans.apply(Event::SignInNeeded { id: id("a"), epoch: 1, why: "revoked".into() }, NOW);
    assert_eq!(plans.lease(&Ask::new(&demand(), None), NOW).expect_err("revoked").why, RefusalWhy::NeedsPerson);
}

#[test]
fn the_pool_stands_as_the_mean_of_its_accounts_and_a_spent_week_blocks_the_day() {
    let mut pool = pool(&[("a", Subscription), ("b", Subscription)]);
    read(&mut pool, "a", vec![window("5h", 0.2, Span::from_hours(1)), window("week", 0.4, Span::from_hours(50))]);
    read(&mut pool, "b", vec![window("5h", 0.1, Span::from_hours(2)), window("week", 1.0, Span::from_hours(20))]);
    let standing = pool.standing(&demand(), crate::ask::Rights::OWNER, NOW);
    assert_eq!((standing.accounts, standing.ready), (2, 1));
    let told: Vec<_> = standing.windows.iter().map(|w| (w.name.as_str(), w.used.get(), w.resets_at)).collect();
    assert_eq!(told, [("5h", 0.6, Some(NOW + Span::from_hours(1))), ("week", 0.7, Some(NOW + Span::from_hours(20)))]);
}

#[test]
fn counting_tokens_takes_no_slot_and_no_pin() {
    let mut pool = pool(&[("a", Subscription)]);
    read(&mut pool, "a", vec![window("5h", 1.0, Span::from_hours(1))]);
    let light = Demand { light: true, ..demand() };
    let grant = pool.lease(&Ask::new(&light, Some(SessionKey([1; 16]))), NOW).expect("costs no quota");
    assert_eq!((pool.slot(&id("a")).expect("there").in_flight, pool.pins.len()), (0, 0));
    pool.release(&grant);
}

#[test]
fn a_conversation_comes_back_from_a_paid_key() {
    let mut pool = pool(&[("key", ApiKey), ("plan", Subscription)]);
    penalise(&mut pool, "plan", Scope::Account, Cause::UpstreamFailing, Until::BackOff);
    assert_eq!(chosen(&mut pool, &demand(), Some(1)), "key");
    assert_eq!(chosen(&mut pool, &demand(), Some(1)), "key", "the plan is still in trouble");
    pool.apply(Event::Served { id: id("plan"), families: demand().families }, NOW);
    let bound = Demand { binding: Binding::StoredAnswer, ..demand() };
    assert_eq!(chosen(&mut pool, &bound, Some(1)), "key", "its state is there");
    assert_eq!(chosen(&mut pool, &demand(), Some(1)), "plan");
}

#[test]
fn a_long_throttle_is_told_as_a_limit_and_a_short_one_as_trouble() {
    let mut pool = pool(&[("a", ApiKey)]);
    penalise(&mut pool, "a", Scope::Account, Cause::Throttled, Until::For(Span::from_secs(5)));
    let refused = pool.lease(&Ask::new(&demand(), None), NOW).expect_err("throttled");
    assert!(matches!(refused.why, RefusalWhy::Trouble { cause: Cause::Throttled, .. }), "{:?}", refused.why);
    penalise(&mut pool, "a", Scope::Account, Cause::Throttled, Until::For(Span::from_mins(40)));
    let refused = pool.lease(&Ask::new(&demand(), None), NOW).expect_err("throttled");
    let resets_at = Some(NOW + Span::from_mins(40));
    assert_eq!(refused.why, RefusalWhy::AllSpent { resets_at, window: None, span: None });
}

#[test]
fn a_refusal_after_tries_tells_what_the_tries_have_shown() {
    let mut pool = pool(&[("a", ApiKey), ("b", ApiKey)]);
    for name in ["a", "b"] {
        penalise(&mut pool, name, Scope::Account, Cause::Throttled, Until::For(Span::from_mins(40)));
    }
    let refused = pool.lease(&Ask::new(&demand(), None).after(&[id("a"), id("b")]), NOW).expect_err("both were tried");
    assert!(matches!(refused.why, RefusalWhy::AllSpent { .. }), "{:?}", refused.why);
}

/// A conversation on `warm`, whose sub-agents then ask: the pool, the parent's key.
fn with_parent(warm: &str) -> (Pool, SessionKey) {
    let mut pool = pool(&[("a", Subscription), ("b", Subscription), ("key", ApiKey)]);
    let parent = SessionKey([1; 16]);
    let others: Vec<AccountId> = ["a", "b", "key"].into_iter().filter(|name| *name != warm).map(id).collect();
    let grant = pool.lease(&Ask::new(&demand(), Some(parent)).after(&others), NOW).expect("one is left");
    pool.release(&grant);
    let drawn = Drawn { units: 1.0, prefix: 9, warm: Span::from_mins(5) };
    pool.apply(Event::Drew { id: id(warm), user: None, session: Some(parent), families: Vec::new(), drawn }, NOW);
    (pool, parent)
}

type Change<'a> = &'a dyn Fn(&mut Pool);

#[test]
fn a_sub_agent_begins_beside_its_parent_where_that_is_warm_and_has_room() {
    let full = |pool: &mut Pool| read(pool, "b", vec![window("5h", 0.95, Span::from_hours(1))]);
    let struck = |pool: &mut Pool| {
        penalise(pool, "b", Scope::Account, Cause::Throttled, Until::BackOff);
    };
    let preferred = |pool: &mut Pool| {
        let mut other = account("a", Subscription);
        other.settings.priority = 1;
        let seen = Event::Seen { account: Box::new(other), credentials: Box::new(credentials("made-up")) };
        pool.apply(seen, NOW);
    };
    // By itself the choice would fall on `a`, which has more room.
    let emptier = |pool: &mut Pool| {
        read(pool, "a", vec![window("5h", 0.1, Span::from_hours(1))]);
        read(pool, "b", vec![window("5h", 0.7, Span::from_hours(1))]);
    };
    let cases: [(&str, Change<'_>, Span, &str); 5] = [
        ("warm", &|_| {}, Span::ZERO, "b"),
        ("cold", &|_| {}, Span::from_mins(6), "a"),
        ("full", &full, Span::ZERO, "a"),
        ("in trouble", &struck, Span::ZERO, "a"),
        ("the operator prefers another", &preferred, Span::ZERO, "a"),
    ];
    for (name, change, later, expected) in cases {
        let (mut pool, parent) = with_parent("b");
        emptier(&mut pool);
        change(&mut pool);
        let demand = demand();
        let child = Ask::new(&demand, Some(SessionKey([2; 16]))).within(Some(parent));
        let grant = pool.lease(&child, NOW + later).expect("somebody can serve");
        assert_eq!((grant.account.name.as_str(), grant.pin), (expected, PinState::New), "{name}");
        assert_eq!(grant.decision.why == Why::Parent, expected == "b", "{name}");
    }
    // What has a pin of its own stays there, and a plan goes before a key that its parent is on.
    let (mut pool, parent) = with_parent("key");
    emptier(&mut pool);
    let demand = demand();
    let child = Ask::new(&demand, Some(SessionKey([2; 16]))).within(Some(parent));
    for why in [Why::Best, Why::Kept] {
        let grant = pool.lease(&child, NOW).expect("somebody can serve");
        assert_eq!((grant.account.name.as_str(), grant.decision.why), ("a", why));
    }
}

#[test]
fn explaining_answers_as_leasing_would_and_changes_nothing() {
    let mut pool = pool(&[("a", Subscription), ("b", Subscription), ("c", Subscription)]);
    read(&mut pool, "a", vec![window("5h", 0.1, Span::from_hours(1))]);
    read(&mut pool, "c", vec![window("5h", 1.0, Span::from_hours(1))]);
    let session = SessionKey([7; 16]);
    let (demand, mut bound) = (demand(), demand());
    bound.binding = Binding::StoredAnswer;
    let state = |pool: &Pool| format!("{:?} {:?}", pool.slots().collect::<Vec<_>>(), pool.pins);
    for round in 0..3 {
        for ask in [Ask::new(&demand, None), Ask::new(&demand, Some(session)), Ask::new(&bound, Some(session))] {
            let before = state(&pool);
            let told = pool.explain(&ask, NOW).expect("somebody can serve");
            assert_eq!(state(&pool), before, "round {round}");
            let grant = pool.lease(&ask, NOW).expect("somebody can serve");
            // A kept conversation's request looks at nobody else; whoever asks wants to see them all.
            let looked_at = |decision: &Decision| decision.considered.len() + decision.more;
            let table = if grant.decision.why == Why::Kept { &told } else { &grant.decision };
            let kept =
                Decision { considered: table.considered.clone(), more: table.more, ..Decision::clone(&grant.decision) };
            assert_eq!((&*told, looked_at(&told)), (&kept, looked_at(&grant.decision)), "round {round}");
            pool.release(&grant);
        }
        let drawn = Drawn { units: 1.0, prefix: 118_000, warm: Span::from_mins(5) };
        pool.apply(Event::Drew { id: id("a"), user: None, session: Some(session), families: vec![], drawn }, NOW);
    }
    let told = pool.explain(&Ask::new(&demand, Some(session)), NOW).expect("somebody can serve");
    assert_eq!(told.cached, Some(Cached { tokens: 118_000, until: NOW + Span::from_mins(5) }));

    // The account of the pin is told of first among those that cannot.
    read(&mut pool, "a", vec![window("5h", 1.0, Span::from_hours(1))]);
    let told = pool.explain(&Ask::new(&demand, Some(session)), NOW).expect("somebody can serve");
    let order: Vec<&str> = told.considered.iter().map(|one| &*one.account.0).collect();
    assert_eq!((order, told.at), (vec!["b", "a", "c"], NOW));
    let tried = [id("b")];
    let refusal = pool.explain(&Ask::new(&demand, None).after(&tried), NOW).expect_err("nobody can");
    assert_eq!(refusal.considered.len(), 3);
}
