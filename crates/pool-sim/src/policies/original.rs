//! The Go original's scores, of 2025 and of 2026.
//!
//! They choose among the accounts that the core holds able. Their penalties are left out: a refusal for quota keeps an account out
//! until its reset here, and by then their penalty (a fifth less every five minutes) has faded. Credentials never expire here.

use std::collections::BTreeMap;

use pool_core::policy::{Choice, Policy, Question, Why};
use pool_core::pool::Slot;
use pool_core::{AccountId, Span, UnixMs};

use super::{Known, Setup, best, chosen};

pub(super) fn of_2025(_: &Setup) -> Box<dyn Policy> {
    Box::new(Of2025 { turn: 0 })
}

pub(super) fn of_2026(_: &Setup) -> Box<dyn Policy> {
    Box::new(Of2026 { cold: false, weights: BTreeMap::new() })
}

pub(super) fn cold(_: &Setup) -> Box<dyn Policy> {
    Box::new(Of2026 { cold: true, weights: BTreeMap::new() })
}

/// What a request under way costs in both scores.
const PER_REQUEST: f64 = 0.02;
const FLOOR: f64 = 0.01;

#[derive(Debug)]
struct Of2025 {
    turn: usize,
}

impl Policy for Of2025 {
    fn name(&self) -> &'static str {
        "original-2025"
    }

    fn choose(&mut self, question: &Question<'_>) -> Choice {
        let now = question.now;
        if let Some((index, _)) = question.pinned().filter(|(_, slot)| Known::of(slot, now).week_used <= 0.60) {
            return chosen(index, Why::Kept);
        }
        // Equals take turns: the scan begins one further each time.
        let count = question.candidates.len();
        self.turn = (self.turn + 1) % count;
        let score = |slot: &Slot| {
            let known = Known::of(slot, now);
            let strain = if known.short_used > 0.8 { 2.0 * (known.short_used - 0.8) } else { 0.0 };
            (1.0 - known.week_used - strain).max(FLOOR) - PER_REQUEST * f64::from(slot.in_flight)
        };
        let mut order = question.candidates.to_vec();
        order.rotate_left(self.turn);
        let found = best(&Question { candidates: &order, ..*question }, score);
        chosen((found + self.turn) % count, Why::Best)
    }
}

/// Accounts with a window this full are kept out.
pub(super) fn gate_of_2026(slot: &Slot, now: UnixMs) -> bool {
    let known = Known::of(slot, now);
    known.short_used < 0.95 && known.week_used < 0.99
}

#[derive(Debug)]
struct Of2026 {
    /// Does a conversation whose cache is cold look for the best account anew?
    cold: bool,
    /// Of the weighted round robin among the best.
    weights: BTreeMap<AccountId, f64>,
}

impl Policy for Of2026 {
    fn name(&self) -> &'static str {
        if self.cold { "cold-original" } else { "original-2026" }
    }

    fn choose(&mut self, question: &Question<'_>) -> Choice {
        let now = question.now;
        let stays = |index: usize, slot: &Slot| {
            // Codex conversations stay on the large plans only.
            let large = !is_codex(slot) || tier(slot) == 1;
            let warm = !self.cold || question.pin.is_some_and(|pin| pin.is_warm(now));
            (large && warm).then_some(index)
        };
        if let Some(index) = question.pinned().and_then(|(index, slot)| stays(index, slot)) {
            return chosen(index, Why::Kept);
        }
        let scores: Vec<f64> = question.candidates.iter().map(|slot| score_of_2026(slot, now)).collect();
        let group = first_group(question, &scores);
        chosen(self.among(question, &group, &scores), Why::Best)
    }
}

impl Of2026 {
    /// The best of the group; for Codex by turns, weighted by score, among those that are nearly as good.
    fn among(&mut self, question: &Question<'_>, group: &[usize], scores: &[f64]) -> usize {
        let top = group.iter().copied().reduce(|best, next| if scores[next] > scores[best] { next } else { best });
        let top = top.unwrap_or(0);
        if !is_codex(question.candidates[top]) {
            return top;
        }
        let near: Vec<usize> = group.iter().copied().filter(|index| scores[top] - scores[*index] <= 0.15).collect();
        let id = |index: usize| &question.candidates[index].account.id;
        let mut total = 0.0;
        for index in &near {
            let share = scores[*index].max(FLOOR);
            *self.weights.entry(id(*index).clone()).or_default() += share;
            total += share;
        }
        let weight = |index: usize| self.weights.get(id(index)).copied().unwrap_or_default();
        let next = near.iter().copied().reduce(|best, next| if weight(next) > weight(best) { next } else { best });
        let next = next.unwrap_or(top);
        *self.weights.entry(id(next).clone()).or_default() -= total;
        next
    }
}

/// The large plans with at least half a week left; else the large plans; else the smaller ones.
fn first_group(question: &Question<'_>, scores: &[f64]) -> Vec<usize> {
    let of = |wanted: u8, most: f64| -> Vec<usize> {
        let fits = |slot: &Slot| tier(slot) == wanted && Known::of(slot, question.now).week_used < most;
        (0..scores.len()).filter(|index| fits(question.candidates[*index])).collect()
    };
    let best = |group: &[usize]| group.iter().map(|index| scores[*index]).fold(f64::NEG_INFINITY, f64::max);
    let fresh = of(1, 0.5);
    if !fresh.is_empty() {
        return fresh;
    }
    let (large, smaller) = (of(1, f64::INFINITY), of(2, 0.5));
    let codex = question.candidates.first().is_some_and(|slot| is_codex(slot));
    if !codex && !large.is_empty() && best(&smaller) > best(&large) + 0.3 {
        return smaller;
    }
    [large, of(2, f64::INFINITY), of(3, f64::INFINITY)].into_iter().find(|group| !group.is_empty()).unwrap_or_default()
}

fn is_codex(slot: &Slot) -> bool {
    slot.account.provider.0 == "codex"
}

/// 1 is the best. Where the pool file tells no plan, all are alike.
fn tier(slot: &Slot) -> u8 {
    let Some(plan) = slot.account.plan.as_deref() else { return 1 };
    match (slot.account.provider.0, plan) {
        ("codex", "pro" | "prolite")
        | ("claude", "max" | "team" | "max_team")
        | ("gemini", "ultra" | "pro" | "paid") => 1,
        ("claude", "pro") => 3,
        _ => 2,
    }
}

fn score_of_2026(slot: &Slot, now: UnixMs) -> f64 {
    let known = Known::of(slot, now);
    let has = |name: &str| slot.windows.iter().any(|window| window.name == name);
    let (has_short, has_week) = (has("5h"), has("week"));
    let p = known.short_used;
    let base = match (has_week, has_short) {
        (true, _) => 1.0 - known.week_used,
        (false, true) => 1.0 - p,
        (false, false) => 1.0,
    };
    let mut score = base;
    if let Some(hours) = known.week_left.map(|left| left / 3600.0).filter(|hours| (1.0..168.0).contains(hours)) {
        let most = if hours < 6.0 && base > 0.1 { 8.0 } else { 3.0 };
        let urgency = ((base / hours) * 168.0).clamp(0.3, most);
        score *= if has_short { urgency } else { urgency.min(1.0) };
    }
    if has_short && has_week {
        match known.short_left.map(|left| left / 3600.0) {
            Some(hours) if hours > 0.1 && hours <= 5.0 && 1.0 - p > 0.05 => {
                score += 0.5 * (1.0 - p) * (hours / 3.0).min(1.0);
            }
            None if p < 0.5 => score += 0.15 * (1.0 - p),
            _ => {}
        }
        if p > 0.8 {
            score -= 2.0 * (p - 0.8);
        }
    }
    score = score.max(FLOOR);
    if slot.last_used.is_some_and(|used| now.since(used) < Span::from_mins(5)) {
        score += 0.1;
    }
    score - PER_REQUEST * f64::from(slot.in_flight)
}
