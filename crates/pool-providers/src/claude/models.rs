//! Which limits a Claude model falls in.

use pool_core::Scope;

/// A name longer than this is nobody's model.
const LONGEST: usize = 128;

/// The class of a model, as limits know it: `opus`, `sonnet`, `haiku`, `fable`, … It is the first plain word of the name
/// that is no brand or tag: `claude-3-5-sonnet-20241022` and `Sonnet` are both `sonnet`.
pub(super) fn class(model: &str) -> Option<String> {
    let base = model.rsplit('/').next().unwrap_or(model);
    let plain =
        |word: &&str| !word.is_empty() && word.len() <= 32 && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    let brand =
        |word: &str| matches!(word, "claude" | "anthropic" | "latest" | "preview" | "v" | "us" | "eu" | "global");
    base.split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(plain)
        .map(str::to_ascii_lowercase)
        .find(|word| !brand(word))
}

/// The families of limits that a request for this model falls in: its class, and the model by itself.
pub(super) fn families(model: &str) -> Vec<String> {
    if model.len() > LONGEST {
        return Vec::new();
    }
    class(model).into_iter().chain([by_itself(model)]).collect()
}

fn by_itself(model: &str) -> String {
    format!("model:{model}")
}

/// What a fault of one model cools; without a model, the account.
pub(super) fn scope_of_model(model: Option<&str>) -> Scope {
    match model.filter(|model| model.len() <= LONGEST) {
        Some(model) => Scope::Family(by_itself(model)),
        None => Scope::Account,
    }
}

/// What a limit of a model class cools.
pub(super) fn scope_of_class(model: Option<&str>) -> Scope {
    model.and_then(class).map_or(Scope::Account, Scope::Family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_found_in_every_style_of_name() {
        for (model, wanted) in [
            ("claude-opus-5-5", Some("opus")),
            ("claude-sonnet-4-5-20250929", Some("sonnet")),
            ("claude-3-5-sonnet-20241022", Some("sonnet")),
            ("claude-3-5-haiku-latest", Some("haiku")),
            ("claude-fable-5-1", Some("fable")),
            ("anthropic/claude-opus-4.8", Some("opus")),
            ("us.anthropic.claude-opus-4-20250514-v1:0", Some("opus")),
            ("claude-sonnet-4-5[1m]", Some("sonnet")),
            ("Opus", Some("opus")),
            ("claude-2.1", None),
            ("", None),
        ] {
            assert_eq!(class(model).as_deref(), wanted, "{model}");
        }
        assert_eq!(families("claude-opus-5-5"), ["opus", "model:claude-opus-5-5"]);
        assert_eq!(families(&"x".repeat(200)), Vec::<String>::new());
    }
}
