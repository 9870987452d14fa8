//! The pool as Claude Code sees it: limit headers and the usage answer speak of all accounts, never of the one that served.

use http::header::{RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use pool_core::standing::{Standing, StandingWindow};
use pool_core::{Scope, UnixMs};
use serde_json::{Value, json};

use super::quota::{PLAN_WINDOWS, PlanWindow, UNIFIED, WEEK};

/// From here on Claude Code warns.
const WARN: f64 = 0.9;
/// As for accounts: what is left cannot serve.
const SPENT: f64 = 0.995;

/// Headers of one account's limits, by how they begin.
const LIMITS: [&str; 3] = ["anthropic-ratelimit-", "anthropic-priority-", "anthropic-fast-"];

pub(super) fn speak_of_pool(headers: &mut HeaderMap, standing: &Standing, now: UnixMs) {
    let limits: Vec<HeaderName> =
        headers.keys().filter(|name| LIMITS.iter().any(|start| name.as_str().starts_with(start))).cloned().collect();
    if !limits.is_empty() {
        // Where limits are told, the wait is about them.
        headers.remove(RETRY_AFTER);
    }
    for name in limits {
        headers.remove(name);
    }
    headers.remove("anthropic-organization-id");
    // What goes out is final: the pool has tried again already.
    if headers.get("x-should-retry").is_some_and(|value| value == "true") {
        headers.remove("x-should-retry");
    }
    headers.remove(SET_COOKIE);
    tell(headers, standing, now);
}

/// The pool's windows in the form of a plan's. Windows of API keys have no such form.
fn tell(headers: &mut HeaderMap, standing: &Standing, now: UnixMs) {
    // The standing is that for the request's model. Limits of several models mean that it is not known: then only what holds
    // for all of them can be the tightest.
    let one_model = plan_windows(standing).filter(|(plan, _)| plan.class.is_some()).count() <= 1;
    let mut tightest: Option<(&PlanWindow, &StandingWindow)> = None;
    for (plan, window) in plan_windows(standing) {
        let status = status(standing, window);
        put(headers, plan.short, "-status", status);
        put(headers, plan.short, "-utilization", &trimmed(window.used.get()));
        if let Some(reset) = reset(window, now) {
            put(headers, plan.short, "-reset", &reset);
        }
        if status != "allowed" {
            put(headers, plan.short, "-surpassed-threshold", &trimmed(WARN));
        }
        if (one_model || plan.class.is_none()) && tightest.is_none_or(|(_, known)| window.used.get() > known.used.get())
        {
            tightest = Some((plan, window));
        }
    }
    if let Some((plan, window)) = tightest {
        put(headers, "status", "", status(standing, window));
        put(headers, "representative-claim", "", plan.claim);
        if let Some(reset) = reset(window, now) {
            put(headers, "reset", "", &reset);
        }
    }
}

/// The windows that plan headers can tell.
fn plan_windows(standing: &Standing) -> impl Iterator<Item = (&'static PlanWindow, &StandingWindow)> {
    PLAN_WINDOWS.iter().filter_map(|plan| Some((plan, find(standing, plan)?)))
}

fn find<'a>(standing: &'a Standing, plan: &PlanWindow) -> Option<&'a StandingWindow> {
    let own = standing.own.as_ref().filter(|own| plan.class.is_none() && plan.name == place(own));
    own.or_else(|| standing.windows.iter().find(|window| window.name == plan.name && window.scope == plan.scope()))
}

/// Claude Code has two bars for everything, of five hours and of a week: which of them a limit of the caller's own takes.
fn place(own: &StandingWindow) -> &'static str {
    if own.span.is_some_and(|span| span < WEEK) { "5h" } else { "week" }
}

fn status(standing: &Standing, window: &StandingWindow) -> &'static str {
    match window.used.get() {
        used if used >= SPENT && standing.ready == 0 => "rejected",
        used if used >= WARN => "allowed_warning",
        _ => "allowed",
    }
}

/// Epoch seconds of a reset that lies ahead.
fn reset(window: &StandingWindow, now: UnixMs) -> Option<String> {
    window.resets_at.filter(|at| *at > now).map(|at| at.as_secs_ceil().to_string())
}

/// At most four digits behind the point.
fn trimmed(fraction: f64) -> String {
    ((fraction * 10_000.0).round() / 10_000.0).to_string()
}

pub(super) fn put(headers: &mut HeaderMap, name: &str, suffix: &str, value: &str) {
    let name = HeaderName::try_from(format!("{UNIFIED}{name}{suffix}"));
    if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

/// `GET /api/oauth/usage` for the pool, in the shape that Claude Code reads: percent and ISO times.
pub(super) fn usage(standing: &Standing, now: UnixMs) -> Value {
    let percent = |window: &StandingWindow| (window.used.get() * 1000.0).round() / 10.0;
    let resets = |window: &StandingWindow| window.resets_at.filter(|at| *at > now).and_then(iso);
    let mut answer = json!({
        "five_hour": null, "seven_day": null, "seven_day_oauth_apps": null, "seven_day_opus": null, "seven_day_sonnet": null,
        "extra_usage": {
            "is_enabled": false, "monthly_limit": null, "used_credits": null, "utilization": null, "currency": "USD", "disabled_reason": null,
        },
    });
    for plan in &PLAN_WINDOWS {
        if let (Some(window), Some(place)) = (find(standing, plan), answer.get_mut(plan.claim)) {
            *place = json!({"utilization": percent(window), "resets_at": resets(window)});
        }
    }
    let own = standing.own.as_ref().map(|own| (place(own), own));
    let replaced =
        |window: &&StandingWindow| window.scope == Scope::Account && own.is_some_and(|(name, _)| name == window.name);
    let windows = standing.windows.iter().filter(|window| !replaced(window)).map(|window| (&*window.name, window));
    let rows = windows.chain(own).filter_map(|(name, window)| {
        let (kind, group) = match (name, &window.scope) {
            ("5h", Scope::Account) => ("session", "session"),
            ("week", Scope::Account) => ("weekly_all", "weekly"),
            ("week", Scope::Family(_)) => ("weekly_scoped", "weekly"),
            _ => return None,
        };
        let scope = match &window.scope {
            Scope::Account => Value::Null,
            Scope::Family(class) => json!({"model": {"display_name": capital(class)}}),
        };
        Some(json!({
            "kind": kind, "group": group, "percent": percent(window), "resets_at": resets(window),
            "severity": if window.used.get() >= WARN { "warning" } else { "normal" },
            "is_active": false, "scope": scope,
        }))
    });
    answer["limits"] = rows.collect();
    answer
}

fn iso(at: UnixMs) -> Option<String> {
    jiff::Timestamp::from_second(at.as_secs_ceil()).ok().map(|at| at.to_string())
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
