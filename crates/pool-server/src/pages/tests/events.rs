//! Who listens is told what is theirs to know, from where they were, for as long as they may.

use pool_core::Secret;
use pool_core::people::{Role, User};
use pool_core::{Account, Client, Demand, ProviderId};
use serde_json::Value;

use super::super::openapi::document;
use super::schema::check;
use super::world::{AFAR, Ask, Heard, Listening, Pool, TOKEN};
use crate::admit::Caller;
use crate::app::Counted;
use crate::events::{Flight, Happening, Phase};

/// A pool with an account, and somebody's request on it.
struct Scene {
    pool: Pool,
    mira: (User, Secret),
    nadia: (User, Secret),
    account: Account,
}

impl Scene {
    async fn set() -> Self {
        let (pool, _) = Pool::with_people().await;
        let mira = pool.somebody("Mira", Role::User).await;
        let nadia = pool.somebody("Nadia", Role::Friend).await;
        let account = pool.account("claude-0123456789ab", "secret-name");
        Self { pool, mira, nadia, account }
    }

    fn request_of(&self, (user, secret): &(User, Secret), id: &str) -> Counted {
        let (user, credential) = self.pool.app.people.open(secret.expose()).unwrap_or_else(|_| panic!("{user:?}"));
        let caller = Caller::Person { user, credential };
        let demand = Demand::any(ProviderId("claude"), Client::OwnCli);
        let under_way = self.pool.app.set_out(Some(Flight::new(id.into(), &caller, &demand, None, None)));
        under_way.give_to(&self.account);
        under_way
    }

    async fn listen(&self, token: &str, seen: Option<&str>) -> Listening {
        let ask = Ask::get("/api/events").from(AFAR).bearer(token);
        let ask = if let Some(id) = seen { ask.with("last-event-id", id) } else { ask };
        self.pool.listen(ask).await
    }
}

/// The data as the document describes it.
fn described(heard: &Heard) -> Value {
    let events = &document()["paths"]["/api/events"]["get"]["responses"]["200"]["content"]["text/event-stream"];
    let data: Value = serde_json::from_str(&heard.data).expect("JSON");
    let schema = &events["x-events"][&heard.name];
    check(document(), schema, &data).unwrap_or_else(|wrong| panic!("{}: {wrong}", heard.name));
    data
}

#[tokio::test]
async fn everybody_sees_what_is_theirs() {
    let scene = Scene::set().await;
    let (mira, nadia) = (scene.mira.1.expose().to_owned(), scene.nadia.1.expose().to_owned());
    let under_way = [scene.request_of(&scene.mira, "of-mira"), scene.request_of(&scene.nadia, "of-nadia")];
    for (token, flights, knows_account, knows_file) in [
        (TOKEN, vec!["of-mira", "of-nadia"], true, true),
        (&mira, vec!["of-mira"], true, false),
        (&nadia, vec!["of-nadia"], false, false),
    ] {
        let mut listening = scene.listen(token, None).await;
        let snapshot = listening.next().await.expect("a snapshot");
        assert_eq!(snapshot.name, "snapshot");
        let data = described(&snapshot);
        let ids: Vec<_> = data["flights"].as_array().expect("a list").iter().map(|one| one["id"].clone()).collect();
        assert_eq!(ids, flights);
        for one in &under_way {
            one.enter(Phase::Streaming);
        }
        scene.pool.app.events.tell(Happening::Notices(Vec::new()));
        scene.pool.app.events.tell(Happening::AccountGone(scene.account.id.clone()));
        let mut told = snapshot.data;
        for id in &flights {
            let heard = listening.next().await.expect("an event");
            assert_eq!((heard.name.as_str(), &described(&heard)["id"]), ("flight", &Value::from(*id)));
            told.push_str(&heard.data);
        }
        let whole = format!("{told}{}", scene.pool.ask(Ask::get("/api/accounts").from(AFAR).bearer(token)).await.body);
        for page in ["/api/flights", "/api/overview"] {
            let page = scene.pool.ask(Ask::get(page).from(AFAR).bearer(token)).await;
            assert!(knows_account || !page.body.contains("secret-name"), "{token}: {}", page.body);
        }
        assert_eq!(whole.contains("secret-name"), knows_account, "{token}: {whole}");
        assert_eq!(whole.contains("secret-name.json"), knows_file, "{token}: {whole}");
        assert_eq!(whole.contains("example.com"), knows_file, "{token}: {whole}");
        if token == TOKEN {
            assert_eq!(listening.next().await.expect("an event").name, "notices");
            assert_eq!(described(&listening.next().await.expect("an event"))["id"], "claude-0123456789ab");
        }
    }
}

#[tokio::test]
async fn who_comes_back_misses_nothing() {
    let scene = Scene::set().await;
    let first = scene.listen(TOKEN, None).await.next().await.expect("a snapshot");
    let under_way = scene.request_of(&scene.mira, "meanwhile");
    drop(under_way);
    let mut listening = scene.listen(TOKEN, Some(&first.id)).await;
    let mut names = Vec::new();
    let mut last = String::new();
    for _ in 0..3 {
        let heard = listening.next().await.expect("an event");
        described(&heard);
        names.push(heard.name);
        last = heard.id;
    }
    assert_eq!(names, ["flight", "flight", "ended"]);
    // Too long away, of another process, or nonsense.
    for _ in 0..3000 {
        scene.pool.app.events.tell(Happening::Notices(Vec::new()));
    }
    for id in [last.as_str(), "0badc0de-5", "nonsense"] {
        let heard = scene.listen(TOKEN, Some(id)).await.next().await.expect("an event");
        assert_eq!(heard.name, "snapshot", "{id}");
    }
}

#[tokio::test]
async fn only_who_has_to_wait_is_told_to_wait() {
    let scene = Scene::set().await;
    let first = scene.listen(TOKEN, None).await.next().await.expect("a snapshot");
    let under_way = scene.request_of(&scene.mira, "patient");
    under_way.waiting(std::future::ready(())).await;
    under_way.waiting(tokio::task::yield_now()).await;
    let mut listening = scene.listen(TOKEN, Some(&first.id)).await;
    let mut phases = Vec::new();
    for _ in 0..3 {
        phases.push(described(&listening.next().await.expect("an event"))["phase"].clone());
    }
    assert_eq!(phases, ["choosing", "thinking", "waiting"]);
}

#[tokio::test]
async fn a_listener_that_does_not_listen_holds_up_nobody_and_begins_anew() {
    let scene = Scene::set().await;
    let mut listening = scene.listen(TOKEN, None).await;
    assert_eq!(listening.next().await.expect("an event").name, "snapshot");
    let under_way = scene.request_of(&scene.mira, "busy");
    for _ in 0..20_000 {
        under_way.enter(Phase::Streaming);
    }
    // Some were on their way; then there is a gap, and a snapshot bridges it.
    let mut count = 0;
    while listening.next().await.expect("an event").name != "snapshot" {
        count += 1;
        assert!(count < 20_000, "it heard everything");
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_it() {
    let scene = Scene::set().await;
    let app = &scene.pool.app;
    let mut listening = scene.listen(scene.mira.1.expose(), None).await;
    assert_eq!(listening.next().await.expect("an event").name, "snapshot");
    let key = app.people.open(scene.mira.1.expose()).expect("works").1.id.clone();
    app.people.revoke(&key).await.expect("written");
    assert!(listening.next().await.is_none(), "a revoked credential");

    let cookie = scene.pool.session(&format!(r#"{{"credential":"{}"}}"#, scene.nadia.1.expose())).await;
    let mut listening = scene.pool.listen(Ask::get("/api/events").from(AFAR).with("cookie", &cookie)).await;
    assert_eq!(listening.next().await.expect("an event").name, "snapshot");
    let out =
        Ask::new(http::Method::DELETE, "/api/session").from(AFAR).with("cookie", &cookie).with("x-pool-page", "1");
    assert_eq!(scene.pool.ask(out).await.status, 204);
    while let Some(heard) = listening.next().await {
        assert_ne!(heard.name, "snapshot", "a session that was ended");
    }

    let mut listening = scene.listen(TOKEN, None).await;
    assert_eq!(listening.next().await.expect("an event").name, "snapshot");
    app.events.close();
    assert!(listening.next().await.is_none(), "a server that stops");
}
