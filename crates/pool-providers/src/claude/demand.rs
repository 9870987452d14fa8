//! What a Claude request asks for: read from its head and from a few keys of its body.

use std::sync::LazyLock;

use pool_core::scan::json::{Matches, Paths, find};
use pool_core::{AccountKind, Binding, Client, Demand, Span, TokenCounts};

use super::metadata::Metadata;
use super::routes::is_about_kept;
use super::{CLAUDE, models};
use crate::objects::KEEPING;
use crate::opening::{Opening, Roleless, has_text};
use crate::request::{Body, Head};
use crate::routes::{Kind, Route};

const MODEL: usize = 0;
const USER_ID: usize = 1;
const SYSTEM: usize = 2;
const MESSAGES: usize = 3;
const CONTAINER: usize = 4;
const CONTAINER_ID: usize = 5;

static WANTED: LazyLock<Paths> =
    LazyLock::new(|| Paths::new(&["model", "metadata.user_id", "system", "messages", "container", "container.id"]));

/// A conversation id longer than this is nobody's.
const LONGEST_ID: usize = 256;

/// Claude Code, by its user agent (`claude-cli/2.1.330 (external, cli)`; some side calls say `claude-code/…`).
pub(super) fn client(head: &Head<'_>) -> Client {
    let agent = head.header("user-agent").unwrap_or_default();
    if agent.starts_with("claude-cli/") || agent.starts_with("claude-code/") { Client::OwnCli } else { Client::Other }
}

pub(super) fn demand(route: &Route, head: &Head<'_>, body: &Body) -> Demand {
    let found = find(&body.bytes, &WANTED);
    let model = found.string(MODEL).map(std::borrow::Cow::into_owned);
    let (session, parent) = conversation(head, &found);
    Demand {
        provider: CLAUDE,
        client: client(head),
        families: model.as_deref().map(models::families).unwrap_or_default(),
        model,
        session: if route.objects.creates() { Some(KEEPING.into()) } else { session },
        parent,
        binding: binding(&found, &body.bytes),
        keep: has_text(&body.bytes, "ttl", "1h").then_some(LONG),
        light: matches!(route.kind, Kind::Relay { light: true }),
        kinds: if is_about_kept(route) { &[AccountKind::ApiKey] } else { &[] },
    }
}

fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
}

/// The conversation, and the one that it is a part of.
///
/// `x-claude-code-session-id` is on everything that Claude Code sends (measured on 2.1.330); its sub-agents add an id of
/// their own, and their parent's where that is not the main agent. They have prompts of their own, so pins of their own.
fn conversation(head: &Head<'_>, found: &Matches<'_>) -> (Option<String>, Option<String>) {
    let header = |name: &str| head.header(name).filter(|id| is_id(id));
    let metadata = found.raw(USER_ID).and_then(Metadata::read);
    let in_body = || metadata.as_ref()?.session().filter(|id| is_id(id));
    let Some(session) = header("x-claude-code-session-id").or_else(in_body) else {
        return (opening(found), None);
    };
    let of_agent = |agent: &str| format!("{session}/{agent}");
    match (header("x-claude-code-agent-id"), header("x-claude-code-parent-agent-id")) {
        (Some(agent), Some(parent)) => (Some(of_agent(agent)), Some(of_agent(parent))),
        (Some(agent), None) => (Some(of_agent(agent)), Some(session.to_owned())),
        (None, _) => {
            let parent = metadata.as_ref().and_then(Metadata::parent).filter(|id| is_id(id) && *id != session);
            (Some(session.to_owned()), parent.map(str::to_owned))
        }
    }
}

fn opening(found: &Matches<'_>) -> Option<String> {
    let mut opening = Opening::default();
    if let Some(system) = found.raw(SYSTEM) {
        opening.system(system);
    }
    opening.turns(found.beginning(MESSAGES)?, Roleless::Nobody);
    opening.name()
}

/// Containers and files belong to one organisation. A signature that the next account refuses comes back to the client, which
/// sends the conversation without.
fn binding(found: &Matches<'_>, body: &[u8]) -> Binding {
    match () {
        () if found.string(CONTAINER).is_some() || found.string(CONTAINER_ID).is_some() => Binding::Container,
        () if has_text(body, "file_id", "file_") => Binding::File,
        () if has_text(body, "signature", "") => Binding::SignedThinking,
        () => Binding::Cache,
    }
}

/// The prompt cache holds what it is asked to for 5 minutes, or for an hour where the marker says so; reading renews it
/// (<https://platform.claude.com/docs/en/build-with-claude/prompt-caching>). Of both kinds in one request the larger part
/// counts. Without a marker nothing is cached.
pub(super) fn cache_life(demand: &Demand, tokens: &TokenCounts) -> Span {
    let TokenCounts { cache_read, cache_write_5m, cache_write_1h, .. } = *tokens;
    match (cache_read, cache_write_5m, cache_write_1h) {
        (0, 0, 0) => Span::ZERO,
        (_, 0, 0) => demand.keep.unwrap_or(SHORT),
        (_, short, long) if long >= short => LONG,
        _ => SHORT,
    }
}

const SHORT: Span = Span::from_mins(5);
const LONG: Span = Span::from_hours(1);

#[cfg(test)]
#[path = "demand_tests.rs"]
mod tests;
