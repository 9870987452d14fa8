use super::*;
use crate::account::ProviderId;
use crate::demand::Client;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const CLAUDE: ProviderId = ProviderId("claude");

fn demand(model: &str) -> Demand {
    Demand { model: Some(model.into()), ..Demand::any(CLAUDE, Client::OwnCli) }
}

fn begin(book: &mut Book, limits: &Limits, now: UnixMs) -> Result<(), Over> {
    book.begin(limits, &demand("claude-opus-5"), Some(1000.0), now)
}

fn tokens(tokens: u64) -> Taken {
    Taken { tokens, micro_dollars: tokens * 3, units: tokens as f64 }
}

#[test]
fn periods_begin_and_end_where_the_calendar_says() {
    let at = |secs: i64| UnixMs::from_secs(secs);
    for (period, now, begins, ends) in [
        // 2027-01-15 08:00, a Friday.
        (Period::Day, 1_800_000_000, 1_799_971_200, 1_800_057_600),
        (Period::Week, 1_800_000_000, 1_799_625_600, 1_800_230_400),
        (Period::Month, 1_800_000_000, 1_798_761_600, 1_801_440_000),
        // 2028-02-29: a leap day.
        (Period::Month, 1_835_395_200, 1_832_976_000, 1_835_481_600),
        // The epoch itself: a Thursday.
        (Period::Week, 0, -259_200, 345_600),
        (Period::Month, 0, 0, 2_678_400),
        // The last second of 2026.
        (Period::Month, 1_798_761_599, 1_796_083_200, 1_798_761_600),
        (Period::Month, -1, -2_678_400, 0),
    ] {
        assert_eq!(period.around(at(now)), (at(begins), at(ends)), "{period:?} around {now}");
    }
}

#[test]
fn a_budget_ends_with_its_period_and_comes_back_with_the_next() {
    for (amount, enough) in
        [(Amount::Tokens(100), 100), (Amount::MicroDollars(300), 100), (Amount::WindowShare(0.1), 100)]
    {
        let budget = Budget { period: Period::Day, amount };
        let limits = Limits { budgets: vec![budget], ..Limits::default() };
        let mut book = Book::default();
        assert_eq!(begin(&mut book, &limits, NOW), Ok(()));
        book.end();
        book.take(tokens(enough - 1), NOW);
        assert_eq!(begin(&mut book, &limits, NOW), Ok(()), "{amount:?}: what is left is theirs");
        book.end();
        book.take(tokens(1), NOW);
        let tomorrow = Period::Day.around(NOW).1;
        assert_eq!(begin(&mut book, &limits, NOW), Err(Over::Budget { budget, until: tomorrow }));
        assert_eq!(begin(&mut book, &limits, tomorrow), Ok(()));
    }
}

#[test]
fn a_share_of_what_nobody_knows_limits_nothing() {
    let budget = Budget { period: Period::Week, amount: Amount::WindowShare(0.0) };
    let limits = Limits { budgets: vec![budget], ..Limits::default() };
    assert_eq!(Book::default().begin(&limits, &demand("claude-opus-5"), None, NOW), Ok(()));
}

#[test]
fn what_was_taken_last_month_is_not_this_months() {
    let mut book = Book::default();
    book.take(tokens(5), NOW);
    book.take(tokens(7), NOW - Span::from_hours(40 * 24));
    assert_eq!(book.taken(Period::Month, NOW).tokens, 5);
    assert_eq!(book.taken(Period::Day, NOW + Span::from_hours(24)).tokens, 0);
}

#[test]
fn a_minutes_requests_may_come_at_once_but_not_more() {
    let limits = Limits { requests_per_minute: Some(6), ..Limits::default() };
    let mut book = Book::default();
    for _ in 0..6 {
        assert_eq!(begin(&mut book, &limits, NOW), Ok(()));
    }
    let Err(Over::Pace { until, .. }) = begin(&mut book, &limits, NOW) else { panic!("a seventh") };
    assert_eq!(until, NOW + Span::from_secs(10));
    assert!(begin(&mut book, &limits, until - Span(1)).is_err());
    assert_eq!(begin(&mut book, &limits, until), Ok(()));
    // Over ten minutes, sixty and the first burst.
    let mut passed = 0;
    for second in 0..600 {
        passed += usize::from(begin(&mut book, &limits, until + Span::from_secs(second)).is_ok());
    }
    assert!((59..=61).contains(&passed), "{passed}");
    // The clock is set back: at most a minute is lost.
    let earlier = NOW - Span::from_hours(100);
    assert!(begin(&mut book, &limits, earlier).is_err());
    assert!(begin(&mut book, &limits, earlier + Span::from_mins(1)).is_ok());
}

#[test]
fn streams_are_counted_until_they_end() {
    let limits = Limits { streams: Some(2), ..Limits::default() };
    let mut book = Book::default();
    assert_eq!(begin(&mut book, &limits, NOW), Ok(()));
    assert_eq!(begin(&mut book, &limits, NOW), Ok(()));
    assert_eq!(begin(&mut book, &limits, NOW), Err(Over::Streams { limit: 2 }));
    book.end();
    assert_eq!(begin(&mut book, &limits, NOW), Ok(()));
}

#[test]
fn only_allowed_models_and_providers() {
    for (models, providers, model, expected) in [
        (vec![], vec![], Some("claude-opus-5"), ""),
        (vec![], vec![], None, ""),
        (vec!["claude-opus-5"], vec!["claude"], Some("claude-opus-5"), ""),
        (vec!["gpt-*", "*OPUS*"], vec![], Some("claude-opus-5"), ""),
        (vec!["claude-*-5"], vec![], Some("claude-opus-5"), ""),
        (vec!["claude-*-4"], vec![], Some("claude-opus-5"), "only claude-*-4"),
        (vec!["opus", "x"], vec![], Some("claude-opus-5"), "only opus, x"),
        (vec![], vec!["codex"], Some("claude-opus-5"), "only codex"),
        // What names none could be any.
        (vec!["*"], vec![], None, "only *"),
    ] {
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        let limits = Limits { models: owned(&models), providers: owned(&providers), ..Limits::default() };
        let asked = Demand { model: model.map(str::to_owned), ..demand("") };
        let told = Book::default().begin(&limits, &asked, None, NOW).err().map(|over| over.to_string());
        assert_eq!(told.unwrap_or_default(), expected, "{models:?} {providers:?} {model:?}");
    }
}

#[test]
fn counting_tokens_costs_nothing() {
    let limits =
        Limits { requests_per_minute: Some(0), streams: Some(0), models: vec!["claude-*".into()], ..Limits::default() };
    let mut book = Book::default();
    for model in [Some("claude-opus-5".to_owned()), None] {
        let light = Demand { light: true, model, ..demand("") };
        assert_eq!(book.begin(&limits, &light, None, NOW), Ok(()));
    }
    assert_eq!(book.streams(), 0);
    let light = Demand { light: true, ..demand("gpt-6") };
    assert!(book.begin(&limits, &light, None, NOW).is_err(), "not theirs, however light");
}

#[test]
fn of_several_spent_budgets_the_one_counts_that_ends_last() {
    let budget = |period, most| Budget { period, amount: Amount::Tokens(most) };
    let budgets = vec![budget(Period::Day, 5), budget(Period::Month, 10), budget(Period::Week, 100)];
    let limits = Limits { budgets: budgets.clone(), ..Limits::default() };
    let mut book = Book::default();
    let nearest = |book: &Book| {
        let window = book.nearest(&limits, None, NOW).expect("a budget");
        (window.name, window.used.get(), window.resets_at)
    };
    let ends = |period: Period| period.around(NOW).1;
    book.take(tokens(4), NOW);
    assert_eq!(nearest(&book), ("day".into(), 0.8, Some(ends(Period::Day))));
    book.take(tokens(2), NOW);
    assert_eq!(begin(&mut book, &limits, NOW), Err(Over::Budget { budget: budgets[0], until: ends(Period::Day) }));
    book.take(tokens(4), NOW);
    assert_eq!(begin(&mut book, &limits, NOW), Err(Over::Budget { budget: budgets[1], until: ends(Period::Month) }));
    assert_eq!(nearest(&book), ("month".into(), 1.0, Some(ends(Period::Month))));
}

#[test]
fn limits_are_told_as_people_say_them() {
    let budget = |period, amount| Over::Budget { budget: Budget { period, amount }, until: NOW };
    for (over, told) in [
        (budget(Period::Day, Amount::Tokens(2_000_000)), "2,000,000 tokens a day"),
        (budget(Period::Day, Amount::Tokens(100)), "100 tokens a day"),
        (budget(Period::Month, Amount::MicroDollars(20_500_000)), "$20.50 a month"),
        (budget(Period::Week, Amount::WindowShare(0.25)), "25% of what the accounts hold, a week"),
        (Over::Pace { limit: 30, until: NOW }, "30 requests a minute"),
        (Over::Streams { limit: 1 }, "1 request at one time"),
    ] {
        assert_eq!(over.to_string(), told);
    }
}
