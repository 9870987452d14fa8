//! The forecast in a sentence: the one that the terminal, the pages and alerts show.

use crate::explain::moment;
use crate::time::{Span, UnixMs};

use super::{Forecast, Prospect, ProviderForecast, Unknown};
use crate::explain::Words;

/// A range narrower than this is a time.
const NARROW: Span = Span::from_mins(30);

/// What a forecast does not know of who reads it.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    pub words: Words<'a>,
    /// When tomorrow ends where they are.
    pub tomorrow_ends: UnixMs,
}

/// `Acme runs dry at Sun 17:06, for 40 min. Peak and Zeal last through tomorrow.` `None`: nothing can be said yet.
pub fn sentence(forecast: &Forecast, reader: &Reader<'_>) -> Option<String> {
    let mut clauses: Vec<(UnixMs, String)> = Vec::new();
    let (mut surely, mut probably) = (Vec::new(), Vec::new());
    for one in &forecast.providers {
        match one.prospect {
            Prospect::Unknown { .. } => {}
            Prospect::Lasts { may_end: Some(end) } if end <= reader.tomorrow_ends => probably.push(title(one)),
            Prospect::Dries { likely, earliest, .. } if likely > reader.tomorrow_ends => {
                if earliest > reader.tomorrow_ends { &mut surely } else { &mut probably }.push(title(one));
            }
            Prospect::Lasts { .. } => surely.push(title(one)),
            Prospect::Dries { likely, .. } => clauses
                .push((likely, format!("{} {}{}", title(one), verb(&one.prospect, forecast.at, reader), goes_on(one)))),
            Prospect::Out { .. } => clauses.push((
                forecast.at,
                format!("{} {}{}", title(one), verb(&one.prospect, forecast.at, reader), goes_on(one)),
            )),
        }
        for family in &one.families {
            let (when, begins) = match family.prospect {
                Prospect::Out { .. } => (forecast.at, true),
                Prospect::Dries { likely, .. } => (likely, likely <= reader.tomorrow_ends),
                _ => continue,
            };
            // Where everything is out, so is the family.
            let alone = !matches!(one.prospect, Prospect::Out { .. });
            if begins && alone {
                let name = family.family.strip_prefix("model:").unwrap_or(&family.family);
                clauses.push((
                    when,
                    format!("{} of {} {}", name, title(one), verb(&family.prospect, forecast.at, reader)),
                ));
            }
        }
    }
    clauses.sort_by_key(|(when, _)| *when);
    let mut told: Vec<String> = clauses.into_iter().map(|(_, clause)| clause).collect();
    told.extend(lasts(&surely, ""));
    told.extend(lasts(&probably, "probably "));
    (!told.is_empty()).then(|| told.iter().map(|clause| format!("{clause}.")).collect::<Vec<_>>().join(" "))
}

/// The same, or why there is none.
pub fn sentence_or_why(forecast: &Forecast, reader: &Reader<'_>) -> Option<String> {
    sentence(forecast, reader).or_else(|| {
        let early = |one: &ProviderForecast| one.prospect == Prospect::Unknown { why: Unknown::TooEarly };
        let any = forecast.providers.iter().any(early);
        any.then(|| "How long it lasts can be told after half an hour of use.".to_owned())
    })
}

fn title(one: &ProviderForecast) -> String {
    let mut letters = one.provider.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn goes_on(one: &ProviderForecast) -> &'static str {
    if one.paid { "; API keys go on" } else { "" }
}

fn verb(prospect: &Prospect, now: UnixMs, reader: &Reader<'_>) -> String {
    let clock = reader.words.clock;
    match prospect {
        Prospect::Out { until: Some(until) } => format!("is out until {}", moment(*until, now, &reader.words)),
        Prospect::Out { until: None } => "is out, until when is not known".into(),
        Prospect::Dries { earliest, likely, latest, back } => {
            let lasts = back.map_or_else(String::new, |back| format!(", for {}", tidy(back.since(*likely))));
            let at = clock(*likely);
            match latest {
                Some(latest) if latest.since(*earliest) <= NARROW => format!("runs dry at {at}{lasts}"),
                Some(latest) => {
                    format!("runs dry about {at} ({} to {}){lasts}", clock(*earliest), clock(*latest))
                }
                None => format!("probably runs dry about {at} (not before {}){lasts}", clock(*earliest)),
            }
        }
        Prospect::Lasts { .. } => "lasts".into(),
        Prospect::Unknown { .. } => "is not known".into(),
    }
}

/// Seconds and odd minutes say more than is known.
fn tidy(span: Span) -> Span {
    let step = if span < Span::from_hours(2) { Span::from_mins(5) } else { Span::from_mins(30) };
    Span((span.0 + step.0 / 2) / step.0 * step.0).max(Span::from_mins(5))
}

fn lasts(titles: &[String], how: &str) -> Option<String> {
    let (last, before) = titles.split_last()?;
    let verb = if before.is_empty() { "lasts" } else { "last" };
    let who = if before.is_empty() { last.clone() } else { format!("{} and {last}", before.join(", ")) };
    Some(format!("{who} {how}{verb} through tomorrow"))
}
