//! From a request to what is done with it: one of our pages, or a row of the route table.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use pool_core::Demand;
use pool_providers::reply::Failure;
use pool_providers::routes::{Kind, Route};

use crate::admit::{Caller, Denied};
use crate::app::App;
use crate::clock;
use crate::pages::{self, Page};
use crate::relay::deliver::{self, ReplyBody};
use crate::relay::path::{self, head, relay};
use crate::relay::until::until;
use crate::relay::{receive, ws};

/// Bodies of calls that we answer ourselves are small.
const ANSWER_BODY_CAP: usize = 1 << 20;

const NO_LISTS: &str = "is not served: an account's list would show what other callers keep there, and not what you keep on other \
                        accounts. Keep the ids, and read each by its own";

/// Answers a request.
pub async fn handle(app: Arc<App>, peer: SocketAddr, request: Request<Incoming>) -> Response<ReplyBody> {
    let (mut parts, body) = request.into_parts();
    name_host_once(&mut parts);
    if let Some((page, holes)) = Page::find(&parts.method, parts.uri.path()) {
        return page.answer(holes, app, peer, parts, body).await;
    }
    let route = app.table.find(&head(&parts));
    if let Some(route) = route.filter(|route| route.kind == Kind::OpenAnswer) {
        return local(&app, route, None, &parts, body).await;
    }
    let caller = match app.admit(peer, &head(&parts)) {
        Ok(caller) => caller,
        Err(Denied::ForeignPage) => return pages::denied(Denied::ForeignPage),
        Err(denied) => {
            if !matches!(denied, Denied::TooMany(_)) {
                tracing::info!(peer = %peer.ip(), path = parts.uri.path(), %denied, "a request was not admitted");
            }
            return deliver::failure(
                &app.registry,
                route,
                &parts,
                &Failure::BadCredential { message: denied.to_string() },
            );
        }
    };
    let tenure = app.people.tenure(&caller);
    if !tenure.can_end() {
        return act(app, route, &caller, parts, body).await;
    }
    // Put into words now: the request goes to where it is served.
    let refusal = deliver::failure(
        &app.registry,
        route,
        &parts,
        &Failure::BadCredential { message: Denied::WrongCredential.to_string() },
    );
    tokio::select! {
        biased;
        () = tenure.over() => refusal,
        response = act(app, route, &caller, parts, body) => until(tenure.clone(), response),
    }
}

/// A whole URL as the request's target names the host, whatever the Host header says (RFC 9112 §3.2.2). Who reads the header
/// must not be told another name than who reads the target.
fn name_host_once(parts: &mut http::request::Parts) {
    let Some(authority) = parts.uri.authority() else { return };
    match HeaderValue::from_str(authority.as_str()) {
        Ok(host) => drop(parts.headers.insert(header::HOST, host)),
        Err(_) => drop(parts.headers.remove(header::HOST)),
    }
}

async fn act(
    app: Arc<App>,
    route: Option<&'static Route>,
    caller: &Caller,
    parts: http::request::Parts,
    body: Incoming,
) -> Response<ReplyBody> {
    let refused = |why: &str| {
        let message = format!("{} {} {why}", parts.method, parts.uri.path());
        deliver::failure(&app.registry, route, &parts, &Failure::NotServed { message })
    };
    let Some(route) = route else {
        tracing::debug!(method = %parts.method, path = parts.uri.path(), "no route");
        return refused("is not something this pool forwards");
    };
    match route.kind {
        Kind::Relay { .. } => relay(app, route, parts, body, caller).await,
        Kind::Upgrade => ws::upgrade(app, route, parts, caller).await,
        Kind::Tunnel => ws::tunnel(app, route, parts, caller).await,
        Kind::Answer | Kind::OpenAnswer => local(&app, route, Some(caller), &parts, body).await,
        Kind::List => refused(NO_LISTS),
        Kind::Refused => refused("concerns the account owner's own things, so the pool does not pass it on"),
    }
}

/// A call that the provider's folder answers in the pool's name. Strangers are told nothing of the pool.
async fn local(
    app: &App,
    route: &'static Route,
    caller: Option<&Caller>,
    parts: &http::request::Parts,
    body: Incoming,
) -> Response<ReplyBody> {
    let failed = |failure: &Failure| deliver::failure(&app.registry, Some(route), parts, failure);
    let limits = receive::Limits { keep: ANSWER_BODY_CAP, progress: app.config.timeouts.body_progress };
    let received = match receive::receive(&parts.headers, body, limits, &app.replay).await {
        Ok(received) => received,
        Err(failure) => return failed(&failure),
    };
    let provider = match path::provider(&app.registry, route) {
        Ok(provider) => provider,
        Err(failure) => return failed(&failure),
    };
    let demand = Demand::any(route.provider, provider.client(&head(parts)));
    let standing = caller.map(|caller| app.standing(caller, &demand)).unwrap_or_default();
    deliver::reply(provider.answer(route, &head(parts), &received.seen.bytes, &standing, clock::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_names_the_host_if_it_names_one() {
        for (target, host) in [
            ("/api/status", Some("127.0.0.1:8989")),
            ("http://evil.example/api/status", Some("evil.example")),
            ("evil.example:443", Some("evil.example:443")),
        ] {
            let request = Request::builder().uri(target).header(header::HOST, "127.0.0.1:8989");
            let (mut parts, ()) = request.body(()).expect("a request").into_parts();
            name_host_once(&mut parts);
            let told: Vec<_> =
                parts.headers.get_all(header::HOST).iter().filter_map(|host| host.to_str().ok()).collect();
            assert_eq!(told.first().copied(), host, "{target}");
            assert_eq!(told.len(), 1, "{target}");
        }
    }
}
