use super::*;

const KIWI: ProviderId = ProviderId("kiwi");
const PEAR: ProviderId = ProviderId("pear");
const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn user(name: &str) -> UserId {
    UserId(name.into())
}

fn ask(fair: &mut Fair, name: &str, owner: bool, now: UnixMs) {
    fair.asked(KIWI, Rights { owner, user: Some(&user(name)), ..Rights::OWNER }, now);
}

/// Each has asked and drawn so much.
fn drawn(people: &[(&str, f64)]) -> Fair {
    let mut fair = Fair::default();
    for (name, units) in people {
        ask(&mut fair, name, false, NOW);
        fair.drew(KIWI, Some(&user(name)), *units, NOW);
    }
    fair
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6 * b.abs().max(1.0)
}

#[test]
fn use_is_what_was_drawn_lately_and_what_is_under_way() {
    let mut fair = drawn(&[("mira", 1000.0)]);
    let used = |fair: &Fair, after: Span| fair.used(KIWI, Some(&user("mira")), NOW + after);
    for (hours, left) in [(0, 1000.0), (1, 500.0), (2, 250.0), (10, 1000.0 / 1024.0)] {
        assert!(near(used(&fair, Span::from_hours(hours)), left), "{hours}");
    }
    fair.begun(KIWI, Some(&user("mira")));
    fair.begun(KIWI, Some(&user("mira")));
    assert!(near(used(&fair, Span::ZERO), 3000.0), "two more like the first");
    fair.ended(KIWI, Some(&user("mira")));
    fair.ended(KIWI, Some(&user("mira")));
    fair.ended(KIWI, Some(&user("mira")));
    fair.drew(KIWI, Some(&user("mira")), 100.0, NOW + HALF_LIFE);
    assert!(near(used(&fair, HALF_LIFE), 600.0));
    for nonsense in [f64::NAN, f64::INFINITY, -5.0] {
        fair.drew(KIWI, Some(&user("mira")), nonsense, NOW + HALF_LIFE);
    }
    assert!(near(used(&fair, HALF_LIFE), 600.0));
    // Another provider is another matter, and so is somebody who was never heard of.
    assert!(near(fair.used(PEAR, Some(&user("mira")), NOW), 0.0));
    assert!(near(fair.used(KIWI, Some(&user("nadia")), NOW), 0.0));
    assert!(near(fair.used(KIWI, None, NOW), 0.0));
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_out_for_longer() {
    let fair = drawn(&[("greedy", 900.0), ("mira", 100.0)]);
    let back = NOW - Span::from_hours(24);
    assert!(near(fair.used(KIWI, Some(&user("greedy")), back), 0.0));
    assert_eq!(fair.ahead(KIWI, Some(&user("greedy")), back), None, "who asks in the future is not about");
    // A clock that is put right by a second is no such thing.
    let a_little = NOW - Span::from_secs(1);
    assert!(near(fair.used(KIWI, Some(&user("greedy")), a_little), 900.0));
    assert_eq!(fair.ahead(KIWI, Some(&user("greedy")), a_little), Some(a_little + ACTIVE));
}

#[test]
fn ahead_is_who_has_used_clearly_more_than_an_equal_share_of_those_who_are_about() {
    let until = Some(NOW + ACTIVE);
    for (people, who, expected) in [
        (vec![("a", 1e6)], "a", None),
        (vec![("a", 70.0), ("b", 30.0)], "a", None),
        (vec![("a", 76.0), ("b", 24.0)], "a", until),
        (vec![("a", 76.0), ("b", 24.0)], "b", None),
        (vec![("a", 100.0), ("b", 0.0)], "a", until),
        (vec![("a", 49.0), ("b", 26.0), ("c", 25.0)], "a", None),
        (vec![("a", 51.0), ("b", 24.0), ("c", 25.0)], "a", until),
        (vec![("a", 25.0), ("b", 25.0), ("c", 25.0), ("d", 25.0)], "a", None),
        (vec![("a", 1.0), ("b", 0.0)], "nobody", None),
    ] {
        assert_eq!(drawn(&people).ahead(KIWI, Some(&user(who)), NOW), expected, "{people:?} {who}");
    }
}

#[test]
fn whoever_is_not_about_leaves_their_share_to_the_others() {
    let mut fair = drawn(&[("greedy", 900.0), ("mira", 100.0)]);
    let greedy = user("greedy");
    let later = NOW + ACTIVE;
    assert_eq!(fair.ahead(KIWI, Some(&greedy), later), None, "mira has gone");
    ask(&mut fair, "mira", false, later);
    assert_eq!(fair.ahead(KIWI, Some(&greedy), later), Some(later + ACTIVE), "and come back");
    // Who has a long answer under way is about, and no owner is anybody's measure.
    let much_later = later + Span::from_hours(9);
    fair.begun(KIWI, Some(&user("mira")));
    fair.drew(KIWI, Some(&greedy), 1e6, much_later);
    assert!(fair.ahead(KIWI, Some(&greedy), much_later).is_some());
    ask(&mut fair, "mira", true, much_later);
    assert_eq!(fair.ahead(KIWI, Some(&greedy), much_later), None);
    assert_eq!(fair.ahead(PEAR, Some(&greedy), much_later), None);
    assert_eq!(fair.ahead(KIWI, None, much_later), None);
}

#[test]
fn it_does_not_grow_without_end() {
    let mut fair = Fair::default();
    let name = |number: usize| format!("u-{number:06}");
    ask(&mut fair, &name(0), false, NOW);
    fair.begun(KIWI, Some(&user(&name(0))));
    for number in 1..MOST + 5 {
        ask(&mut fair, &name(number), false, NOW + Span(number as u64));
    }
    let people = &fair.providers[&KIWI].people;
    assert_eq!(people.len(), MOST);
    assert!(people.contains_key(&user(&name(0))), "what is under way is not forgotten");
    assert!(!people.contains_key(&user(&name(1))) && people.contains_key(&user(&name(MOST + 4))));
}

/// The order of these in line, best first.
fn order(people: &[(&'static str, bool, f64, u64)], owner_was_last: bool) -> Vec<&'static str> {
    let mut line: Vec<_> = people
        .iter()
        .map(|(name, owner, used, secs)| {
            let place = InLine { owner: *owner, used: *used, idle: *name != "at work", waited: Span::from_secs(*secs) };
            (place.rank(owner_was_last), *name)
        })
        .collect();
    line.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    line.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn the_owner_then_the_overdue_then_who_has_used_least() {
    for (people, owner_was_last, expected) in [
        (vec![("much", false, 9.0, 4), ("little", false, 1.0, 0)], false, vec!["little", "much"]),
        (vec![("late", false, 5.0, 1), ("early", false, 5.0, 2)], false, vec!["early", "late"]),
        (vec![("little", false, 1.0, 0), ("owner", true, 99.0, 0)], false, vec!["owner", "little"]),
        (vec![("busier", true, 9.0, 8), ("owner", true, 1.0, 0)], false, vec!["owner", "busier"]),
        (vec![("little", false, 1.0, 4), ("overdue", false, 99.0, 5)], false, vec!["overdue", "little"]),
        (vec![("little", false, 1.0, 4), ("at work", false, 99.0, 9)], false, vec!["little", "at work"]),
        (vec![("overdue", false, 1.0, 6), ("longest", false, 99.0, 7)], false, vec!["longest", "overdue"]),
        (vec![("overdue", false, 1.0, 6), ("owner", true, 99.0, 0)], false, vec!["owner", "overdue"]),
        (vec![("overdue", false, 1.0, 6), ("owner", true, 99.0, 9)], true, vec!["overdue", "owner"]),
        (vec![("little", false, 1.0, 0), ("owner", true, 99.0, 0)], true, vec!["owner", "little"]),
    ] {
        assert_eq!(order(&people, owner_was_last), expected, "{people:?}");
    }
}

/// The promise of [`InLine::rank`], for every mix of people and a new rival with no use at every slot.
#[test]
fn who_is_overdue_gets_one_of_the_next_slots() {
    for n in 1..=8usize {
        for owner in [false, true] {
            let mut line: Vec<(usize, InLine)> = (0..n)
                .map(|number| {
                    let used = [1.0, 1e6, 30.0][number % 3] * (number + 1) as f64;
                    // Every other one is at work, and has waited longer: they will be in the way once.
                    let (idle, longer) = (number % 2 == 0, (number % 2) as u64 * 1000);
                    let waited = Span(OVERDUE.0 + number as u64 + longer);
                    (number, InLine { owner: false, used, idle, waited })
                })
                .collect();
            let (mut served, mut owner_was_last) = (vec![false; n], false);
            for slot in 0..n * if owner { 2 } else { 1 } {
                // Their work ends one after the other.
                if let Some((_, place)) = line.iter_mut().find(|(who, place)| *who < n && !place.idle) {
                    place.idle = true;
                }
                line.push((n + slot, InLine { owner: false, used: 0.0, idle: true, waited: Span::ZERO }));
                if owner {
                    line.push((usize::MAX, InLine { owner: true, used: 0.0, idle: true, waited: Span::ZERO }));
                }
                let best = (0..line.len()).min_by(|one, other| {
                    let rank = |at: usize| line[at].1.rank(owner_was_last);
                    rank(*one).total_cmp(&rank(*other))
                });
                let (who, place) = line.remove(best.expect("somebody waits"));
                owner_was_last = place.owner;
                if let Some(seen) = served.get_mut(who) {
                    *seen = true;
                    // They have more to ask.
                    line.push((who, InLine { waited: Span::ZERO, ..place }));
                }
            }
            assert!(served.iter().step_by(2).all(|served| *served), "{n} {owner} {served:?}");
        }
    }
}
