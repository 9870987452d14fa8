//! `[models]`: other names for models, and what stands behind them.

use std::collections::BTreeMap;

use pool_core::alias::Aliases;
use pool_providers::gemini::OauthClient;
use pool_providers::{Provider, Registry};

use super::values::{Entry, Values};

/// So many models may stand behind one name.
const MOST_MODELS: usize = 16;
const MOST_ALIASES: usize = 200;

/// The section's old name comes first, so that the new one has the last word.
const SECTIONS: [&str; 2] = ["model_aliases", "models"];

pub(super) fn resolve(values: &mut Values) -> Aliases {
    let registry = Registry::new(OauthClient::default());
    let mut aliases = BTreeMap::new();
    for section in SECTIONS {
        for entry in values.entries(section) {
            match models(&entry, &registry) {
                Ok(models) => drop(aliases.insert(entry.name.clone(), models)),
                Err((why, mend)) => values.wrong_entry(section, &entry, &why, mend),
            }
        }
    }
    if aliases.len() > MOST_ALIASES {
        values.wrong("models", format_args!("has more than {MOST_ALIASES} names"), "Take some out");
    }
    Aliases::new(aliases)
}

/// The models behind a name, or why they cannot be, and what mends it.
fn models(entry: &Entry, registry: &Registry) -> Result<Vec<String>, (String, &'static str)> {
    const HOW: &str = "Write a model's name, or a list of them with the preferred one first: [\"claude-opus-5-5\", \"claude-sonnet-5-5\"]";
    let models = entry.texts.clone().map_err(|found| (format!("must be a list of models, not {found}"), HOW))?;
    if !(1..=MOST_MODELS).contains(&models.len()) {
        return Err((format!("must be a list of 1 to {MOST_MODELS} models"), HOW));
    }
    for name in models.iter().chain([&entry.name]) {
        if !is_name(name) {
            let mend = "A name is of letters, digits, `.`, `_`, `-`, `:` and `/`, up to 200 of them";
            return Err((format!("has {name:?}, which is no model's name"), mend));
        }
    }
    let owners = |name: &String| registry.iter().find(|provider| provider.is_own_model(name)).map(Provider::title);
    let mut owners: Vec<&str> = models.iter().filter_map(owners).collect();
    owners.dedup();
    match owners[..] {
        [one, other, ..] => {
            let mend = "Give each provider's models a name of their own: a request speaks one provider's language";
            Err((format!("has models of {one} and of {other}"), mend))
        }
        _ => Ok(models),
    }
}

/// May it stand in a request's body and in a path?
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    (1..=200).contains(&name.len()) && name.bytes().all(allowed)
}
