use super::*;
use crate::account::{Account, AccountKind, Credentials, ProviderId, Settings};
use crate::ask::Rights;
use crate::demand::{Client, SessionKey};
use crate::fair::ACTIVE;
use crate::people::UserId;
use crate::pool::{Event, Grant};
use crate::quota::{Scope, Source};
use crate::secret::Secret;
use crate::standing::RefusalWhy;
use crate::usage::Drawn;

const KIWI: ProviderId = ProviderId("kiwi");
const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn id(name: &str) -> AccountId {
    AccountId(name.into())
}

fn window(used: f64, span: Option<Span>) -> QuotaWindow {
    QuotaWindow {
        name: "5h".into(),
        scope: Scope::Account,
        used: Fraction::new(used).expect("a number"),
        resets_at: Some(NOW + Span::from_hours(2)),
        span,
        source: Source::Headers,
        seen_at: NOW,
    }
}

fn seen(pool: &mut Pool, name: &str, settings: Settings) {
    let account = Account {
        id: id(name),
        provider: KIWI,
        kind: AccountKind::Subscription,
        name: name.into(),
        file: format!("{name}.json"),
        plan: None,
        email: None,
        settings,
    };
    let credentials = Box::new(Credentials::lasting(Secret::new("made-up")));
    pool.apply(Event::Seen { account: Box::new(account), credentials }, NOW);
}

/// Accounts with this much of their five hours used.
fn pool(used: &[f64]) -> Pool {
    let mut pool = Pool::default();
    for (number, used) in used.iter().enumerate() {
        let name = format!("a{number}");
        seen(&mut pool, &name, Settings::default());
        let windows = vec![window(*used, Some(Span::from_hours(5)))];
        pool.apply(Event::Read { id: id(&name), windows }, NOW);
    }
    pool
}

fn lease(pool: &mut Pool, name: &str, owner: bool, now: UnixMs) -> Result<Grant, Box<Refusal>> {
    let (demand, user) = (Demand::any(KIWI, Client::OwnCli), UserId(name.into()));
    let key = SessionKey::new(KIWI, name, "one");
    pool.lease(&Ask::new(&demand, Some(key)).by(Rights { owner, user: Some(&user), ..Rights::OWNER }), now)
}

/// A request from beginning to end.
fn turn(pool: &mut Pool, name: &str, units: f64, now: UnixMs) -> Result<(), Box<Refusal>> {
    let grant = lease(pool, name, false, now)?;
    let drawn = Drawn { units, prefix: 0, warm: Span::ZERO };
    let (id, user) = (grant.account.id.clone(), grant.user.clone());
    pool.apply(Event::Drew { id, user, session: None, families: Vec::new(), drawn }, now);
    pool.release(&grant);
    Ok(())
}

fn read_all(pool: &mut Pool, used: f64, now: UnixMs) {
    let ids: Vec<AccountId> = pool.slots().map(|slot| slot.account.id.clone()).collect();
    for id in ids {
        let windows = vec![QuotaWindow { seen_at: now, ..window(used, Some(Span::from_hours(5))) }];
        pool.apply(Event::Read { id, windows }, now);
    }
}

fn resets_at(refused: Result<(), Box<Refusal>>) -> UnixMs {
    match refused.expect_err("refused").why {
        RefusalWhy::AllSpent { resets_at: Some(at), .. } => at,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_fifth_is_for_those_who_have_used_less() {
    let mut pool = pool(&[0.5, 0.5]);
    for _ in 0..9 {
        turn(&mut pool, "greedy", 1e6, NOW).expect("there is enough");
    }
    turn(&mut pool, "mira", 1e5, NOW).expect("there is enough");
    read_all(&mut pool, 0.79, NOW);
    turn(&mut pool, "greedy", 1e6, NOW).expect("still");
    read_all(&mut pool, 0.8, NOW);
    // Told as a limit, with the time when mira counts as gone: that is before the window begins anew.
    assert_eq!(resets_at(turn(&mut pool, "greedy", 1e6, NOW)), NOW + ACTIVE);
    turn(&mut pool, "mira", 1e5, NOW).expect("she has used less");
    lease(&mut pool, "operator", true, NOW).expect("the owner leaves nothing to anybody");
    // Mira catches up, and then it is open to both again.
    for _ in 0..40 {
        turn(&mut pool, "mira", 1e5, NOW).expect("she is not ahead");
    }
    turn(&mut pool, "greedy", 1e6, NOW).expect("no longer ahead");
}

#[test]
fn nobody_is_held_back_for_somebody_who_is_not_there() {
    let mut pool = pool(&[0.95]);
    turn(&mut pool, "alone", 1e6, NOW).expect("nobody else is about");
    turn(&mut pool, "mira", 1.0, NOW).expect("she has used nothing");
    assert!(turn(&mut pool, "alone", 1e6, NOW).is_err());
    turn(&mut pool, "alone", 1e6, NOW + ACTIVE).expect("mira has gone, and nothing is kept in vain");
}

#[test]
fn a_pool_is_short_when_all_that_could_serve_is_nearly_out() {
    let held = |pool: &mut Pool| {
        for _ in 0..9 {
            turn(pool, "greedy", 1e6, NOW).map_err(|_| ()).unwrap_or_default();
        }
        turn(pool, "mira", 1.0, NOW).map_err(|_| ()).unwrap_or_default();
        turn(pool, "greedy", 1e6, NOW).is_err()
    };
    assert!(held(&mut pool(&[0.95, 0.92])));
    assert!(!held(&mut pool(&[0.95, 0.5])), "one has enough");
    assert!(held(&mut pool(&[0.95, 1.0])), "one is spent");
    // Of what nobody has told nobody can say that it is short, and a minute is over soon.
    let mut untold = pool(&[0.95]);
    seen(&mut untold, "b", Settings::default());
    assert!(!held(&mut untold));
    for (span, expected) in [(None, false), (Some(Span::from_mins(1)), false), (Some(Span::from_hours(1)), true)] {
        let mut pool = pool(&[]);
        seen(&mut pool, "a", Settings::default());
        pool.apply(Event::Read { id: id("a"), windows: vec![window(0.95, span)] }, NOW);
        assert_eq!(held(&mut pool), expected, "{span:?}");
    }
    // What is kept for the owner is nobody's rest.
    for (reserve, used, expected) in [(0.3, 0.45, false), (0.3, 0.65, true)] {
        let mut pool = pool(&[]);
        seen(&mut pool, "a", Settings { reserve: Fraction::new(reserve).expect("a share"), ..Settings::default() });
        pool.apply(Event::Read { id: id("a"), windows: vec![window(used, Some(Span::from_hours(5)))] }, NOW);
        assert_eq!(held(&mut pool), expected, "{used}");
    }
}

#[test]
fn a_refusal_takes_no_slot_and_moves_no_pin() {
    let mut pool = pool(&[0.5, 0.95]);
    turn(&mut pool, "greedy", 1e6, NOW).expect("enough");
    turn(&mut pool, "mira", 1.0, NOW).expect("enough");
    let key = SessionKey::new(KIWI, "greedy", "one");
    let before = pool.pins.get(key, NOW).map(|pin| pin.account.clone());
    read_all(&mut pool, 0.95, NOW);
    assert!(turn(&mut pool, "greedy", 1e6, NOW).is_err());
    assert_eq!(pool.pins.get(key, NOW).map(|pin| pin.account.clone()), before);
    assert!(pool.slots().all(|slot| slot.in_flight == 0));
    // Counting tokens costs nothing that could be shared out.
    let (demand, user) = (Demand { light: true, ..Demand::any(KIWI, Client::OwnCli) }, UserId("greedy".into()));
    let ask = Ask::new(&demand, None).by(Rights { owner: false, user: Some(&user), ..Rights::OWNER });
    pool.lease(&ask, NOW).expect("light");
}
