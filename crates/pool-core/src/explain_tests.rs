use std::sync::Arc;

use super::*;
use crate::decision::Considered;
use crate::limits::Over;
use crate::time::Span;

const NOW: UnixMs = UnixMs(1_000_000_000);

fn id(name: &str) -> AccountId {
    AccountId(name.into())
}

/// Accounts go by their ids; a clock that shows minutes since the decision.
fn with_words<T>(act: impl FnOnce(&Words<'_>) -> T) -> T {
    let name = |id: &AccountId| id.to_string();
    let clock = |at: UnixMs| format!("Sun +{}", at.since(NOW).0 / 60_000);
    act(&Words { name: &name, clock: &clock })
}

fn after(mins: u64) -> UnixMs {
    NOW + Span::from_mins(mins)
}

fn able(account: &str, left: f64, running: f64) -> Considered {
    let score = Score { value: left, parts: vec![(Part::Headroom, left), (Part::InFlight, running)] };
    Considered { account: id(account), finding: Finding::Able(Some(score)) }
}

fn unable(account: &str, why: Ineligible) -> Considered {
    Considered { account: id(account), finding: Finding::Unable(why) }
}

fn spent(resets_at: Option<UnixMs>) -> Ineligible {
    Ineligible::WindowSpent { window: "5h".into(), span: None, resets_at }
}

fn decision(why: Why, pinned: Option<&str>, considered: Vec<Considered>) -> Decision {
    Decision { at: NOW, chosen: id("work"), why, pinned: pinned.map(id), cached: None, considered, more: 0 }
}

fn attempt(name: &str, status: Option<u16>, reason: &str, decision: Option<Decision>) -> Attempt {
    let decision = decision.map(Arc::new);
    Attempt { account: id(name), name: name.into(), status, reason: reason.into(), at: NOW, decision }
}

#[test]
fn every_reason_for_an_account_is_a_clause() {
    let two = || vec![able("work", 0.81, 2.0), able("alt", 0.44, 0.0)];
    let cached = |tokens, until| Some(Cached { tokens, until });
    for (decision, cached, said) in [
        (decision(Why::Only, None, vec![able("work", 0.2, 0.0)]), None, "this is the only account that can"),
        (
            decision(Why::Best, None, two()),
            None,
            "no account holds the conversation yet, and this is the best of 2 that can (81% left of its scarcest window, 2 requests under way)",
        ),
        (
            decision(
                Why::Best,
                None,
                vec![Considered {
                    account: id("work"),
                    finding: Finding::Able(Some(Score { value: 0.5, parts: vec![(Part::AssumedHeadroom, 0.5)] })),
                }],
            ),
            None,
            "no account holds the conversation yet, and this is the only account that can (what is left of it is not known, taken for 50%)",
        ),
        (
            decision(Why::Best, None, vec![able("work", 0.44, 0.0), able("key", 0.5, 0.0), able("third", 0.6, 0.0)]),
            None,
            "no account holds the conversation yet, and this is the best of 3 that can (44% left of its scarcest window, 0 requests under way), since key and 1 more come \
             later by the operator's order or after trouble just now",
        ),
        (
            decision(Why::Kept, Some("work"), vec![]),
            cached(118_231, after(3)),
            "the conversation stays where its cache is (118k tokens, warm for 3 min more)",
        ),
        (
            decision(Why::Kept, Some("work"), vec![]),
            cached(1_180_000, NOW - Span::from_mins(7)),
            "the conversation stays where its cache is (1.2M tokens, cold for 7 min)",
        ),
        (
            decision(Why::Kept, Some("work"), vec![]),
            None,
            "the conversation stays where its cache is (how much of it is not known)",
        ),
        (
            decision(Why::Cold, Some("alt"), two()),
            None,
            "the conversation leaves alt, where its cache has gone cold, so that a move costs nothing; this is the best of 2 that \
             can (81% left of its scarcest window, 2 requests under way)",
        ),
        (
            decision(
                Why::PinUnable,
                Some("alt"),
                vec![able("work", 0.004, 1.0), unable("alt", spent(Some(after(40))))],
            ),
            None,
            "the conversation had to leave alt (its 5h window is spent, until Sun +40, in 40 min); this is the only account that \
             can (0% left of its scarcest window, 1 request under way)",
        ),
        (
            decision(Why::PinUnable, Some("alt"), vec![able("work", 0.9999, 0.0), unable("alt", Ineligible::Tried)]),
            None,
            "this is the only account that can (99% left of its scarcest window, 0 requests under way)",
        ),
        (
            decision(Why::PinUnable, None, two()),
            None,
            "the account that the conversation was on is gone; this is the best of 2 that can (81% left of its scarcest window, \
             2 requests under way)",
        ),
        (
            decision(Why::Cheaper, Some("key"), two()),
            None,
            "the conversation comes back from key, whose kind of account goes last",
        ),
    ] {
        let decision = Decision { cached, ..decision };
        assert_eq!(with_words(|words| why(&decision, words)), said);
    }
}

#[test]
fn every_reason_against_an_account_has_a_word_and_a_reason() {
    let window = || "week".to_owned();
    for (why, word, told) in [
        (Ineligible::Kind, "other kind", "its kind of account does not serve this client here"),
        (Ineligible::Paused, "paused", "paused by hand"),
        (Ineligible::NeedsLogin { why: "sign in again".into() }, "sign in", "sign in again"),
        (
            Ineligible::Cooling { cause: Cause::Throttled, scope: Scope::Account, until: after(2) },
            "cooling",
            "too many requests in a short time, until Sun +2, in 2 min",
        ),
        (
            Ineligible::Cooling {
                cause: Cause::QuotaSpent,
                scope: Scope::Family("model:m-1".into()),
                until: NOW - Span::from_mins(1),
            },
            "cooling",
            "m-1: its quota is spent, until Sun +0",
        ),
        (spent(Some(after(150))), "out", "its 5h window is spent, until Sun +150, in 2 h 30 min"),
        (spent(None), "out", "its 5h window is spent, until when is not known"),
        (Ineligible::Tried, "tried", "it was tried for this request"),
        (Ineligible::BoundElsewhere, "not bound", "the conversation leans on state that another account holds"),
        (Ineligible::NotForCaller, "not theirs", "this caller may use other accounts only"),
        (Ineligible::ModelNotAllowed, "other models", "the operator lets it serve other models only"),
        (
            Ineligible::Reserved { window: window(), span: None, resets_at: Some(after(1)) },
            "reserved",
            "what is left of its week window is kept for the owner, until Sun +1, in 60 s",
        ),
        (
            Ineligible::KeptForOthers { window: window(), span: None, resets_at: Some(after(1)) },
            "shared out",
            "what is left of its week window is kept for people who have used less, until Sun +1, in 60 s",
        ),
        (
            Ineligible::SpendCap { until: after(60) },
            "out",
            "it has cost as much today as it may, until Sun +60, in 60 min",
        ),
        (Ineligible::Busy, "busy", "it has as many requests under way as it may"),
    ] {
        let verdict = ineligible(&why);
        assert_eq!((verdict.word, with_words(|words| verdict.told(NOW, words)).as_str()), (word, told));
    }
}

#[test]
fn every_refusal_is_a_clause() {
    let spent_until = |resets_at| RefusalWhy::AllSpent { resets_at, window: Some("5h".into()), span: None };
    let login = || Ineligible::NeedsLogin { why: "sign in again".into() };
    for (why, considered, said) in [
        (RefusalWhy::NoAccounts, vec![], "there is no account of this provider"),
        (
            RefusalWhy::NoneOfThisKind,
            vec![unable("a", Ineligible::Kind)],
            "no account is of a kind that may serve this client here",
        ),
        (
            RefusalWhy::NeedsPerson,
            vec![unable("a", login())],
            "the one account there is waits for a person (a: sign in again)",
        ),
        (
            RefusalWhy::NeedsPerson,
            vec![unable("a", login()), unable("b", Ineligible::Paused)],
            "every account that may serve it waits for a person",
        ),
        (
            spent_until(Some(after(40))),
            vec![unable("a", spent(Some(after(90)))), unable("b", spent(Some(after(40))))],
            "every account that may serve it is out; b is back first (5h): Sun +40, in 40 min",
        ),
        // The one that it is may be among those that are not told.
        (
            spent_until(Some(after(40))),
            vec![unable("a", spent(None))],
            "every account that may serve it is out; the first is back first (5h): Sun +40, in 40 min",
        ),
        (
            spent_until(None),
            vec![unable("a", spent(None))],
            "every account that may serve it is out, until when is not known",
        ),
        (
            RefusalWhy::Busy,
            vec![unable("a", Ineligible::Busy)],
            "every account that may serve it has as many requests under way as it may",
        ),
        (
            RefusalWhy::Trouble { until: Some(after(1)), cause: Cause::UpstreamFailing },
            vec![],
            "every account that may serve it is in trouble (the provider is failing or cannot be reached); the first is asked \
             again at Sun +1, in 60 s",
        ),
        (
            RefusalWhy::Trouble { until: None, cause: Cause::ModelOverloaded },
            vec![],
            "every account that may serve it was tried (the model is overloaded)",
        ),
        (
            RefusalWhy::OwnLimit(Over::Pace { limit: 3, until: after(1) }),
            vec![],
            "its user's own limit is reached (3 requests a minute), until Sun +1, in 60 s",
        ),
        (
            RefusalWhy::OwnLimit(Over::Model { allowed: vec!["kiwi".into()] }),
            vec![],
            "its user's own limit does not allow it (only kiwi)",
        ),
    ] {
        let refused = Refused { at: NOW, why, considered, more: 0 };
        assert_eq!(with_words(|words| refusal(&refused, words)), said);
        let asked = with_words(|words| next(Err(&refused), words));
        assert_eq!(asked, format!("Nobody could take it now: {said}."));
    }
}

#[test]
fn a_request_is_one_sentence_whatever_became_of_it() {
    let only = || Some(decision(Why::Only, None, vec![]));
    let fails = |name| attempt(name, Some(429), "usage_limit_reached", None);
    let serves = || attempt("work", Some(200), "", only());
    let refused = || Some(Refused { at: NOW, why: RefusalWhy::NoAccounts, considered: vec![], more: 0 });
    for (attempts, refused, ending, status, said) in [
        (vec![serves()], None, Ending::Complete, 200, "work served it: this is the only account that can."),
        (
            vec![serves()],
            None,
            Ending::Aborted,
            200,
            "work was serving it when the client left: this is the only account that can.",
        ),
        (
            vec![attempt("work", None, "", only())],
            None,
            Ending::Aborted,
            499,
            "The client left before work answered: this is the only account that can.",
        ),
        (
            vec![serves()],
            None,
            Ending::Incomplete,
            200,
            "work began to serve it, and the answer broke off: this is the only account that can.",
        ),
        (
            vec![serves()],
            None,
            Ending::Failed,
            400,
            "work answered with 400, which was passed on: this is the only account that can.",
        ),
        (
            vec![serves()],
            None,
            Ending::Failed,
            200,
            "work served it, and the answer turned into an error: this is the only account that can.",
        ),
        (
            vec![fails("alt"), serves()],
            None,
            Ending::Complete,
            200,
            "work served it after alt failed (429 usage_limit_reached): this is the only account that can.",
        ),
        (
            vec![
                fails("a"),
                attempt("b", None, "no answer in 10 s", None),
                fails("c"),
                fails("d"),
                fails("e"),
                serves(),
            ],
            None,
            Ending::Complete,
            200,
            "work served it after a failed (429 usage_limit_reached), b failed (no answer in 10 s), c failed (429 \
             usage_limit_reached) and 2 more tries failed: this is the only account that can.",
        ),
        (vec![], refused(), Ending::Failed, 429, "Nobody could take it: there is no account of this provider."),
        (
            vec![fails("alt")],
            refused(),
            Ending::Failed,
            429,
            "Nobody could take it: there is no account of this provider. Tried before: alt failed (429 usage_limit_reached).",
        ),
        (
            vec![fails("alt"), fails("work")],
            None,
            Ending::Failed,
            503,
            "Nobody could serve it, and no other account was asked: alt failed (429 usage_limit_reached) and work failed (429 \
             usage_limit_reached).",
        ),
        (vec![], None, Ending::Failed, 502, "How it was decided is not known."),
    ] {
        let trail = Trail { attempts, refused, ..Trail::default() };
        assert_eq!(with_words(|words| request(&trail, ending, status, words)), said);
    }
    let next = with_words(|words| next(Ok(&decision(Why::Only, None, vec![])), words));
    assert_eq!(next, "work would serve it: this is the only account that can.");
}

#[test]
fn tokens_and_failures_read_well() {
    for (tokens, said) in [(0, "0"), (999, "999"), (1_499, "1k"), (1_500, "2k"), (999_499, "999k"), (999_500, "1.0M")] {
        assert_eq!(count(tokens), said);
    }
    assert_eq!(failure(&attempt("a", Some(429), "429 rate_limit_error", None)), "429 rate_limit_error");
}
