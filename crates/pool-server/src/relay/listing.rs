//! Adds the pool's aliases to a provider's list of models, on its way to the client.

use bytes::{Bytes, BytesMut};
use pool_core::scan::json::{Paths, find};
use pool_core::scan::splice::apply;
use pool_providers::alias::Listing;

/// A list whose beginning has not come after so many bytes is none.
const LONGEST_BEGINNING: usize = 64 << 10;

/// Puts entries at the front of a JSON list.
#[derive(Debug)]
pub struct Lister {
    list: Paths,
    /// With commas between them. Empty: they are in, or there is no list.
    entries: Vec<u8>,
    /// What has come of the answer before that.
    held: BytesMut,
}

impl Lister {
    pub fn new(listing: &Listing, names: &[String]) -> Self {
        let entries: Vec<String> = names.iter().map(|name| (listing.entry)(name).to_string()).collect();
        Self { list: Paths::new(&[listing.list]), entries: entries.join(",").into(), held: BytesMut::new() }
    }

    /// Is there nothing (more) to add?
    pub fn is_done(&self) -> bool {
        self.entries.is_empty()
    }

    /// What of the answer can go on.
    pub fn feed(&mut self, data: Bytes) -> Bytes {
        if self.is_done() {
            return data;
        }
        self.held.extend_from_slice(&data);
        let place = find(&self.held, &self.list).list_start(0);
        if place.is_none() && self.held.len() < LONGEST_BEGINNING {
            return Bytes::new();
        }
        let mut entries = std::mem::take(&mut self.entries);
        let Some(place) = place else { return self.finish() };
        if !place.empty {
            entries.push(b',');
        }
        match apply(&self.held, [(place.at..place.at, entries.as_slice())]) {
            Ok(longer) => {
                self.held.clear();
                longer.into()
            }
            Err(_) => self.finish(),
        }
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Bytes {
        self.held.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn aliases_come_first_whatever_the_pieces() {
        let listing = Listing { list: "data", entry: |name| json!({ "id": name }) };
        let names = ["best".to_owned(), "fast".to_owned()];
        for (answer, expected) in [
            (
                r#"{"object":"list", "data": [ {"id":"m","data":[]}]}"#,
                r#"{"object":"list", "data": [{"id":"best"},{"id":"fast"}, {"id":"m","data":[]}]}"#,
            ),
            (r#"{"data":[ ],"x":1}"#, r#"{"data":[{"id":"best"},{"id":"fast"} ],"x":1}"#),
            (r#"{"data":{"a":[]}}"#, r#"{"data":{"a":[]}}"#),
            (r#"{"error":"x"}"#, r#"{"error":"x"}"#),
            ("no JSON", "no JSON"),
            ("", ""),
        ] {
            for size in 1..=answer.len().max(1) {
                let mut lister = Lister::new(&listing, &names);
                let mut out = Vec::new();
                for piece in answer.as_bytes().chunks(size) {
                    out.extend_from_slice(&lister.feed(Bytes::copy_from_slice(piece)));
                }
                out.extend_from_slice(&lister.finish());
                assert_eq!(String::from_utf8_lossy(&out), expected, "{size}");
            }
        }
        let mut lister = Lister::new(&listing, &names);
        let endless = Bytes::from(vec![b' '; LONGEST_BEGINNING]);
        assert_eq!(lister.feed(endless.clone()), endless);
        assert_eq!(lister.feed(Bytes::from_static(b"x")), "x");
    }
}
