//! Made-up traces and pools with the distributions of a published measurement: TraceLab (2026), 4,265 sessions of 43 developers
//! with Codex and Claude Code.
//!
//! Each quantity is drawn from a curve through its published quantiles, log-normal between them. Where the tail's quantile is not
//! published, it is set so that the mean comes out as published.

use pool_core::ProviderId;

use crate::pool_file::AccountSpec;
use crate::rng::Rng;
use crate::trace::{Session, Step};

/// What a trace is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    pub users: usize,
    pub days: f64,
    /// Conversations that a user begins a day, on the average.
    pub sessions_a_day: f64,
    /// The chance that a user begins another conversation within minutes of one.
    pub bursts: f64,
    /// Conversations on a day of the weekend (two days of seven), next to another day's.
    pub weekend: f64,
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { users: 8, days: 14.0, sessions_a_day: 10.0, bursts: 0.3, weekend: 1.0, seed: 1 }
    }
}

/// Model calls for one request of a person, on the average (TraceLab).
const CALLS: f64 = 8.8;
/// Requests of a person in one conversation, on the average: a mean conversation then draws about a million units.
const REQUESTS: f64 = 6.0;
/// Nobody's conversation is longer.
const MOST_REQUESTS: usize = 60;
const MOST_CALLS: usize = 80;
const DAY: f64 = 86_400.0;

/// Values at shares of all draws (as their normal deviates), log-normal between them, and the most that is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Curve {
    points: [(f64, f64); 4],
    most: f64,
}

/// Normal deviates of the shares 0.25, 0.5, 0.9, 0.99.
const DEVIATES: [f64; 4] = [-0.674_490, 0.0, 1.281_552, 2.326_348];

impl Curve {
    const fn new(p25: f64, p50: f64, p90: f64, p99: f64, most: f64) -> Self {
        let points = [(DEVIATES[0], p25), (DEVIATES[1], p50), (DEVIATES[2], p90), (DEVIATES[3], p99)];
        Self { points, most }
    }

    pub fn draw(&self, rng: &mut Rng) -> f64 {
        let deviate = normal(rng);
        let above = self.points.iter().position(|(at, _)| deviate < *at).unwrap_or(3).clamp(1, 3);
        let ((from, low), (to, high)) = (self.points[above - 1], self.points[above]);
        let slope = (high / low).ln() / (to - from);
        (low.ln() + slope * (deviate - from)).exp().min(self.most)
    }
}

/// Fresh input of a step, tokens.
pub const NEW: Curve = Curve::new(180.0, 540.0, 6_000.0, 140_000.0, 170_000.0);
/// Output of a step, tokens.
pub const OUT: Curve = Curve::new(100.0, 200.0, 1_000.0, 4_400.0, 32_000.0);
/// A person's thinking, seconds. The mean is 47 min.
pub const THINK: Curve = Curve::new(18.0, 84.0, 1_236.0, 70_000.0, 250_000.0);
/// A tool's run, seconds. The mean is 18 s.
pub const TOOL: Curve = Curve::new(0.058, 0.285, 13.6, 310.0, 3_600.0);
/// The provider's answering, seconds. The mean is 13 s.
pub const SECS: Curve = Curve::new(3.5, 5.7, 22.0, 150.0, 600.0);
/// What a conversation begins with: instructions, tools, the first words.
const OPENING: Curve = Curve::new(12_000.0, 18_000.0, 30_000.0, 60_000.0, 100_000.0);

/// A trace, in the order of its conversations' beginnings.
pub fn trace(recipe: &Recipe) -> Vec<Session> {
    let mut sessions = Vec::new();
    for user in 0..recipe.users {
        let name = format!("u{user}");
        let mut rng = Rng::named(recipe.seed, &name);
        // Colleagues do not all sit down at the same hour.
        let morning = 8.0 + 3.0 * rng.unit();
        for day in 0..recipe.days.ceil() as usize {
            let mut begun = 0.0;
            let works = if day % 7 < 5 { 1.0 } else { recipe.weekend };
            let wanted = poisson(recipe.sessions_a_day * works, &mut rng);
            let mut count = 0;
            while count < wanted {
                // A working day with a long evening.
                let hour = if count == 0 || rng.unit() >= recipe.bursts {
                    morning + 12.0 * rng.unit() * rng.unit().sqrt()
                } else {
                    begun
                };
                begun = hour + rng.unit() / 20.0;
                let start = (day as f64).mul_add(DAY, begun * 3600.0);
                if start < recipe.days * DAY {
                    sessions.push(session(&name, start, &mut rng));
                }
                count += 1;
            }
        }
    }
    sessions.sort_by(|a, b| a.start.total_cmp(&b.start));
    for (index, session) in sessions.iter_mut().enumerate() {
        session.session = format!("s{}", index + 1);
    }
    sessions
}

fn session(user: &str, start: f64, rng: &mut Rng) -> Session {
    let mut steps = Vec::new();
    for request in 0..geometric(REQUESTS, rng).min(MOST_REQUESTS) {
        for call in 0..geometric(CALLS, rng).min(MOST_CALLS) {
            let gap = match (request, call) {
                (0, 0) => 0.0,
                (_, 0) => THINK.draw(rng),
                _ => TOOL.draw(rng),
            };
            let opening = if steps.is_empty() { OPENING.draw(rng) } else { 0.0 };
            steps.push(Step {
                gap: tidy(gap),
                new: (opening + NEW.draw(rng)).round(),
                out: OUT.draw(rng).round(),
                secs: tidy(SECS.draw(rng)),
                prefix: None,
            });
        }
    }
    Session { session: String::new(), user: user.into(), provider: None, model: None, start: tidy(start), steps }
}

/// To the millisecond.
fn tidy(secs: f64) -> f64 {
    (secs * 1000.0).round() / 1000.0
}

/// At least one.
fn geometric(mean: f64, rng: &mut Rng) -> usize {
    1 + ((1.0 - rng.unit()).ln() / (1.0 - 1.0 / mean).ln()).floor() as usize
}

fn poisson(mean: f64, rng: &mut Rng) -> usize {
    let (mut count, mut product, least) = (0, rng.unit(), (-mean.min(500.0)).exp());
    while product > least {
        count += 1;
        product *= rng.unit();
    }
    count
}

/// Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.unit()).cos()
}

/// A pool whose quota for `days` is `cost / load`, divided as `shares` say, with weeks that end at all times.
pub fn pool(provider: ProviderId, shares: &[f64], cost: f64, load: f64, days: f64, seed: u64) -> Vec<AccountSpec> {
    let total = cost / load * 7.0 / days;
    let sum: f64 = shares.iter().sum();
    let mut rng = Rng::named(seed, "phases");
    let spec = |(index, share): (usize, &f64)| AccountSpec {
        name: format!("a{}", index + 1),
        provider,
        plan: None,
        weekly_units: (total * share / sum).round().max(1.0),
        short_ratio: 8.0,
        phase_hours: (rng.unit() * 168.0).round(),
    };
    shares.iter().enumerate().map(spec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile(sorted: &[f64], share: f64) -> f64 {
        sorted[(share * (sorted.len() - 1) as f64) as usize]
    }

    /// (name, values, p25, p50, p90, p99 and mean where published)
    #[test]
    fn quantiles_are_the_published_ones() {
        let sessions = trace(&Recipe { users: 20, ..Recipe::default() });
        let inner = |value: fn(&Step) -> f64| -> Vec<f64> {
            sessions.iter().flat_map(|session| session.steps.iter().skip(1)).map(value).collect()
        };
        let mut rng = Rng::new(3);
        let think: Vec<f64> = (0..100_000).map(|_| THINK.draw(&mut rng)).collect();
        let tool: Vec<f64> = (0..100_000).map(|_| TOOL.draw(&mut rng)).collect();
        for (name, mut values, published) in [
            ("new", inner(|step| step.new), [Some(180.0), Some(540.0), Some(6000.0), Some(140_000.0), None]),
            ("out", inner(|step| step.out), [Some(100.0), Some(200.0), Some(1000.0), Some(4400.0), None]),
            ("secs", inner(|step| step.secs), [Some(3.5), Some(5.7), Some(22.0), None, Some(13.0)]),
            ("think", think, [Some(18.0), Some(84.0), Some(1236.0), None, Some(2820.0)]),
            ("tool", tool, [Some(0.058), Some(0.285), Some(13.6), None, Some(18.0)]),
        ] {
            values.sort_by(f64::total_cmp);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let shares = [0.25, 0.5, 0.9, 0.99].map(|share| quantile(&values, share));
            let found = [shares[0], shares[1], shares[2], shares[3], mean];
            for (found, published) in found.iter().zip(published) {
                let near = published.is_none_or(|published| (found / published - 1.0).abs() < 0.12);
                assert!(near, "{name}: {found} is not {published:?}");
            }
        }
        let steps = sessions.iter().map(|session| session.steps.len()).sum::<usize>() as f64;
        let requests = sessions.iter().flat_map(|session| &session.steps).filter(|step| step.gap > 0.0).count();
        assert!(steps > 0.0 && requests > 0);
    }

    #[test]
    fn the_same_seed_makes_the_same_trace() {
        let recipe = Recipe { users: 2, days: 2.0, ..Recipe::default() };
        assert_eq!(trace(&recipe), trace(&recipe));
        assert_ne!(trace(&recipe), trace(&Recipe { seed: 2, ..recipe }));
    }
}
