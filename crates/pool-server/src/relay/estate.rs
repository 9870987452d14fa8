//! What a request names and creates of the things that live on one account: read before an account is chosen, kept while the
//! answer passes.

use http::HeaderMap;
use pool_core::owners::{Creator, ObjectKey, Whose};
use pool_core::pool::Event;
use pool_core::{AccountId, ProviderId};
use pool_providers::Provider;
use pool_providers::objects::{self, Telling};
use pool_providers::reply::{Failure, Reader};
use pool_providers::request::{Body, Head};
use pool_providers::routes::Route;

use crate::admit::Caller;
use crate::app::App;
use crate::pool::LivePool;

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Estate {
    /// Where what the request names lives.
    pub account: Option<AccountId>,
    /// What it names there.
    named: Vec<ObjectKey>,
    creator: Creator,
    /// What the answer names will be kept.
    keeps: bool,
}

/// Ids looked up under one lock.
const AT_ONCE: usize = 256;

impl Estate {
    /// Finds where the things live that the request names. `Err`: there are none of that name for this caller, or they live
    /// apart.
    pub fn read(
        pool: &LivePool,
        provider: &dyn Provider,
        route: &Route,
        head: &Head<'_>,
        body: &Body,
        caller: &Caller,
    ) -> Result<Self, Failure> {
        let keeps = objects::is_kept(route, body);
        let mut estate = Self { account: None, named: Vec::new(), creator: Creator::new(caller.scope()), keeps };
        let addressed = objects::addressed(provider, route, head);
        if !addressed.is_empty() {
            estate.find(pool, provider.id(), addressed, true)?;
        }
        if pool.read(|pool, _| !pool.owners.is_empty()) {
            let mut mentioned = objects::mentioned(provider, body);
            loop {
                let some: Vec<String> = mentioned.by_ref().take(AT_ONCE).collect();
                if some.is_empty() {
                    break;
                }
                estate.find(pool, provider.id(), some, false)?;
            }
        }
        Ok(estate)
    }

    /// `addressed`: an id that nobody knows leads nowhere.
    fn find(
        &mut self,
        pool: &LivePool,
        provider: ProviderId,
        ids: Vec<String>,
        addressed: bool,
    ) -> Result<(), Failure> {
        pool.read(|pool, now| {
            for id in ids {
                let object = ObjectKey::new(provider, &id);
                match pool.whose(object, self.creator, now) {
                    Whose::Own(account) if self.account.as_ref().is_some_and(|other| other != account) => {
                        return Err(apart(&id));
                    }
                    Whose::Own(account) => {
                        self.account = Some(account.clone());
                        self.named.push(object);
                    }
                    Whose::Unknown if !addressed => {}
                    Whose::Unknown | Whose::Foreign => return Err(Failure::NotThere { id, addressed }),
                }
            }
            Ok(())
        })
    }

    /// The reader, with an ear for what the answer creates.
    pub fn reader(&self, reader: Box<dyn Reader>, route: &Route, stream: bool) -> Box<dyn Reader> {
        if self.keeps { Telling::beside(reader, route, stream) } else { reader }
    }

    /// A good answer has begun: what the request names is in use, and its head may name something new.
    pub fn hear_head(
        &self,
        pool: &LivePool,
        provider: &dyn Provider,
        route: &Route,
        account: &AccountId,
        headers: &HeaderMap,
    ) {
        let told = objects::told_by_head(provider, route, headers);
        let new = told.map(|id| ObjectKey::new(provider.id(), &id));
        self.keep(pool, account, self.named.iter().copied().chain(new).collect());
    }

    /// The answer has named these. They are known before the client learns of them.
    pub fn hear(&self, app: &App, provider: ProviderId, account: &AccountId, created: &[String]) {
        let Some(provider) = app.registry.get(provider).filter(|_| !created.is_empty()) else { return };
        let ids = created.iter().filter_map(|text| objects::id(provider, text));
        self.keep(&app.pool, account, ids.map(|id| ObjectKey::new(provider.id(), id)).collect());
    }

    fn keep(&self, pool: &LivePool, account: &AccountId, objects: Vec<ObjectKey>) {
        if !objects.is_empty() {
            pool.apply(Event::Created { id: account.clone(), creator: self.creator, objects });
        }
    }
}

fn apart(id: &str) -> Failure {
    let message = format!(
        "this request names things that live on different accounts of the pool ({id} and another), so no account can serve it; \
         create them anew together"
    );
    Failure::BadRequest { status: http::StatusCode::BAD_REQUEST, message }
}
