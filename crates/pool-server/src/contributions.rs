//! Who gave what, and who used what: the ledger seen from those who brought accounts.
//!
//! An account belongs to the user whom its file names as `owner`, as it stands now; all others, and those that are gone, are the
//! pool's. What others' requests used of somebody's accounts is given by them. Owning an account gives no right to anything.

use std::collections::BTreeMap;

use pool_core::people::{Directory, UserId};
use pool_core::{AccountId, MicroUsd, Prices, UnixMs};
use pool_store::ledger::Portion;
use serde::{Deserialize, Serialize};

/// `GET /api/people/contributions`: of everybody to the operator, else of oneself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Contributions {
    /// Requests that came from then on are counted, as far as they are still on record.
    pub since_ms: i64,
    /// The day of the prices that are compiled in.
    pub prices: String,
    pub people: Vec<Contribution>,
    /// Accounts whose file names an owner whom nobody is called: they count as the pool's.
    pub unknown_owners: Vec<UnknownOwner>,
}

/// One person's part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Contribution {
    /// `null`: the pool itself: accounts without an owner, and requests of nobody in the directory (the settings' operator).
    pub id: Option<String>,
    /// `null`: the pool itself, or somebody who was removed.
    pub name: Option<String>,
    /// Names of the accounts that are theirs.
    pub accounts: Vec<String>,
    /// What others used of them.
    pub given: Amount,
    /// What they used of others' accounts.
    pub taken: Amount,
    /// What they used of their own.
    pub own: Amount,
}

/// What requests used, in the measures that people count by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ContributionAmount)]
pub struct Amount {
    pub requests: u64,
    /// Of them: those that did not tell what they used.
    pub untold: u64,
    /// All classes together.
    pub tokens: u64,
    /// The same weighed by what they take of a quota, in fresh input tokens.
    pub units: f64,
    /// What the tokens cost, or would have cost, at the API's list price.
    pub api_equivalent_micro_usd: MicroUsd,
    /// Requests of models whose price is not known: they are not in that amount.
    pub unpriced: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UnknownOwner {
    pub account: String,
    pub owner: String,
}

/// An account of the pool, as its file describes it.
#[derive(Clone, Debug)]
pub struct Holding {
    pub id: AccountId,
    pub name: String,
    pub owner: Option<String>,
}

impl Amount {
    fn add(&mut self, more: &Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.untold = self.untold.saturating_add(more.untold);
        self.tokens = self.tokens.saturating_add(more.tokens);
        self.units += more.units;
        self.api_equivalent_micro_usd = self.api_equivalent_micro_usd.plus(more.api_equivalent_micro_usd);
        self.unpriced = self.unpriced.saturating_add(more.unpriced);
    }

    fn of(portion: &Portion, prices: &Prices, lengths: &[u64]) -> Self {
        let Portion { tokens, requests, untold, .. } = portion;
        let price = portion.model.as_deref().and_then(|model| prices.find(model));
        // A prompt that stands for all of these: of every length that they are beyond, and of none that they are not.
        let prompt = portion.beyond.checked_sub(1).and_then(|at| lengths.get(at)).map_or(0, |above| above + 1);
        Self {
            requests: *requests,
            untold: *untold,
            tokens: tokens.total(),
            units: tokens.units(),
            api_equivalent_micro_usd: price.map_or(MicroUsd::ZERO, |price| price.of_many(tokens, prompt)),
            unpriced: if price.is_none() { requests - untold.min(requests) } else { 0 },
        }
    }
}

/// Everybody's part: first those who gave most, the pool itself last. `lengths`: by which the portions were cut.
pub fn contributions(
    people: &Directory,
    holdings: &[Holding],
    portions: &[Portion],
    (prices, lengths): (&Prices, &[u64]),
    since: UnixMs,
) -> Contributions {
    let mut parts: BTreeMap<Option<UserId>, Contribution> = BTreeMap::new();
    parts.insert(None, Contribution::default());
    for user in people.users() {
        parts.insert(Some(user.id.clone()), Contribution::default());
    }
    let mut owners: BTreeMap<&AccountId, UserId> = BTreeMap::new();
    let mut unknown_owners = Vec::new();
    for Holding { id, name, owner } in holdings {
        let user = owner.as_deref().and_then(|owner| whom(people, owner));
        if let (Some(owner), None) = (owner, &user) {
            unknown_owners.push(UnknownOwner { account: name.clone(), owner: owner.clone() });
        }
        parts.entry(user.clone()).or_default().accounts.push(name.clone());
        owners.extend(user.map(|user| (id, user)));
    }
    for portion in portions {
        let (user, owner) = (portion.user.clone(), owners.get(&portion.account).cloned());
        let amount = Amount::of(portion, prices, lengths);
        if user == owner {
            parts.entry(user).or_default().own.add(&amount);
        } else {
            parts.entry(user).or_default().taken.add(&amount);
            parts.entry(owner).or_default().given.add(&amount);
        }
    }
    let mut people: Vec<Contribution> = parts
        .into_iter()
        .map(|(id, part)| {
            let name = id.as_ref().and_then(|id| people.user(id)).map(|user| user.name.clone());
            Contribution { id: id.map(|id| id.to_string()), name, ..part }
        })
        .collect();
    people.sort_by(|one, other| {
        let place = |part: &Contribution| part.id.is_none();
        place(one).cmp(&place(other)).then(other.given.units.total_cmp(&one.given.units))
    });
    Contributions { since_ms: since.0, prices: prices.date.clone(), people, unknown_owners }
}

/// The user whom an account's file names: by id, else by name.
fn whom(people: &Directory, owner: &str) -> Option<UserId> {
    let id = UserId(owner.into());
    let user = people.user(&id).or_else(|| people.named(owner));
    user.map(|user| user.id.clone())
}

#[cfg(test)]
mod tests {
    use pool_core::TokenCounts;
    use pool_core::people::{Change, Role, User};

    use super::*;

    fn user(id: &str, name: &str) -> User {
        User { id: UserId(id.into()), name: name.into(), ..crate::people::new_user("x", Role::Friend).expect("random") }
    }

    fn directory() -> Directory {
        let mut people = Directory::default();
        for (id, name) in [("u-1", "Mira"), ("u-2", "Nadia")] {
            people.apply(Change::User(user(id, name)));
        }
        people
    }

    fn holding(id: &str, owner: Option<&str>) -> Holding {
        Holding { id: AccountId(id.into()), name: format!("account {id}"), owner: owner.map(str::to_owned) }
    }

    fn portion(user: Option<&str>, account: &str, input: u64) -> Portion {
        Portion {
            user: user.map(|id| UserId(id.into())),
            account: AccountId(account.into()),
            model: Some("m".into()),
            beyond: 0,
            requests: 2,
            untold: 1,
            tokens: TokenCounts { input, ..TokenCounts::default() },
        }
    }

    fn prices() -> Prices {
        let long = r#"{"above": 100, "input": 2, "output": 2}"#;
        let text = format!(r#"{{"models": {{"m": {{"input": 1, "output": 1, "long": {long}}}}}}}"#);
        Prices::read(&text).expect("prices")
    }

    fn of(told: &Contributions, name: Option<&str>) -> Contribution {
        told.people.iter().find(|one| one.name.as_deref() == name).expect("somebody").clone()
    }

    #[test]
    fn what_is_given_is_what_others_took() {
        let holdings = [holding("a", Some("mira")), holding("b", Some("u-2")), holding("c", None)];
        let portions = [
            portion(Some("u-1"), "a", 1),
            portion(Some("u-2"), "a", 10),
            portion(None, "a", 100),
            portion(Some("u-1"), "b", 1_000),
            portion(Some("u-1"), "c", 10_000),
            portion(None, "c", 100_000),
            // Of an account that is gone, and by somebody who is.
            portion(Some("u-1"), "gone", 1_000_000),
            portion(Some("u-9"), "b", 10_000_000),
        ];
        let prices = prices();
        let told = contributions(&directory(), &holdings, &portions, (&prices, &prices.lengths()), UnixMs(7));
        let sums = |name: Option<&str>| {
            let part = of(&told, name);
            [part.given.tokens, part.taken.tokens, part.own.tokens]
        };
        assert_eq!(sums(Some("Mira")), [110, 1_011_000, 1]);
        assert_eq!(sums(Some("Nadia")), [10_001_000, 10, 0]);
        let total = |part: fn(&Contribution) -> Amount| told.people.iter().map(|one| part(one).tokens).sum::<u64>();
        assert_eq!(total(|one| one.given), total(|one| one.taken));
        let order: Vec<_> = told.people.iter().map(|one| one.id.as_deref()).collect();
        assert_eq!(order, [Some("u-2"), Some("u-1"), Some("u-9"), None]);
        assert_eq!(of(&told, Some("Mira")).accounts, ["account a"]);
        let pool = told.people.last().expect("the pool");
        assert_eq!((pool.accounts.as_slice(), pool.own.tokens), (&["account c".to_owned()][..], 100_000));
        assert_eq!(told.unknown_owners, []);
    }

    #[test]
    fn an_owner_whom_nobody_is_called_is_told_of() {
        let prices = prices();
        let told = contributions(&directory(), &[holding("a", Some("Mirra"))], &[], (&prices, &[]), UnixMs(0));
        assert_eq!(told.unknown_owners, [UnknownOwner { account: "account a".into(), owner: "Mirra".into() }]);
        assert_eq!(of(&told, None).accounts, ["account a"]);
    }

    #[test]
    fn money_follows_the_length_of_the_prompts_and_unknown_prices_are_said() {
        let (prices, mut long, mut unknown) = (prices(), portion(None, "c", 1_000_000), portion(None, "c", 5));
        (long.beyond, unknown.model) = (1, None);
        let portions = [portion(None, "c", 1_000_000), long, unknown];
        let told = contributions(&directory(), &[], &portions, (&prices, &prices.lengths()), UnixMs(0));
        let own = of(&told, None).own;
        assert_eq!((own.api_equivalent_micro_usd, own.unpriced, own.requests), (MicroUsd(3_000_000), 1, 6));
    }
}
