use std::collections::BTreeMap;

use super::*;
use crate::account::{AccountKind, Credentials, ProviderId, Settings};
use crate::policy::{Part, Score, Why};
use crate::pool::PinState;
use crate::secret::Secret;
use crate::standing::Ineligible;

const NOW: UnixMs = UnixMs(1_000_000);

/// A lease of the account of this number, chosen for a score of this value.
fn grant(number: usize, value: f64) -> Grant {
    let id = AccountId(format!("acme-{number}").into());
    let account = Account {
        id: id.clone(),
        provider: ProviderId("acme"),
        kind: AccountKind::ApiKey,
        name: format!("account {number}"),
        file: String::new(),
        plan: None,
        email: None,
        settings: Settings::default(),
    };
    let access = Secret::new("made-up");
    let bound = BTreeMap::new();
    let score = Score { value, parts: vec![(Part::Headroom, value)] };
    let considered = vec![Considered { account: id.clone(), finding: Finding::Able(Some(score)) }];
    let decision = Decision { at: NOW, chosen: id, why: Why::Only, pinned: None, cached: None, considered, more: 0 };
    Grant {
        account: Arc::new(account),
        credentials: Arc::new(Credentials { access, refresh: None, expires_at: None, refreshed_at: None, bound }),
        epoch: 1,
        pin: PinState::None,
        bare: false,
        decision: Arc::new(decision),
        counted: true,
        user: None,
    }
}

#[test]
fn one_lease_is_told_once_however_often_it_is_tried() {
    let mut trail = Trail::default();
    let (first, second) = (grant(1, 0.5), grant(2, 0.5));
    trail.record(&first, Some(401), &Judgement::refresh("401"), NOW);
    trail.record(&first, Some(401), &Judgement::refresh("401"), NOW);
    let whole = trail.delivered(&second, 200, NOW);
    let told: Vec<_> =
        whole.attempts.iter().map(|attempt| (attempt.name.as_str(), attempt.decision.is_some())).collect();
    assert_eq!(told, [("account 1", true), ("account 1", false), ("account 2", true)]);
    assert_eq!(whole.decision().map(|decision| &decision.chosen), Some(&second.account.id));
    assert_eq!(trail.attempts.len(), 2, "the story goes on where the answer does not go out after all");
}

#[test]
fn a_long_story_is_kept_with_its_beginning_and_its_end() {
    let mut trail = Trail::default();
    for number in 0..1000 {
        trail.record(&grant(number, 0.5), Some(429), &Judgement::fatal("429"), NOW);
    }
    let decisions = trail.attempts.iter().filter(|attempt| attempt.decision.is_some()).count();
    assert_eq!(decisions, MOST_DECISIONS);
    let kept = trail.shortened();
    assert_eq!((kept.attempts.len(), kept.left_out), (MOST_ATTEMPTS, 1000 - MOST_ATTEMPTS));
    assert_eq!((kept.attempts[0].name.as_str(), kept.attempts[31].name.as_str()), ("account 0", "account 999"));
    assert!(kept.attempts[31].decision.is_some(), "what the request stood by");
}

#[test]
fn numbers_are_kept_as_exactly_as_anybody_reads_them() {
    for (value, kept) in [
        (0.812_345_678, 0.8123),
        (118_231.4, 118_200.0),
        (0.0, 0.0),
        (-1.5e-7, -1.5e-7),
        (f64::NAN, 0.0),
        (f64::INFINITY, 1e300),
    ] {
        let trail = Trail::default().delivered(&grant(1, value), 200, NOW).shortened();
        let text = serde_json::to_string(&trail).expect("JSON");
        let back: Trail = serde_json::from_str(&text).expect("reads back");
        assert_eq!(back, trail);
        let Some(Finding::Able(Some(score))) = back.decision().map(|decision| &decision.considered[0].finding) else {
            panic!("{text}");
        };
        assert!((score.value - kept).abs() <= f64::EPSILON * kept.abs(), "{value}: {}", score.value);
    }
}

#[test]
fn a_refusal_tells_of_no_more_accounts_than_a_decision() {
    let considered = (0..100).map(|number| (AccountId(format!("acme-{number}").into()), Ineligible::Busy)).collect();
    let refusal = Refusal { provider: ProviderId("acme"), model: None, why: RefusalWhy::Busy, considered };
    let refused = Trail::default().refused(Some(&refusal), NOW).refused.expect("a refusal");
    assert_eq!((refused.considered.len(), refused.more), (MOST_CONSIDERED, 100 - MOST_CONSIDERED));
}
