//! An explanation for the terminal: the sentence, the accounts as a table that fits its width, what happened when.

use pool_core::{Client, Span, UnixMs};

use super::{AccountRow, Facts, Subject, Told, clock, stamp, tell};
use crate::status::{Look, chars, harmless, pad, wrapped};

/// Draws it. Columns are dropped where there is no room; nothing is wrapped but sentences.
pub fn render(facts: &Facts, look: &Look) -> String {
    let told = tell(facts, &look.zone);
    let mut out = String::new();
    wrapped(&mut out, &told.sentence, 0, look.width);
    out.push('\n');
    for line in heading(facts, look) {
        wrapped(&mut out, &line, 0, look.width);
    }
    if !told.accounts.is_empty() {
        out.push('\n');
        table(&mut out, &told, facts.looked_at(), look, UnixMs(facts.now_ms));
    }
    if !told.steps.is_empty() {
        out.push('\n');
        timeline(&mut out, &told, facts, look);
    }
    out
}

/// Which request this is.
fn heading(facts: &Facts, look: &Look) -> Vec<String> {
    let or_unknown = |what: &str, text: &Option<String>| match text {
        Some(text) => text.clone(),
        None => format!("{what} not known"),
    };
    match &facts.subject {
        Subject::Request { record, .. } => {
            let ago = UnixMs(facts.now_ms).since(record.at);
            let at = stamp(record.at, &look.zone, "%a %-d %b %H:%M:%S");
            let conversation = match &record.session {
                Some(session) => format!("conversation {session}"),
                None => "no conversation".into(),
            };
            let model = or_unknown("model", &record.model);
            let client = or_unknown("client", &record.client);
            vec![
                format!("Request {}", record.request_id),
                format!("{at} ({ago} ago), {}, {model}, {conversation}, {client}", record.provider),
            ]
        }
        Subject::Next { provider, client, model, .. } => {
            let model = model.as_deref().unwrap_or("any model");
            let client = match client {
                Client::OwnCli => "from the provider's own CLI",
                Client::Other => "from an SDK",
            };
            let at = stamp(UnixMs(facts.now_ms), &look.zone, "%a %H:%M:%S");
            vec![format!("The next request for {provider}, {model}, {client}, if it came now ({at})")]
        }
    }
}

/// The longest name that is shown whole.
const LONGEST_NAME: usize = 24;
const GAP: usize = 2;

fn table(out: &mut String, told: &Told, then: UnixMs, look: &Look, now: UnixMs) {
    let widest = |heading: &str, cells: &dyn Fn(&AccountRow) -> usize| {
        told.accounts.iter().map(cells).max().unwrap_or(0).max(chars(heading))
    };
    let name = widest("ACCOUNT", &|row| chars(&row.name).min(LONGEST_NAME)) + GAP;
    let verdict = widest("VERDICT", &|row| chars(&row.verdict)) + GAP;
    let columns = columns(told, look.width.saturating_sub(name + verdict));
    let mut line = |start: String, rest: String| {
        let whole: String = (start + &rest).chars().map(harmless).collect();
        *out += cut(whole.trim_end(), look.width).as_str();
        out.push('\n');
    };
    let start = |a: &str, b: &str| pad(a, name) + &pad(b, verdict);
    let headings: String = columns.iter().map(|column| right(&column.heading, column.width)).collect();
    line(start("ACCOUNT", "VERDICT"), headings);
    for row in &told.accounts {
        let rest = match &row.reason {
            Some(_) => reason(row, then, now, look, name + verdict),
            None => columns.iter().map(|column| right(&cell(row, &column.heading), column.width)).collect(),
        };
        line(start(&row.name, &row.verdict), rest);
    }
    if told.more > 0 {
        line(format!("and {} more", told.more), String::new());
    }
}

struct Column {
    heading: String,
    /// With the gap before it.
    width: usize,
}

const SCORE: &str = "SCORE";

impl Column {
    fn new(heading: &str, told: &Told) -> Self {
        let cells = told.accounts.iter().map(|row| chars(&cell(row, heading)));
        Self { heading: heading.to_owned(), width: cells.max().unwrap_or(0).max(chars(heading)) + GAP }
    }
}

/// What stands under a heading. Empty: the account was not compared.
fn cell(row: &AccountRow, heading: &str) -> String {
    match row.score {
        None => String::new(),
        Some(score) if heading == SCORE => figure(score),
        Some(_) => {
            let number = row.numbers.iter().find(|number| number.heading == heading);
            number.map_or_else(|| "-".to_owned(), |number| number.cell.clone())
        }
    }
}

/// The columns that there is room for: what comes last goes first, but for the score.
fn columns(told: &Told, room: usize) -> Vec<Column> {
    let mut headings: Vec<&str> = Vec::new();
    for number in told.accounts.iter().flat_map(|row| &row.numbers) {
        if !headings.contains(&number.heading.as_str()) {
            headings.push(&number.heading);
        }
    }
    if told.accounts.iter().any(|row| row.score.is_some()) {
        headings.push(SCORE);
    }
    let mut columns: Vec<Column> = headings.into_iter().map(|heading| Column::new(heading, told)).collect();
    while columns.iter().map(|column| column.width).sum::<usize>() > room && !columns.is_empty() {
        let at = columns.len().saturating_sub(2);
        columns.remove(at);
    }
    columns
}

/// Three digits of whatever size.
fn figure(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Why an account could not, with its end as far as there is room: what is cut first is the countdown.
fn reason(row: &AccountRow, then: UnixMs, now: UnixMs, look: &Look, used: usize) -> String {
    let reason = row.reason.clone().unwrap_or_default();
    let Some(until) = row.until_ms.map(UnixMs) else {
        return if row.until_unknown { format!("{reason}, until when is not known") } else { reason };
    };
    let with_clock = format!("{reason}, until {}", clock(until, now, &look.zone));
    let whole = if until > then { format!("{with_clock}, in {}", until.since(then)) } else { with_clock.clone() };
    if used + chars(&whole) <= look.width { whole } else { with_clock }
}

fn timeline(out: &mut String, told: &Told, facts: &Facts, look: &Look) {
    const INDENT: usize = 11;
    let Subject::Request { record, .. } = &facts.subject else { return };
    for step in &told.steps {
        let after = UnixMs(step.at_ms).since(record.at);
        let mut text = String::new();
        wrapped(&mut text, &step.text, INDENT, look.width);
        *out += &right(&seconds(after), INDENT - GAP);
        out.push_str(&" ".repeat(GAP));
        *out += text.get(INDENT..).unwrap_or_default();
    }
}

fn seconds(after: Span) -> String {
    format!("{}.{:02} s", after.0 / 1000, after.0 % 1000 / 10)
}

fn right(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(chars(text))) + text
}

fn cut(line: &str, width: usize) -> String {
    if chars(line) <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
