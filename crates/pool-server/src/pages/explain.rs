//! Why a request went where it went, and where the next one would go.

use http::{Response, StatusCode};

use super::reply::{json_page, problem};
use super::{Operator, Visit};
use crate::explain::{ExplainPage, Missing, answer};
use crate::relay::deliver::ReplyBody;

pub async fn request(visit: Visit<Operator>) -> Response<ReplyBody> {
    told(answer::request(&visit.app, visit.hole(0)).await)
}

pub async fn next(visit: Visit<Operator>) -> Response<ReplyBody> {
    match visit.query() {
        Ok(wanted) => told(answer::next(&visit.app, wanted, visit.who.caller().scope())),
        Err(fault) => fault.into(),
    }
}

fn told(answer: Result<ExplainPage, Missing>) -> Response<ReplyBody> {
    let missing = match answer {
        Ok(page) => return json_page(StatusCode::OK, &page),
        Err(missing) => missing,
    };
    let status = match &missing {
        Missing::Asked(_) => StatusCode::BAD_REQUEST,
        Missing::Unknown(_) | Missing::NoneYet => StatusCode::NOT_FOUND,
        Missing::Several(_) => StatusCode::CONFLICT,
        Missing::Unreadable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    problem(status, &missing.to_string())
}
