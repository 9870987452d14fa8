//! The vault on a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "tests")]

use pool_testkit::PgServer;

use super::*;
use crate::events::{Events, Told};
use crate::ledger::Options;

const CLAIM: Duration = Duration::from_secs(30);

fn url() -> Option<PostgresUrl> {
    PgServer::shared().map(|server| server.database().parse().expect("an address"))
}

async fn replica(url: &PostgresUrl, key: &VaultKey, name: &str, claim: Duration) -> Result<Vault, VaultError> {
    let location = Location::Server(url.clone());
    let database = Database::at(&location, Duration::from_secs(5));
    database.prepare(&location).await.expect("tables");
    Vault::open(database, key.clone(), name, claim).await
}

fn text(text: &str) -> Secret {
    Secret::new(text)
}

#[tokio::test]
async fn a_write_counts_only_onto_the_version_that_was_read() {
    let Some(url) = url() else { return };
    let key = VaultKey::make().expect("random");
    let (a, b) = (replica(&url, &key, "a", CLAIM).await.unwrap(), replica(&url, &key, "b", CLAIM).await.unwrap());
    assert!(a.insert("x.json", &text("r0")).await.unwrap());
    assert!(!b.insert("x.json", &text("other")).await.unwrap(), "never over another");
    let read = b.one("x.json").await.unwrap().expect("there");
    assert_eq!(read.text, Some(text("r0")));
    let spent = ["hash of r0".to_owned()];
    let second = a.replace("x.json", read.version, &text("r1"), &spent).await.unwrap();
    assert_eq!(second, Some(read.version + 1));
    assert_eq!(b.replace("x.json", read.version, &text("late"), &[]).await.unwrap(), None);
    assert_eq!(b.all().await.unwrap()[0].text, Some(text("r1")));
    assert!(b.is_spent("hash of r0").await.unwrap() && !b.is_spent("hash of r1").await.unwrap());
    assert!(b.remove("x.json").await.unwrap() && !b.remove("x.json").await.unwrap());
    assert_eq!(a.one("x.json").await.unwrap(), None);
    assert_eq!(a.replace("x.json", read.version + 1, &text("r2"), &[]).await.unwrap(), None, "what is gone stays gone");
}

#[tokio::test]
async fn one_at_a_time_renews_and_a_dead_one_only_delays_the_next() {
    let Some(url) = url() else { return };
    let key = VaultKey::make().expect("random");
    let short = Duration::from_millis(300);
    let (a, b) = (replica(&url, &key, "a", short).await.unwrap(), replica(&url, &key, "b", CLAIM).await.unwrap());
    assert_eq!(a.claim("x.json", "a").await.unwrap(), None);
    a.insert("x.json", &text("r0")).await.unwrap();
    let turn = async |vault: &Vault| vault.claim("x.json", vault.replica()).await.unwrap().expect("there").turn;
    assert_eq!((turn(&a).await, turn(&b).await), (Turn::Ours, Turn::Theirs));
    assert!(a.prolong("x.json", "a").await.unwrap() && !b.prolong("x.json", "b").await.unwrap());
    b.release("x.json", "b").await.unwrap();
    assert_eq!(turn(&b).await, Turn::Theirs, "nobody gives back what is another's");
    a.release("x.json", "a").await.unwrap();
    assert_eq!((turn(&a).await, turn(&b).await), (Turn::Ours, Turn::Theirs));
    // From here on a is as good as dead.
    let mut taken = Turn::Theirs;
    for _ in 0..200 {
        taken = turn(&b).await;
        if taken == Turn::Ours {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(taken, Turn::Ours);
    assert!(!a.prolong("x.json", "a").await.unwrap(), "it is b's now");

    b.put_off("x.json", "b").await.unwrap();
    assert_eq!(turn(&a).await, Turn::NotYet, "what b has tried in vain a does not try again at once");
    let version = b.one("x.json").await.unwrap().expect("there").version;
    let version = a.edit("x.json", version, &text("r0, paused")).await.unwrap().expect("written");
    assert_eq!(turn(&a).await, Turn::NotYet, "an edit is no new login");
    assert_eq!(a.edit("x.json", version - 1, &text("late")).await.unwrap(), None);
    b.refuse("x.json", version - 1, "of an older version").await.unwrap();
    assert_eq!(turn(&a).await, Turn::NotYet);
    b.refuse("x.json", version, "sign in again").await.unwrap();
    let claimed = a.claim("x.json", "a").await.unwrap().expect("there");
    assert_eq!((claimed.turn, claimed.entry.refused.as_deref()), (Turn::Nobodys, Some("sign in again")));
    a.replace("x.json", version, &text("new login"), &[]).await.unwrap().expect("written");
    assert_eq!(turn(&a).await, Turn::Ours, "a new login starts afresh");
}

#[tokio::test]
async fn a_wrong_key_changes_nothing_and_a_new_one_opens_everything() {
    let Some(url) = url() else { return };
    let (key, other) = (VaultKey::make().expect("random"), VaultKey::make().expect("random"));
    let a = replica(&url, &key, "a", CLAIM).await.unwrap();
    for name in ["x.json", "y.json"] {
        a.insert(name, &text(name)).await.unwrap();
    }
    let refused = replica(&url, &other, "b", CLAIM).await.expect_err("a wrong key");
    assert!(matches!(refused, VaultError::WrongKey { .. }), "{refused}");
    assert!(refused.to_string().contains(key.id()) && refused.to_string().contains(other.id()));
    let seen = Vault::status(&url, &other).await.unwrap();
    assert_eq!((seen.key_id.as_deref(), seen.unsealable.len()), (Some(key.id()), 2));

    assert_eq!(a.rekey(&other).await.unwrap(), 2);
    let b = replica(&url, &other, "b", CLAIM).await.expect("the new key");
    let texts: Vec<_> = b.all().await.unwrap().into_iter().map(|entry| (entry.name, entry.text)).collect();
    assert_eq!(texts, [("x.json".to_owned(), Some(text("x.json"))), ("y.json".to_owned(), Some(text("y.json")))]);
    // A replica with the old key can neither read nor write nor renew.
    let stale = a.one("x.json").await.unwrap().expect("there");
    assert_eq!(stale.text, None);
    assert_eq!(a.replace("x.json", stale.version, &text("old key"), &[]).await.unwrap(), None);
    assert!(!a.insert("z.json", &text("old key")).await.unwrap());
    assert_ne!(a.claim("x.json", "a").await.unwrap().expect("there").turn, Turn::Ours);
    assert!(a.rekey(&key).await.is_err());
    assert!(Vault::status(&url, &other).await.unwrap().unsealable.is_empty());

    // A row that somebody has swapped stops neither the others nor the next rekey half way.
    let swap = "UPDATE vault SET sealed = (SELECT sealed FROM vault WHERE name = 'y.json') WHERE name = 'x.json'";
    b.database.run(sql(swap)).await.unwrap();
    let opened: Vec<bool> = b.all().await.unwrap().iter().map(|entry| entry.text.is_some()).collect();
    assert_eq!(opened, [false, true]);
    assert!(matches!(b.rekey(&key).await, Err(VaultError::Unsealable(name)) if name == "x.json"));
    assert!(b.one("y.json").await.unwrap().expect("there").text.is_some());
}

#[tokio::test]
async fn replicas_hear_of_each_other_in_order_and_the_bell_rings() {
    let Some(url) = url() else { return };
    let open = async |replica: &str| {
        let opened = Ledger::open(Location::Server(url.clone()), Options::default()).await.expect("a ledger");
        Events::beside(&opened.ledger, replica).expect("a server")
    };
    let (a, b) = (open("a").await, open("b").await);
    let mut bell = b.bell().await.unwrap();
    let start = b.newest().await.unwrap();
    a.tell("people", "1").await.unwrap();
    b.tell("people", "2").await.unwrap();
    let together = (0..20).map(|number| {
        let a = a.clone();
        tokio::spawn(async move { a.tell("vault", &format!("{number}")).await })
    });
    for told in together.collect::<Vec<_>>() {
        told.await.unwrap().unwrap();
    }
    tokio::time::timeout(Duration::from_secs(10), bell.ring()).await.expect("it rings").unwrap();
    let told = b.since(start).await.unwrap();
    assert_eq!(told.len(), 22);
    assert!(told.is_sorted_by_key(|event| event.id));
    let short = |event: &Told| (event.own, event.topic.clone(), event.body.clone());
    assert_eq!(short(&told[0]), (false, "people".into(), "1".into()));
    assert_eq!(short(&told[1]), (true, "people".into(), String::new()));
    assert_eq!(b.since(told[21].id).await.unwrap(), []);
    a.sweep(-1000).await.unwrap();
    assert_eq!(b.since(start).await.unwrap(), []);
}
