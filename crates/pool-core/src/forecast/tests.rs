//! What the forecast says of pools made by hand.

use super::*;
use crate::account::{Account, AccountId, AccountKind, Credentials, Settings};
use crate::ask::Sharing;
use crate::pool::Event;
use crate::quota::{QuotaWindow, Scope, Source};
use crate::secret::Secret;
use crate::usage::Drawn;
use crate::verdict::{Cause, Penalty, Until};

const NOW: UnixMs = UnixMs(1_786_147_200_000);

fn hours(hours: u64) -> Span {
    Span::from_hours(hours)
}

fn window(name: &str, span: Span, used: f64, resets_at: UnixMs, at: UnixMs) -> QuotaWindow {
    QuotaWindow {
        name: name.into(),
        scope: Scope::Account,
        used: Fraction::new(used).expect("a number"),
        resets_at: Some(resets_at),
        span: Some(span),
        source: Source::Headers,
        seen_at: at,
    }
}

fn add(pool: &mut Pool, name: &str, kind: AccountKind, settings: Settings) -> AccountId {
    let id = AccountId(name.into());
    let account = Account {
        id: id.clone(),
        provider: ProviderId("acme"),
        kind,
        name: name.into(),
        file: "a.json".into(),
        plan: None,
        email: None,
        settings,
    };
    let credentials = Box::new(Credentials::lasting(Secret::new("made-up")));
    pool.apply(Event::Seen { account: Box::new(account), credentials }, NOW);
    id
}

/// For so many minutes each account has drawn 25 % of its short window an hour; it ends 4 h after that.
fn worked(pool: &mut Pool, ids: &[AccountId], minutes: u64, used: f64) -> UnixMs {
    let end = NOW + Span::from_mins(minutes);
    for minute in (0..=minutes).step_by(2) {
        let at = NOW + Span::from_mins(minute);
        let share = used - 0.25 * (minutes - minute) as f64 / 60.0;
        for id in ids {
            let drawn = Drawn { units: 0.25 / 30.0 * 4e6, prefix: 0, warm: Span::ZERO };
            pool.apply(
                Event::Drew { id: id.clone(), session: None, user: None, families: vec!["opus".into()], drawn },
                at,
            );
            let windows = vec![
                window("5h", hours(5), share, end + hours(4), at),
                window("week", hours(168), share / 8.0, end + hours(90), at),
            ];
            pool.apply(Event::Read { id: id.clone(), windows }, at);
        }
    }
    end
}

fn only(pool: &Pool, caller: Rights<'_>, now: UnixMs) -> ProviderForecast {
    let forecast = Picture::of(pool, caller, now).forecast();
    forecast.provider("acme").expect("a provider").clone()
}

#[test]
fn nothing_is_said_without_evidence() {
    let subscription = || (AccountKind::Subscription, Settings::default());
    let paused = (AccountKind::Subscription, Settings { disabled: true, ..Settings::default() });
    for (name, (kind, settings), minutes, expected) in [
        ("nobody has told", subscription(), None, Unknown::NotTold),
        ("a key pays by use", (AccountKind::ApiKey, Settings::default()), None, Unknown::ByUse),
        ("paused", paused, Some(60), Unknown::NeedsPerson),
        ("twenty minutes", subscription(), Some(20), Unknown::TooEarly),
    ] {
        let mut pool = Pool::default();
        let id = add(&mut pool, "a", kind, settings);
        let now = minutes.map_or(NOW, |minutes| worked(&mut pool, &[id], minutes, 0.5));
        assert_eq!(only(&pool, Rights::OWNER, now).prospect, Prospect::Unknown { why: expected }, "{name}");
    }
}

#[test]
fn a_window_runs_dry_and_comes_back_at_its_reset() {
    let mut pool = Pool::default();
    let id = add(&mut pool, "a", AccountKind::Subscription, Settings::default());
    let now = worked(&mut pool, &[id], 120, 0.5);
    let found = only(&pool, Rights::OWNER, now);
    let Prospect::Dries { earliest, likely, latest, back } = found.prospect else { panic!("{found:?}") };
    let after = |time: UnixMs| time.since(now).0 as f64 / 3_600_000.0;
    // Half is left, a quarter an hour is drawn.
    assert!((1.6..2.2).contains(&after(likely)), "{}", after(likely));
    assert!(earliest < likely && latest.is_none_or(|latest| latest > likely));
    assert_eq!(back, Some(now + hours(4)), "to the minute");
    assert_eq!(found.accounts[0].prospect, found.prospect, "of one account the same holds");
    assert!((found.tide[0].likely.get() - 0.5).abs() < 0.02 && found.tide.len() == 49, "{:?}", found.tide);
    assert!(found.tide.windows(2).take(2).all(|pair| pair[0].likely > pair[1].likely));
}

#[test]
fn out_until_is_what_a_refused_client_is_told() {
    let mut pool = Pool::default();
    let ids = ["a", "b"].map(|name| add(&mut pool, name, AccountKind::Subscription, Settings::default()));
    let now = worked(&mut pool, &ids, 60, 0.3);
    let until = now + Span::from_mins(40);
    for id in &ids {
        let penalty = Penalty { scope: Scope::Account, cause: Cause::QuotaSpent, until: Until::At(until) };
        pool.apply(Event::Penalised { id: id.clone(), penalty }, now);
    }
    assert_eq!(only(&pool, Rights::OWNER, now).prospect, Prospect::Out { until: Some(until) });
    let key = add(&mut pool, "key", AccountKind::ApiKey, Settings::default());
    assert!(only(&pool, Rights::OWNER, now).paid, "{key} goes on");
}

#[test]
fn each_caller_sees_what_is_theirs() {
    let mut pool = Pool::default();
    let reserve = Fraction::new(0.6).expect("a share");
    let shared = add(&mut pool, "a", AccountKind::Subscription, Settings { reserve, ..Settings::default() });
    let own = Settings { share: Some(false), ..Settings::default() };
    let own = add(&mut pool, "b", AccountKind::Subscription, own);
    let now = worked(&mut pool, &[shared, own], 60, 0.5);
    let friend = Rights { owner: false, friend: Some(Sharing { subscriptions: true }), ..Rights::OWNER };
    let found = only(&pool, friend, now);
    // Only what is kept for the owner is left of the one that is shared.
    assert_eq!(found.prospect, Prospect::Out { until: Some(now + hours(4)) });
    assert_eq!(found.accounts.len(), 1);
    assert!(matches!(only(&pool, Rights::OWNER, now).prospect, Prospect::Dries { .. }));
    let nothing = Rights { owner: false, accounts: Some(&[]), ..Rights::OWNER };
    assert_eq!(only(&pool, nothing, now).prospect, Prospect::Unknown { why: Unknown::NoAccounts });
}

#[test]
fn a_family_with_a_limit_of_its_own_is_told_of() {
    let mut pool = Pool::default();
    let id = add(&mut pool, "a", AccountKind::Subscription, Settings::default());
    let now = worked(&mut pool, std::slice::from_ref(&id), 60, 0.3);
    let opus =
        QuotaWindow { scope: Scope::Family("opus".into()), ..window("week", hours(168), 0.995, now + hours(30), now) };
    pool.apply(Event::Read { id, windows: vec![opus] }, now);
    let found = only(&pool, Rights::OWNER, now);
    let [family] = found.families.as_slice() else { panic!("{found:?}") };
    assert_eq!((family.family.as_str(), family.prospect), ("opus", Prospect::Out { until: Some(now + hours(30)) }));
}

#[test]
fn a_restart_forgets_neither_the_last_hours_nor_the_week() {
    let mut pool = Pool::default();
    let id = add(&mut pool, "a", AccountKind::Subscription, Settings::default());
    let now = worked(&mut pool, std::slice::from_ref(&id), 120, 0.5);
    let weeks = pool.burn.take_changed();
    assert_eq!(weeks.len(), 1);
    assert!(pool.burn.take_changed().is_empty(), "once is enough");

    let mut after = Pool::default();
    add(&mut after, "a", AccountKind::Subscription, Settings::default());
    let text = serde_json::to_string(&weeks[0].1).expect("JSON");
    let weeks = vec![("acme".into(), serde_json::from_str(&text).expect("what was written"))];
    after.apply(Event::Weeks { weeks }, now);
    for minute in (0..=120).step_by(2) {
        let (at, units) = (NOW + Span::from_mins(minute), 0.25 / 30.0 * 4e6);
        after.apply(Event::Burned { id: id.clone(), at, units }, now);
    }
    let windows = pool.slot(&id).expect("seen").windows.clone();
    after.apply(Event::Read { id, windows }, now);
    let rate = |pool: &Pool| only(pool, Rights::OWNER, now).burn.map(f64::round);
    assert_eq!(rate(&after), rate(&pool));
    assert!(matches!(only(&after, Rights::OWNER, now).prospect, Prospect::Dries { .. }));
}
