//! The one interface between the house and a provider's folder.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pool_core::account::Identity;
use pool_core::quota::QuotaWindow;
use pool_core::standing::Standing;
use pool_core::{
    Account, AccountKind, Client, Credentials, Demand, Judgement, ProviderId, Secret, Settings, Span, TokenCounts,
    UnixMs,
};
use serde_json::Value;

use crate::alias::Listing;
use crate::claude::Claude;
use crate::codex::Codex;
use crate::gemini::{Gemini, OauthClient};
use crate::reply::{Failure, Reader, Reply};
use crate::request::{Bases, Body, Call, Head, Outbound, Serving};
use crate::routes::Route;
use crate::setup::SetUp;
use crate::socket::SocketTurns;

/// What a credential file holds.
#[derive(Clone, Debug)]
pub struct FileContent {
    pub kind: AccountKind,
    pub identity: Option<(String, String)>,
    pub plan: Option<String>,
    /// Masked.
    pub email: Option<String>,
    pub settings: Settings,
    pub credentials: Credentials,
    /// Something the operator should know though the file is usable.
    pub warning: Option<String>,
}

impl FileContent {
    pub fn identity(&self, file: &str) -> Identity {
        match &self.identity {
            Some((user, workspace)) => Identity::Claims { user: user.clone(), workspace: workspace.clone() },
            None => Identity::File(file.to_owned()),
        }
    }
}

/// What is wrong with a credential file: what, where, how to mend it. Never holds any of its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {mend}")]
pub struct FileFault {
    pub what: String,
    pub mend: String,
}

/// The answer to a refresh call.
#[derive(Clone, Debug)]
pub enum Refreshed {
    /// The new credentials, complete (what the answer did not tell is kept from the old ones).
    Renewed(Credentials),
    /// The refresh token is of no use any more: the reason in plain words. Only a new sign-in helps.
    Dead { why: String },
    /// Try again later.
    Later { why: String },
}

/// The answer to a probe.
#[derive(Clone, Debug, Default)]
pub struct Probed {
    pub windows: Vec<QuotaWindow>,
    pub plan: Option<String>,
    /// Values learned that belong into [`Credentials::bound`] (Gemini's `project`).
    pub bound: Vec<(&'static str, String)>,
    /// What the reply says of the account if it was not a plain success. A probe's own 429 says nothing.
    pub judgement: Option<Judgement>,
}

/// Everything that differs between providers.
pub trait Provider: Send + Sync {
    fn id(&self) -> ProviderId;

    /// As people write it: `Codex`, `Claude`, `Gemini`.
    fn title(&self) -> &'static str;

    /// This provider's rows of the route table.
    fn routes(&self) -> &'static [Route];

    /// The command that signs in again, for messages and `accounts login`: program and arguments, and the environment
    /// variable that names its private home together with the file that it writes below it.
    fn login(&self) -> Login;

    /// How this provider's own client is pointed at a pool. `None`: it has no client.
    fn set_up(&self) -> Option<SetUp> {
        None
    }

    // A pool's own logins, for clients that insist on a file of their own shape and on renewing it

    /// A login that holds a pool credential, of the pool user with this id. `None`: its client needs none.
    fn pool_login(&self, _key: &Secret, _user: &str, _now: UnixMs) -> Option<PoolLogin> {
        None
    }

    /// The pool credential that a client shows to have such a login renewed.
    fn shown_for_renewal(&self, _body: &[u8]) -> Option<Secret> {
        None
    }

    /// The answer to a renewal that ends the client's tries.
    fn not_renewed(&self) -> Option<Reply> {
        None
    }

    /// What a new friend is given for this client, by the name that the Go original's claim gave it. Null: what it gave does no good
    /// any more; the set-up line does.
    fn gift(&self, _key: &Secret, _user: &str, _now: UnixMs) -> Option<(&'static str, Value)> {
        None
    }

    // Files

    /// Reads a credential file. `file` is its path below the pool folder.
    fn read_file(&self, file: &str, text: &[u8]) -> Result<FileContent, FileFault>;

    /// The file with renewed credentials: only the changed values differ, unknown fields and their order are kept.
    fn write_back(&self, text: &[u8], credentials: &Credentials, now: UnixMs) -> Result<Vec<u8>, FileFault>;

    /// A new credential file that holds an API key.
    fn api_key_file(&self, key: &Secret) -> Result<Vec<u8>, FileFault>;

    // Calls of our own

    /// `None`: nothing to renew.
    fn refresh_call(&self, credentials: &Credentials, bases: &Bases) -> Option<Call>;

    fn read_refresh(
        &self,
        old: &Credentials,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Refreshed;

    /// A harmless read that tells the account's quota or at least that its credential works. `None`: there is none that
    /// costs nothing.
    fn probe_call(&self, account: &Account, credentials: &Credentials, bases: &Bases) -> Option<Call>;

    fn read_probe(
        &self,
        account: &Account,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Probed;

    /// Must this account be probed before it can serve (because something of `bound` is missing)?
    fn needs_probe(&self, account: &Account, credentials: &Credentials) -> bool;

    // Requests

    /// Is this the provider's own command-line client?
    fn client(&self, head: &Head<'_>) -> Client;

    fn demand(&self, route: &Route, head: &Head<'_>, body: &Body) -> Demand;

    /// The id of something that lives on one account (a file, a batch, a stored response), if the text names one: a string of a
    /// body, a header's value, a path up to its `{object}`. The same thing has the same id wherever it is named.
    fn object<'t>(&self, _text: &'t str) -> Option<&'t str> {
        None
    }

    /// The families of limits that a request for this model falls in. See [`Demand::families`].
    fn families(&self, _model: &str) -> Vec<String> {
        Vec::new()
    }

    /// Is this, by its looks, the name of one of this provider's models?
    fn is_own_model(&self, _model: &str) -> bool {
        false
    }

    /// The list of models in the answer to this route, if it is one: the pool's aliases are added to it.
    fn listing(&self, _route: &Route) -> Option<Listing> {
        None
    }

    /// How the request goes out on an account. An error is the client's (the body cannot be carried over).
    fn outbound(&self, route: &Route, head: &Head<'_>, body: &Body, serving: &Serving<'_>)
    -> Result<Outbound, Failure>;

    // Replies

    /// Quota readings in the headers of any reply.
    fn header_windows(&self, account: &Account, demand: &Demand, headers: &HeaderMap, now: UnixMs) -> Vec<QuotaWindow>;

    /// The reading of an error reply (status 300 and above) with up to 64 KiB of its decoded body.
    fn judge(
        &self,
        account: &Account,
        demand: &Demand,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: UnixMs,
    ) -> Judgement;

    /// The reader for a successful answer. `stream`: its content type is `text/event-stream`.
    fn reader(&self, route: &Route, demand: &Demand, stream: bool, now: UnixMs) -> Box<dyn Reader>;

    /// How long the account's prompt cache holds what a request has left there, counted from when the request was sent,
    /// unless it is read again. Zero: there is nothing in it.
    fn cache_life(&self, demand: &Demand, tokens: &TokenCounts) -> Span;

    /// The turns of a socket on this route. `None`: the provider has no sockets there, so the upgrade is declined.
    fn socket(&self, _route: &Route) -> Option<Box<dyn SocketTurns>> {
        None
    }

    /// Takes the limits and ids of the account that served out of the reply's headers and puts the pool's in.
    fn speak_of_pool(&self, headers: &mut HeaderMap, served: &Account, standing: &Standing, now: UnixMs);

    /// Makes addresses in an answer's headers that the client is to call ours.
    fn readdress(&self, _route: &Route, _head: &Head<'_>, _headers: &mut HeaderMap) {}

    // Answers of our own

    /// A failure in the client's own error dialect, with the reset time where there is one.
    fn failure(&self, route: Option<&Route>, head: &Head<'_>, failure: &Failure, now: UnixMs) -> Reply;

    /// The last words of a stream whose head has already gone out: an error event in the client's dialect. `None`: the
    /// dialect has none, so the connection is cut.
    fn failure_event(&self, route: &Route, failure: &Failure, now: UnixMs) -> Option<Bytes>;

    /// A sign of life for the silences of an event stream, before its first event as well as between two: whole lines, the
    /// last one empty, that this client passes over wherever they stand. `None`: it survives none.
    fn keep_alive(&self, _route: &Route, _client: Client) -> Option<&'static [u8]> {
        None
    }

    /// The answer to a route of kind [`crate::routes::Kind::Answer`].
    fn answer(&self, route: &Route, head: &Head<'_>, body: &[u8], standing: &Standing, now: UnixMs) -> Reply;
}

/// How to sign in with the provider's own program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub program: &'static str,
    pub args: &'static [&'static str],
    /// Set to the private home folder.
    pub home_env: &'static str,
    /// What the program writes, below that folder.
    pub writes: &'static str,
}

/// A login of the pool's own in the shape of a client's. It holds the credential, so it has no `Debug`.
#[expect(missing_debug_implementations, reason = "it is a secret throughout")]
pub struct PoolLogin {
    /// The file as the client keeps it.
    pub file: String,
    /// The answer to the client's call that renews it.
    pub renewed: Reply,
}

/// The providers that this build knows.
pub struct Registry {
    providers: Vec<Box<dyn Provider>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(Provider::id)).finish()
    }
}

impl Registry {
    /// All of them. `gemini_client`: whose logins Gemini's accounts are (see [`OauthClient`]).
    pub fn new(gemini_client: OauthClient) -> Self {
        Self::of(vec![Box::new(Codex), Box::new(Claude), Box::new(Gemini::new(gemini_client))])
    }

    /// The first of them owns the files that no provider's name marks.
    pub fn of(providers: Vec<Box<dyn Provider>>) -> Self {
        Self { providers }
    }

    pub fn iter(&self) -> impl Iterator<Item = &dyn Provider> {
        self.providers.iter().map(AsRef::as_ref)
    }

    pub fn get(&self, id: ProviderId) -> Option<&dyn Provider> {
        self.iter().find(|provider| provider.id() == id)
    }

    /// By the name in a folder, a flag or a stored record.
    pub fn named(&self, name: &str) -> Option<&dyn Provider> {
        self.iter().find(|provider| provider.id().0 == name)
    }

    /// Whose are the credential files that lie in the pool folder itself and bear no provider's name?
    pub fn flat_default(&self) -> Option<&dyn Provider> {
        self.iter().next()
    }
}
