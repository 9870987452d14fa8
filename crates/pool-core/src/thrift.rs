//! experiments
use crate::account::AccountKind;
use crate::choose::{is_cheaper, rendezvous, troubled};
use crate::policy::{Choice, Policy, Question, Score, Why};
use crate::pool::Slot;
use crate::sizes::LONG;
use std::cmp::Ordering;
use std::sync::OnceLock;

#[derive(Clone, Copy, Debug, Default)]
pub struct Thrift;

fn env(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|t| t.parse().ok()).unwrap_or(default)
}
fn env_k(name: &'static str, default: f64) -> f64 {
    thread_local!(static M: std::cell::RefCell<Vec<(&'static str, f64)>> = const { std::cell::RefCell::new(Vec::new()) });
    M.with(|m| {
        let mut m = m.borrow_mut();
        if let Some(v) = m.iter().find(|v| v.0 == name) {
            return v.1;
        }
        let v = env(name, default);
        m.push((name, v));
        v
    })
}
struct K {
    variant: f64,
    live: f64,
    a: f64,
    b: f64,
    c: f64,
    d: f64,
    e: f64,
}
fn k() -> &'static K {
    static KS: OnceLock<K> = OnceLock::new();
    KS.get_or_init(|| K {
        variant: env("V", 0.0),
        live: env("LIVE", 1.0),
        a: env("A", 1.0),
        b: env("B", 1.0),
        c: env("C", 0.0),
        d: env("D", 0.0),
        e: env("E", 0.0),
    })
}

/// A window as the rule sees it.
#[derive(Clone, Copy, Debug)]
struct Win {
    size: f64,
    left: f64,
    span: f64,
    to: f64,
    open: bool,
}

fn wins(slot: &Slot, q: &Question<'_>) -> (Option<Win>, Option<Win>) {
    let (mut long, mut short): (Option<Win>, Option<Win>) = (None, None);
    for w in slot.windows.iter().filter(|w| w.scope.touches(&q.demand.families) && w.is_believable(q.now)) {
        let size = slot
            .meters
            .iter()
            .find(|m| m.window == w.name && m.scope == w.scope)
            .and_then(|m| m.size())
            .map_or(1e6, |s| s.units);
        let span = w.span.map_or(3600.0, |s| s.0 as f64 / 1000.0);
        let to = w.resets_at.filter(|r| *r > q.now).map(|r| r.since(q.now).0 as f64 / 1000.0);
        let win =
            Win { size, left: w.used(q.now).rest().get() * size, span, to: to.unwrap_or(span), open: to.is_some() };
        let place = if w.span.is_none_or(|s| s >= LONG) { &mut long } else { &mut short };
        if place.is_none_or(|p| p.left > win.left) {
            *place = Some(win);
        }
    }
    (long, short)
}

impl Policy for Thrift {
    fn name(&self) -> &'static str {
        "thrift"
    }

    fn keeps(
        &self,
        pin: &crate::pins::Pin,
        slot: &Slot,
        demand: &crate::demand::Demand,
        now: crate::time::UnixMs,
    ) -> bool {
        slot.account.kind == AccountKind::Subscription && (demand.bound || pin.is_warm(now))
    }

    fn choose(&mut self, q: &Question<'_>) -> Choice {
        let warm = q.pin.is_some_and(|p| p.is_warm(q.now));
        let pinned = q.pinned();
        let cheaper = pinned.is_some_and(|(_, slot)| {
            !q.demand.bound && q.candidates.iter().any(|o| is_cheaper(o, slot, q.demand, q.now))
        });
        if let Some((index, _)) = pinned.filter(|_| (warm || q.demand.bound) && !cheaper) {
            return Choice { index, why: Why::Kept, scores: Vec::new() };
        }
        let values: Vec<f64> = value(q);
        let order = |a: usize, b: usize| -> Ordering {
            let (x, y) = (q.candidates[a], q.candidates[b]);
            let paid = |s: &Slot| s.account.kind == AccountKind::ApiKey;
            troubled(x, q.demand, q.now)
                .cmp(&troubled(y, q.demand, q.now))
                .then_with(|| y.account.settings.priority.cmp(&x.account.settings.priority))
                .then_with(|| paid(x).cmp(&paid(y)))
                .then_with(|| values[b].total_cmp(&values[a]))
                .then_with(|| x.in_flight.cmp(&y.in_flight))
                .then_with(|| rendezvous(q.session, &y.account.id).cmp(&rendezvous(q.session, &x.account.id)))
        };
        let best = (0..q.candidates.len()).min_by(|a, b| order(*a, *b)).unwrap_or(0);
        let why = match pinned {
            _ if cheaper => Why::Cheaper,
            Some((i, _)) if i == best => Why::Kept,
            Some(_) => Why::Cold,
            None if q.pin.is_some() => Why::PinUnable,
            None if q.candidates.len() == 1 => Why::Only,
            None => Why::Best,
        };
        Choice { index: best, why, scores: values.iter().map(|v| Score { value: *v, parts: Vec::new() }).collect() }
    }
}

fn ease(q: &Question<'_>) -> f64 {
    const H: f64 = 86_400.0;
    let demand = q.outlook.demand(q.now) * H;
    let mut supply = 0.0;
    for slot in q.candidates {
        let (long, short) = wins(slot, q);
        let week =
            long.map_or(1e15, |l| if l.to >= H { l.left * H / l.to } else { l.left + l.size * (H - l.to) / l.span });
        let fast = short.map_or(1e15, |s| s.left + s.size * (H - s.to) / s.span);
        supply += week.min(fast);
    }
    supply / demand.max(1.0)
}

fn value(q: &Question<'_>) -> Vec<f64> {
    let k = k();
    let g = if k.variant > 6.5 {
        let (lo, hi) = (env_k("E0", 1.0), env_k("E1", 1.5));
        ((ease(q) - lo) / (hi - lo)).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let m = q.outlook.run * k.live;
    q.candidates
        .iter()
        .map(|slot| {
            let (long, short) = wins(slot, q);
            let live = f64::from(slot.live) * m;
            let l = long.unwrap_or(Win { size: 1e12, left: 1e12, span: 604_800.0, to: 604_800.0, open: true });
            let s = short.unwrap_or(Win { size: 1e12, left: 1e12, span: 18_000.0, to: 18_000.0, open: true });
            let left = l.left - live;
            let room = s.left - live;
            let soon = (s.to / s.span).clamp(env_k("LEAST", 0.05), 1.0).powf(env_k("H", 0.0));
            match k.variant as i64 {
                // absolute rate x relative room
                0 => {
                    let rate = left / l.to.max(600.0);
                    if room > 0.0 && rate > 0.0 { rate * room / s.size } else { room.min(0.0) / s.size + rate.min(0.0) }
                }
                // relative pace x relative room
                1 => {
                    let rate = left / l.size / (l.to.max(600.0) / l.span);
                    if room > 0.0 && rate > 0.0 {
                        rate.powf(k.a) * (room / s.size).powf(k.b)
                    } else {
                        room.min(0.0) / s.size + rate.min(0.0)
                    }
                }
                // relative pace x absolute room
                2 => {
                    let rate = left / l.size / (l.to.max(600.0) / l.span);
                    if room > 0.0 && rate > 0.0 {
                        rate.powf(k.a) * (room).powf(k.b)
                    } else {
                        room.min(0.0) / s.size + rate.min(0.0)
                    }
                }
                // relative pace x fit: the chance that a run fits
                3 => {
                    let rate = left / l.size / (l.to.max(600.0) / l.span);
                    let fit = 1.0 - (-room.min(left).max(0.0) / m).exp();
                    if room > 0.0 && rate > 0.0 {
                        rate.powf(k.a) * (room / s.size).powf(k.b) * fit.powf(k.c)
                    } else {
                        room.min(0.0) / s.size + rate.min(0.0)
                    }
                }
                4 => {
                    let rate = left / l.to.max(600.0);
                    let fit = 1.0 - (-room.min(left).max(0.0) / m).exp();
                    if room > 0.0 && rate > 0.0 {
                        rate.powf(k.a) * (room / s.size).powf(k.b) * fit.powf(k.c)
                    } else {
                        room.min(0.0) / s.size + rate.min(0.0)
                    }
                }
                5 | 6 => {
                    let cap = if k.d > 0.0 { k.d } else { 1e9 };
                    let pace = (left / l.size / (l.to.max(600.0) / l.span)).min(cap);
                    let tight = room.min(left);
                    let n = f64::from(slot.live) + 1.0;
                    let e = if k.e > 0.0 { k.e } else { 1.0 };
                    let fit = if k.variant < 5.5 {
                        1.0 - (-tight.max(0.0) / (m * e)).exp()
                    } else {
                        1.0 / (1.0 + (-1.7 * (tight - m) / (m * n.sqrt() * e)).exp())
                    };
                    if tight > 0.0 {
                        pace.powf(k.a) * (room / s.size / soon).powf(k.b) * fit.powf(k.c)
                    } else {
                        tight / m - 1.0
                    }
                }
                7 => {
                    let pace = left / l.size / (l.to.max(600.0) / l.span);
                    let tight = room.min(left);
                    let n = f64::from(slot.live) + 1.0;
                    let fit = 1.0 / (1.0 + (-1.7 * (tight - m) / (m * n.sqrt() * k.e)).exp());
                    let a = k.a + (env_k("F", 1.0) - k.a) * g;
                    let c = env_k("G", 1.0) + (k.c - env_k("G", 1.0)) * g;
                    let pace = pace.min(env_k("CAP", 1e9).powf(g));
                    if tight > 0.0 {
                        pace.powf(a) * (room / s.size / soon).powf(k.b) * fit.powf(c)
                    } else {
                        tight / m - 1.0
                    }
                }
                _ => 0.0,
            }
        })
        .collect()
}
