//! What a request creates upstream and what it names: things that live on one account (files, batches, stored responses).
//!
//! A row of the route table says where ids stand ([`Objects`]); [`addressed`] and [`mentioned`] read them from requests,
//! [`Telling`] from answers. What an id looks like is the provider's ([`Provider::object`]).

use std::sync::LazyLock;

use http::HeaderMap;
use pool_core::TokenCounts;
use pool_core::scan::json::{self, Finder, Found, Paths};
use pool_core::scan::sse::Scanner;

use crate::provider::Provider;
use crate::reply::{News, Reader, Stage};
use crate::request::{Body, Head};
use crate::routes::Route;

/// What a route has to do with things that live on one account. In its path, `{object}` stands for the id of one.
#[derive(Clone, Copy, Debug)]
pub struct Objects {
    /// Where the answer names what lives on the account from now on.
    pub told: Option<&'static LazyLock<Paths>>,
    /// A header of the answer that names one at its end.
    pub header: Option<&'static str>,
    /// Keys of the query that name one.
    pub query: &'static [&'static str],
    /// The member of the body that says, if it is `false`, that nothing is kept.
    pub unless: Option<&'static LazyLock<Paths>>,
}

impl Objects {
    /// Creates nothing, and has nothing in its query.
    pub const NONE: Self = Self { told: None, header: None, query: &[], unless: None };

    pub const fn told(paths: &'static LazyLock<Paths>) -> Self {
        Self { told: Some(paths), ..Self::NONE }
    }

    pub fn creates(&self) -> bool {
        self.told.is_some() || self.header.is_some()
    }
}

/// An id longer than this is nobody's.
const LONGEST_ID: usize = 256;

/// In a stream, what is created is named at the beginning or not at all.
const BEGINNING: u64 = 256 << 10;

/// The one id of what a text names.
pub fn id<'t>(provider: &dyn Provider, text: &'t str) -> Option<&'t str> {
    let last = || text.rsplit('/').next();
    let id = provider.object(text).or_else(last).filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)?;
    Some(id)
}

/// The ids that a request is addressed to, in its path and query. Without knowing where they live it can go nowhere.
pub fn addressed(provider: &dyn Provider, route: &Route, head: &Head<'_>) -> Vec<String> {
    let path = route.object_in(head.path).into_iter().filter_map(|text| id(provider, text)).map(str::to_owned);
    let keys = route.objects.query;
    let in_query =
        head.query_pairs().filter(|(key, _)| keys.contains(&key.as_ref())).map(|(_, value)| value.into_owned());
    path.chain(in_query).collect()
}

/// The ids that a body names, in whatever string. May give one more than once.
///
/// Strings are what is looked at, not members: so no place is forgotten, and an id cannot hide behind another way to write
/// it. A text that does no more than name an id counts as well.
pub fn mentioned<'b>(provider: &'b dyn Provider, body: &'b Body) -> impl Iterator<Item = String> + 'b {
    let is_json = matches!(body.bytes.trim_ascii_start().first(), Some(b'{' | b'['));
    let text = if is_json { &body.bytes[..] } else { &[] };
    json::strings(text, LONGEST_ID).filter_map(|text| provider.object(&text).map(str::to_owned))
}

/// Will what the request asks for be kept upstream?
pub fn is_kept(route: &Route, body: &Body) -> bool {
    let refused = |member: &LazyLock<Paths>| json::find(&body.bytes, member).raw(0) == Some(b"false");
    route.objects.creates() && !route.objects.unless.is_some_and(refused)
}

/// The id that the head of an answer tells.
pub fn told_by_head(provider: &dyn Provider, route: &Route, headers: &HeaderMap) -> Option<String> {
    let text = headers.get(route.objects.header?)?.to_str().ok()?;
    id(provider, text).map(str::to_owned)
}

/// Reads the ids out of an answer, beside another reader.
pub struct Telling {
    inner: Box<dyn Reader>,
    form: Form,
    fed: u64,
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telling").field("fed", &self.fed).finish_non_exhaustive()
    }
}

enum Form {
    Document(Box<Finder>),
    Stream(Box<Scanner>),
    /// All is told.
    Deaf,
}

impl Telling {
    /// The reader for an answer of this route. `stream`: it is an event stream.
    pub fn beside(inner: Box<dyn Reader>, route: &Route, stream: bool) -> Box<dyn Reader> {
        let Some(paths) = route.objects.told else { return inner };
        let form = if stream {
            Form::Stream(Box::new(Scanner::new(paths, LONGEST_ID)))
        } else {
            Form::Document(Box::new(Finder::new(paths, LONGEST_ID)))
        };
        Box::new(Self { inner, form, fed: 0 })
    }

    fn listen(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut told = Vec::new();
        self.fed = self.fed.saturating_add(bytes.len() as u64);
        match &mut self.form {
            Form::Document(finder) => {
                finder.feed(bytes);
                let paths = finder.found().iter().map(|found| found.path).collect::<Vec<_>>();
                told.extend(paths.into_iter().filter_map(|path| text(&finder.take(path)?)));
            }
            Form::Stream(scanner) => {
                scanner.feed(bytes, |event| told.extend(event.found.iter().filter_map(text)));
                if !told.is_empty() || self.fed > BEGINNING {
                    self.form = Form::Deaf;
                }
            }
            Form::Deaf => {}
        }
        told
    }
}

fn text(found: &Found) -> Option<String> {
    found.string().filter(|text| !text.is_empty()).map(std::borrow::Cow::into_owned)
}

impl Reader for Telling {
    fn feed(&mut self, bytes: &[u8]) -> News {
        let created = self.listen(bytes);
        let mut news = self.inner.feed(bytes);
        news.created.extend(created);
        news
    }

    fn finish(&mut self) -> News {
        self.inner.finish()
    }

    fn stage(&self) -> Stage {
        self.inner.stage()
    }

    fn usage(&self) -> Option<TokenCounts> {
        self.inner.usage()
    }

    fn model(&self) -> Option<&str> {
        self.inner.model()
    }

    fn hidden(&mut self) -> (Vec<std::ops::Range<u64>>, u64) {
        self.inner.hidden()
    }
}
