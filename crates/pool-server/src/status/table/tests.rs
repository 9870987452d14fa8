//! The table as people see it.

use pool_core::{AccountKind, Fraction, Source};

use super::*;
use crate::forecast::ForecastPage;
use crate::status::{FaultyFile, LedgerStatus};

/// Sunday 22 November 2026, 14:24 UTC.
const NOW: UnixMs = UnixMs(1_795_357_440_000);

fn window(name: &str, left: f64, resets_in_mins: Option<i64>) -> WindowStatus {
    WindowStatus {
        name: name.into(),
        family: None,
        left: Fraction::new(left).expect("a number"),
        resets_at_ms: resets_in_mins.map(|mins| NOW.0 + mins * 60_000),
        age_ms: 5000,
        source: Source::Headers,
    }
}

fn account(name: &str, state: State, windows: Vec<WindowStatus>) -> AccountStatus {
    AccountStatus {
        id: format!("acme-{name}"),
        name: name.into(),
        provider: "acme".into(),
        kind: AccountKind::Subscription,
        plan: Some("pro".into()),
        email: None,
        file: format!("acme/{name}.json"),
        state,
        reason: None,
        until_ms: None,
        in_flight: 0,
        windows,
    }
}

fn page(accounts: Vec<AccountStatus>) -> StatusPage {
    StatusPage {
        version: "0.1.0".into(),
        now_ms: NOW.0,
        forecast: ForecastPage::default(),
        accounts,
        files_with_faults: vec![],
        requests_in_flight: 4,
        ledger: LedgerStatus::default(),
    }
}

fn draw(page: &StatusPage, width: usize) -> String {
    render(page, &Look { width, colour: false, ascii: true, zone: TimeZone::UTC }, NOW)
}

#[test]
fn a_pool_at_a_glance() {
    let mut signed_out = account("lab", State::NeedsLogin, vec![]);
    signed_out.reason = Some("The provider answered invalid_grant: the login was ended elsewhere".into());
    let drawn = draw(
        &page(vec![
            account("work", State::Ready, vec![window("5h", 0.62, Some(72)), window("week", 0.48, Some(5556))]),
            account("main", State::Ready, vec![window("5h", 0.88, Some(60)), window("week", 0.0, Some(3096))]),
            signed_out,
        ]),
        80,
    );
    let expected = "\
2 of 3 accounts ready, 4 requests in flight, 1 needs you

ACCOUNT    PLAN  STATE    WINDOW  LEFT                RESETS
acme/work  pro   ready    5h      #####...  62% left  15:36, in 72 min
                          week    ####....  48% left  Thu 11:00, in 3 d 20 h
acme/main  pro   out      5h      ////////  88% left  blocked by week
                          week    ........   0% left  Tue 18:00, in 2 d 3 h
acme/lab   pro   sign in  -       not known
  The provider answered invalid_grant: the login was ended elsewhere

Next: codex-pool accounts login acme --name lab
";
    assert_eq!(drawn, expected);
}

#[test]
fn no_line_is_wider_than_the_terminal_and_narrow_ones_lose_columns() {
    let mut long = account(
        "a-very-long-name-of-an-account-of-somebody",
        State::Cooling,
        vec![window("input tokens", 0.0, Some(20_000)), window("requests", 0.006, None)],
    );
    long.plan = Some("default_claude_max_20x".into());
    long.reason = Some("Too many requests in a short time, said the provider in so many words as it could find".into());
    long.until_ms = Some(NOW.0 + 90_000);
    let mut page = page(vec![long]);
    page.files_with_faults =
        vec![FaultyFile { file: "x.json".into(), fault: "not JSON; copy it again".into(), usable: false }];
    page.ledger.degraded = Some("the disk is full".into());
    for width in [60, 80, 120] {
        let drawn = draw(&page, width);
        for line in drawn.lines() {
            assert!(chars(line) <= width, "{width}: {line}");
        }
        assert!(drawn.contains("  1% left") || drawn.contains("1% left"), "nearly nothing is not nothing: {drawn}");
        assert!(drawn.contains("x.json is left out: not JSON"), "{drawn}");
        assert!(drawn.contains("the disk is full"), "{drawn}");
    }
    assert!(draw(&page, 120).contains("PLAN"));
    assert!(!draw(&page, 60).contains("PLAN"));
}

#[test]
fn unknown_is_said_and_an_empty_pool_says_what_to_do() {
    let drawn = draw(&page(vec![account("new", State::Checking, vec![window("day", 1.0, None)])]), 80);
    assert!(drawn.contains("100% left  not known"), "{drawn}");
    let empty = draw(&page(vec![]), 80);
    assert!(empty.contains("No accounts yet") && empty.contains("codex-pool accounts add FILE"), "{empty}");
}

#[test]
fn colour_only_when_asked_for() {
    let page = page(vec![account("work", State::Ready, vec![window("5h", 0.5, Some(10))])]);
    assert!(!render_table(&page, 80, NOW).contains('\x1b'));
    let look = Look { width: 80, colour: true, ascii: false, zone: TimeZone::UTC };
    assert!(render(&page, &look, NOW).contains("\x1b[34m████░░░░\x1b[0m  50% left"));
}

#[test]
fn windows_of_models_can_be_told_apart_when_they_are_cut() {
    let of = |model: &str| WindowStatus { family: Some(format!("model:{model}")), ..window("requests", 0.5, None) };
    let drawn = draw(&page(vec![account("key", State::Ready, vec![of("acme-3-preview-0526"), of("acme-3-mini")])]), 80);
    assert!(drawn.contains(" acme-3-preview-0526 req") && drawn.contains(" acme-3-mini requests"), "{drawn}");
}

#[test]
fn a_providers_words_do_not_steer_the_terminal() {
    let mut odd = account("odd", State::NeedsLogin, vec![window("5h\u{1b}[2J", 0.5, None)]);
    odd.plan = Some("pro\u{1b}[31m".into());
    odd.reason = Some("said \u{1b}]0;title\u{7} so".into());
    let drawn = draw(&page(vec![odd]), 100);
    assert!(!drawn.contains(['\u{1b}', '\u{7}']) && drawn.contains("5h\u{fffd}[2J"), "{drawn}");
}
