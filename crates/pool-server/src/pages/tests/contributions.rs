//! Who sees what of what was given and used.

use std::time::Duration;

use pool_core::account::{Account, AccountKind, ProviderId, Settings};
use pool_core::people::{Role, UserId};
use pool_core::pool::Event;
use pool_core::usage::{Ending, UsageRecord};
use pool_core::{AccountId, Credentials, Secret, TokenCounts};

use super::world::{Ask, Pool};
use crate::contributions::Contributions;

fn account(pool: &Pool, name: &str, owner: &str) {
    let account = Account {
        id: AccountId(name.into()),
        provider: ProviderId("kiwi"),
        kind: AccountKind::Subscription,
        name: name.into(),
        file: format!("{name}.json"),
        plan: None,
        email: None,
        settings: Settings { owner: Some(owner.into()), ..Settings::default() },
    };
    let credentials = Credentials::lasting(Secret::new(name));
    pool.app.pool.apply(Event::Seen { account: Box::new(account), credentials: Box::new(credentials) });
}

fn used(pool: &Pool, id: &str, user: &UserId, account: &str) {
    let record = UsageRecord {
        request_id: id.into(),
        at: Pool::now(),
        user: Some(user.clone()),
        provider: "kiwi".into(),
        account: AccountId(account.into()),
        model: None,
        client: None,
        session: None,
        status: 200,
        ending: Ending::Complete,
        tokens: Some(TokenCounts { input: 100, ..TokenCounts::default() }),
        attempts: 1,
        first_byte_ms: 1,
        total_ms: 1,
        parts: None,
    };
    assert!(pool.app.ledger.record(record));
}

#[tokio::test]
async fn the_operator_sees_everybodys_part_and_a_person_their_own() {
    let (pool, operator) = Pool::with_people().await;
    let (mira, miras) = pool.somebody("Mira", Role::Friend).await;
    let (nadia, nadias) = pool.somebody("Nadia", Role::User).await;
    account(&pool, "brought", "mira");
    account(&pool, "lost", "nobody here");
    used(&pool, "r1", &mira.id, "brought");
    used(&pool, "r2", &nadia.id, "brought");
    used(&pool, "r3", &nadia.id, "lost");
    for _ in 0..400 {
        if pool.app.ledger.health().queued == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let ask = |path: &'static str, key: &Secret| pool.ask(Ask::get(path).bearer(key.expose()));
    let told = async |key: &Secret| {
        let got = ask("/api/people/contributions", key).await;
        serde_json::from_str::<Contributions>(&got.body).unwrap_or_else(|_| panic!("{got:?}"))
    };
    let all = told(&operator).await;
    let part = |name: Option<&str>| {
        let part = all.people.iter().find(|part| part.name.as_deref() == name).expect("a part");
        [part.given.tokens, part.taken.tokens, part.own.tokens]
    };
    let parts = [Some("Mira"), Some("Nadia"), Some("the operator"), None].map(part);
    assert_eq!((all.people.len(), parts), (4, [[100, 0, 100], [0, 200, 0], [0, 0, 0], [100, 0, 0]]));
    assert_eq!(all.unknown_owners.len(), 1);
    for (key, name, expected) in [(&miras, "Mira", [100, 0, 100]), (&nadias, "Nadia", [0, 200, 0])] {
        let own = told(key).await;
        let [part] = own.people.as_slice() else { panic!("{own:?}") };
        assert_eq!((part.name.as_deref(), own.unknown_owners.len()), (Some(name), 0));
        assert_eq!([part.given.tokens, part.taken.tokens, part.own.tokens], expected);
    }
    // Having brought an account opens nothing.
    assert_eq!(ask("/api/status", &miras).await.status, 403);
    for days in ["0", "x", "99999999999"] {
        let path = format!("/api/people/contributions?days={days}");
        assert_eq!(pool.ask(Ask::get(&path).bearer(operator.expose())).await.status, 400, "{days}");
    }
}
