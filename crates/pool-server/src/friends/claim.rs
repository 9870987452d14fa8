//! Coming in: by the friend code, or by an invitation. A program sends JSON and gets JSON, a browser's form gets a page.

use http::{Response, StatusCode};
use pool_core::people::{Grants, Role, SecretHash};
use serde::Deserialize;

use super::front;
use super::welcome::{Newcomer, Welcome, friend};
use crate::admit::same;
use crate::clock;
use crate::notices;
use crate::pages::people::told;
use crate::pages::reply::{Fault, json_page};
use crate::pages::session;
use crate::pages::{Visit, too_many};
use crate::people::ChangeError;
use crate::relay::deliver::ReplyBody;
use crate::sessions::Signed;

/// Body of a claim, as in the Go original; `name` is ours.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = FriendClaim)]
pub(crate) struct Claim {
    friend_code: String,
    #[serde(default)]
    user_email: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

/// Body of who joins.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Join {
    name: Option<String>,
    email: Option<String>,
}

/// Why nobody came in.
enum Refused {
    Fault(Fault),
    Waits(pool_core::guard::Wait),
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        Self::Fault(told(&error))
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// `POST /api/friend/claim` and `POST /friend/claim`.
pub async fn claim(mut visit: Visit<()>) -> Response<ReplyBody> {
    let sent = visit.sent::<Claim>().await;
    let page = visit.is_form();
    let result = match sent {
        Ok(form) => claimed(&visit, form).await,
        Err(fault) => Err(fault.into()),
    };
    match result {
        Ok(welcome) => welcomed(&visit, &welcome, page).await,
        Err(refused) if page => front::again(&visit, refused.status(), &refused.words()),
        Err(refused) => refused.into(),
    }
}

/// `GET /join/{code}`: uses nothing up.
pub async fn invitation(visit: Visit<()>) -> Response<ReplyBody> {
    let (now, code) = (clock::now(), SecretHash::of(visit.hole(0)));
    let found = visit.app.people.read(|people| {
        let code = people.code(code, now)?;
        let Grants::Invitation { name, .. } = &code.grants else { return None };
        Some((name.clone(), code.expires_at))
    });
    if let Some((name, ends)) = found {
        return front::joining(&visit, StatusCode::OK, name.as_deref(), Some(ends), None);
    }
    let refused = unknown(&visit);
    front::notice(&visit, refused.status(), "This invitation does not work", &refused.words())
}

/// `POST /join/{code}`: uses the invitation up.
pub async fn join(mut visit: Visit<()>) -> Response<ReplyBody> {
    let sent = visit.sent::<Join>().await;
    let page = visit.is_form();
    let result = match sent {
        Ok(form) => joined(&visit, form).await,
        Err(fault) => Err(fault.into()),
    };
    match result {
        Ok(welcome) => welcomed(&visit, &welcome, page).await,
        // The invitation still works: another name may do.
        Err(Refused::Fault(fault)) if page && fault.status != StatusCode::NOT_FOUND => {
            front::joining(&visit, fault.status, None, None, Some(&fault.message))
        }
        Err(refused) if page => {
            front::notice(&visit, refused.status(), "This invitation does not work", &refused.words())
        }
        Err(refused) => refused.into(),
    }
}

async fn claimed(visit: &Visit<()>, form: Claim) -> Result<Welcome, Refused> {
    let app = &visit.app;
    let Some(code) = &app.config.friends.code else {
        let message = "this pool has no friend code: ask its operator for an invitation";
        return Err(Fault::new(StatusCode::NOT_FOUND, message).into());
    };
    let right = same(form.friend_code.trim(), code);
    if !app.door.guess(visit.origin(), right, clock::now()).map_err(Refused::Waits)? {
        return Err(
            Fault::new(StatusCode::FORBIDDEN, "that is not the friend code: check it, or ask for it again").into()
        );
    }
    let newcomer = friend(form.name.as_deref(), form.user_email.as_deref())?;
    let entered = app.people.decide(|people| newcomer.enter_by_code(people, &app.registry)).await?;
    tracing::info!(user = %entered.user.id, name = entered.user.name, from = %visit.origin(), "a friend came in by the friend code");
    Ok(entered)
}

async fn joined(visit: &Visit<()>, form: Join) -> Result<Welcome, Refused> {
    let app = &visit.app;
    let welcome = app.people.redeem(visit.hole(0), |grants, people| {
        let Grants::Invitation { role, name, limits, accounts } = grants else { return Err(ChangeError::NoSuchCode) };
        let asked = friend(name.as_deref().or(form.name.as_deref()), form.email.as_deref())?;
        let newcomer = Newcomer { role: *role, limits: limits.clone(), accounts: accounts.clone(), ..asked };
        newcomer.enter(people, &app.registry)
    });
    match welcome.await {
        Ok(welcome) => {
            let (user, name) = (&welcome.user.id, &welcome.user.name);
            tracing::info!(%user, name, from = %visit.origin(), "somebody came in by invitation");
            Ok(welcome)
        }
        Err(ChangeError::NoSuchCode) => Err(unknown(visit)),
        Err(error) => Err(error.into()),
    }
}

/// A code has 128 random bits and is not guessed; who tries all the same is slowed down.
fn unknown(visit: &Visit<()>) -> Refused {
    match visit.app.door.stray(visit.origin(), clock::now()) {
        Ok(()) => ChangeError::NoSuchCode.into(),
        Err(wait) => Refused::Waits(wait),
    }
}

/// What somebody new gets to see, once. A browser is signed in by it.
async fn welcomed(visit: &Visit<()>, welcome: &Welcome, page: bool) -> Response<ReplyBody> {
    let app = &visit.app;
    if welcome.user.role == Role::Friend {
        notices::tell_once(&app.config, true, &app.answered).await;
    }
    let Some(shown) = welcome.shown(app, &visit.parts.headers, clock::now()) else {
        let message = "you are in, but the pool does not know its own address: its operator has to set public_url";
        return Fault::new(StatusCode::SERVICE_UNAVAILABLE, message).into();
    };
    if !page {
        return json_page(StatusCode::CREATED, &shown);
    }
    let credential = welcome.issued.credential.hash;
    let signed = Signed::Person { user: welcome.user.id.clone(), credential };
    session::with_cookie(visit, signed, front::welcome(visit, &shown))
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Fault(fault) => fault.status,
            Self::Waits(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Fault(fault) => fault.message.clone(),
            Self::Waits(wait) => wait.to_string(),
        }
    }
}

impl From<Refused> for Response<ReplyBody> {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Fault(fault) => fault.into(),
            Refused::Waits(wait) => too_many(wait, &wait.to_string()),
        }
    }
}
