//! The directory's promises: nobody is locked out, codes work once, revoking bites.

use std::time::Duration;

use super::*;
use crate::admit::Caller;

async fn people(folder: &tempfile::TempDir) -> People {
    let path = folder.path().join("data.db");
    let opened = pool_store::Ledger::open(&path, pool_store::Options::default()).await.expect("opens");
    People::start(DirectoryStore::beside(&opened.ledger), opened.fresh).await.expect("reads")
}

#[tokio::test]
async fn the_first_user_brings_the_operators_credential_and_the_second_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let people = people(&folder).await;
    let mira = people.add(new_user("Mira", Role::User).expect("random"), "laptop", None).await.expect("added");
    let operator = mira.operator.expect("nobody may be locked out");
    let role = |issued: &Issued| people.open(issued.secret.expose()).expect("opens").0.role;
    assert_eq!((role(&mira.issued), role(&operator)), (Role::User, Role::Operator));
    let nadia = people.add(new_user("Nadia", Role::Friend).expect("random"), "phone", None).await.expect("added");
    assert!(nadia.operator.is_none());
}

#[tokio::test]
async fn a_code_works_once_however_many_ask() {
    let folder = tempfile::tempdir().expect("a folder");
    let people = people(&folder).await;
    let grants = Grants::Invitation {
        role: Role::Friend,
        name: None,
        limits: pool_core::limits::Limits::default(),
        accounts: None,
    };
    let (code, ..) = people.make_code(grants, Span::from_hours(1)).await.expect("made");
    let redeem = |name: &'static str| {
        people.redeem(code.expose(), move |_, _| Ok((vec![Change::User(new_user(name, Role::Friend)?)], name)))
    };
    let (one, two) = tokio::join!(redeem("Mira"), redeem("Nadia"));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1, "{one:?} {two:?}");
    assert!(people.redeem("made-up", |_, _| Ok((Vec::new(), ()))).await.is_err());
}

#[tokio::test]
async fn revoking_bites_at_once_and_another_process_sees_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = people(&folder).await;
    let added = first.add(new_user("Mira", Role::User).expect("random"), "laptop", None).await.expect("added");
    first.revoke(&added.issued.credential.id).await.expect("revoked");
    let open = |people: &People| people.open(added.issued.secret.expose()).map(|_| ());
    assert_eq!(open(&first), Err(Closed::Revoked));
    assert_eq!(open(&people(&folder).await), Err(Closed::Revoked));
}

#[tokio::test]
async fn a_stay_ends_with_its_credential_and_may_begin_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let people = people(&folder).await;
    let added = people.add(new_user("Mira", Role::User).expect("random"), "laptop", None).await.expect("added");
    let (user, credential) = people.open(added.issued.secret.expose()).expect("opens");
    let caller = Caller::Person { user, credential };
    let stays =
        |tenure: Tenure| async move { tokio::time::timeout(Duration::from_millis(50), tenure.over()).await.is_err() };
    assert!(!people.tenure(&Caller::Operator).can_end() && stays(people.tenure(&caller)).await);
    people.edit(&added.user.id, false, |user| user.paused = true).await.expect("paused");
    assert!(!stays(people.tenure(&caller)).await);
    people.edit(&added.user.id, false, |user| user.paused = false).await.expect("resumed");
    assert!(stays(people.tenure(&caller)).await);
}

#[test]
fn secrets_are_long_and_never_the_same() {
    let user = UserId("u-1".into());
    let secrets: std::collections::BTreeSet<String> =
        (0..100).map(|_| issue(&user, "x", None).expect("random").secret.expose().to_owned()).collect();
    assert_eq!(secrets.len(), 100);
    assert!(secrets.iter().all(|secret| secret.len() == "pool-".len() + 43));
}

#[test]
fn names_that_could_mislead_are_refused() {
    for (name, good) in [
        ("Mira", true),
        ("m.k_2 laptop", true),
        ("Łukasz", true),
        ("a@b.example", true),
        ("", false),
        (" x", false),
        ("a/b", false),
        ("a\u{1b}[31m", false),
        ("<b>", false),
    ] {
        assert_eq!(check_name(name).is_ok(), good, "{name:?}");
    }
}
