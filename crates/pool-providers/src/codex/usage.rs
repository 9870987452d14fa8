//! Token counts, in the words of the Responses API and of chat completions.

use pool_core::TokenCounts;
use serde::Deserialize;

/// A count beyond this is a mistake.
const MOST_TOKENS: f64 = 1e12;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    #[serde(alias = "prompt_tokens")]
    input_tokens: Option<f64>,
    #[serde(alias = "prompt_tokens_details")]
    input_tokens_details: Option<InputDetails>,
    #[serde(alias = "completion_tokens")]
    output_tokens: Option<f64>,
    #[serde(alias = "completion_tokens_details")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Option<f64>,
    cache_write_tokens: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Option<f64>,
}

/// Disjoint classes out of a `usage` object, raw. There, input includes what came from and went into the cache, and output
/// includes reasoning. `None`: it tells neither.
pub(super) fn read(raw: &[u8]) -> Option<TokenCounts> {
    let told: Told = serde_json::from_slice::<Option<Told>>(raw).ok()??;
    let (input, output) = (count(told.input_tokens), count(told.output_tokens));
    if input.is_none() && output.is_none() {
        return None;
    }
    let details = told.input_tokens_details.unwrap_or_default();
    let (input, output) = (input.unwrap_or(0), output.unwrap_or(0));
    let cache_read = count(details.cached_tokens).unwrap_or(0).min(input);
    let cache_write = count(details.cache_write_tokens).unwrap_or(0).min(input - cache_read);
    let reasoning =
        told.output_tokens_details.and_then(|details| count(details.reasoning_tokens)).unwrap_or(0).min(output);
    Some(TokenCounts {
        input: input - cache_read - cache_write,
        cache_read,
        cache_write_5m: cache_write,
        cache_write_1h: 0,
        output: output - reasoning,
        reasoning,
    })
}

fn count(told: Option<f64>) -> Option<u64> {
    told.filter(|count| (0.0..=MOST_TOKENS).contains(count)).map(|count| count as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_do_not_overlap() {
        #[rustfmt::skip]
        let cases: &[(&str, Option<[u64; 5]>)] = &[
            // input, cache read, cache write, output, reasoning
            (r#"{"input_tokens":1200,"input_tokens_details":{"cached_tokens":1000,"cache_write_tokens":50},
                 "output_tokens":34,"output_tokens_details":{"reasoning_tokens":10},"total_tokens":1234}"#, Some([150, 1000, 50, 24, 10])),
            (r#"{"prompt_tokens":9,"completion_tokens":12,"prompt_tokens_details":{"cached_tokens":4},
                 "completion_tokens_details":{"reasoning_tokens":2,"audio_tokens":0}}"#, Some([5, 4, 0, 10, 2])),
            (r#"{"prompt_tokens":8,"total_tokens":8}"#, Some([8, 0, 0, 0, 0])),
            (r#"{"input_tokens":5,"input_tokens_details":null,"output_tokens":0}"#, Some([5, 0, 0, 0, 0])),
            (r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":99,"cache_write_tokens":99}}"#, Some([0, 10, 0, 0, 0])),
            (r#"{"input_tokens":-5,"output_tokens":3,"output_tokens_details":{"reasoning_tokens":-1}}"#, Some([0, 0, 0, 3, 0])),
            (r#"{"input_tokens":1e300,"output_tokens":3}"#, Some([0, 0, 0, 3, 0])),
            (r#"{"type":"duration","seconds":3}"#, None),
            ("null", None),
            ("{}", None),
            (r#"{"input_tokens":"many"}"#, None),
        ];
        for (raw, expected) in cases {
            let told = read(raw.as_bytes());
            let told = told.map(|t| [t.input, t.cache_read, t.cache_write_5m, t.output, t.reasoning]);
            assert_eq!(told, *expected, "{raw}");
        }
    }
}
