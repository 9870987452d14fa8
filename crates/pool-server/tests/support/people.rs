//! People of the pool, and requests that they send.

use pool_core::limits::Limits;
use pool_core::people::Role;
use pool_server::people::{Issued, new_user};
use pool_testkit::request::Request;

use super::Rig;

pub async fn somebody(rig: &Rig, name: &str) -> Issued {
    limited(rig, name, Limits::default()).await
}

pub async fn limited(rig: &Rig, name: &str, limits: Limits) -> Issued {
    let mut user = new_user(name, Role::User).expect("random");
    user.limits = limits;
    rig.app.people.add(user, "laptop", None).await.expect("added").issued
}

/// The same request with this person's credential.
pub fn as_somebody(mut request: Request, issued: &Issued) -> Request {
    request.headers.retain(|(name, _)| !matches!(&**name, "authorization" | "x-api-key" | "x-goog-api-key"));
    request.header("authorization", &format!("Bearer {}", issued.secret.expose()))
}
