//! How the story of a request is kept: JSON, compressed against a text that every story resembles.
//!
//! A story is small and most of it is the same words, so a dictionary does most of the work: see the test for the sizes.

use pool_core::Trail;
use zstd::bulk::{Compressor, Decompressor};

/// The first byte of a kept story: how the rest is to be read. Another dictionary is another number; this one stays as it is for
/// as long as anybody may have rows that were written with it.
const JSON: u8 = 0;
const ZSTD_1: u8 = 1;

const DICTIONARY_1: &[u8] = br#"{"busy""not_for_caller""model_not_allowed""bound_elsewhere""paused""kind""tried"{"spend_cap":{"until":1795{"needs_login":{"why":"{"reserved":{"window":"week","span":604800000,"resets_at":1795{"cooling":{"cause":"throttled","scope":"account","until":1795{"cause":"quota_spent","scope":{"family":"model:{"cause":"upstream_failing"{"window_spent":{"window":"5h","span":18000000,"resets_at":1795"status":429,"reason":"429 rate_limit_error usage_limit_reached: ","status":null,"reason":"","at":1795,"decision":null},],"refused":{"at":1795,"why":{"all_spent":{"resets_at":"why":"cold","why":"pin_unable","why":"only","why":"best","pinned":null,"considered":[{"account":"gemini-{"account":"codex-{"attempts":[{"account":"claude-","name":"claude-work","status":200,"reason":"","at":1795000000000,"decision":{"at":1795000000000,"chosen":"claude-","why":"kept","pinned":"claude-","cached":{"tokens":118000,"until":1795000000000},"considered":[{"account":"claude-","finding":{"able":{"value":0.8,"parts":[["headroom",0.8],["in_flight",0.0]]}}},{"account":"claude-","finding":{"unable":{"account":"claude-","finding":{"able":null}},{"account":"claude-","finding":{"able":null}}],"more":0}}]}"#;

/// No honest story comes near it; what claims more is not read.
const LONGEST: usize = 1 << 20;
/// Compressing harder gains nothing on texts so short.
const LEVEL: i32 = 3;

/// Packs the stories of one batch.
pub(super) struct Packer(Option<Compressor<'static>>);

impl Packer {
    pub(super) fn new() -> Self {
        Self(Compressor::with_dictionary(LEVEL, DICTIONARY_1).ok())
    }

    /// `None`: it cannot be told as JSON.
    pub(super) fn pack(&mut self, trail: Trail) -> Option<Vec<u8>> {
        let text = serde_json::to_vec(&trail.shortened()).ok()?;
        let packed = self.0.as_mut().and_then(|packer| packer.compress(&text).ok());
        Some(match packed {
            Some(packed) if packed.len() < text.len() => [&[ZSTD_1], &packed[..]].concat(),
            _ => [&[JSON], &text[..]].concat(),
        })
    }
}

/// `None`: written by a newer version, or damaged.
pub(super) fn unpack(kept: &[u8]) -> Option<Trail> {
    let (format, rest) = kept.split_first()?;
    match *format {
        JSON => serde_json::from_slice(rest).ok(),
        ZSTD_1 => {
            let text = Decompressor::with_dictionary(DICTIONARY_1).ok()?.decompress(rest, LONGEST).ok()?;
            serde_json::from_slice(&text).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pool_core::decision::{Cached, Considered, Decision, Finding};
    use pool_core::policy::{Part, Score, Why};
    use pool_core::standing::Ineligible;
    use pool_core::trail::Attempt;
    use pool_core::{AccountId, Span, UnixMs};

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_123_456_789);

    /// A conversation on one of so many accounts; `scored`: they were compared.
    fn story(accounts: usize, scored: bool) -> Trail {
        // As ids look: nothing to be gained but by naming an account twice.
        let id = |n: usize| {
            AccountId(format!("claude-{:012x}", (n as u64 + 7).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16).into())
        };
        let considered = (0..accounts).map(|n| {
            let value = 0.917_345_612 / (n + 1) as f64;
            let score = Score { value, parts: vec![(Part::Headroom, value + 0.02), (Part::InFlight, n as f64)] };
            let finding = match n % 5 {
                4 => Finding::Unable(Ineligible::WindowSpent {
                    window: "5h".into(),
                    span: Some(Span::from_hours(5)),
                    resets_at: Some(NOW + Span::from_secs(2413 + n as u64)),
                }),
                _ => Finding::Able(scored.then_some(score)),
            };
            Considered { account: id(n), finding }
        });
        let decision = Decision {
            at: NOW,
            chosen: id(0),
            why: if scored { Why::Best } else { Why::Kept },
            pinned: (!scored).then(|| id(0)),
            cached: (!scored).then_some(Cached { tokens: 118_231, until: NOW + Span::from_secs(181) }),
            considered: considered.collect(),
            more: 0,
        };
        let attempt = Attempt {
            account: id(0),
            name: "claude-work".into(),
            status: Some(200),
            reason: String::new(),
            at: NOW + Span::from_millis(1234),
            decision: Some(Arc::new(decision)),
        };
        Trail { attempts: vec![attempt], ..Trail::default() }
    }

    #[test]
    fn a_story_takes_few_bytes_and_comes_back() {
        // Accounts, compared, and the most bytes that it may take.
        for (accounts, scored, most) in
            [(1, false, 110), (5, false, 170), (5, true, 200), (24, false, 380), (24, true, 560)]
        {
            let trail = story(accounts, scored);
            let json = serde_json::to_vec(&trail.clone().shortened()).expect("JSON").len();
            let packed = Packer::new().pack(trail.clone()).expect("packs");
            println!("{accounts} accounts, compared: {scored}: {json} bytes of JSON, {} kept", packed.len());
            assert!(packed.len() <= most, "{} bytes for {accounts} accounts, compared: {scored}", packed.len());
            assert_eq!(unpack(&packed), Some(trail.shortened()));
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_story() {
        let mut packed = Packer::new().pack(story(3, true)).expect("packs");
        assert_eq!(unpack(&[JSON, b'{']), None);
        assert_eq!(unpack(&[]), None);
        packed[0] = 9;
        assert_eq!(unpack(&packed), None);
        packed[0] = ZSTD_1;
        packed.truncate(20);
        assert_eq!(unpack(&packed), None);
        let plain = serde_json::to_vec(&story(3, true)).expect("JSON");
        assert_eq!(unpack(&[&[JSON], &plain[..]].concat()), Some(story(3, true)));
    }
}
