//! The models that a request may be served with: the one that it names or, if that is an alias, those behind it, in the operator's
//! order. The first that some account can take now is it.

use pool_core::limits::Limits;
use pool_core::standing::{Refusal, RefusalWhy};
use pool_core::{Demand, UnixMs};
use pool_providers::Provider;
use tokio::time::Instant;

use crate::app::App;

/// See the module's page. Of a request that names its own model it is empty.
#[derive(Debug)]
pub struct Menu(Option<Box<Card>>);

#[derive(Debug)]
struct Card {
    /// What the client asked for.
    alias: String,
    /// One a model; at least one.
    demands: Vec<Demand>,
    at: usize,
    /// All have been tried; now those are waited for whose accounts are only busy.
    waits: bool,
    /// The first of those.
    busy: Option<usize>,
    /// The refusal that ends first, of this round so far.
    refusal: Option<Refusal>,
}

impl Menu {
    /// With what is asked of an account first. `limits`: of who asks; models that they may not use are no choice.
    pub fn new(app: &App, provider: &dyn Provider, limits: Option<&Limits>, demand: Demand) -> (Self, Demand) {
        let models = demand.model.as_deref().and_then(|name| behind(app, provider, name));
        let models = models.map(|models| allowed(models, limits));
        let (Some(models), Some(alias)) = (models, &demand.model) else { return (Self(None), demand) };
        let with = |model: &String| Demand {
            families: provider.families(model),
            model: Some(model.clone()),
            ..demand.clone()
        };
        let card = Card::new(alias.clone(), models.iter().map(with).collect());
        let first = card.demands.first().cloned().unwrap_or(demand);
        (Self(Some(Box::new(card))), first)
    }

    /// The model to name in place of the alias.
    pub fn model(&self) -> Option<&str> {
        let card = self.0.as_ref()?;
        card.demands.get(card.at)?.model.as_deref()
    }

    pub fn alias(&self) -> Option<&str> {
        self.0.as_ref().map(|card| card.alias.as_str())
    }

    /// How long a busy account is waited for: not at all as long as there is another model to try.
    pub fn patience(&self, deadline: Instant) -> Instant {
        if self.0.as_ref().is_none_or(|card| card.waits) { deadline } else { Instant::now() }
    }

    /// The next model, after the present one came to nothing.
    pub fn step(&mut self) -> Option<Demand> {
        self.0.as_mut()?.step()
    }

    /// No account takes the present model: what else may be asked for, or what the client is told.
    pub fn refused(&mut self, refusal: Refusal) -> Result<Demand, Refusal> {
        match &mut self.0 {
            Some(card) => card.refused(refusal),
            None => Err(refusal),
        }
    }
}

impl Card {
    fn new(alias: String, demands: Vec<Demand>) -> Self {
        Self { alias, waits: demands.len() == 1, demands, at: 0, busy: None, refusal: None }
    }

    fn step(&mut self) -> Option<Demand> {
        let next = self.demands.get(self.at + 1)?;
        self.at += 1;
        Some(next.clone())
    }

    fn refused(&mut self, refusal: Refusal) -> Result<Demand, Refusal> {
        if refusal.why == RefusalWhy::Busy {
            self.busy.get_or_insert(self.at);
        }
        if self.refusal.as_ref().is_none_or(|earlier| ends(&refusal) < ends(earlier)) {
            self.refusal = Some(refusal.clone());
        }
        if let Some(next) = self.step() {
            return Ok(next);
        }
        if let Some(busy) = self.busy.filter(|_| !self.waits) {
            // Meanwhile more may be known of them: the last round's word counts.
            (self.at, self.waits, self.refusal) = (busy, true, None);
            return Ok(self.demands[busy].clone());
        }
        let refusal = self.refusal.take().unwrap_or(refusal);
        Err(Refusal { model: Some(self.alias.clone()), ..refusal })
    }
}

/// The models behind a name, as far as this provider can have them.
fn behind<'a>(app: &'a App, provider: &dyn Provider, name: &str) -> Option<&'a [String]> {
    let models = app.config.aliases.models(name)?;
    let anothers =
        |model: &String| app.registry.iter().any(|other| other.id() != provider.id() && other.is_own_model(model));
    (!models.is_empty() && !models.iter().any(anothers)).then_some(models)
}

/// Those of the models that may be used. If none may, all of them: the refusal names the first.
fn allowed(models: &[String], limits: Option<&Limits>) -> Vec<String> {
    let may = |model: &&String| limits.is_none_or(|limits| limits.allow_model(model));
    let allowed: Vec<String> = models.iter().filter(may).cloned().collect();
    if allowed.is_empty() { models.to_vec() } else { allowed }
}

/// The aliases that this provider's lists of models lack.
pub fn to_list(app: &App, provider: &dyn Provider) -> Vec<String> {
    let own = |(alias, models): &(&str, &[String])| {
        !models.iter().any(|model| model == alias) && models.first().is_some_and(|model| provider.is_own_model(model))
    };
    app.config.aliases.iter().filter(own).map(|(alias, _)| alias.to_owned()).collect()
}

/// Orders refusals by their end: those that waiting ends first, the sooner the earlier, the unknown after them.
fn ends(refusal: &Refusal) -> (u8, UnixMs) {
    const LATE: UnixMs = UnixMs(i64::MAX);
    match &refusal.why {
        RefusalWhy::Busy => (0, LATE),
        RefusalWhy::Trouble { until, .. } => (1, until.unwrap_or(LATE)),
        RefusalWhy::AllSpent { resets_at, .. } => (1, resets_at.unwrap_or(LATE)),
        RefusalWhy::NeedsPerson | RefusalWhy::NoneOfThisKind | RefusalWhy::NoAccounts | RefusalWhy::OwnLimit(_) => {
            (2, LATE)
        }
    }
}

#[cfg(test)]
mod tests {
    use pool_core::{Client, ProviderId, Span};

    use super::*;

    const PROVIDER: ProviderId = ProviderId("kiwi");

    fn menu(models: &[&str]) -> Menu {
        let demand = |model: &&str| Demand { model: Some((*model).into()), ..Demand::any(PROVIDER, Client::OwnCli) };
        Menu(Some(Box::new(Card::new("best".into(), models.iter().map(demand).collect()))))
    }

    fn refusal(why: RefusalWhy) -> Refusal {
        Refusal { provider: PROVIDER, model: Some("a".into()), why, considered: Vec::new() }
    }

    fn spent(secs: u64) -> RefusalWhy {
        RefusalWhy::AllSpent { resets_at: Some(UnixMs(0) + Span::from_secs(secs)), window: None, span: None }
    }

    /// The models that were tried, `+` where a busy account was waited for, and what the client is told.
    fn played(models: &[&str], answers: &[RefusalWhy]) -> (String, Refusal) {
        let mut menu = menu(models);
        let mut tried = String::new();
        let later = Instant::now() + std::time::Duration::from_mins(1);
        for why in answers {
            tried += menu.model().expect("an alias");
            tried += if menu.patience(later) == later { "+" } else { "" };
            match menu.refused(refusal(why.clone())) {
                Ok(next) => assert_eq!(next.model.as_deref(), menu.model()),
                Err(end) => return (tried, end),
            }
        }
        panic!("not at an end: {tried}");
    }

    #[test]
    fn one_model_after_the_other_and_then_the_first_that_is_only_busy() {
        use RefusalWhy::{Busy, NeedsPerson};
        for (models, answers, tried, told) in [
            (&["a", "b"][..], vec![spent(9), spent(5)], "ab", spent(5)),
            (&["a", "b"], vec![spent(5), spent(9)], "ab", spent(5)),
            (&["a", "b"], vec![NeedsPerson, spent(9)], "ab", spent(9)),
            (&["a", "b"], vec![spent(9), NeedsPerson], "ab", spent(9)),
            (&["a", "b", "c"], vec![spent(9), Busy, Busy, Busy, NeedsPerson], "abcb+c+", Busy),
            (&["a", "b"], vec![Busy, spent(9), NeedsPerson, spent(8)], "aba+b+", spent(8)),
            (&["a"], vec![Busy], "a+", Busy),
        ] {
            let (seen, end) = played(models, &answers);
            assert_eq!((seen.as_str(), end.why), (tried, told), "{answers:?}");
            assert_eq!(end.model.as_deref(), Some("best"), "the client is told of what it asked for");
        }
    }
}
