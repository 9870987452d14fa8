//! One line a page: what it takes and what it answers with.

use http::Method;
use utoipa::ToSchema;

use super::{Content, Operation, Shape};
use crate::contributions::Contributions;
use crate::events::view::{Gone, Notices, Snapshot};
use crate::events::{Flight, Landed, Tick};
use crate::explain::ExplainPage;
use crate::explain::answer::NextAsked;
use crate::forecast::ForecastPage;
use crate::friends::{Claim, Welcomed};
use crate::pages::accounts;
use crate::pages::live::Flights;
use crate::pages::overview::Overview;
use crate::pages::people::{Removed, Revoked, Withdrawn};
use crate::pages::session::{SignInLink, With};
use crate::pages::settings::{Report, Settings};
use crate::pages::{requests, usage};
use crate::roster::{
    AddKey, AddPerson, ChangePerson, Invite, NewInvitation, NewKey, NewPerson, Notice, Person, Roster, Whoami,
};
use crate::setup::MadeLine;
use crate::status::{AccountView, StatusPage, TestResult};

/// The body is wrong, or contradicts what is there.
const BAD_CHANGE: &[u16] = &[400, 404, 409, 415, 503];
/// A question to the ledger.
const QUERIED: &[u16] = &[304, 400, 404, 409, 503];

pub(super) fn all() -> Vec<Operation> {
    let text = |path| Operation { gives: Content::Text, ..get(path) };
    vec![
        text("/healthz"),
        text("/readyz").or(&[503]),
        text("/"),
        get("/status").gives::<StatusPage>(),
        get("/api/status").gives::<StatusPage>(),
        get("/api/notices").lists::<Notice>(),
        get("/api/forecast").gives::<ForecastPage>(),
        get("/api/openapi.json").gives::<Document>(),
        get("/api/accounts").gives::<accounts::List>(),
        get("/api/accounts/{account}").gives::<accounts::Detail>().or(&[404, 409]),
        get("/api/flights").gives::<Flights>(),
        get("/api/events").streams(vec![
            ("snapshot", Shape::of::<Snapshot>()),
            ("flight", Shape::of::<Flight>()),
            ("ended", Shape::of::<Landed>()),
            ("account", Shape::of::<AccountView>()),
            ("account_gone", Shape::of::<Gone>()),
            ("notices", Shape::of::<Notices>()),
            ("usage", Shape::of::<Tick>()),
        ]),
        post("/api/accounts/{account}/test").gives::<TestResult>().or(&[404, 409]),
        get("/api/overview").gives::<Overview>(),
        get("/api/requests").asks::<requests::Asked>().gives::<requests::Page>().or(QUERIED),
        get("/api/requests/{request}").gives::<ExplainPage>().or(&[400, 404, 409, 503]),
        get("/api/usage").asks::<usage::Asked>().gives::<usage::Report>().or(QUERIED),
        get("/api/usage/totals").asks::<usage::Asked>().gives::<usage::Report>().or(QUERIED),
        get("/api/settings").gives::<Settings>().or(&[304]),
        get("/api/health").gives::<Report>(),
        get("/api/explain").asks::<NextAsked>().gives::<ExplainPage>().or(&[400]),
        get("/api/explain/{request}").gives::<ExplainPage>().or(&[400, 404, 409, 503]),
        post("/api/session").takes::<With>().gives::<Whoami>().or(&[400, 401, 415, 429, 503]),
        get("/api/session").gives::<Whoami>(),
        Operation { status: 204, ..delete("/api/session") },
        post("/api/sign-in").gives::<SignInLink>().or(&[503]),
        get("/api/people").gives::<Roster>(),
        get("/api/people/contributions").asks::<Days>().gives::<Contributions>().or(&[400, 503]),
        post("/api/people").takes::<AddPerson>().makes::<NewPerson>().or(BAD_CHANGE),
        get("/api/people/{user}").gives::<Person>(),
        of(Method::PATCH, "/api/people/{user}").takes::<ChangePerson>().gives::<Person>().or(BAD_CHANGE),
        delete("/api/people/{user}").gives::<Removed>().or(BAD_CHANGE),
        post("/api/people/{user}/credentials").takes::<AddKey>().makes::<NewKey>().or(BAD_CHANGE),
        delete("/api/people/{user}/credentials/{credential}").gives::<Revoked>().or(BAD_CHANGE),
        post("/api/people/{user}/setup/{cli}").makes::<MadeLine>().or(&[404, 409, 503]),
        post("/api/invitations").takes::<Invite>().makes::<NewInvitation>().or(BAD_CHANGE),
        post("/api/friend/claim").takes::<Claim>().makes::<Welcomed>().or(&[400, 403, 404, 409, 415, 429, 503]),
        get("/api/pool/whoami").gives::<OfOriginal>(),
        get("/api/pool/stats").gives::<OfOriginal>().or(&[503]),
        get("/api/pool/users").lists::<OfOriginal>().or(&[503]),
        get("/api/pool/users/{user}/daily").asks::<Days>().gives::<OfOriginal>().or(&[400, 503]),
        get("/api/pool/daily-breakdown").asks::<Days>().gives::<OfOriginal>().or(&[400, 503]),
        delete("/api/invitations/{invitation}").gives::<Withdrawn>().or(&[404, 503]),
    ]
}

/// This document.
#[derive(ToSchema)]
#[schema(as = OpenApiDocument, value_type = Object)]
struct Document(());

/// As the Go original answers here; see there.
#[derive(ToSchema)]
#[schema(value_type = Object)]
struct OfOriginal(());

/// How far back.
#[derive(ToSchema)]
struct Days {
    /// 30 if nothing is said.
    #[expect(dead_code, reason = "only its schema is wanted")]
    days: Option<u32>,
}

fn of(method: Method, path: &'static str) -> Operation {
    Operation { method, path, query: None, takes: None, status: 200, gives: Content::Nothing, faults: &[] }
}

fn get(path: &'static str) -> Operation {
    of(Method::GET, path)
}

fn post(path: &'static str) -> Operation {
    of(Method::POST, path)
}

fn delete(path: &'static str) -> Operation {
    of(Method::DELETE, path)
}

impl Operation {
    fn asks<T: ToSchema>(self) -> Self {
        Self { query: Some(Shape::of::<T>()), ..self }
    }

    fn takes<T: ToSchema>(self) -> Self {
        Self { takes: Some(Shape::of::<T>()), ..self }
    }

    fn gives<T: ToSchema>(self) -> Self {
        Self { gives: Content::Json(Shape::of::<T>()), ..self }
    }

    fn makes<T: ToSchema>(self) -> Self {
        Self { status: 201, ..self.gives::<T>() }
    }

    fn streams(self, events: Vec<(&'static str, Shape)>) -> Self {
        Self { gives: Content::Events(events), ..self }
    }

    fn lists<T: ToSchema>(self) -> Self {
        Self { gives: Content::List(Shape::of::<T>()), ..self }
    }

    fn or(self, faults: &'static [u16]) -> Self {
        Self { faults, ..self }
    }
}
