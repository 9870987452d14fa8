//! The whole route table: exactly one owner a request, and every request that was recorded of a real client has one.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pool_providers::Registry;
use pool_providers::gemini::OauthClient;
use pool_providers::request::Head;
use pool_providers::routes::{Kind, Table};

fn table() -> Table {
    Table::new(&Registry::new(OauthClient::default()))
}

#[test]
fn no_request_has_two_owners() {
    assert_eq!(table().conflicts(), Vec::<String>::new());
    let mut ids: Vec<_> = table().iter().map(|route| route.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), table().iter().count(), "route ids are unique");
}

/// Method, path with query, headers of every recorded request that was sent to the proxy's address.
fn recorded() -> Vec<(String, String, HeaderMap, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("fixtures") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let text = std::fs::read(&path).expect("readable");
        let recording: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        for exchange in recording["exchanges"].as_array().into_iter().flatten() {
            let request = &exchange["request"];
            let Some(target) = request["path"].as_str().or_else(|| request["url"].as_str()) else { continue };
            // Calls to the providers' fixed hosts do not come to us.
            if !target.starts_with('/') {
                continue;
            }
            let mut headers = HeaderMap::new();
            for pair in request["headers"].as_array().into_iter().flatten() {
                let (key, value) = (pair[0].as_str().expect("text"), pair[1].as_str().expect("text"));
                let name = HeaderName::from_bytes(key.as_bytes()).expect("a name");
                headers.append(name, HeaderValue::from_str(value).expect("a value"));
            }
            all.push((request["method"].as_str().expect("text").to_owned(), target.to_owned(), headers, name.clone()));
        }
    }
    all
}

#[test]
fn every_recorded_request_has_an_owner() {
    let (table, recorded) = (table(), recorded());
    assert!(recorded.len() > 60, "{} recorded requests", recorded.len());
    for (method, target, headers, file) in recorded {
        let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
        let method: Method = method.parse().expect("a method");
        let head = Head { method: &method, path, query, headers: &headers };
        // The recorded clients' own providers, by the file's name.
        let route = table.find(&head);
        let owner = route.map(|route| route.provider.0);
        let expected = ["codex", "claude", "gemini"].into_iter().find(|id| file.starts_with(id));
        assert!(route.is_some_and(|route| route.kind != Kind::Refused), "{file}: {method} {target} is not served");
        assert!(expected.is_none() || owner == expected, "{file}: {method} {target} went to {owner:?}");
    }
}
