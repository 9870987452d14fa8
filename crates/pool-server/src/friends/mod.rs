//! Friends mode: people whom the operator knows come in by themselves, with the friend code or an invitation, and see what is theirs.
//!
//! `claim` lets them in (`welcome` says with what), `front` is what a browser sees first, `me` is somebody's own page, `numbers`
//! what they have used. All of it works without a script. `html` is how a page is written.

mod answered;
mod claim;
pub mod front;
pub mod html;
pub mod images;
mod import;
pub mod me;
pub mod numbers;
pub mod stats;
mod welcome;

pub use answered::Answered;
pub(crate) use claim::Claim;
pub use claim::{claim, invitation, join};
pub(crate) use import::run as import;
pub use welcome::{Newcomer, Welcomed, friend, name_of};

use pool_core::people::{Change, Role};

use crate::config::Config;
use crate::people::{ChangeError, People, new_user};

/// Who sets a friend code wants people to come: from now on every request needs a credential, so that no friend's coming changes
/// anything for the operator in the middle of their work.
pub(crate) async fn open(config: &Config, people: &People) -> Result<(), ChangeError> {
    if config.friends.code.is_none() || !people.is_empty() {
        return Ok(());
    }
    let operator = new_user("operator", Role::Operator)?;
    people.change(vec![Change::User(operator)]).await?;
    tracing::warn!(
        "friends mode is on, so from now on every request needs a credential, on this machine too; yours is operator_token, or what \
         this prints: codex-pool users key operator"
    );
    Ok(())
}
