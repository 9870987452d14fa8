//! People: the operator's hand on them, and what everybody may do about their own credentials.

use http::{Response, StatusCode};
use pool_core::limits::{Amount, Limits};
use pool_core::people::{Change, CredentialId, Directory, Grants, Role, User, UserId};
use pool_core::pool::Slot;
use pool_core::{AccountId, Span};
use serde::Serialize;
use utoipa::ToSchema;

use super::reply::{Fault, json_page};
use super::{Oneself, Operator, Visit};
use crate::admit::Caller;
use crate::app::App;
use crate::clock;
use crate::friends::friend;
use crate::notices;
use crate::people::{ChangeError, FRIENDS_KEY, Issued, MOST_KEYS, new_user};
use crate::relay::deliver::ReplyBody;
use crate::roster::{
    AddKey, AddPerson, ChangePerson, Invitation, Invite, Key, NewInvitation, NewKey, NewPerson, Person, Roster,
};
use pool_store::StoreError;

/// Codes that work at one time.
const MOST_INVITATIONS: usize = 200;
const INVITATION: u32 = 72;

/// Answer of `DELETE /api/people/{user}`: whom.
#[derive(Serialize, ToSchema)]
pub(super) struct Removed {
    removed: String,
    name: String,
}

/// Answer of `DELETE /api/people/{user}/credentials/{credential}`: which.
#[derive(Serialize, ToSchema)]
pub(super) struct Revoked {
    revoked: String,
}

/// Answer of `DELETE /api/invitations/{invitation}`: which.
#[derive(Serialize, ToSchema)]
pub(super) struct Withdrawn {
    withdrawn: String,
}

type Page = Response<ReplyBody>;
type Found<T> = Result<T, Fault>;

pub async fn list(visit: Visit<Operator>) -> Page {
    let now = clock::now();
    let roster = visit.app.people.read(|people| Roster {
        people: people.users().map(|user| person(people, user)).collect(),
        invitations: people.codes(now).filter_map(Invitation::of).collect(),
    });
    json_page(StatusCode::OK, &roster)
}

pub async fn show(visit: Visit<Oneself>) -> Page {
    json_page(StatusCode::OK, &visit.app.people.read(|people| person(people, &visit.who.user)))
}

pub async fn add(mut visit: Visit<Operator>) -> Page {
    respond(StatusCode::CREATED, added(&mut visit).await)
}

pub async fn change(mut visit: Visit<Operator>) -> Page {
    respond(StatusCode::OK, changed(&mut visit).await)
}

pub async fn remove(visit: Visit<Operator>) -> Page {
    respond(StatusCode::OK, removed(&visit).await)
}

pub async fn add_key(mut visit: Visit<Oneself>) -> Page {
    respond(StatusCode::CREATED, key_added(&mut visit).await)
}

pub async fn revoke_key(visit: Visit<Oneself>) -> Page {
    respond(StatusCode::OK, key_revoked(&visit).await)
}

pub async fn invite(mut visit: Visit<Operator>) -> Page {
    respond(StatusCode::CREATED, invited(&mut visit).await)
}

pub async fn withdraw(visit: Visit<Operator>) -> Page {
    respond(StatusCode::OK, withdrawn(&visit).await)
}

fn respond(good: StatusCode, result: Found<impl Serialize>) -> Page {
    result.map_or_else(Page::from, |value| json_page(good, &value))
}

async fn added(visit: &mut Visit<Operator>) -> Found<NewPerson> {
    let form: AddPerson = visit.json().await?;
    check_limits(&form.limits)?;
    let app = &visit.app;
    let user = User {
        email: form.email.as_deref().map(check_email).transpose()?,
        limits: form.limits,
        accounts: accounts(app, form.accounts)?,
        ..new_user(&form.name, form.role).map_err(|error| told(&error))?
    };
    let life = life(form.days, form.role);
    let added = app.people.add(user, label(&form.label), life).await.map_err(|error| told(&error))?;
    tracing::info!(by = visit.who.name(), user = %added.user.id, name = added.user.name, "somebody was added");
    Ok(NewPerson {
        person: app.people.read(|people| person(people, &added.user)),
        credential: new_key(&added.issued),
        operator: added.operator.as_ref().map(new_key),
    })
}

async fn changed(visit: &mut Visit<Operator>) -> Found<Person> {
    let mut form: ChangePerson = visit.json().await?;
    let app = &visit.app;
    let found = known(visit)?;
    form.limits.as_ref().map_or(Ok(()), check_limits)?;
    let accounts = form.accounts.take().map(|wanted| accounts(app, wanted)).transpose()?;
    let email = form.email.take().map(|email| email.as_deref().map(check_email).transpose()).transpose()?;
    let (ChangePerson { name, role, paused, limits, .. }, outside) = (form, has_other_way_in(app));
    let edited = app.people.edit(&found.id, outside, |user| {
        user.name = name.unwrap_or(std::mem::take(&mut user.name));
        user.role = role.unwrap_or(user.role);
        user.paused = paused.unwrap_or(user.paused);
        user.limits = limits.unwrap_or(std::mem::take(&mut user.limits));
        user.accounts = accounts.unwrap_or(user.accounts.take());
        user.email = email.unwrap_or(user.email.take());
    });
    let user = edited.await.map_err(|error| told(&error))?;
    tracing::info!(by = visit.who.name(), user = %user.id, name = user.name, paused = user.paused, "somebody was changed");
    Ok(app.people.read(|people| person(people, &user)))
}

async fn removed(visit: &Visit<Operator>) -> Found<Removed> {
    let (app, user) = (&visit.app, known(visit)?);
    let outside = has_other_way_in(app);
    app.people.remove(&user.id, outside).await.map_err(|error| told(&error))?;
    tracing::info!(by = visit.who.name(), user = %user.id, name = user.name, "somebody was removed");
    Ok(Removed { removed: user.id.to_string(), name: user.name.clone() })
}

async fn key_added(visit: &mut Visit<Oneself>) -> Found<NewKey> {
    let form: AddKey = visit.json().await?;
    let (people, user) = (&visit.app.people, &visit.who.user);
    let (now, most) = (clock::now(), MOST_KEYS);
    let working =
        people.read(|people| people.credentials_of(&user.id).filter(|key| Key::from(&***key).works(now)).count());
    if working >= most {
        let message = format!("{} has {most} credentials that work: revoke one first", user.name);
        return Err(Fault::new(StatusCode::CONFLICT, message));
    }
    let life = outlived_by(life(form.days, user.role), visit.who.caller());
    let issued = people.issue(&user.id, label(&form.label), life).await.map_err(|error| told(&error))?;
    let (by, credential) = (visit.who.caller().scope(), &issued.credential.id);
    tracing::info!(by, user = %user.id, %credential, "a credential was issued");
    Ok(new_key(&issued))
}

async fn key_revoked(visit: &Visit<Oneself>) -> Found<Revoked> {
    let id = visit.hole(1);
    revoke(&visit.app, visit.who.caller(), &visit.who.user, id).await?;
    Ok(Revoked { revoked: id.to_owned() })
}

/// Revokes one of this person's credentials.
pub async fn revoke(app: &App, by: &Caller, user: &User, id: &str) -> Found<()> {
    let id = CredentialId(id.into());
    if !app.people.read(|people| people.credentials_of(&user.id).any(|key| key.id == id)) {
        let message = format!("{} has no credential {}; see `codex-pool users list`", user.name, id);
        return Err(Fault::new(StatusCode::NOT_FOUND, message));
    }
    app.people.revoke_kept(&id, has_other_way_in(app)).await.map_err(|error| told(&error))?;
    tracing::info!(by = by.scope(), user = %user.id, credential = %id, "a credential was revoked");
    Ok(())
}

async fn invited(visit: &mut Visit<Operator>) -> Found<NewInvitation> {
    let form: Invite = visit.json().await?;
    new_invitation(&visit.app, visit.who.name(), form).await
}

/// Makes an invitation. `by`: who did, for the log.
pub async fn new_invitation(app: &App, by: &str, form: Invite) -> Found<NewInvitation> {
    check_limits(&form.limits)?;
    let now = clock::now();
    if app.people.read(|people| people.codes(now).filter_map(Invitation::of).count()) >= MOST_INVITATIONS {
        return Err(Fault::new(StatusCode::CONFLICT, "there are too many open invitations: withdraw some first"));
    }
    if let Some(name) = &form.name {
        app.people.check_new_name(name).map_err(|error| told(&error))?;
    }
    let hours = form.hours.unwrap_or(INVITATION).clamp(1, 24 * 90);
    let grants = Grants::Invitation {
        role: form.role,
        name: form.name,
        limits: form.limits,
        accounts: accounts(app, form.accounts)?,
    };
    let life = Span::from_hours(u64::from(hours));
    let (secret, code, operator) = app.people.make_code(grants, life).await.map_err(|error| told(&error))?;
    tracing::info!(by, "somebody was invited");
    if form.role == Role::Friend {
        notices::tell_once(&app.config, true, &app.answered).await;
    }
    let Some(invitation) = Invitation::of(&code) else {
        return Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "the code is for something else"));
    };
    Ok(NewInvitation {
        invitation,
        path: format!("/join/{}", secret.expose()),
        code: secret.expose().to_owned(),
        operator: operator.as_ref().map(new_key),
    })
}

async fn withdrawn(visit: &Visit<Operator>) -> Found<Withdrawn> {
    let (people, now, id) = (&visit.app.people, clock::now(), visit.hole(0));
    let found = people.read(|people| {
        let mut codes = people.codes(now);
        codes.find(|code| Invitation::of(code).is_some_and(|invitation| invitation.id == id)).map(|code| code.hash)
    });
    let Some(hash) = found else {
        return Err(Fault::new(StatusCode::NOT_FOUND, format!("there is no open invitation {id:?}")));
    };
    people.change(vec![Change::CodeUsed { hash, at: now }]).await.map_err(|error| told(&error))?;
    Ok(Withdrawn { withdrawn: id.to_owned() })
}

/// The user that the path names, by id or by name.
pub fn known(visit: &Visit<Operator>) -> Found<std::sync::Arc<User>> {
    let wanted = visit.hole(0);
    let found =
        visit.app.people.read(|people| people.user(&UserId(wanted.into())).or_else(|| people.named(wanted)).cloned());
    found.ok_or_else(|| told(&ChangeError::Nobody(wanted.to_owned())))
}

fn person(people: &Directory, user: &User) -> Person {
    Person::new(user, people.credentials_of(&user.id).map(|key| &**key))
}

pub fn new_key(issued: &Issued) -> NewKey {
    NewKey { key: Key::from(&issued.credential), secret: issued.secret.expose().to_owned() }
}

fn label(text: &str) -> &str {
    if text.trim().is_empty() { "no label" } else { text.trim() }
}

fn life(days: Option<u32>, role: Role) -> Option<Span> {
    match days {
        Some(0) => None,
        Some(days) => Some(Span::from_hours(u64::from(days.min(36_500)) * 24)),
        None => (role == Role::Friend).then_some(FRIENDS_KEY),
    }
}

/// Nobody but the operator lengthens their own stay: what somebody issues with a credential ends with that at the latest.
fn outlived_by(life: Option<Span>, caller: &Caller) -> Option<Span> {
    let own = match caller {
        Caller::Person { credential, .. } if caller.role() != Role::Operator => credential.expires_at,
        _ => None,
    };
    let rest = own.map(|end| end.since(clock::now()));
    life.into_iter().chain(rest).min()
}

/// Can the operator come in without being in the directory?
pub fn has_other_way_in(app: &App) -> bool {
    app.config.operator_token.is_some()
}

/// Accounts by id, name or file.
fn accounts(app: &App, wanted: Option<Vec<String>>) -> Found<Option<Vec<AccountId>>> {
    let Some(wanted) = wanted else { return Ok(None) };
    let find = |wanted: &String| {
        let ids: Vec<AccountId> = app.pool.read(|pool, _| {
            let fits = |slot: &&Slot| {
                slot.account.name == *wanted || *slot.account.id.0 == **wanted || slot.account.file == *wanted
            };
            pool.slots().filter(fits).map(|slot| slot.account.id.clone()).collect()
        });
        let message = format!("no account is called {wanted:?}; see `codex-pool accounts list`");
        if ids.is_empty() { Err(Fault::new(StatusCode::BAD_REQUEST, message)) } else { Ok(ids) }
    };
    let found = wanted.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(found.into_iter().flatten().collect()))
}

fn check_limits(limits: &Limits) -> Found<()> {
    let wrong = |why: &str| Err(Fault::new(StatusCode::BAD_REQUEST, why));
    let share = |share: f64| (0.0..=1.0).contains(&share);
    if limits.budgets.iter().any(|budget| matches!(budget.amount, Amount::WindowShare(part) if !share(part))) {
        return wrong("a window_share is a number from 0 to 1");
    }
    let patterns = || limits.models.iter().chain(&limits.providers);
    if limits.budgets.len() > 20 || patterns().count() > 100 || patterns().any(|text| text.len() > 200) {
        return wrong("these limits are too many: 20 budgets, 100 models and providers are the most");
    }
    Ok(())
}

fn check_email(email: &str) -> Found<String> {
    let newcomer = friend(None, Some(email)).map_err(|error| told(&error))?;
    newcomer.email.ok_or_else(|| told(&ChangeError::BadEmail))
}

/// In the words and with the status that a page answers with.
pub fn told(error: &ChangeError) -> Fault {
    let status = match error {
        ChangeError::BadName(_) | ChangeError::BadEmail => StatusCode::BAD_REQUEST,
        ChangeError::Nobody(_) | ChangeError::NoSuchCode => StatusCode::NOT_FOUND,
        ChangeError::LastOperator
        | ChangeError::Full
        | ChangeError::Store(StoreError::NameTaken | StoreError::CodeUsed) => StatusCode::CONFLICT,
        ChangeError::Store(_) | ChangeError::NoRandomness(_) => {
            tracing::error!(%error, "the directory of people could not be changed");
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    Fault::new(status, error.to_string())
}
