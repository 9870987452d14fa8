//! Friends use what is shared with them, and learn nothing of the rest: end to end, with real requests.

mod support;

use pool_core::people::Role;
use pool_server::people::{Issued, new_user};
use pool_testkit::request::Request;
use pool_testkit::{FakeAccount, Fault, World};
use support::Rig;
use support::clients::{CHAT, CLAUDE, CODEX, Client};

/// What accounts, their files and their owners are called: nothing that a friend can get may hold it.
const NAME: &str = "planted-account-name";

async fn somebody(rig: &Rig, name: &str, role: Role) -> Issued {
    let user = new_user(name, role).expect("random");
    rig.app.people.add(user, "laptop", None).await.expect("added").issued
}

fn by(mut request: Request, issued: &Issued) -> Request {
    request.headers.retain(|(name, _)| name != "authorization" && name != "x-api-key");
    request.header("authorization", &format!("Bearer {}", issued.secret.expose()))
}

fn served(rig: &Rig) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> =
        rig.fake.accounts().iter().map(|account| (account.name(), account.books().requests)).collect();
    all.sort();
    all
}

async fn ask(rig: &Rig, client: &Client, conversation: &str, issued: &Issued) -> u16 {
    rig.send(&by((client.request)(conversation), issued)).await.status.unwrap_or_default()
}

#[tokio::test]
async fn what_is_not_shared_never_serves_a_friend() {
    let world = World::new()
        .account(FakeAccount::chatgpt("kept").setting("share", false))
        .account(FakeAccount::chatgpt("given").setting("share", true))
        .account(FakeAccount::claude("unsaid"))
        .account(FakeAccount::openai_key("key"))
        .account(FakeAccount::openai_key("kept-key").setting("share", false));
    let rig = Rig::start(world).await;
    let friend = somebody(&rig, "Mira", Role::Friend).await;
    let user = somebody(&rig, "Nadia", Role::User).await;
    // Unanswered, a subscription is shared; then the operator says no.
    assert_eq!(ask(&rig, &CLAUDE, "first", &friend).await, 200);
    rig.app.answered.set_share_subscriptions(false).await.expect("written");
    for round in 0..6 {
        assert_eq!(ask(&rig, &CODEX, &format!("codex {round}"), &friend).await, 200);
        assert_eq!(ask(&rig, &CHAT, &format!("chat {round}"), &friend).await, 200);
        // Not even where its own conversation was.
        assert_ne!(ask(&rig, &CLAUDE, "first", &friend).await, 200);
    }
    let count = |name: &str| served(&rig).iter().find(|(one, _)| one == name).map_or(0, |(_, count)| *count);
    assert_eq!((count("kept"), count("kept-key"), count("unsaid")), (0, 0, 1), "{:?}", served(&rig));
    // When what is shared is out, the rest still is not theirs.
    for name in ["given", "key"] {
        let account = rig.fake.accounts().into_iter().find(|account| account.name() == name).expect("an account");
        account.fault(Fault::Forbidden);
    }
    for round in 0..3 {
        assert_ne!(ask(&rig, &CODEX, &format!("codex again {round}"), &friend).await, 200);
        assert_ne!(ask(&rig, &CHAT, &format!("chat again {round}"), &friend).await, 200);
    }
    assert_eq!((count("kept"), count("kept-key")), (0, 0));
    // A user of the pool is nobody's guest.
    assert_eq!(ask(&rig, &CLAUDE, "hers", &user).await, 200);
    assert_eq!(ask(&rig, &CODEX, "hers", &user).await, 200);
}

/// Accounts with a planted name, in every state that has words for it, and a friend who asks for everything.
#[tokio::test]
async fn a_friend_learns_no_accounts_name() {
    let named = |account: FakeAccount, number: u32| account.setting("name", format!("{NAME}-{number}"));
    let world = World::new()
        .account(named(FakeAccount::chatgpt("anna"), 1))
        .account(named(FakeAccount::claude("carl"), 2))
        .account(named(FakeAccount::anthropic_key("ash"), 3))
        .account(named(FakeAccount::openai_key("oak"), 4));
    let rig = Rig::with(world, |config| config.friends.leaderboard = true).await;
    let friend = somebody(&rig, "Mira", Role::Friend).await;
    let mut seen = 0;
    let mut learn = async |request: Request| {
        let seen_now = rig.send(&by(request, &friend)).await;
        let text = format!("{:?} {}", seen_now.headers, seen_now.text());
        for secret in [NAME, "anna.json", "carl.json", "ash.json", "oak.json"] {
            assert!(!text.contains(secret), "{text}");
        }
        seen += 1;
        seen_now.status.unwrap_or_default()
    };
    let get = |path: &str| Request {
        method: "GET",
        path: path.into(),
        headers: vec![("accept".into(), "text/html,application/json".into())],
        body: Vec::new(),
    };
    for path in [
        "/",
        "/me",
        "/friend",
        "/status",
        "/api/status",
        "/api/notices",
        "/api/people",
        "/api/people/me",
        "/api/people/contributions",
        "/api/session",
        "/api/explain?provider=codex",
        "/api/explain/last",
        "/api/pool/whoami",
        "/api/pool/stats",
        "/api/pool/users",
        "/api/pool/users/me/daily",
        "/api/pool/daily-breakdown",
        "/metrics",
        "/admin/accounts",
        "/admin/tokens",
        "/admin/pool-users",
        "/healthz",
        "/readyz",
        "/v1/models",
        "/backend-api/wham/usage",
        "/backend-api/codex/models",
        "/api/codex/usage",
        "/api/oauth/usage",
        "/api/oauth/profile",
        "/v1/me",
    ] {
        learn(get(path)).await;
    }
    for (round, fault) in
        [None, Some(Fault::Revoked), Some(Fault::Forbidden), Some(Fault::ServerError), Some(Fault::Silent)]
            .into_iter()
            .enumerate()
    {
        for account in rig.fake.accounts() {
            account.clear_faults();
            if let Some(fault) = fault.clone() {
                account.fault(fault);
            }
        }
        if round == 4 {
            break;
        }
        for client in [&CODEX, &CLAUDE, &CHAT] {
            let status = learn((client.request)(&format!("round {round}"))).await;
            assert_eq!(status == 200, round == 0, "{} in round {round}: {status}", client.name);
        }
    }
    for path in ["/me", "/v1/models", "/backend-api/wham/usage", "/api/pool/stats"] {
        learn(get(path)).await;
    }
    assert!(seen > 40);
}
