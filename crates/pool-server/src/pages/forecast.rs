//! When the pool runs dry, for whoever asks.

use http::{Response, StatusCode};

use super::Visit;
use super::reply::json_page;
use crate::admit::Caller;
use crate::forecast;
use crate::relay::deliver::ReplyBody;

pub async fn show(visit: Visit<Caller>) -> Response<ReplyBody> {
    let page = forecast::of(&visit.app, visit.who.rights(visit.app.sharing())).await;
    json_page(StatusCode::OK, &page)
}
