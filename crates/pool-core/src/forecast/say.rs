//! The forecast in a sentence: the one that the terminal, the pages and alerts show.

use std::fmt;

use crate::time::{Span, UnixMs};

use super::{Forecast, Prospect, ProviderForecast, Unknown};

/// A range narrower than this is a time.
const NARROW: Span = Span::from_mins(30);

/// What a forecast does not know of who reads it.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// A moment on their clock: `17:46` today, `Sun 17:46` on another day.
    pub clock: &'a dyn Fn(UnixMs) -> String,
    /// When tomorrow ends where they are.
    pub tomorrow_ends: UnixMs,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("tomorrow_ends", &self.tomorrow_ends).finish_non_exhaustive()
    }
}

/// `Acme runs dry at 17:06, for 40 min. Peak and Zeal last through tomorrow.` The first to run dry comes first.
/// `None`: nothing can be said yet.
pub fn sentence(forecast: &Forecast, reader: &Reader<'_>) -> Option<String> {
    let mut clauses: Vec<(UnixMs, String)> = Vec::new();
    let (mut surely, mut probably) = (Vec::new(), Vec::new());
    for one in &forecast.providers {
        let title = title(one);
        match reader.lasts(&one.prospect) {
            Lasts::Surely => surely.push(title),
            Lasts::Probably => probably.push(title),
            Lasts::NotKnown => {}
            Lasts::Until(when) => {
                let goes_on = if one.paid { "; API keys go on" } else { "" };
                clauses.push((when, format!("{title} {}{goes_on}", reader.ends(&one.prospect, forecast.at))));
            }
        }
        // Where everything is out, so is the family.
        let out = matches!(one.prospect, Prospect::Out { .. });
        for family in one.families.iter().filter(|_| !out) {
            if let Lasts::Until(when) = reader.lasts(&family.prospect) {
                let name = family.family.strip_prefix("model:").unwrap_or(&family.family);
                let ends = reader.ends(&family.prospect, forecast.at);
                clauses.push((when, format!("{} ({name}) {ends}", self::title(one))));
            }
        }
    }
    clauses.sort_by_key(|(when, _)| *when);
    let told = clauses.into_iter().map(|(_, clause)| clause);
    let told: Vec<String> = told.chain(through(&surely, "")).chain(through(&probably, "probably ")).collect();
    (!told.is_empty()).then(|| told.join(". ") + ".")
}

/// The same; where it is too early, that.
pub fn sentence_or_why(forecast: &Forecast, reader: &Reader<'_>) -> Option<String> {
    sentence(forecast, reader).or_else(|| {
        let early = |one: &ProviderForecast| one.prospect == Prospect::Unknown { why: Unknown::TooEarly };
        forecast.providers.iter().any(early).then(|| "Forecast after about 30 minutes of use.".to_owned())
    })
}

/// Until the end of tomorrow?
enum Lasts {
    Surely,
    Probably,
    NotKnown,
    Until(UnixMs),
}

impl Reader<'_> {
    fn lasts(&self, prospect: &Prospect) -> Lasts {
        let far = |time: UnixMs| time > self.tomorrow_ends;
        match *prospect {
            Prospect::Unknown { .. } => Lasts::NotKnown,
            Prospect::Out { .. } => Lasts::Until(UnixMs::default()),
            Prospect::Lasts { may_end } if may_end.is_none_or(far) => Lasts::Surely,
            Prospect::Dries { likely, .. } if !far(likely) => Lasts::Until(likely),
            Prospect::Dries { earliest, .. } if far(earliest) => Lasts::Surely,
            Prospect::Lasts { .. } | Prospect::Dries { .. } => Lasts::Probably,
        }
    }

    fn ends(&self, prospect: &Prospect, now: UnixMs) -> String {
        match prospect {
            Prospect::Out { until: Some(until) } => {
                format!("is out until {} (in {})", (self.clock)(*until), until.since(now))
            }
            Prospect::Dries { earliest, likely, latest, back } => {
                let lasts = back.map_or_else(String::new, |back| format!(", for {}", tidy(back.since(*likely))));
                let [at, from] = [likely, earliest].map(|time| (self.clock)(*time));
                match latest {
                    Some(latest) if latest.since(*earliest) <= NARROW => format!("runs dry at {at}{lasts}"),
                    Some(latest) => format!("runs dry about {at} ({from} to {}){lasts}", (self.clock)(*latest)),
                    None => format!("probably runs dry about {at} (not before {from}){lasts}"),
                }
            }
            Prospect::Out { until: None } | Prospect::Lasts { .. } | Prospect::Unknown { .. } => {
                "is out, until when is not known".into()
            }
        }
    }
}

fn title(one: &ProviderForecast) -> String {
    let mut letters = one.provider.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Odd minutes say more than is known.
fn tidy(span: Span) -> Span {
    let step = if span < Span::from_hours(2) { Span::from_mins(5) } else { Span::from_mins(30) };
    Span((span.0 + step.0 / 2) / step.0 * step.0).max(Span::from_mins(5))
}

fn through(titles: &[String], how: &str) -> Option<String> {
    let (last, before) = titles.split_last()?;
    Some(match before {
        [] => format!("{last} {how}lasts through tomorrow"),
        before => format!("{} and {last} {how}last through tomorrow", before.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::FamilyForecast;

    const NOW: UnixMs = UnixMs(1_795_357_440_000);

    fn at(mins: u64) -> UnixMs {
        NOW + Span::from_mins(mins)
    }

    fn one(provider: &str, prospect: Prospect) -> ProviderForecast {
        ProviderForecast {
            provider: provider.into(),
            prospect,
            paid: false,
            burn: None,
            tide: vec![],
            families: vec![],
            accounts: vec![],
        }
    }

    fn dries(earliest: u64, likely: u64, latest: Option<u64>, back: Option<u64>) -> Prospect {
        Prospect::Dries { earliest: at(earliest), likely: at(likely), latest: latest.map(at), back: back.map(at) }
    }

    fn said(providers: Vec<ProviderForecast>) -> Option<String> {
        let forecast = Forecast { at: NOW, until: at(2880), providers };
        let clock = |time: UnixMs| format!("+{}", time.since(NOW).0 / 60_000);
        sentence_or_why(&forecast, &Reader { clock: &clock, tomorrow_ends: at(2000) })
    }

    #[test]
    fn the_sentence_says_who_runs_dry_first_and_who_lasts() {
        let lasts = Prospect::Lasts { may_end: None };
        let early = Prospect::Unknown { why: Unknown::TooEarly };
        let opus = FamilyForecast { family: "model:opus".into(), prospect: dries(50, 60, Some(70), None) };
        for (providers, expected) in [
            (vec![], None),
            (vec![one("acme", early)], Some("Forecast after about 30 minutes of use.")),
            (vec![one("acme", Prospect::Unknown { why: Unknown::ByUse })], None),
            (
                vec![one("peak", lasts), one("acme", dries(60, 66, Some(75), Some(107))), one("zeal", lasts)],
                Some("Acme runs dry at +66, for 40 min. Peak and Zeal last through tomorrow."),
            ),
            (
                vec![one("acme", dries(30, 66, Some(200), Some(300))), one("zeal", early)],
                Some("Acme runs dry about +66 (+30 to +200), for 4 h."),
            ),
            (
                vec![one("acme", dries(30, 66, None, None)), one("peak", Prospect::Out { until: Some(at(40)) })],
                Some("Peak is out until +40 (in 40 min). Acme probably runs dry about +66 (not before +30)."),
            ),
            (
                vec![
                    one("acme", Prospect::Lasts { may_end: Some(at(300)) }),
                    one("peak", dries(2100, 2200, None, None)),
                ],
                Some("Peak lasts through tomorrow. Acme probably lasts through tomorrow."),
            ),
            (
                vec![ProviderForecast { paid: true, ..one("acme", dries(60, 66, Some(75), None)) }],
                Some("Acme runs dry at +66; API keys go on."),
            ),
            (
                vec![ProviderForecast { families: vec![opus], ..one("acme", lasts) }],
                Some("Acme (opus) runs dry at +60. Acme lasts through tomorrow."),
            ),
            (vec![one("acme", Prospect::Out { until: None })], Some("Acme is out, until when is not known.")),
        ] {
            assert_eq!(said(providers).as_deref(), expected);
        }
    }
}
