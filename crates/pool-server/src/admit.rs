//! Who may enter: the one layer that every request passes, deny by default.
//!
//! A request that spends or reveals anything is admitted if it carries a credential of the pool: the operator's of the settings, or
//! somebody's of the directory. Where nobody is in the directory, a local request needs none (and local access is on). Pages of
//! ours are further guarded against other web pages: by the Host (rebinding) and the Origin.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Uri, header};
use pool_core::ask::{Rights, Sharing};
use pool_core::guard::Wait;
use pool_core::limits::Limits;
use pool_core::people::{Closed, Credential, Directory, Role, SecretHash, User};
use pool_core::{Secret, UnixMs};
use pool_providers::request::Head;
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::relay::headers::is_forwarded;

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq)]
pub enum Caller {
    /// Whoever sits at this machine, where nobody is in the directory.
    Local,
    /// Whoever has the settings' `operator_token`.
    Operator,
    Person {
        user: Arc<User>,
        credential: Arc<Credential>,
    },
}

impl Caller {
    /// Keeps conversations of different callers apart.
    pub fn scope(&self) -> &str {
        match self {
            Self::Local => "",
            Self::Operator => "operator",
            Self::Person { user, .. } => &user.id.0,
        }
    }

    pub fn role(&self) -> Role {
        match self {
            Self::Local | Self::Operator => Role::Operator,
            Self::Person { user, .. } => user.role,
        }
    }

    /// What they may use of the pool. `sharing`: what friends may.
    pub fn rights(&self, sharing: Sharing) -> Rights<'_> {
        let user = self.user();
        Rights {
            owner: self.role() == Role::Operator,
            user: user.map(|user| &user.id),
            accounts: user.and_then(|user| user.accounts.as_deref()),
            friend: (self.role() == Role::Friend).then_some(sharing),
        }
    }

    /// What limits them; nothing limits the operator.
    pub fn limits(&self) -> Option<&Limits> {
        self.user().filter(|user| user.role != Role::Operator).map(|user| &user.limits)
    }

    /// The user of the directory, if it is one.
    pub fn user(&self) -> Option<&Arc<User>> {
        match self {
            Self::Person { user, .. } => Some(user),
            Self::Local | Self::Operator => None,
        }
    }
}

/// Why somebody was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("this pool asks for a credential and the request has none: send the pool's token as the API key")]
    NoCredential,
    #[error(
        "this request is not local (it comes from another machine, names another host, or came through a proxy), and the pool \
         has no credential that could let it in: set `operator_token` and send it as the API key, or ask at 127.0.0.1"
    )]
    OnlyLocal,
    #[error("this credential is not one of the pool's: check the token, it may have been changed, revoked or ended")]
    WrongCredential,
    #[error("this person's access is paused: ask the pool's operator")]
    Paused,
    #[error("this credential is not one of the pool's, nor were many others from your network: check the token, try again in {}", .0.0)]
    TooMany(Wait),
    #[error("this is not one of the pool's own names: use its address, or set `public_url` to the name that you use")]
    NotOurName,
    #[error("this was not asked by one of our own pages: send the header x-pool-page")]
    NotOurPage,
    #[error("requests from other web pages are not answered: open this pool at its own address")]
    ForeignPage,
}

/// Lets a request in, or says why not.
pub fn admit(
    config: &Config,
    people: &Directory,
    peer: SocketAddr,
    head: &Head<'_>,
    now: UnixMs,
) -> Result<Caller, Denied> {
    if comes_from_foreign_page(head.headers) {
        return Err(Denied::ForeignPage);
    }
    if people.is_empty() && is_local(config, peer, head.headers) {
        return Ok(Caller::Local);
    }
    if people.is_empty() && config.operator_token.is_none() {
        return Err(Denied::OnlyLocal);
    }
    let mut denied = Denied::NoCredential;
    for token in credentials(head) {
        if config.operator_token.as_ref().is_some_and(|operator| same(&token, operator)) {
            return Ok(Caller::Operator);
        }
        match people.open(SecretHash::of(&token), now) {
            Ok((user, credential)) => return Ok(Caller::Person { user, credential }),
            // Only who holds somebody's credential learns that it was somebody's.
            Err(Closed::Paused) => denied = Denied::Paused,
            Err(_) if denied == Denied::NoCredential => denied = Denied::WrongCredential,
            Err(_) => {}
        }
    }
    Err(denied)
}

/// The machine's own user: the TCP peer is loopback, the Host is a loopback name, nothing has forwarded the request, and no
/// public address is configured (behind a reverse proxy on this machine every visitor is a loopback peer).
pub fn is_local(config: &Config, peer: SocketAddr, headers: &HeaderMap) -> bool {
    config.local_access
        && config.public_url.is_none()
        && peer.ip().to_canonical().is_loopback()
        && host(headers).is_some_and(|host| is_loopback_name(&host))
        && !is_forwarded(headers)
}

/// Is the Host one of ours? Guards pages against names that were bound to our address by somebody else. An address cannot be
/// bound so; where we listen on all of the machine's, any may be meant.
pub fn is_our_host(config: &Config, headers: &HeaderMap) -> bool {
    let Some(host) = host(headers) else { return false };
    let public = config.public_url.as_deref().and_then(|url| url.parse::<Uri>().ok());
    let is_public = public.as_ref().and_then(Uri::host).is_some_and(|name| name.eq_ignore_ascii_case(&host));
    let ours = config.listen.ip();
    let is_listener = host.parse().is_ok_and(|ip: std::net::IpAddr| ip == ours || ours.is_unspecified());
    is_public || is_listener || is_loopback_name(&host)
}

/// A browser says where a request comes from. Command-line clients send no `Origin`, and no `Sec-Fetch-Site` but `same-origin`
/// or `none` is ours.
pub fn comes_from_foreign_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(header::HeaderValue::as_bytes);
    if matches!(site, Some(b"cross-site" | b"same-site")) {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let own = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (origin.as_ref().and_then(Uri::authority), own) {
        (Some(origin), Some(own)) => !origin.as_str().eq_ignore_ascii_case(own),
        _ => true,
    }
}

/// A form of our own page, as the browser says in headers that no script can set: it needs no header of ours.
pub fn comes_from_own_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(header::HeaderValue::as_bytes);
    let says_so = site == Some(b"same-origin") || (site.is_none() && headers.contains_key(header::ORIGIN));
    says_so && !comes_from_foreign_page(headers)
}

/// The Host's name or address, without port and brackets. Two Hosts are none.
fn host(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::HOST).iter();
    let (first, second) = (values.next()?, values.next());
    let authority: http::uri::Authority = first.to_str().ok().filter(|_| second.is_none())?.parse().ok()?;
    Some(authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase())
}

fn is_loopback_name(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Every credential that the request carries, in every place where clients put them.
pub fn credentials<'a>(head: &'a Head<'_>) -> impl Iterator<Item = String> + 'a {
    let bearer = head.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    });
    let keys = ["x-api-key", "x-goog-api-key"].into_iter().filter_map(|name| head.header(name).map(str::to_owned));
    let query = head.query_value("key").map(std::borrow::Cow::into_owned);
    // A page cannot set headers on a socket: its client names the credential among the subprotocols, after a dot.
    let subprotocols = head.header("sec-websocket-protocol").into_iter().flat_map(|value| value.split(','));
    let hidden = subprotocols.filter_map(|name| Some(name.trim().split_once('.')?.1.to_owned()));
    keys.chain(bearer).chain(query).chain(hidden).filter(|token| !token.is_empty())
}

/// Compares hashes, so that time tells nothing of the token.
pub fn same(presented: &str, expected: &Secret) -> bool {
    Sha256::digest(presented.as_bytes()) == Sha256::digest(expected.expose().as_bytes())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use pool_core::people::Change;

    use super::*;

    const LOOPBACK: &str = "127.0.0.1:50000";
    const STRANGER: &str = "203.0.113.7:50000";
    const TOKEN: &str = "made-up-operator-token-of-32-chars";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().expect("a header"));
        }
        map
    }

    fn enter(
        config: &Config,
        peer: &str,
        query: Option<&str>,
        pairs: &[(&'static str, &'static str)],
    ) -> Result<Caller, Denied> {
        let headers = headers(pairs);
        let head = Head { method: &Method::POST, path: "/v1/responses", query, headers: &headers };
        admit(config, &Directory::default(), peer.parse().expect("an address"), &head, UnixMs(0))
    }

    #[test]
    fn only_what_is_truly_local_enters_without_a_credential() {
        let open = Config::default();
        let local = ("host", "127.0.0.1:8989");
        for (peer, pairs, expected) in [
            (LOOPBACK, vec![local], true),
            (LOOPBACK, vec![("host", "localhost:8989"), ("authorization", "Bearer anything")], true),
            ("[::1]:9", vec![("host", "[::1]:8989")], true),
            ("[::ffff:127.0.0.1]:9", vec![local], true),
            (STRANGER, vec![local], false),
            (LOOPBACK, vec![("host", "rebound.example")], false),
            (LOOPBACK, vec![], false),
            (LOOPBACK, vec![local, local], false),
            (LOOPBACK, vec![local, ("x-forwarded-for", "127.0.0.1")], false),
            (LOOPBACK, vec![local, ("forwarded", "for=127.0.0.1")], false),
            (LOOPBACK, vec![local, ("origin", "http://evil.example")], false),
            (LOOPBACK, vec![local, ("origin", "null")], false),
            (LOOPBACK, vec![local, ("origin", "http://127.0.0.1:3000")], false),
            (LOOPBACK, vec![local, ("origin", "http://127.0.0.1:8989")], true),
            (LOOPBACK, vec![local, ("sec-fetch-site", "cross-site")], false),
            (LOOPBACK, vec![local, ("sec-fetch-mode", "cors")], true),
        ] {
            assert_eq!(enter(&open, peer, None, &pairs).is_ok(), expected, "{peer} {pairs:?}");
        }
        for closed in [
            Config { local_access: false, ..Config::default() },
            Config { public_url: Some("https://pool.example".into()), ..Config::default() },
        ] {
            assert_eq!(enter(&closed, LOOPBACK, None, &[local]), Err(Denied::OnlyLocal));
            let guarded = Config { operator_token: Some(Secret::new(TOKEN)), ..closed };
            assert_eq!(enter(&guarded, LOOPBACK, None, &[local]), Err(Denied::NoCredential));
        }
    }

    #[test]
    fn the_operators_token_is_taken_in_every_place_and_no_other_is() {
        let config = Config { operator_token: Some(Secret::new(TOKEN)), local_access: false, ..Config::default() };
        let bearer = ("authorization", "Bearer made-up-operator-token-of-32-chars");
        for (query, pairs) in [
            (None, vec![bearer]),
            (None, vec![("x-api-key", TOKEN)]),
            (None, vec![("x-goog-api-key", TOKEN)]),
            (Some("alt=sse&key=made-up-operator-token-of-32-chars"), vec![]),
            (None, vec![("sec-websocket-protocol", "realtime, api-key.made-up-operator-token-of-32-chars")]),
            // Claude Code may send both; one that fits is enough.
            (None, vec![("x-api-key", "leftover"), bearer]),
        ] {
            assert!(enter(&config, STRANGER, query, &pairs).is_ok(), "{pairs:?}");
        }
        for wrong in ["", "x", "made-up-operator-token-of-32-char", "made-up-operator-token-of-32-charss"] {
            let pairs: Vec<(&'static str, &'static str)> = vec![("x-api-key", wrong)];
            assert!(enter(&config, STRANGER, None, &pairs).is_err(), "{wrong:?}");
        }
        let none = Config { local_access: false, ..Config::default() };
        assert_eq!(enter(&none, STRANGER, None, &[("x-api-key", TOKEN)]), Err(Denied::OnlyLocal));
        assert_eq!(enter(&config, STRANGER, None, &[("x-api-key", "leftover")]), Err(Denied::WrongCredential));
    }

    #[test]
    fn as_soon_as_somebody_is_known_everybody_shows_a_credential() {
        const NOW: UnixMs = UnixMs(1_800_000_000_000);
        let mut people = Directory::default();
        let mut user = crate::people::new_user("Mira", Role::Friend).expect("random");
        people.apply(Change::User(user.clone()));
        let mut give = |expires_at: Option<UnixMs>, revoked_at: Option<UnixMs>| {
            let issued = crate::people::issue(&user.id, "laptop", None).expect("random");
            people.apply(Change::Credential(Credential { expires_at, revoked_at, ..issued.credential }));
            issued.secret
        };
        let (good, ended, revoked) = (give(None, None), give(Some(NOW), None), give(None, Some(NOW)));
        let config = Config { operator_token: Some(Secret::new(TOKEN)), ..Config::default() };
        let enter = |people: &Directory, name: &'static str, token: &str| {
            let mut headers = headers(&[("host", "127.0.0.1:8989")]);
            headers.insert(name, token.parse().expect("a header"));
            let head = Head { method: &Method::POST, path: "/v1/responses", query: None, headers: &headers };
            admit(&config, people, LOOPBACK.parse().expect("an address"), &head, NOW).map(|caller| caller.role())
        };
        assert_eq!(enter(&people, "x-other", "x"), Err(Denied::NoCredential));
        assert_eq!(enter(&people, "x-api-key", good.expose()), Ok(Role::Friend));
        assert_eq!(enter(&people, "authorization", &format!("Bearer {}", good.expose())), Ok(Role::Friend));
        assert_eq!(enter(&people, "x-api-key", TOKEN), Ok(Role::Operator));
        for wrong in [ended.expose(), revoked.expose(), "pool-made-up", &user.id.0, ""] {
            assert!(enter(&people, "x-goog-api-key", wrong).is_err(), "{wrong}");
        }
        user.paused = true;
        people.apply(Change::User(user));
        assert_eq!(enter(&people, "x-api-key", good.expose()), Err(Denied::Paused));
    }

    #[test]
    fn our_own_names_are_known() {
        let config = Config { public_url: Some("https://pool.example/base".into()), ..Config::default() };
        for (host, ours) in
            [("pool.example", true), ("POOL.example:443", true), ("localhost:1", true), ("evil.example", false)]
        {
            assert_eq!(is_our_host(&config, &headers(&[("host", host)])), ours, "{host}");
        }
        for (listen, host, ours) in [
            ("127.0.0.1:1", "192.0.2.7:1", false),
            ("192.0.2.7:1", "192.0.2.7:1", true),
            ("0.0.0.0:1", "192.0.2.7:1", true),
            ("[::]:1", "[2001:db8::7]:1", true),
            ("0.0.0.0:1", "evil.example:1", false),
        ] {
            let config = Config { listen: listen.parse().expect("an address"), ..Config::default() };
            assert_eq!(is_our_host(&config, &headers(&[("host", host)])), ours, "{listen} {host}");
        }
    }
}
