//! Signing in: what opens a session, what a session opens, and how far guessing gets.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use pool_core::people::Role;

use super::world::{AFAR, Ask, Got, LOCAL, PASSWORD, Pool, TOKEN};
use crate::roster::{NewPerson, Whoami};

fn sign_in(kind: &str, value: &str) -> Ask {
    Ask::post("/api/session", &format!(r#"{{"{kind}":"{value}"}}"#)).from(AFAR)
}

fn whoami(got: &Got) -> Whoami {
    serde_json::from_str(&got.body).unwrap_or_else(|_| panic!("{got:?}"))
}

#[tokio::test]
async fn each_way_in_opens_a_session_of_its_own_rights() {
    let (pool, operator) = Pool::with_people().await;
    let (mira, friend) = pool.somebody("Mira", Role::Friend).await;
    let link = pool.ask(Ask::post("/api/sign-in", "{}").bearer(TOKEN)).await;
    let link: serde_json::Value = serde_json::from_str(&link.body).expect("JSON");
    let code = link["path"].as_str().and_then(|path| path.strip_prefix("/sign-in/")).expect("a code").to_owned();
    for (kind, value, role, user) in [
        ("password", PASSWORD, Role::Operator, None),
        ("credential", TOKEN, Role::Operator, None),
        ("credential", operator.expose(), Role::Operator, Some("the operator")),
        ("credential", friend.expose(), Role::Friend, Some("Mira")),
        ("code", &code, Role::Operator, None),
    ] {
        let got = pool.ask(sign_in(kind, value)).await;
        assert_eq!(got.status, StatusCode::OK, "{kind} {got:?}");
        let cookie = got.headers["set-cookie"].to_str().expect("text");
        assert!(cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains("Secure"), "{cookie}");
        let cookie = cookie.split(';').next().expect("a cookie");
        let asked = pool.ask(Ask::get("/api/session").from(AFAR).with("cookie", cookie)).await;
        let who = whoami(&asked);
        assert_eq!((who.role, who.name.as_deref()), (role, user), "{kind}");
        assert!(who.ends_at_ms.is_some_and(|end| end > Pool::now().0));
    }
    assert_eq!(pool.ask(sign_in("code", &code)).await.status, StatusCode::UNAUTHORIZED);
    let _ = mira;
}

#[tokio::test]
async fn under_https_the_browser_keeps_the_cookie_to_this_host() {
    let pool = Pool::start(|config| {
        config.public_url = Some("https://pool.example".into());
        config.admin_password = Some(pool_core::Secret::new(PASSWORD));
    })
    .await;
    let got = pool.ask(sign_in("password", PASSWORD).with("host", "pool.example")).await;
    let cookie = got.headers["set-cookie"].to_str().expect("text").to_owned();
    assert!(cookie.starts_with("__Host-pool_session=") && cookie.ends_with("; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().expect("a cookie").to_owned();
    let ask = |cookie: &str| Ask::get("/api/status").from(AFAR).with("host", "pool.example").with("cookie", cookie);
    assert_eq!(pool.ask(ask(&cookie)).await.status, StatusCode::OK);
    // As a page of a neighbouring host could have set it.
    let tossed = cookie.replace("__Host-", "");
    assert_eq!(pool.ask(ask(&tossed)).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_ends_with_sign_out_and_with_what_it_stands_for() {
    let (pool, _) = Pool::with_people().await;
    let (mira, secret) = pool.somebody("Mira", Role::Friend).await;
    let sign_in = format!(r#"{{"credential":"{}"}}"#, secret.expose());
    let who = |cookie: &str| Ask::get("/api/session").from(AFAR).with("cookie", cookie);
    let cookie = pool.session(&sign_in).await;
    let out = Ask::new(Method::DELETE, "/api/session").from(AFAR).with("cookie", &cookie).with("x-pool-page", "1");
    let got = pool.ask(out).await;
    assert_eq!(got.status, StatusCode::NO_CONTENT, "{got:?}");
    assert!(got.headers["set-cookie"].to_str().is_ok_and(|cookie| cookie.contains("Max-Age=0")));
    assert_eq!(pool.ask(who(&cookie)).await.status, StatusCode::UNAUTHORIZED);

    let cookie = pool.session(&sign_in).await;
    assert_eq!(pool.ask(who(&cookie)).await.status, StatusCode::OK);
    let path = format!("/api/people/{}", mira.id);
    let paused = Ask { method: Method::PATCH, ..Ask::post(&path, r#"{"paused":true}"#) };
    assert_eq!(pool.ask(paused.bearer(TOKEN)).await.status, StatusCode::OK);
    assert_eq!(pool.ask(who(&cookie)).await.status, StatusCode::UNAUTHORIZED);
}

/// Ten thousand passwords, each with another `x-forwarded-for`. The right one is among them, and is not told.
#[tokio::test]
async fn guessing_is_stopped_whatever_its_headers_say() {
    let (pool, operator) = Pool::with_people().await;
    let mut answers = std::collections::BTreeMap::<u16, u32>::new();
    for number in 0..10_000_u32 {
        let password = if number == 5_000 { PASSWORD.to_owned() } else { format!("guess-{number}") };
        let forwarded = std::net::Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761)).to_string();
        let got = pool.ask(sign_in("password", &password).with("x-forwarded-for", &forwarded)).await;
        *answers.entry(got.status.as_u16()).or_default() += 1;
        assert!(got.status != StatusCode::TOO_MANY_REQUESTS || got.headers.contains_key("retry-after"));
    }
    assert_eq!(answers.get(&200), None, "{answers:?}");
    assert!(answers[&401] <= 15, "{answers:?}");
    // A neighbour who knows is not held up: neither with a credential, nor from another network.
    assert_eq!(pool.ask(sign_in("credential", operator.expose())).await.status, StatusCode::OK);
    assert_eq!(pool.ask(Ask::get("/api/status").from(AFAR).bearer(operator.expose())).await.status, StatusCode::OK);
    assert_eq!(pool.ask(sign_in("password", PASSWORD).from("203.0.113.8:1")).await.status, StatusCode::OK);
    let relayed = Ask::post("/v1/messages", "{}").from(AFAR).bearer(operator.expose());
    assert_ne!(pool.ask(relayed).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_visitor_is_counted_alone() {
    let pool = Pool::start(|config| {
        config.public_url = Some("http://pool.example".into());
        config.admin_password = Some(pool_core::Secret::new(PASSWORD));
        config.trusted_proxies = vec!["127.0.0.1".parse().expect("a block")];
    })
    .await;
    let visit = |visitor: &str, password: &str| {
        sign_in("password", password).from(LOCAL).with("host", "pool.example").with("x-forwarded-for", visitor)
    };
    for number in 0..20 {
        // What stands left of the proxy's own word is the visitor's invention.
        pool.ask(visit(&format!("198.51.100.{number}, 203.0.113.7"), "wrong")).await;
    }
    assert_eq!(pool.ask(visit("203.0.113.7", PASSWORD)).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(pool.ask(visit("203.0.113.8", PASSWORD)).await.status, StatusCode::OK);
}

/// Neither the answer nor its time tells whether there is a password, or how much of it was right.
#[tokio::test]
async fn nothing_tells_how_near_a_guess_was() {
    let (with, _) = Pool::with_people().await;
    let without = Pool::start(|config| config.operator_token = Some(pool_core::Secret::new(TOKEN))).await;
    let almost = &PASSWORD[..PASSWORD.len() - 1];
    let long = "x".repeat(10_000);
    let mut bodies = std::collections::BTreeSet::new();
    let mut times = Vec::new();
    for (pool, kind, value) in [
        (&with, "password", almost),
        (&with, "password", "x"),
        (&with, "password", ""),
        (&without, "password", "x"),
        (&with, "code", "x"),
        (&with, "credential", "x"),
        (&with, "credential", &TOKEN[..TOKEN.len() - 1]),
        (&with, "password", &*long),
    ] {
        let mut quickest = Duration::MAX;
        for number in 0..9 {
            let ask = sign_in(kind, value).from(format!("198.51.{}.{number}:1", times.len()));
            let begun = Instant::now();
            let got = pool.ask(ask).await;
            quickest = quickest.min(begun.elapsed());
            bodies.insert((got.status.as_u16(), got.body));
        }
        times.push(quickest);
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    // Of the comparison nothing can be seen at this scale; what could be is a slow hash that runs in one case only.
    let (least, most) = (times.iter().min().expect("times"), times.iter().max().expect("times"));
    assert!(*most < *least * 10 + Duration::from_millis(20), "{times:?}");
}

#[tokio::test]
async fn the_first_user_closes_the_pool_and_nobody_is_locked_out() {
    let pool = Pool::start(|_| {}).await;
    assert_eq!(pool.ask(Ask::get("/api/people")).await.status, StatusCode::OK);
    let got = pool.ask(Ask::post("/api/people", r#"{"name":"Mira","role":"user"}"#)).await;
    let added: NewPerson = serde_json::from_str(&got.body).unwrap_or_else(|_| panic!("{got:?}"));
    let operator = added.operator.expect("the operator's own");
    assert_eq!(pool.ask(Ask::get("/api/people")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(pool.ask(Ask::get("/api/people").from(AFAR).bearer(&operator.secret)).await.status, StatusCode::OK);
    // The terminal of whoever may read the pool's files goes on working.
    let key = std::fs::read_to_string(&pool.key_file).expect("read");
    assert_eq!(pool.ask(Ask::get("/api/people").bearer(key.trim())).await.status, StatusCode::OK);
    // The last key of the last operator stays.
    let got = pool.ask(Ask::get("/api/people").bearer(&operator.secret)).await;
    let roster: crate::roster::Roster = serde_json::from_str(&got.body).expect("a roster");
    let me = roster.people.iter().find(|person| person.role == Role::Operator).expect("the operator");
    for (method, path, body) in [
        (Method::DELETE, format!("/api/people/{}", me.id), "{}"),
        (Method::DELETE, format!("/api/people/{}/credentials/{}", me.id, operator.key.id), "{}"),
        (Method::PATCH, format!("/api/people/{}", me.id), r#"{"paused":true}"#),
        (Method::PATCH, format!("/api/people/{}", me.id), r#"{"role":"user"}"#),
    ] {
        let got = pool.ask(Ask { method, ..Ask::post(&path, body) }.bearer(&operator.secret)).await;
        assert_eq!(got.status, StatusCode::CONFLICT, "{path} {body} {got:?}");
    }
}

#[tokio::test]
async fn nobody_lengthens_their_own_stay() {
    let (pool, _) = Pool::with_people().await;
    let (mira, secret) = pool.somebody("Mira", Role::User).await;
    let path = format!("/api/people/{}/credentials", mira.id);
    let got = pool.ask(Ask::post(&path, r#"{"days":0,"label":"phone"}"#).bearer(secret.expose())).await;
    let made: crate::roster::NewKey = serde_json::from_str(&got.body).unwrap_or_else(|_| panic!("{got:?}"));
    let hour = Pool::now().0 + 60 * 60 * 1000;
    assert!(made.key.expires_at_ms.is_some_and(|end| end <= hour), "{made:?}");
    assert_eq!(pool.ask(Ask::get("/api/people/me").bearer(&made.secret)).await.status, StatusCode::OK);
}
