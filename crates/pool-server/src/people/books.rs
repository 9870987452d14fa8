//! What people take, held against their limits (`pool_core::limits`): one book a person, in memory.
//!
//! A request is in the book of who asks for it from before its first account until its answer has ended, whatever way it ends
//! ([`Stay`]). What it has taken is counted with its record, and taken up from the ledger at the start, so that limits and ledger
//! never differ. The operator has a book and no limits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use pool_core::ask::Rights;
use pool_core::limits::{Book, Limits, Over, Period, Taken};
use pool_core::people::UserId;
use pool_core::standing::Standing;
use pool_core::{Demand, Prices, Span, UnixMs, UsageRecord};
use pool_store::Ledger;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::People;
use crate::admit::Caller;
use crate::app::App;
use crate::clock;

/// See the module's page.
#[derive(Debug, Default)]
pub struct Books {
    /// Of people that are in the directory only, so there are never more of them.
    books: Mutex<HashMap<UserId, Entry>>,
    /// Wakes who waits for the end of a request.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Entry {
    book: Book,
    /// Requests that wait to begin.
    waiting: usize,
    /// When a refusal was last put on record.
    noted: Option<UnixMs>,
}

/// So many requests of one person may wait; more are refused at once.
const MOST_WAITING: usize = 16;
/// Of one person's refusals no more than one in so long goes into the ledger: whoever asks on and on must not crowd out others'
/// records.
const NOTED_EVERY: Span = Span::from_secs(1);

/// A request under way, until dropped.
#[derive(Debug)]
pub struct Stay(Place);

#[derive(Debug)]
struct Place {
    books: Arc<Books>,
    user: UserId,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.with(|entry| entry.book.end());
        self.0.books.ended.notify_waiters();
    }
}

/// A request that waits to begin, until dropped.
#[derive(Debug)]
struct Waiting(Place);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.with(|entry| entry.waiting = entry.waiting.saturating_sub(1));
    }
}

impl Place {
    fn with(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.books.books.lock().get_mut(&self.user) {
            change(entry);
        }
    }
}

impl Books {
    fn place(self: &Arc<Self>, user: &UserId) -> Place {
        Place { books: self.clone(), user: user.clone() }
    }

    fn begin(
        self: &Arc<Self>,
        user: &UserId,
        limits: &Limits,
        demand: &Demand,
        capacity: Option<f64>,
    ) -> Result<Option<Stay>, Over> {
        let mut books = self.books.lock();
        books.entry(user.clone()).or_default().book.begin(limits, demand, capacity, clock::now())?;
        drop(books);
        Ok((!demand.light).then(|| Stay(self.place(user))))
    }

    fn wait(self: &Arc<Self>, user: &UserId) -> Option<Waiting> {
        let mut books = self.books.lock();
        let entry = books.get_mut(user).filter(|entry| entry.waiting < MOST_WAITING)?;
        entry.waiting += 1;
        drop(books);
        Some(Waiting(self.place(user)))
    }

    /// Counts a request that has come to its end.
    pub fn take(&self, record: &UsageRecord, prices: &Prices) {
        let (Some(user), Some(tokens)) = (&record.user, &record.tokens) else { return };
        let taken = Taken::of(tokens, prices.cost(record.model.as_deref(), Some(tokens)));
        if let Some(entry) = self.books.lock().get_mut(user) {
            entry.book.take(taken, record.at);
        }
    }

    /// Counts what another replica has counted.
    fn hear(&self, user: &UserId, taken: Taken, at: UnixMs) {
        self.books.lock().entry(user.clone()).or_default().book.take(taken, at);
    }

    /// Is a refusal of this person's worth a record?
    pub fn note(&self, user: &UserId) -> bool {
        let now = clock::now();
        let mut books = self.books.lock();
        let Some(entry) = books.get_mut(user) else { return true };
        let due = entry.noted.is_none_or(|noted| now.since(noted) >= NOTED_EVERY || now < noted);
        if due {
            entry.noted = Some(now);
        }
        due
    }

    /// Closes the books of all others.
    pub(super) fn keep(&self, stays: impl Fn(&UserId) -> bool) {
        self.books.lock().retain(|user, _| stays(user));
    }
}

impl People {
    /// Counts what the ledger knows of the periods that have not ended yet.
    pub async fn take_up(&self, ledger: &Ledger, prices: &Prices) {
        let now = clock::now();
        let since = [Period::Week, Period::Month].map(|period| period.around(now).0);
        let known: HashSet<UserId> = self.read(|people| people.users().map(|user| user.id.clone()).collect());
        if known.is_empty() {
            return;
        }
        let count = |used: pool_store::ledger::Use| {
            let (Some(user), Some(tokens)) = (used.user, used.tokens) else { return };
            if known.contains(&user) {
                let taken = Taken::of(&tokens, prices.cost(used.model.as_deref(), Some(&tokens)));
                self.books.books.lock().entry(user).or_default().book.take(taken, used.at);
            }
        };
        if let Err(error) = ledger.each_since(since[0].min(since[1]), count).await {
            tracing::warn!("what people have taken is counted from now on: {error}");
        }
    }

    /// Counts what somebody has taken on another replica.
    pub fn hear_taken(&self, user: &UserId, taken: Taken, at: UnixMs) {
        if self.read(|people| people.user(user).is_some()) {
            self.books.hear(user, taken, at);
        }
    }

    /// The same caller, as the directory has them now: on a socket that may be an hour later.
    pub fn current(&self, caller: &Caller) -> Caller {
        let Caller::Person { user, credential } = caller else { return caller.clone() };
        let user = self.read(|people| people.user(&user.id).cloned()).unwrap_or_else(|| user.clone());
        Caller::Person { user, credential: credential.clone() }
    }
}

impl App {
    /// Lets a request of this caller's begin, or says which of their own limits it meets. What ends with time or with another
    /// request of theirs is waited for until `deadline`. A light request begins nothing.
    pub async fn enter(&self, caller: &Caller, demand: &Demand, deadline: Instant) -> Result<Option<Stay>, Over> {
        let (nothing, mut waiting) = (Limits::default(), None);
        loop {
            let ended = self.people.books.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let caller = self.people.current(caller);
            let Some(user) = caller.user() else { return Ok(None) };
            let limits = caller.limits().unwrap_or(&nothing);
            let capacity = self.capacity(limits, caller.rights(self.sharing()));
            let over = match self.people.books.begin(&user.id, limits, demand, capacity) {
                Ok(stay) => return Ok(stay),
                Err(over) => over,
            };
            let until = match &over {
                Over::Streams { .. } => deadline,
                Over::Pace { until, .. } => {
                    Instant::now() + std::time::Duration::from_millis(until.since(clock::now()).0 + 1)
                }
                Over::Budget { .. } | Over::Model { .. } | Over::Provider { .. } => return Err(over),
            };
            if until > deadline || Instant::now() >= deadline {
                return Err(over);
            }
            if waiting.is_none() {
                waiting = self.people.books.wait(&user.id);
            }
            if waiting.is_none() {
                return Err(over);
            }
            tokio::select! {
                () = ended => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// The pool as one account, as it stands for this caller: what clients are told of limits.
    pub fn standing(&self, caller: &Caller, demand: &Demand) -> Standing {
        let caller = self.people.current(caller);
        let rights = caller.rights(self.sharing());
        let standing = self.pool.standing(demand, rights);
        let limits = caller.limits().filter(|limits| !limits.budgets.is_empty());
        let (Some(user), Some(limits)) = (caller.user(), limits) else { return standing };
        let capacity = self.capacity(limits, rights);
        let books = self.people.books.books.lock();
        let nothing = Book::default();
        let book = books.get(&user.id).map_or(&nothing, |entry| &entry.book);
        standing.with_own(book.nearest(limits, capacity, clock::now()))
    }

    /// What shares of a window are shares of.
    fn capacity(&self, limits: &Limits, rights: Rights<'_>) -> Option<f64> {
        if limits.need_capacity() { self.pool.read(|pool, _| pool.capacity(rights)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use pool_core::usage::Ending;
    use pool_core::{AccountId, Client, ProviderId, TokenCounts};

    use super::*;

    fn demand() -> Demand {
        Demand { model: Some("kiwi-1".into()), ..Demand::any(ProviderId("kiwi"), Client::OwnCli) }
    }

    fn record(user: &UserId, tokens: u64) -> UsageRecord {
        UsageRecord {
            parts: None,
            request_id: "r".into(),
            at: clock::now(),
            user: Some(user.clone()),
            provider: "kiwi".into(),
            account: AccountId("a".into()),
            model: Some("kiwi-1".into()),
            client: None,
            session: None,
            status: 200,
            ending: Ending::Complete,
            tokens: Some(TokenCounts { input: tokens, ..TokenCounts::default() }),
            attempts: 1,
            first_byte_ms: 1,
            total_ms: 1,
        }
    }

    fn somebody(name: &str) -> UserId {
        UserId(name.into())
    }

    #[test]
    fn a_place_is_given_back_when_it_is_dropped_and_a_light_request_takes_none() {
        let (books, mira) = (Arc::new(Books::default()), somebody("mira"));
        let limits = Limits { streams: Some(1), ..Limits::default() };
        let begin = |demand: &Demand| books.begin(&mira, &limits, demand, None);
        let first = begin(&demand()).expect("may");
        assert!(first.is_some() && begin(&demand()).is_err());
        let light = Demand { light: true, ..demand() };
        assert!(begin(&light).expect("may").is_none());
        drop(first);
        assert!(begin(&demand()).is_ok());
    }

    #[test]
    fn no_more_than_so_many_wait() {
        let (books, mira) = (Arc::new(Books::default()), somebody("mira"));
        books.begin(&mira, &Limits::default(), &demand(), None).expect("may");
        let mut waiting: Vec<_> = (0..MOST_WAITING).filter_map(|_| books.wait(&mira)).collect();
        assert_eq!(waiting.len(), MOST_WAITING);
        assert!(books.wait(&mira).is_none());
        waiting.pop();
        assert!(books.wait(&mira).is_some());
    }

    #[test]
    fn what_is_on_record_counts_for_those_who_are_known() {
        let (books, mira, gone) = (Arc::new(Books::default()), somebody("mira"), somebody("gone"));
        let prices = Prices::default();
        for user in [&mira, &gone] {
            books.begin(user, &Limits::default(), &demand(), None).expect("may");
        }
        books.keep(|user| *user == mira);
        for user in [&mira, &gone, &mira] {
            books.take(&record(user, 5), &prices);
        }
        let books = books.books.lock();
        let taken =
            books.values().map(|entry| entry.book.taken(Period::Month, clock::now()).tokens).collect::<Vec<_>>();
        assert_eq!(taken, [10]);
    }

    #[test]
    fn of_many_refusals_few_are_noted() {
        let (books, mira) = (Arc::new(Books::default()), somebody("mira"));
        books.begin(&mira, &Limits::default(), &demand(), None).expect("may");
        assert!(books.note(&mira) && !books.note(&mira));
    }
}
