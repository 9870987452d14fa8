//! The one route table: which requests we know, who owns each, and what is done with it.
//!
//! A route is found by method, path and a condition on the headers or the query. Exactly one row matches a request, or none:
//! what matches none is answered 404, never forwarded. [`Table::find`] looks a request up; [`conflicts`] proves that no
//! request has two owners.

use std::cmp::Ordering;
use std::collections::HashMap;

use http::Method;
use http::header::UPGRADE;
use pool_core::ProviderId;

use crate::objects::Objects;
use crate::provider::Registry;
use crate::request::Head;

/// One row.
#[derive(Clone, Debug)]
pub struct Route {
    /// Unique, in words: `codex responses`, `claude count tokens`.
    pub id: &'static str,
    pub provider: ProviderId,
    pub method: Method,
    /// Exact path, or with `{name}` for one segment and `{*rest}` for one segment or more at the end: `/v1/models/{model}`,
    /// `/v1beta/models/{*rest}`. `{name}` may have fixed text around it: `/v1internal:{method}`, `/models/{model}:count`.
    /// Within one provider the more specific path wins; rows of two providers must not overlap (see [`conflicts`]).
    pub path: &'static str,
    pub when: When,
    pub kind: Kind,
    pub objects: Objects,
}

impl Route {
    /// The path up to the end of its `{object}`, if it has one.
    pub fn object_in<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut end = 0;
        for (pattern, text) in self.path.split('/').zip(path.split('/')) {
            if let Some((_, after)) = pattern.split_once("{object}") {
                return path.get(..end + text.len().checked_sub(after.len())?);
            }
            end += text.len() + 1;
        }
        None
    }
}

/// A condition beside the path, for paths that several providers share. The conditions of rows with the same path and method
/// exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// The request looks like this provider's (see [`dialect`]).
    Dialect(Dialect),
    /// It asks for an upgrade to WebSocket, or does not.
    Upgrade(bool),
}

/// Whose words a request on a shared path speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `client_version` in the query: Codex CLI.
    Codex,
    /// `anthropic-version` header or Claude Code's user agent.
    Anthropic,
    /// `x-goog-api-key` header, `key` in the query, or a Google user agent.
    Google,
    /// Everything else.
    OpenAi,
}

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Forwarded on an account. `light`: a side call that takes no pin and no slot.
    Relay { light: bool },
    /// Answered by [`crate::Provider::answer`] after the caller was admitted.
    Answer,
    /// The same, without a credential (connectivity probes).
    OpenAnswer,
    /// A WebSocket upgrade: carried as [`crate::Provider::socket`] says, or declined with 426 so that the client falls back to
    /// HTTP.
    Upgrade,
    /// A WebSocket upgrade that is carried unread, on one account.
    Tunnel,
    /// What an account keeps, all in one list: refused, since it would show other callers' things, and not what the caller keeps
    /// on other accounts.
    List,
    /// The account owner's own things: never forwarded for others; 404 with a reason.
    Refused,
}

impl When {
    fn holds(self, head: &Head<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::Dialect(wanted) => dialect(head) == wanted,
            Self::Upgrade(wanted) => asks_for_websocket(head) == wanted,
        }
    }

    /// Can no request meet both?
    fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Dialect(one), Self::Dialect(two)) => one != two,
            (Self::Upgrade(one), Self::Upgrade(two)) => one != two,
            _ => false,
        }
    }
}

fn asks_for_websocket(head: &Head<'_>) -> bool {
    let values = head.headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("websocket"))
}

/// Whose words does a request on a shared path speak?
pub fn dialect(head: &Head<'_>) -> Dialect {
    let agent = head.header("user-agent").unwrap_or_default();
    if head.query_value("client_version").is_some() {
        Dialect::Codex
    } else if head.headers.contains_key("anthropic-version") || agent.starts_with("claude-cli/") {
        Dialect::Anthropic
    } else if head.headers.contains_key("x-goog-api-key")
        || head.query_value("key").is_some()
        || agent.starts_with("GeminiCLI")
        || agent.starts_with("google-genai-sdk/")
    {
        Dialect::Google
    } else {
        Dialect::OpenAi
    }
}

/// Every provider's rows, ready to be searched.
#[derive(Debug)]
pub struct Table {
    /// Rows without holes in their path: the hot ones, found at once.
    exact: HashMap<&'static str, Vec<&'static Route>>,
    /// The others, more specific paths first.
    patterns: Vec<(Pattern, &'static Route)>,
}

impl Table {
    pub fn new(registry: &Registry) -> Self {
        Self::of(registry.iter().map(crate::Provider::routes))
    }

    pub fn of(rows: impl IntoIterator<Item = &'static [Route]>) -> Self {
        let mut table = Self { exact: HashMap::new(), patterns: Vec::new() };
        for route in rows.into_iter().flatten() {
            let pattern = Pattern::new(route.path);
            if pattern.is_exact() {
                table.exact.entry(route.path).or_default().push(route);
            } else {
                table.patterns.push((pattern, route));
            }
        }
        table.patterns.sort_by(|(one, _), (two, _)| one.specificity(two));
        table
    }

    /// The row that owns a request.
    ///
    /// A path that a server behind us might read as another one (dot segments, empty segments, encoded slashes and dots,
    /// backslashes, control characters) belongs to nobody.
    pub fn find(&self, head: &Head<'_>) -> Option<&'static Route> {
        if !is_plain(head.path) {
            return None;
        }
        let fits = |route: &Route| route.method == *head.method && route.when.holds(head);
        let exact = self.exact.get(head.path).and_then(|rows| rows.iter().find(|route| fits(route)));
        exact.copied().or_else(|| {
            let mut rows = self.patterns.iter();
            rows.find(|(pattern, route)| pattern.matches(head.path) && fits(route)).map(|(_, route)| *route)
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &'static Route> {
        self.exact.values().flatten().copied().chain(self.patterns.iter().map(|(_, route)| *route))
    }

    /// See [`conflicts`].
    pub fn conflicts(&self) -> Vec<String> {
        conflicts(&self.iter().collect::<Vec<_>>())
    }
}

/// Which rows could own the same request, or cannot be read: one line each; none in a sound table.
///
/// Two rows with overlapping paths and the same method need conditions that exclude each other, unless they are one
/// provider's and one path is more specific.
pub fn conflicts(rows: &[&Route]) -> Vec<String> {
    let patterns: Vec<Pattern> = rows.iter().map(|row| Pattern::new(row.path)).collect();
    let mut found = Vec::new();
    for (at, (row, pattern)) in rows.iter().zip(&patterns).enumerate() {
        if !pattern.is_sound() || !is_plain(row.path) {
            found.push(format!("`{}`: the path {} cannot be read", row.id, row.path));
        }
        for (other, other_pattern) in rows.iter().zip(&patterns).skip(at + 1) {
            if row.id == other.id {
                found.push(format!("`{}` is the id of two rows", row.id));
            }
            let ranked = row.provider == other.provider && pattern.specificity(other_pattern) != Ordering::Equal;
            let apart = row.method != other.method || row.when.excludes(other.when) || ranked;
            if !apart && pattern.overlaps(other_pattern) {
                found.push(format!(
                    "`{}` ({} {}) and `{}` ({} {}) can own the same request",
                    row.id, row.method, row.path, other.id, other.method, other.path
                ));
            }
        }
    }
    found
}

/// Is there a path that fits both of these (written as in [`Route::path`])? For rows of other tables beside this one.
pub fn overlap(one: &'static str, other: &'static str) -> bool {
    Pattern::new(one).overlaps(&Pattern::new(other))
}

/// Can a path be read in one way only?
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return false;
    }
    bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'\\' => false,
        b'/' => !matches!(bytes.get(at + 1..), Some([b'/', ..] | [b'.', b'/', ..] | [b'.'])),
        b'.' => bytes.get(at + 1) != Some(&b'.'),
        b'%' => !matches!(
            bytes.get(at + 1..at + 3),
            // An encoded control character, dot, slash, backslash or percent sign (encoded twice).
            Some(
                [b'0' | b'1', _] | [b'2', b'e' | b'E' | b'f' | b'F' | b'5'] | [b'5', b'c' | b'C'] | [b'7', b'f' | b'F']
            )
        ),
        other => !other.is_ascii_control(),
    })
}

/// A path with holes, by segments.
#[derive(Debug)]
struct Pattern(Vec<Segment>);

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Fixed(&'static str),
    /// `{name}` with fixed text around it.
    Part {
        before: &'static str,
        after: &'static str,
    },
    /// `{name}`
    One,
    /// `{*rest}`
    Rest,
}

impl Segment {
    fn new(text: &'static str) -> Self {
        match text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
            Some(("", (name, ""))) if name.starts_with('*') => Self::Rest,
            Some(("", (_, ""))) => Self::One,
            Some((before, (_, after))) => Self::Part { before, after },
            None => Self::Fixed(text),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Fixed(fixed) => *fixed == text,
            Self::Part { before, after } => {
                text.len() > before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
            }
            Self::One | Self::Rest => !text.is_empty(),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(text), any) | (any, Self::Fixed(text)) => any.matches(text),
            (Self::Part { before, after }, Self::Part { before: before_2, after: after_2 }) => {
                (before.starts_with(before_2) || before_2.starts_with(before))
                    && (after.ends_with(after_2) || after_2.ends_with(after))
            }
            _ => true,
        }
    }

    /// The lower, the more specific.
    fn rank(&self) -> u8 {
        match self {
            Self::Fixed(_) => 0,
            Self::Part { .. } => 1,
            Self::One => 2,
            Self::Rest => 3,
        }
    }
}

impl Pattern {
    fn new(path: &'static str) -> Self {
        Self(path.split('/').skip(1).map(Segment::new).collect())
    }

    fn is_exact(&self) -> bool {
        self.0.iter().all(|segment| matches!(segment, Segment::Fixed(_)))
    }

    /// No stray braces, and `{*rest}` only at the end.
    fn is_sound(&self) -> bool {
        let braces = |text: &str| text.contains(['{', '}']);
        self.0.iter().enumerate().all(|(at, segment)| match segment {
            Segment::Fixed(text) => !braces(text),
            Segment::Part { before, after } => !braces(before) && !braces(after),
            Segment::One => true,
            Segment::Rest => at + 1 == self.0.len(),
        })
    }

    fn matches(&self, path: &str) -> bool {
        let mut texts = path.split('/').skip(1);
        for segment in &self.0 {
            match texts.next() {
                Some(text) if segment.matches(text) => {}
                _ => return false,
            }
            if *segment == Segment::Rest {
                return true;
            }
        }
        texts.next().is_none()
    }

    /// Is there a path that both match?
    fn overlaps(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.0.iter(), other.0.iter());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(one), Some(two)) if one.overlaps(two) => {
                    if *one == Segment::Rest || *two == Segment::Rest {
                        return true;
                    }
                }
                _ => return false,
            }
        }
    }

    /// `Less`: more specific, judged from the left.
    fn specificity(&self, other: &Self) -> Ordering {
        self.0.iter().map(Segment::rank).cmp(other.0.iter().map(Segment::rank))
    }
}

#[cfg(test)]
mod tests;
