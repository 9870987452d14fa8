//! What the operator wishes of an account, as it keeps the account from serving.

use super::*;
use crate::account::{Account, Credentials, ProviderId, Settings};
use crate::ask::Sharing;
use crate::demand::Client;
use crate::pool::{Event, Pool};
use crate::price::MicroUsd;
use crate::quota::{Fraction, QuotaWindow, Scope, Source};
use crate::secret::Secret;
use crate::standing::RefusalWhy;
use crate::time::Span;
use crate::wishes::{KindOrder, ModelList, Weight};
use AccountKind::{ApiKey, Subscription};

const PROVIDER: ProviderId = ProviderId("kiwi");
/// Six in the morning, UTC.
const NOW: UnixMs = UnixMs(20_000 * 86_400_000 + 6 * 3_600_000);
const GUEST: Rights<'static> = Rights { owner: false, ..Rights::OWNER };

fn id(name: &str) -> AccountId {
    AccountId(name.into())
}

fn seen(pool: &mut Pool, name: &str, kind: AccountKind, settings: Settings) {
    let account = Account {
        id: id(name),
        provider: PROVIDER,
        kind,
        name: name.into(),
        file: format!("{name}.json"),
        plan: None,
        email: None,
        settings,
    };
    let credentials = Credentials::lasting(Secret::new("made-up"));
    pool.apply(Event::Seen { account: Box::new(account), credentials: Box::new(credentials) }, NOW);
}

fn window(used: f64, family: Option<&str>) -> QuotaWindow {
    QuotaWindow {
        name: "5h".into(),
        scope: family.map_or(Scope::Account, |family| Scope::Family(family.into())),
        used: Fraction::new(used).expect("a number"),
        resets_at: Some(NOW + Span::from_hours(2)),
        span: Some(Span::from_hours(5)),
        source: Source::Headers,
        seen_at: NOW,
    }
}

fn demand(model: Option<&str>) -> Demand {
    let model = model.map(str::to_owned);
    Demand { model, families: vec!["big".into()], ..Demand::any(PROVIDER, Client::OwnCli) }
}

fn models(patterns: &[&str]) -> Option<ModelList> {
    ModelList::new(patterns.iter().map(|text| (*text).to_owned()).collect())
}

fn reserve(share: f64) -> Settings {
    Settings { reserve: Fraction::new(share).expect("a number"), ..Settings::default() }
}

/// One account "a": whom it serves.
fn verdict(
    settings: Settings,
    windows: Vec<QuotaWindow>,
    model: Option<&str>,
    caller: Rights<'_>,
) -> Result<(), Ineligible> {
    let mut pool = Pool::default();
    seen(&mut pool, "a", Subscription, settings);
    pool.apply(Event::Read { id: id("a"), windows }, NOW);
    eligible(pool.slot(&id("a")).expect("an account"), &demand(model), caller, NOW)
}

#[test]
fn what_is_kept_in_reserve_is_the_owners() {
    let resets_at = Some(NOW + Span::from_hours(2));
    let reserved = Err(Ineligible::Reserved { window: "5h".into(), span: Some(Span::from_hours(5)), resets_at });
    let spent = Err(Ineligible::WindowSpent { window: "5h".into(), span: Some(Span::from_hours(5)), resets_at });
    for (share, windows, guest, owner) in [
        (0.2, vec![window(0.79, None)], Ok(()), Ok(())),
        (0.2, vec![window(0.8, None)], reserved.clone(), Ok(())),
        (0.2, vec![window(1.0, None)], spent.clone(), spent.clone()),
        (0.2, vec![window(0.8, Some("big"))], reserved.clone(), Ok(())),
        (0.2, vec![window(0.8, Some("small"))], Ok(()), Ok(())),
        (0.0, vec![window(0.99, None)], Ok(()), Ok(())),
        (1.0, vec![window(0.0, None)], reserved.clone(), Ok(())),
        (0.5, vec![], Ok(()), Ok(())),
    ] {
        assert_eq!(verdict(reserve(share), windows.clone(), None, GUEST), guest, "{share} {windows:?}");
        assert_eq!(verdict(reserve(share), windows.clone(), None, Rights::OWNER), owner, "{share} {windows:?}");
    }
    let late = UnixMs(NOW.0 + 3 * 3_600_000);
    let mut pool = Pool::default();
    seen(&mut pool, "a", Subscription, reserve(0.5));
    pool.apply(Event::Read { id: id("a"), windows: vec![window(0.9, None)] }, NOW);
    assert_eq!(eligible(pool.slot(&id("a")).expect("an account"), &demand(None), GUEST, late), Ok(()), "fresh again");
}

#[test]
fn an_account_serves_the_models_and_the_callers_that_it_is_meant_for() {
    let only = |patterns: &[&str]| Settings { models: models(patterns), ..Settings::default() };
    for (settings, model, expected) in [
        (only(&["big-*"]), Some("big-1"), Ok(())),
        (only(&["big-*"]), Some("small-1"), Err(Ineligible::ModelNotAllowed)),
        (only(&["big-*"]), None, Ok(())),
        (Settings::default(), Some("small-1"), Ok(())),
        (Settings { disabled: true, ..only(&["big-*"]) }, Some("small-1"), Err(Ineligible::Paused)),
    ] {
        assert_eq!(verdict(settings, vec![], model, Rights::OWNER), expected, "{model:?}");
    }
    let (own, other) = ([id("a")], [id("b")]);
    for (accounts, expected) in
        [(None, Ok(())), (Some(&own[..]), Ok(())), (Some(&other[..]), Err(Ineligible::NotForCaller))]
    {
        assert_eq!(verdict(Settings::default(), vec![], None, Rights { accounts, ..GUEST }), expected);
    }
}

#[test]
fn friends_use_what_is_shared() {
    for (share, subscriptions, expected) in [
        (None, true, Ok(())),
        (None, false, Err(Ineligible::NotForCaller)),
        (Some(true), false, Ok(())),
        (Some(false), true, Err(Ineligible::NotForCaller)),
    ] {
        let friend = Rights { friend: Some(Sharing { subscriptions }), ..GUEST };
        let settings = Settings { share, ..Settings::default() };
        assert_eq!(verdict(settings.clone(), vec![], None, friend), expected, "{share:?} {subscriptions}");
        assert_eq!(verdict(settings, vec![], None, GUEST), Ok(()), "a user is no friend");
    }
}

#[test]
fn no_more_at_one_time_than_it_may_serve() {
    let mut pool = Pool::default();
    seen(&mut pool, "a", Subscription, Settings { max_in_flight: Some(2), ..Settings::default() });
    let demand = demand(None);
    let ask = Ask::new(&demand, None);
    let first = pool.lease(&ask, NOW).expect("one");
    pool.lease(&ask, NOW).expect("two");
    let refused = pool.lease(&ask, NOW).expect_err("full");
    assert_eq!((refused.why, refused.considered), (RefusalWhy::Busy, vec![(id("a"), Ineligible::Busy)]));
    let light = Demand { light: true, ..demand.clone() };
    assert!(pool.lease(&Ask::new(&light, None), NOW).is_ok(), "a side call takes no slot");
    let tried = [id("a")];
    let refused = pool.lease(&ask.after(&tried), NOW).expect_err("tried");
    assert_eq!(refused.considered, [(id("a"), Ineligible::Tried)], "waiting for it would be of no use");
    pool.release(&first);
    assert!(pool.lease(&ask, NOW).is_ok(), "room again");
    // None at all is a way to take an account out, too.
    seen(&mut pool, "a", Subscription, Settings { max_in_flight: Some(0), ..Settings::default() });
    assert!(pool.lease(&ask, NOW).is_err());
}

#[test]
fn a_key_that_has_cost_enough_today_rests_until_midnight() {
    let capped = Settings { daily_spend: MicroUsd::from_dollars(1.0), ..Settings::default() };
    let mut pool = Pool::default();
    seen(&mut pool, "key", ApiKey, capped.clone());
    seen(&mut pool, "plan", Subscription, capped);
    let cost = |pool: &mut Pool, at: UnixMs, cost: Option<u64>| {
        for name in ["key", "plan"] {
            pool.apply(Event::Spent { id: id(name), at, cost: cost.map(MicroUsd) }, at);
        }
    };
    let verdict = |pool: &Pool, name: &str, now: UnixMs| {
        eligible(pool.slot(&id(name)).expect("an account"), &demand(None), Rights::OWNER, now)
    };
    cost(&mut pool, NOW, Some(999_999));
    cost(&mut pool, NOW, None);
    assert_eq!(verdict(&pool, "key", NOW), Ok(()), "the unknown counts as nothing");
    cost(&mut pool, NOW, Some(1));
    let midnight = NOW + Span::from_hours(18);
    assert_eq!(verdict(&pool, "key", NOW), Err(Ineligible::SpendCap { until: midnight }));
    assert_eq!(verdict(&pool, "plan", NOW), Ok(()), "a plan costs nothing");
    assert_eq!(verdict(&pool, "key", midnight), Ok(()));
    // A file that is read anew, or goes and comes back, keeps what was spent; a higher cap frees the account at once.
    pool.apply(Event::Gone { id: id("key") }, NOW);
    cost(&mut pool, NOW, Some(5));
    seen(&mut pool, "key", ApiKey, Settings { daily_spend: MicroUsd::from_dollars(2.0), ..Settings::default() });
    assert_eq!(verdict(&pool, "key", NOW), Ok(()));
    assert_eq!(pool.slot(&id("key")).map(|slot| slot.book.spent(NOW)), Some(MicroUsd(1_000_005)));
}

#[test]
fn refusals_because_of_wishes_say_what_would_help() {
    let resets_at = Some(NOW + Span::from_hours(2));
    let reserved = || Ineligible::Reserved { window: "5h".into(), span: Some(Span::from_hours(5)), resets_at };
    let capped = || Ineligible::SpendCap { until: NOW + Span::from_hours(1) };
    let spent = |resets_at, window: &str, hours| RefusalWhy::AllSpent {
        resets_at,
        window: Some(window.into()),
        span: Some(Span::from_hours(hours)),
    };
    for (reasons, why) in [
        (vec![reserved()], spent(resets_at, "5h", 5)),
        (vec![reserved(), capped()], spent(Some(NOW + Span::from_hours(1)), "day", 24)),
        (vec![capped(), Ineligible::Busy], RefusalWhy::Busy),
        (vec![Ineligible::NotForCaller, reserved()], spent(resets_at, "5h", 5)),
        (vec![Ineligible::ModelNotAllowed, Ineligible::Kind], RefusalWhy::NeedsPerson),
        (vec![Ineligible::NotForCaller], RefusalWhy::NeedsPerson),
    ] {
        let considered = reasons.into_iter().map(|why| (id("a"), why)).collect();
        assert_eq!(crate::refusal::refusal(&demand(None), considered, NOW).why, why);
    }
}

#[test]
fn the_kinds_go_in_the_operators_order_and_weights_count() {
    for (kinds, first, back) in [
        (KindOrder::SubscriptionsFirst, "plan", "plan"),
        (KindOrder::ApiKeysFirst, "key", "key"),
        (KindOrder::Together, "key", "key"),
    ] {
        let mut pool = Pool::default().in_order(kinds);
        seen(&mut pool, "plan", Subscription, Settings::default());
        seen(&mut pool, "key", ApiKey, Settings::default());
        pool.apply(Event::Read { id: id("plan"), windows: vec![window(0.6, None)] }, NOW);
        pool.apply(Event::Read { id: id("key"), windows: vec![window(0.1, None)] }, NOW);
        let demand = demand(None);
        let session = Some(crate::SessionKey([1; 16]));
        let chosen = |pool: &mut Pool, tried: &[AccountId]| {
            let grant = pool.lease(&Ask::new(&demand, session).after(tried), NOW).expect("somebody serves");
            pool.release(&grant);
            grant.account.name.clone()
        };
        assert_eq!(chosen(&mut pool, &[]), first, "{kinds:?}");
        let other = chosen(&mut pool, &[id(first)]);
        assert_ne!(other, first);
        let expected = if kinds == KindOrder::Together { other.as_str() } else { back };
        assert_eq!(chosen(&mut pool, &[]), expected, "{kinds:?}: it comes back, or stays where no kind goes first");
    }
    let mut pool = Pool::default();
    seen(&mut pool, "a", Subscription, Settings { weight: Weight::new(3.0).expect("a weight"), ..Settings::default() });
    seen(&mut pool, "b", Subscription, Settings::default());
    pool.apply(Event::Read { id: id("a"), windows: vec![window(0.5, None)] }, NOW);
    pool.apply(Event::Read { id: id("b"), windows: vec![window(0.2, None)] }, NOW);
    let grant = pool.lease(&Ask::new(&demand(None), None), NOW).expect("somebody serves");
    assert_eq!(grant.account.name, "a", "three times 0.5 is more than 0.8");
}
