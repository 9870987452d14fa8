use super::*;

fn tokens(input: u64, cache_read: u64, writes: [u64; 2], output: u64, reasoning: u64) -> TokenCounts {
    TokenCounts { input, cache_read, cache_write_5m: writes[0], cache_write_1h: writes[1], output, reasoning }
}

#[test]
fn what_is_compiled_in_can_be_read_and_says_where_it_is_from() {
    let prices = Prices::default();
    assert!(prices.len() > 50, "{}", prices.len());
    assert!(prices.source.contains("litellm") && prices.date.starts_with("2026-"));
}

#[test]
fn a_price_is_found_by_name_then_without_date_then_by_the_longest_known_beginning() {
    let prices = Prices::default();
    for (model, as_) in [
        ("claude-opus-5-5", Some("claude-opus-5-5")),
        ("Claude-Opus-5-5", Some("claude-opus-5-5")),
        ("models/gemini-2.5-pro", Some("gemini-2.5-pro")),
        ("anthropic/claude-opus-4-8", Some("claude-opus-4-8")),
        ("claude-sonnet-4-5-20250929", Some("claude-sonnet-4-5")),
        ("claude-sonnet-4-5@20250929", Some("claude-sonnet-4-5")),
        ("claude-haiku-4-5-latest", Some("claude-haiku-4-5")),
        ("gpt-6.1-sol-2026-10-21", Some("gpt-6.1-sol")),
        ("gpt-5.4-mini-2026-03-17", Some("gpt-5.4-mini")),
        ("claude-sonnet-4-5[1m]", Some("claude-sonnet-4-5")),
        ("gpt-5.3-codex-spark", Some("gpt-5.3-codex")),
        ("gemini-3.1-pro-preview-11-2026", Some("gemini-3.1-pro-preview")),
        ("gpt-5.6-sol-preview-x", Some("gpt-5.6-sol")),
        // Not the same model with something added.
        ("gpt-6-sol-pro", None),
        ("gpt-6-sol-mini-x", None),
        ("gpt-5.99", None),
        ("gpt", None),
        ("claude", None),
        ("somebody-elses-model", None),
        ("", None),
    ] {
        assert_eq!(prices.find(model), as_.map(|name| &prices.models[name]), "{model}");
    }
}

#[test]
fn tokens_cost_what_the_price_lists_say() {
    let prices = Prices::default();
    let million = 1_000_000;
    for (model, tokens, micro) in [
        // Every class by itself, at the list price of a million.
        ("claude-opus-5-5", tokens(million, 0, [0, 0], 0, 0), 4_000_000),
        ("claude-opus-5-5", tokens(0, million, [0, 0], 0, 0), 200_000),
        ("claude-opus-5-5", tokens(0, 0, [million, 0], 0, 0), 5_000_000),
        ("claude-opus-5-5", tokens(0, 0, [0, million], 0, 0), 8_000_000),
        ("claude-opus-5-5", tokens(0, 0, [0, 0], million, 0), 20_000_000),
        ("claude-opus-5-5", tokens(0, 0, [0, 0], 0, million), 20_000_000),
        // All of them together, and less than a micro-dollar is rounded once, at the end.
        ("claude-opus-5-5", tokens(1, 1, [1, 1], 1, 1), 4 + 5 + 8 + 20 + 20),
        ("gpt-6-luna", tokens(4, 0, [0, 0], 0, 0), 0),
        ("gpt-6-luna", tokens(5, 0, [0, 0], 0, 0), 1),
        // A long prompt is dearer as a whole, counted with its cached part; at the mark it is not long yet.
        ("gemini-2.5-pro", tokens(200_000, 0, [0, 0], 1000, 0), 250_000 + 10_000),
        ("gemini-2.5-pro", tokens(200_001, 0, [0, 0], 1000, 0), 500_003 + 15_000),
        ("gemini-2.5-pro", tokens(1, 200_000, [0, 0], 0, 0), 3 + 50_000),
        ("gpt-5.5", tokens(72_000, 200_000, [0, 0], 100, 100), 360_000 + 100_000 + 6_000),
        ("gpt-5.5", tokens(72_001, 200_000, [0, 0], 100, 100), 720_010 + 200_000 + 9_000),
        // Where no price is told for it, cached input costs as much as fresh input.
        ("gpt-5.5-pro", tokens(1000, 1000, [1000, 1000], 0, 0), 4 * 30_000),
    ] {
        assert_eq!(prices.cost(Some(model), Some(&tokens)), Some(MicroUsd(micro)), "{model} {tokens:?}");
    }
    let most = tokens(u64::MAX, u64::MAX, [u64::MAX; 2], u64::MAX, u64::MAX);
    assert_eq!(prices.cost(Some("gpt-5.5-pro"), Some(&most)), Some(MicroUsd(u64::MAX)));
}

#[test]
fn the_unknown_is_unknown_and_not_for_nothing() {
    let prices = Prices::default();
    let some = tokens(1, 0, [0, 0], 0, 0);
    assert_eq!(prices.cost(Some("somebody-elses-model"), Some(&some)), None);
    assert_eq!(prices.cost(None, Some(&some)), None);
    assert_eq!(prices.cost(Some("gpt-5.5"), None), None);
}

#[test]
fn a_file_goes_on_top() {
    let own = r#"{"models": {"GPT-5.5": {"input": 1, "output": 2}, "house-model": {"input": 0, "output": 0}}}"#;
    let prices = Prices::default().with(Prices::read(own).expect("a table"));
    let million = tokens(1_000_000, 0, [0, 0], 0, 0);
    assert_eq!(prices.cost(Some("gpt-5.5"), Some(&million)), Some(MicroUsd(1_000_000)));
    assert_eq!(prices.cost(Some("house-model"), Some(&million)), Some(MicroUsd::ZERO));
    assert_eq!(prices.cost(Some("gpt-5.4"), Some(&million)), Some(MicroUsd(5_000_000)));
    for (text, told) in [
        ("[]", "not JSON of the right shape (line 1"),
        (r#"{"models": {"m": {"input": 1}}}"#, "missing field `output`"),
        (r#"{"models": {"m": {"input": 1, "output": 1, "ouput": 2}}}"#, "unknown field `ouput`"),
        (r#"{"models": {"m": {"input": -1, "output": 1}}}"#, "m has a price that is no amount"),
        (r#"{"models": {"m": {"input": 1e300, "output": 1}}}"#, "m has a price that is no amount"),
    ] {
        let bad = Prices::read(text).expect_err("refused").to_string();
        assert!(bad.contains(told), "{text}: {bad}");
    }
}

#[test]
fn amounts_read_as_people_write_them() {
    for (micro, said) in [
        (0, "$0.00"),
        (4_200, "$0.0042"),
        (1, "$0.000001"),
        (10_000, "$0.01"),
        (1_234_999, "$1.23"),
        (1_235_000, "$1.24"),
        (20_000_000, "$20.00"),
    ] {
        assert_eq!(MicroUsd(micro).to_string(), said);
    }
    assert_eq!(MicroUsd::from_dollars(2.5), Some(MicroUsd(2_500_000)));
    assert_eq!([f64::NAN, -0.01, 1e12].map(MicroUsd::from_dollars), [None; 3]);
}

#[test]
fn the_sum_of_many_requests_costs_what_they_cost() {
    let prices = Prices::default();
    for (name, price) in &prices.models {
        assert!(price.long.is_none_or(|(above, _)| PROMPT_STEPS.contains(&above)), "{name}: another step is needed");
        for prompt in [1, 100_000, 100_001, 200_001, 272_000, 272_001, 900_000] {
            let one = TokenCounts { input: 1, cache_read: prompt - 1, output: 1_000_000, ..TokenCounts::default() };
            let sum =
                TokenCounts { input: 3, cache_read: 3 * (prompt - 1), output: 3_000_000, ..TokenCounts::default() };
            let cost = price.of_many(&sum, prompt_step(prompt) + 1).0;
            assert!(cost.abs_diff(3 * price.of(&one).0) <= 2, "{name}, {prompt} tokens");
        }
    }
}
