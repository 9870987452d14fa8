//! What a request asks for, as far as choosing an account needs to know.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::account::{AccountKind, ProviderId};
use crate::binding::Binding;
use crate::time::Span;

/// What sent the request, told by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ClientKind)]
pub enum Client {
    /// The provider's own command-line client: Codex CLI, Claude Code, Gemini CLI.
    OwnCli,
    /// An SDK or anything else.
    Other,
}

/// A conversation, hashed with its provider and caller so that nobody's key meets another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub [u8; 16]);

impl SessionKey {
    /// `caller` is who asks (the pool user; empty on an open loopback pool), `id` the client's conversation id.
    pub fn new(provider: ProviderId, caller: &str, id: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [provider.0, caller, id] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        Self(key)
    }

    /// For logs and records: enough to tell conversations apart.
    pub fn short(self) -> String {
        crate::hex(&self.0[..6])
    }
}

/// What a request asks of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    pub provider: ProviderId,
    pub client: Client,
    /// As the request names it.
    pub model: Option<String>,
    /// The families of limits that this model falls in, in the provider's own names.
    pub families: Vec<String>,
    /// The client's conversation id, if it sends one or one can be told from the opening of the conversation.
    pub session: Option<String>,
    /// The client's id of the conversation that this one is a part of: a sub-agent's parent.
    pub parent: Option<String>,
    /// What ties it to the account of its pin. With a hard one (a stored response, a cached content) another can only fail.
    pub binding: Binding,
    /// How long the request asks the provider to keep its prompt in the cache. `None`: it leaves that to the provider.
    pub keep: Option<Span>,
    /// A side call (token counting): takes no pin and no slot.
    pub light: bool,
    /// Only these kinds can serve the route at all (chat completions: API keys). Empty: any.
    pub kinds: &'static [AccountKind],
}

impl Demand {
    /// Whatever a client may ask of a provider: no model, no conversation.
    pub fn any(provider: ProviderId, client: Client) -> Self {
        Self {
            provider,
            client,
            model: None,
            families: Vec::new(),
            session: None,
            parent: None,
            binding: Binding::Cache,
            keep: None,
            light: false,
            kinds: &[],
        }
    }

    /// Can only the account of its pin serve it?
    pub fn is_bound(&self) -> bool {
        self.binding.is_hard()
    }

    /// May an account of this kind serve this client on this route?
    ///
    /// A subscription serves its provider's own client only; an API key serves everybody.
    pub fn admits(&self, kind: AccountKind) -> bool {
        let route = self.kinds.is_empty() || self.kinds.contains(&kind);
        route && (kind == AccountKind::ApiKey || self.client == Client::OwnCli)
    }
}
