//! Friends: who comes in and how, what they get, and what nobody gets.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use pool_core::Secret;
use pool_core::people::{Grants, Role};
use serde_json::Value;

use super::world::{AFAR, Ask, Got, LOCAL, PASSWORD, Pool, TOKEN};
use crate::admit::Caller;
use crate::friends::Welcomed;
use crate::relay::miss::failed;
use crate::roster::NewInvitation;

const CODE: &str = "made-up-friend-code";

async fn friendly() -> Pool {
    Pool::start(|config| {
        config.operator_token = Some(Secret::new(TOKEN));
        config.admin_password = Some(Secret::new(PASSWORD));
        config.friends.code = Some(Secret::new(CODE));
        config.friends.name = "Nadia <b>".into();
        config.friends.tagline = "Fair & \"square\"".into();
    })
    .await
}

fn claim(body: &str) -> Ask {
    Ask::post("/api/friend/claim", body).from(AFAR)
}

fn form(path: &str, body: &str) -> Ask {
    Ask::post(path, body).with("content-type", "application/x-www-form-urlencoded").with("accept", "text/html")
}

fn welcomed(got: &Got) -> Welcomed {
    assert_eq!(got.status, StatusCode::CREATED, "{got:?}");
    serde_json::from_str(&got.body).unwrap_or_else(|error| panic!("{error}: {got:?}"))
}

async fn invited(pool: &Pool, body: &str) -> NewInvitation {
    let got = pool.ask(Ask::post("/api/invitations", body).bearer(TOKEN)).await;
    serde_json::from_str(&got.body).unwrap_or_else(|_| panic!("{got:?}"))
}

#[tokio::test]
async fn a_friend_comes_in_by_the_code_and_gets_what_each_client_needs() {
    let pool = friendly().await;
    let got = pool.ask(claim(&format!(r#"{{"friend_code":"{CODE}","user_email":"mira@x.example"}}"#))).await;
    let new = welcomed(&got);
    let (user, credential) = pool.app.people.open(&new.credential.secret).expect("opens");
    assert_eq!((user.name.as_str(), user.email.as_deref()), ("mira", Some("mira@x.example")));
    assert_eq!(user.role, Role::Friend);
    let days = credential.expires_at.expect("a friend's ends").since(Pool::now()).0 / 86_400_000;
    assert!((89..=90).contains(&days), "{days}");
    // As the Go original answered.
    let body: Value = serde_json::from_str(&got.body).expect("JSON");
    assert_eq!(body["public_url"], "http://127.0.0.1:8989");
    assert_eq!(body["claude_api_key"], new.credential.secret.as_str());
    assert_eq!(body["auth_json"]["tokens"]["access_token"], new.credential.secret.as_str());
    assert_eq!(body["gemini_auth_json"], Value::Null);
    // Each code sets one client up, once, and all of them are hers.
    assert_eq!(new.setup.keys().collect::<Vec<_>>(), ["claude", "codex", "gemini"]);
    let code_of = |line: &str| line.split('/').next_back().and_then(|end| end.split(' ').next()).map(str::to_owned);
    let mut codes: BTreeSet<String> = new.setup.values().filter_map(|line| code_of(&line.sh)).collect();
    codes.insert(new.download_token.clone());
    assert_eq!(codes.len(), 4);
    for code in codes {
        let path = format!("/setup/codex/{code}");
        let brought = pool.ask(Ask::post(&path, "").from(AFAR)).await;
        assert_eq!(pool.app.people.open(&brought.body).expect("opens").0.id, user.id);
        assert_eq!(pool.ask(Ask::post(&path, "").from(AFAR)).await.status, StatusCode::NOT_FOUND);
    }
    // What she has opens her own page and nobody else's.
    let own = pool.ask(Ask::get("/api/people/me").from(AFAR).bearer(&new.credential.secret)).await;
    assert_eq!(own.status, StatusCode::OK);
    assert_eq!(
        pool.ask(Ask::get("/api/people").from(AFAR).bearer(&new.credential.secret)).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn a_name_is_claimed_once_however_many_try_at_once() {
    let pool = friendly().await;
    let ask = |name: &str, email: &str| {
        claim(&format!(r#"{{"friend_code":"{CODE}","name":"{name}","user_email":"{email}"}}"#))
    };
    let (one, two, three) =
        tokio::join!(pool.ask(ask("Mira", "a@x")), pool.ask(ask("mira", "b@x")), pool.ask(ask("MIRA", "c@x")));
    let won: Vec<&Got> = [&one, &two, &three].into_iter().filter(|got| got.status == StatusCode::CREATED).collect();
    let [won] = won.as_slice() else { panic!("{one:?} {two:?} {three:?}") };
    let hers = welcomed(won);
    let before = pool.app.people.read(|people| people.users().count());
    // Neither her name nor her address, in whatever letters, brings anybody anything.
    for (name, email) in [("Mira", ""), ("", "MIRA@elsewhere"), ("other", "A@X"), ("other", "b@X"), ("mira", "a@x")] {
        let got = pool.ask(ask(name, email)).await;
        if got.status == StatusCode::CREATED {
            // Another address that nobody had: it must not be hers.
            assert!(name == "other" && welcomed(&got).id != hers.id, "{name} {email}");
            continue;
        }
        assert_eq!(got.status, StatusCode::CONFLICT, "{got:?}");
        assert_eq!(got.body, r#"{"error":{"message":"the name is taken"}}"#);
    }
    let after = pool.app.people.read(|people| people.users().count());
    assert!(after <= before + 1, "{before} {after}");
}

#[tokio::test]
async fn a_wrong_code_brings_nothing_and_guessing_is_stopped() {
    let pool = friendly().await;
    let mut answers = std::collections::BTreeMap::<u16, u32>::new();
    for number in 0..200_u32 {
        let code = if number == 100 { CODE.to_owned() } else { format!("guess-{number}") };
        let body = format!(r#"{{"friend_code":"{code}","name":"guest {number}"}}"#);
        let forwarded = std::net::Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761)).to_string();
        let got = pool.ask(claim(&body).with("x-forwarded-for", &forwarded)).await;
        *answers.entry(got.status.as_u16()).or_default() += 1;
        assert!(!got.body.contains("pool-"), "{got:?}");
    }
    assert!(answers[&403] <= 15 && answers.len() == 2 && answers.contains_key(&429), "{answers:?}");
    assert_eq!(pool.app.people.read(|people| people.users().count()), 1);
    // Others are not held up.
    let got = pool.ask(claim(&format!(r#"{{"friend_code":"{CODE}","name":"Mira"}}"#)).from("203.0.113.8:1")).await;
    assert_eq!(got.status, StatusCode::CREATED);
    for body in ["{}", "[]", r#"{"friend_code":1}"#, r#"{"friend_code":"","name":"x"}"#] {
        assert!(pool.ask(claim(body).from("203.0.113.9:1")).await.status.is_client_error(), "{body}");
    }
    // Without friends mode there is nothing to guess.
    let (without, _) = Pool::with_people().await;
    for code in ["", CODE] {
        let got = without.ask(claim(&format!(r#"{{"friend_code":"{code}","name":"x"}}"#))).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{got:?}");
    }
}

#[tokio::test]
async fn friends_mode_asks_everybody_for_a_credential_from_its_start() {
    let pool = Pool::start(|config| config.friends.code = Some(Secret::new(CODE))).await;
    assert_eq!(pool.ask(Ask::get("/api/status")).await.status, StatusCode::UNAUTHORIZED);
    let key = std::fs::read_to_string(&pool.key_file).expect("the key file");
    let got = pool.ask(Ask::post("/api/people/me/credentials", "{}").bearer(key.trim())).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND, "the machine's key is nobody of the directory");
    let operator = pool.app.people.read(|people| people.named("operator").map(|user| user.id.to_string()));
    let path = format!("/api/people/{}/credentials", operator.expect("the operator"));
    let got = pool.ask(Ask::post(&path, "{}").bearer(key.trim())).await;
    assert_eq!(got.status, StatusCode::CREATED, "{got:?}");
    assert!(pool.app.answered.was_done("terms-told").await.expect("read"));
}

#[tokio::test]
async fn an_invitation_lets_one_person_in_with_its_limits() {
    let (pool, _) = Pool::with_people().await;
    let made = invited(&pool, r#"{"limits":{"streams":2}}"#).await;
    for _ in 0..2 {
        let page = pool.ask(Ask::get(&made.path).from(AFAR)).await;
        assert!(page.status == StatusCode::OK && page.body.contains("You are invited"), "{page:?}");
    }
    // A name that cannot be leaves the invitation as it was.
    let got = pool.ask(form(&made.path, "name=%3Cscript%3E").from(AFAR)).await;
    assert!(got.status == StatusCode::BAD_REQUEST && !got.body.contains("<script"), "{got:?}");
    let join = |name: &str| Ask::post(&made.path, &format!(r#"{{"name":"{name}"}}"#)).from(AFAR);
    let (one, two) = tokio::join!(pool.ask(join("Mira")), pool.ask(join("Nadia")));
    let (good, bad) = if one.status == StatusCode::CREATED { (one, two) } else { (two, one) };
    let new = welcomed(&good);
    assert_eq!(bad.status, StatusCode::NOT_FOUND, "{bad:?}");
    assert!(bad.body.contains("this code is unknown, was used, or has ended"));
    let (user, _) = pool.app.people.open(&new.credential.secret).expect("opens");
    assert_eq!((user.role, user.limits.streams), (Role::Friend, Some(2)));
    let page = pool.ask(Ask::get(&made.path).from(AFAR)).await;
    assert!(page.status == StatusCode::NOT_FOUND && page.body.contains("This invitation does not work"), "{page:?}");
    // A set-up code is no invitation, and is not used up by the try.
    let line = pool.ask(Ask::post("/api/people/me/setup/codex", "{}").bearer(&new.credential.secret)).await;
    let line: Value = serde_json::from_str(&line.body).expect("JSON");
    let code = line["code"].as_str().expect("a code");
    let got = pool.ask(Ask::post(&format!("/join/{code}"), r#"{"name":"x"}"#).from(AFAR)).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    assert_eq!(pool.ask(Ask::post(&format!("/setup/codex/{code}"), "").from(AFAR)).await.status, StatusCode::OK);
    // Who is named is named so.
    let made = invited(&pool, r#"{"name":"Omar","role":"user"}"#).await;
    let new = welcomed(&pool.ask(Ask::post(&made.path, r#"{"name":"else"}"#).from(AFAR)).await);
    let (user, _) = pool.app.people.open(&new.credential.secret).expect("opens");
    assert_eq!((user.name.as_str(), user.role), ("Omar", Role::User));
}

#[tokio::test]
async fn an_invitation_that_has_ended_is_none() {
    let (pool, _) = Pool::with_people().await;
    let grants = || Grants::Invitation {
        role: Role::Friend,
        name: None,
        limits: pool_core::limits::Limits::default(),
        accounts: None,
    };
    let (code, ..) = pool.app.people.make_code(grants(), pool_core::Span::ZERO).await.expect("made");
    let got = pool.ask(Ask::post(&format!("/join/{}", code.expose()), r#"{"name":"x"}"#).from(AFAR)).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    for forged in ["x", "u-1", "eyJhbGciOiJub25lIn0", "%00", "..%2f"] {
        let got = pool.ask(Ask::post(&format!("/join/{forged}"), r#"{"name":"x"}"#).from(AFAR)).await;
        assert!(got.status == StatusCode::NOT_FOUND || got.status == StatusCode::UNAUTHORIZED, "{forged}: {got:?}");
    }
}

/// Names come from strangers, and from the operator's settings.
#[tokio::test]
async fn what_people_call_themselves_is_text_on_every_page() {
    let pool = friendly().await;
    let got = pool.ask(Ask::get("/").from(AFAR).with("accept", "text/html")).await;
    assert!(got.body.contains("Friends of Nadia &lt;b&gt;") && !got.body.contains("Nadia <b>"), "{got:?}");
    assert!(got.body.contains("Fair &amp; &quot;square&quot;"));
    for name in ["<script>alert(1)</script>", "\"onmouseover=alert(1) x=\"", "a'b", "<img src=x>"] {
        let encoded = percent_encoding::percent_encode(name.as_bytes(), percent_encoding::NON_ALPHANUMERIC);
        let got = pool.ask(form("/friend/claim", &format!("friend_code={CODE}&name={encoded}")).from(AFAR)).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{got:?}");
        let (_, said) = got.body.split_once("cannot be a name").map_or(("", ""), |cut| cut);
        assert!(!got.body.contains(name) && !said.is_empty(), "{got:?}");
    }
    // A label is its machine's own words.
    let (_, secret) = pool.somebody_with("Mira", Role::Friend, |_, key| key.label = "<script>x</script>".into()).await;
    let got = pool.ask(Ask::get("/me").from(AFAR).bearer(secret.expose()).with("accept", "text/html")).await;
    assert!(got.body.contains("&lt;script&gt;x&lt;/script&gt;") && !got.body.contains("<script"), "{got:?}");
    let policy = got.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn a_browser_comes_in_signs_out_and_in_again_without_a_script() {
    let pool = friendly().await;
    let own_page = |ask: Ask| ask.from(AFAR).with("sec-fetch-site", "same-origin").with("accept", "text/html");
    let got = pool.ask(own_page(form("/friend/claim", &format!("friend_code={CODE}&name=Mira+K.&user_email=")))).await;
    assert!(got.status == StatusCode::CREATED && got.body.contains("Welcome, Mira K."), "{got:?}");
    let secret =
        got.body.split("<pre>").find_map(|part| part.split("</pre>").next().filter(|text| text.starts_with("pool-")));
    let secret = secret.expect("the credential").to_owned();
    let cookie = |got: &Got| {
        let cookie = got.headers["set-cookie"].to_str().expect("text");
        cookie.split(';').next().unwrap_or_default().to_owned()
    };
    let mine = cookie(&got);
    let page = pool.ask(own_page(Ask::get("/me")).with("cookie", &mine)).await;
    assert!(page.status == StatusCode::OK && page.body.contains("You are a friend of this pool"), "{page:?}");
    assert!(!page.body.contains(&secret), "shown once");
    let got = pool.ask(own_page(form("/me/setup/codex", "")).with("cookie", &mine)).await;
    assert!(got.status == StatusCode::CREATED && got.body.contains("/setup/codex/"), "{got:?}");
    // Not by another page's form, nor by one whose browser does not say.
    for (site, status) in [("cross-site", StatusCode::FORBIDDEN), ("none", StatusCode::FORBIDDEN)] {
        let got =
            pool.ask(own_page(form("/me/setup/codex", "")).with("cookie", &mine).with("sec-fetch-site", site)).await;
        assert_eq!(got.status, status, "{site}");
    }
    let got = pool.ask(own_page(form("/sign-out", "")).with("cookie", &mine)).await;
    assert_eq!((got.status, got.headers["location"].to_str().ok()), (StatusCode::SEE_OTHER, Some("/")));
    let got = pool.ask(own_page(Ask::get("/me")).with("cookie", &mine)).await;
    assert!(got.status == StatusCode::UNAUTHORIZED && got.body.contains("<h1>Sign in</h1>"), "{got:?}");
    let got = pool.ask(own_page(form("/sign-in", &format!("secret={secret}")))).await;
    assert_eq!((got.status, got.headers["location"].to_str().ok()), (StatusCode::SEE_OTHER, Some("/me")));
    let again = cookie(&got);
    // With the credential the session ends.
    let (_, key) = pool.app.people.open(&secret).expect("opens");
    let got = pool.ask(own_page(form(&format!("/me/revoke/{}", key.id), "")).with("cookie", &again)).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{got:?}");
    assert_eq!(pool.ask(own_page(Ask::get("/me")).with("cookie", &again)).await.status, StatusCode::UNAUTHORIZED);
    for wrong in ["secret=wrong", "", "secret="] {
        let got = pool.ask(own_page(form("/sign-in", wrong))).await;
        assert!(got.status.is_client_error() && got.body.contains("<h1>Sign in</h1>"), "{wrong}: {got:?}");
    }
    let got = pool.ask(own_page(form("/sign-in", &format!("secret={PASSWORD}")))).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{got:?}");
    let page = pool.ask(own_page(Ask::get("/me")).with("cookie", &cookie(&got))).await;
    assert!(page.body.contains("This pool is yours") && page.body.contains("May friends use your subscriptions?"));
}

#[tokio::test]
async fn the_operator_says_once_whether_subscriptions_are_shared() {
    let (pool, _) = Pool::with_people().await;
    assert!(pool.app.sharing().subscriptions && pool.app.shares_subscriptions().is_none());
    let got = pool.ask(form("/me/sharing", "share=no").bearer(TOKEN)).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{got:?}");
    assert!(!pool.app.sharing().subscriptions);
    let (_, friend) = pool.somebody("Mira", Role::Friend).await;
    let got = pool.ask(form("/me/sharing", "share=yes").bearer(friend.expose())).await;
    assert_eq!(got.status, StatusCode::FORBIDDEN);
    assert!(!pool.app.sharing().subscriptions);
    let got = pool.ask(form("/me/invite", "name=Omar").bearer(TOKEN)).await;
    assert!(got.status == StatusCode::CREATED && got.body.contains("http://127.0.0.1:8989/join/"), "{got:?}");
    // The setting wins.
    let pool = Pool::start(|config| config.share_subscriptions = Some(true)).await;
    pool.app.answered.set_share_subscriptions(false).await.expect("written");
    assert!(pool.app.sharing().subscriptions);
}

#[tokio::test]
async fn the_first_page_tells_strangers_nothing() {
    let pool = friendly().await;
    for (ask, status) in [
        (Ask::get("/").from(AFAR), StatusCode::OK),
        (Ask::get("/").from(AFAR).with("accept", "text/html"), StatusCode::OK),
        (Ask::get("/friend").from(AFAR), StatusCode::OK),
        (Ask::get("/").from(LOCAL), StatusCode::OK),
        (Ask::get("/").from(AFAR).bearer("pool-made-up"), StatusCode::OK),
        (Ask::get("/").with("host", "evil.example").with("accept", "text/html"), StatusCode::MISDIRECTED_REQUEST),
    ] {
        let got = pool.ask(ask).await;
        assert_eq!(got.status, status, "{got:?}");
        assert!(!got.body.contains("account") && !got.body.contains("in flight"), "{got:?}");
    }
    let operators = pool.ask(Ask::get("/").from(AFAR).bearer(TOKEN)).await;
    assert!(operators.headers["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/plain")));
}

/// Two people and the operator, each with something used: who sees what at the Go original's addresses.
#[tokio::test]
async fn everybody_sees_their_own_usage_and_the_operator_all() {
    let (pool, operator) = Pool::with_people().await;
    let (mira, hers) = pool.somebody("Mira", Role::Friend).await;
    let (nadia, _) = pool.somebody("Nadia", Role::User).await;
    for (user, id, output) in [(&mira, "r1", 5), (&nadia, "r2", 7), (&nadia, "r3", 11)] {
        pool.app.ledger.record(used(user, id, output));
    }
    for _ in 0..400 {
        if pool.app.ledger.count().await.is_ok_and(|count| count == 3) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let ask = async |path: &str, secret: &Secret| {
        let got = pool.ask(Ask::get(path).from(AFAR).bearer(secret.expose())).await;
        (got.status.as_u16(), serde_json::from_str::<Value>(&got.body).expect("JSON"), got.body)
    };
    for (path, own, all) in
        [("/api/pool/stats", "/total/output_tokens", 23), ("/api/pool/daily-breakdown", "/days/0/output_tokens", 23)]
    {
        assert_eq!(ask(path, &hers).await.1.pointer(own), Some(&5.into()), "{path}");
        assert_eq!(ask(path, &operator).await.1.pointer(own), Some(&all.into()), "{path}");
    }
    let (_, own, text) = ask("/api/pool/users", &hers).await;
    assert_eq!((own.as_array().map(Vec::len), own.pointer("/0/usage/output_tokens")), (Some(1), Some(&5.into())));
    assert!(!text.contains("Nadia"));
    assert_eq!(ask("/api/pool/users", &operator).await.1.as_array().map(Vec::len), Some(3));
    assert_eq!(ask("/api/pool/whoami", &hers).await.1["name"], "Mira");
    let of = |id: &str, days: &str| format!("/api/pool/users/{id}/daily?days={days}");
    assert_eq!(ask(&of(&mira.id.0, "90"), &hers).await.1["days"][0]["output_tokens"], 5);
    for (path, secret, status) in [
        (of(&nadia.id.0, "7"), &hers, 404),
        (of(&nadia.id.0, "7"), &operator, 200),
        (of("me", "91"), &hers, 400),
        (of("me", "0"), &hers, 400),
        (of("me", "-1"), &hers, 400),
    ] {
        assert_eq!(ask(&path, secret).await.0, status, "{path}");
    }
    // The friend code alone is nobody.
    let coded = pool.ask(Ask::get("/api/pool/stats?code=x").from(AFAR).with("x-friend-code", CODE)).await;
    assert_eq!(coded.status, StatusCode::UNAUTHORIZED);
    // A leaderboard only where it was turned on.
    let board = ask("/api/pool/stats", &hers).await.1;
    assert!(board.get("leaderboard").is_none() && board.get("accounts").is_none() && board.get("users").is_none());
    let page = pool.ask(Ask::get("/me").from(AFAR).bearer(hers.expose())).await;
    assert!(page.body.contains("<td class=\"n\">5</td>") && !page.body.contains("Nadia"), "{page:?}");
}

#[tokio::test]
async fn the_board_shows_names_where_it_was_turned_on() {
    let pool = Pool::start(|config| config.friends.leaderboard = true).await;
    let (mira, _) = pool.somebody("Mira", Role::Friend).await;
    let (_, other) = pool.somebody("Nadia", Role::Friend).await;
    pool.app.ledger.record(used(&mira, "r1", 12_000));
    for _ in 0..400 {
        if pool.app.ledger.count().await.is_ok_and(|count| count == 1) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let page = pool.ask(Ask::get("/me").from(AFAR).bearer(other.expose())).await;
    assert!(page.body.contains("<th scope=\"row\">Mira</th><td class=\"n\">12 k</td>"), "{page:?}");
    let stats = pool.ask(Ask::get("/api/pool/stats").from(AFAR).bearer(other.expose())).await;
    assert!(stats.body.contains(r#""leaderboard":[{"name":"Mira","tokens":12000}]"#), "{stats:?}");
    assert!(!page.body.contains(&*mira.id.0) && !stats.body.contains(&*mira.id.0));
}

fn used(user: &pool_core::people::User, id: &str, output: u64) -> pool_core::UsageRecord {
    pool_core::UsageRecord {
        parts: None,
        request_id: id.into(),
        at: Pool::now(),
        user: Some(user.id.clone()),
        provider: "codex".into(),
        account: pool_core::AccountId("codex-1".into()),
        model: Some("some-model".into()),
        client: None,
        session: None,
        status: 200,
        ending: pool_core::usage::Ending::Complete,
        tokens: Some(pool_core::TokenCounts { output, ..pool_core::TokenCounts::default() }),
        attempts: 1,
        first_byte_ms: 1,
        total_ms: 1,
    }
}

#[tokio::test]
async fn the_operators_old_endpoints_do_what_they_say_and_tell_no_secret() {
    let (pool, operator) = Pool::with_people().await;
    let dir = pool.app.config.pool_dir.clone();
    std::fs::write(dir.join("work.json"), r#"{"OPENAI_API_KEY": "sk-canary-of-a-key"}"#).expect("writes");
    let ask = async |method: Method, path: &str, body: &str| {
        let ask = Ask { method, ..Ask::post(path, body) }.from(AFAR).bearer(operator.expose());
        let got = pool.ask(ask).await;
        assert!(!got.body.contains("canary"), "{path}: {got:?}");
        (got.status.as_u16(), serde_json::from_str::<Value>(&got.body).unwrap_or_default(), got.body)
    };
    let (status, said, _) = ask(Method::POST, "/admin/reload", "").await;
    assert_eq!((status, &said["accounts"]), (200, &1.into()));
    let (_, accounts, _) = ask(Method::GET, "/admin/accounts", "").await;
    let id = accounts[0]["id"].as_str().expect("an id").to_owned();
    for (verb, state, disabled) in [("disable", "paused", true), ("enable", "ready", false)] {
        let (status, said, _) = ask(Method::POST, &format!("/admin/accounts/{id}/{verb}"), "").await;
        assert_eq!((status, &said["disabled"]), (200, &disabled.into()), "{said}");
        let (_, accounts, _) = ask(Method::GET, "/admin/accounts", "").await;
        let is = accounts[0]["state"].as_str().expect("a state");
        assert!(is == state || (is != "paused" && !disabled), "{is}");
    }
    let text = std::fs::read_to_string(dir.join("work.json")).expect("read");
    assert!(text.contains("sk-canary-of-a-key"), "{text}");
    let (_, tokens, _) = ask(Method::GET, "/admin/tokens", "").await;
    assert_eq!((&tokens[0]["can_be_renewed"], &tokens[0]["expires_at_ms"]), (&false.into(), &Value::Null));
    assert_eq!(ask(Method::POST, &format!("/admin/accounts/{id}/refresh"), "").await.0, 409);
    for path in ["/admin/accounts/..%2f..%2fwork/disable", "/admin/accounts/x/enable"] {
        assert_eq!(ask(Method::POST, path, "").await.0, 404, "{path}");
    }
    let (status, made, _) =
        ask(Method::POST, "/admin/pool-users/create", r#"{"email":"mira@x","plan_type":"pro"}"#).await;
    assert_eq!(status, 201, "{made}");
    let secret = made["credential"]["secret"].as_str().expect("a credential");
    assert!(pool.app.people.open(secret).is_ok());
    let path = format!("/admin/pool-users/{}/disable", made["id"].as_str().expect("an id"));
    assert_eq!(ask(Method::POST, &path, "").await.1["disabled"], true);
    assert!(pool.app.people.open(secret).is_err());
    assert_eq!(ask(Method::GET, "/admin/pool-users", "").await.1.as_array().map(Vec::len), Some(2));
    let (_, _, metrics) = ask(Method::GET, "/metrics", "").await;
    for line in [
        "# TYPE codex_pool_requests_in_flight gauge",
        "codex_pool_requests_in_flight 0",
        "codex_pool_people{role=\"user\"} 1",
        "codex_pool_accounts{provider=\"codex\",state=\"paused\"} 0",
        "codex_pool_records_dropped_total 0",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }
    let value = |line: &str| line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok());
    assert!(metrics.lines().all(|line| line.starts_with("# ") || value(line)), "{metrics}");
}

#[tokio::test]
async fn whoever_adds_the_first_user_by_the_old_address_is_not_locked_out() {
    let pool = Pool::start(|_| {}).await;
    let got = pool.ask(Ask::post("/admin/pool-users/create", r#"{"email":"mira@x.example"}"#)).await;
    let made: Value = serde_json::from_str(&got.body).unwrap_or_else(|_| panic!("{got:?}"));
    let own = made["operator"]["secret"].as_str().expect("the operator's own");
    assert_eq!(pool.ask(Ask::get("/admin/pool-users")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(pool.ask(Ask::get("/admin/pool-users").bearer(own)).await.status, StatusCode::OK);
    let second = pool.ask(Ask::post("/admin/pool-users/create", r#"{"email":"nadia@x.example"}"#).bearer(own)).await;
    let second: Value = serde_json::from_str(&second.body).expect("JSON");
    assert!(second["operator"].is_null() && second["credential"]["secret"].is_string());
}

/// Some reasons name a file, for whoever can mend it: a friend is told without.
#[tokio::test]
async fn a_friend_is_told_of_a_failure_without_names() {
    let (pool, _) = Pool::with_people().await;
    let text = r#"{"OPENAI_API_KEY": "sk-made-up-key", "name": "nadias-own"}"#;
    std::fs::write(pool.app.config.pool_dir.join("work.json"), text).expect("writes");
    pool.app.keeper.reload().await;
    for (role, reason, named) in [
        (Role::Friend, "no fresh credential: put a valid key into work.json", false),
        (Role::Friend, "nadias-own is out", false),
        (Role::User, "nadias-own is out", true),
        (Role::Friend, "connection refused", true),
    ] {
        let (_, secret) = pool.somebody(&format!("{role:?} {reason}").replace(':', " "), role).await;
        let (user, credential) = pool.app.people.open(secret.expose()).expect("opens");
        let said = failed(&pool.app, &Caller::Person { user, credential }, reason);
        assert_eq!(said.contains(reason), named, "{said}");
        assert!(said.starts_with("upstream failed: "), "{said}");
    }
}
