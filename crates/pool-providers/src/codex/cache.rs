//! How long OpenAI keeps a prompt in its cache.
//!
//! <https://developers.openai.com/api/docs/guides/prompt-caching>, read in November 2026: prompts of 1024 tokens and more are
//! cached. From GPT-5.6 on for at least 30 minutes (`prompt_cache_options.ttl`, for which that is the only value). Before,
//! until 5 to 10 minutes of inactivity have passed, at most an hour; with `prompt_cache_retention: "24h"`, which is all that
//! GPT-5.5 does, up to 24 hours. Reading renews it.

use pool_core::{Demand, Span, TokenCounts};

/// Shorter prompts are not cached.
const SHORTEST: u64 = 1024;

/// In memory. The later end of "5 to 10 minutes": to take a warm cache for a cold one costs the whole prompt, the other
/// mistake nothing but a better moment to move.
const IN_MEMORY: Span = Span::from_mins(10);
const SINCE_5_6: Span = Span::from_mins(30);
const EXTENDED: Span = Span::from_hours(24);

pub(super) fn life(demand: &Demand, tokens: &TokenCounts) -> Span {
    if tokens.total() < SHORTEST {
        return Span::ZERO;
    }
    match demand.model.as_deref().and_then(version) {
        // The extended kind is accepted there and does nothing.
        Some(version) if version >= (5, 6) => SINCE_5_6,
        Some((5, 5)) => EXTENDED,
        _ => demand.keep.unwrap_or(IN_MEMORY).min(EXTENDED),
    }
}

/// The numbers in `gpt-5.4-mini` and `gpt-6-sol`.
fn version(model: &str) -> Option<(u32, u32)> {
    let (_, after) = model.split_once("gpt-")?;
    let number = after.split(|letter: char| letter != '.' && !letter.is_ascii_digit()).next()?;
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use pool_core::Client;

    use super::*;

    #[test]
    fn each_generation_keeps_prompts_its_own_time() {
        let hours = |hours| Some(Span::from_hours(hours));
        for (model, keep, input, mins) in [
            ("gpt-6.1-sol", None, 2000, 30),
            ("gpt-5.6-terra", hours(24), 2000, 30),
            ("gpt-6-luna", None, 1023, 0),
            ("gpt-5.5", None, 2000, 24 * 60),
            ("gpt-5.4-mini", None, 2000, 10),
            ("gpt-5.3-codex", hours(24), 2000, 24 * 60),
            ("openai/gpt-5.1", hours(999), 2000, 24 * 60),
            ("o3", None, 2000, 10),
            ("gpt-oss", None, 2000, 10),
        ] {
            let demand = Demand { model: Some(model.into()), keep, ..Demand::any(super::super::ID, Client::OwnCli) };
            let tokens = TokenCounts { input, ..TokenCounts::default() };
            assert_eq!(life(&demand, &tokens), Span::from_mins(mins), "{model}");
        }
    }
}
