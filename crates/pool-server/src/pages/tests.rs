//! The table is sound, and everybody gets what it says and nothing else.

mod access;
mod contributions;
mod events;
mod forecast;
mod friends;
mod openapi;
mod schema;
mod setup;
mod signing;
mod world;

use std::collections::BTreeSet;

use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_providers::routes::{Table, overlap};

use super::*;

#[test]
fn the_table_is_sound() {
    let registry = Registry::new(OauthClient::default());
    let providers = Table::new(&registry);
    let mut known = BTreeSet::new();
    for page in PAGES {
        assert!(known.insert((page.method.as_str(), page.path)), "{} {} stands there twice", page.method, page.path);
        let of_somebody = page.path.split('/').any(|segment| segment == "{user}");
        assert!(!matches!(page.needs, Need::Oneself(_)) || of_somebody, "{}: of whom?", page.path);
        let shadowed = providers.iter().find(|route| route.method == page.method && overlap(route.path, page.path));
        assert!(shadowed.is_none(), "{} hides {:?}", page.path, shadowed.map(|route| route.id));
    }
}
