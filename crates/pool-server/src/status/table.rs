//! The status table for people: fits its width, says *left* where it shows a share, and never shows unknown as a number.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use pool_core::{Span, UnixMs};

use crate::forecast;

use super::{AccountStatus, State, StatusPage, WindowStatus, family_word};

/// How the table is drawn.
#[derive(Clone, Debug)]
pub struct Look {
    /// Columns of the terminal.
    pub width: usize,
    pub colour: bool,
    /// Bars of `#` and `.` for terminals that show ASCII only.
    pub ascii: bool,
    pub zone: TimeZone,
}

/// The table without colour in the system's time zone: what `curl http://127.0.0.1:8989/` prints.
pub fn render_table(page: &StatusPage, width: usize, now: UnixMs) -> String {
    render(page, &Look { width, colour: false, ascii: false, zone: TimeZone::system() }, now)
}

/// The table. `now` is the moment that countdowns are counted from: the page's own, unless it is shown later.
pub fn render(page: &StatusPage, look: &Look, now: UnixMs) -> String {
    let mut out = String::new();
    if let Some(sentence) = forecast::sentence(&page.forecast.forecast, &look.zone) {
        wrapped(&mut out, &sentence, 0, look.width);
    }
    summary(&mut out, page);
    if !page.accounts.is_empty() {
        out.push('\n');
        Grid::new(page, look, now).draw(&mut out);
    }
    for fault in &page.files_with_faults {
        out.push('\n');
        let verb = if fault.usable { "is used, but" } else { "is left out" };
        wrapped(&mut out, &format!("{} {verb}: {}", fault.file, fault.fault), 0, look.width);
    }
    if let Some(reason) = &page.ledger.degraded {
        out.push('\n');
        let text = format!(
            "Usage is not being written: {reason}. {} waiting, {} lost; requests are served all the same.",
            page.ledger.queued, page.ledger.dropped
        );
        wrapped(&mut out, &text, 0, look.width);
    } else if page.ledger.dropped > 0 {
        let text = format!("{} usage records were lost since the start: the queue was full.", page.ledger.dropped);
        out.push('\n');
        wrapped(&mut out, &text, 0, look.width);
    }
    if let Some(next) = next_step(page) {
        let _ = write!(out, "\nNext: {}\n", paint(look, Hue::Act, &next));
    }
    out
}

fn summary(out: &mut String, page: &StatusPage) {
    let count = |state| page.accounts.iter().filter(|account| account.state == state).count();
    let total = page.accounts.len();
    if total == 0 {
        out.push_str("No accounts yet.\n");
        return;
    }
    let noun = if total == 1 { "account" } else { "accounts" };
    let requests = if page.requests_in_flight == 1 { "request" } else { "requests" };
    let _ = write!(out, "{} of {total} {noun} ready, ", count(State::Ready));
    let _ = write!(out, "{} {requests} in flight", page.requests_in_flight);
    match count(State::NeedsLogin) {
        0 => {}
        1 => out.push_str(", 1 needs you"),
        many => {
            let _ = write!(out, ", {many} need you");
        }
    }
    out.push('\n');
}

/// The one command that helps most.
fn next_step(page: &StatusPage) -> Option<String> {
    if page.accounts.is_empty() {
        return Some("codex-pool accounts add FILE".into());
    }
    let account = page.accounts.iter().find(|account| account.state == State::NeedsLogin)?;
    Some(match account.kind {
        pool_core::AccountKind::Subscription => {
            format!("codex-pool accounts login {} --name {}", account.provider, account.name)
        }
        pool_core::AccountKind::ApiKey => format!("codex-pool accounts show {}", account.name),
    })
}

/// One line of the table, as text; empty cells belong to the account above.
#[derive(Default)]
struct Line {
    account: String,
    plan: String,
    state: String,
    window: String,
    bar: String,
    left: String,
    resets: String,
    countdown: String,
    hue: Hue,
    note: Option<String>,
}

struct Grid<'a> {
    look: &'a Look,
    lines: Vec<Line>,
    /// Which of the droppable columns are shown: bar, plan, countdown.
    bar: bool,
    plan: bool,
    countdown: bool,
}

impl<'a> Grid<'a> {
    fn new(page: &StatusPage, look: &'a Look, now: UnixMs) -> Self {
        let head = Line {
            account: "ACCOUNT".into(),
            plan: "PLAN".into(),
            state: "STATE".into(),
            window: "WINDOW".into(),
            left: "LEFT".into(),
            resets: "RESETS".into(),
            ..Line::default()
        };
        let mut lines = vec![head];
        for account in &page.accounts {
            account_lines(&mut lines, account, look, now);
        }
        let mut grid = Self { look, lines, bar: true, plan: true, countdown: true };
        // Narrow terminals lose columns, what matters least first; they never wrap.
        let drops: [fn(&mut Self); 3] =
            [|grid| grid.plan = false, |grid| grid.bar = false, |grid| grid.countdown = false];
        for drop in drops {
            if grid.widths().iter().sum::<usize>() <= look.width {
                break;
            }
            drop(&mut grid);
        }
        grid
    }

    /// Each column's width with the gap after it.
    fn widths(&self) -> [usize; 6] {
        let widest = |cell: &dyn Fn(&Line) -> usize| self.lines.iter().map(cell).max().unwrap_or(0);
        [
            widest(&|line| chars(&line.account)).min(24) + 2,
            if self.plan { widest(&|line| chars(&line.plan)).min(16) + 2 } else { 0 },
            widest(&|line| chars(&line.state)) + 2,
            widest(&|line| chars(&line.window)).min(24) + 2,
            widest(&|line| self.left_of(line).0 + 2),
            widest(&|line| chars(&self.resets_of(line))),
        ]
    }

    /// The bar and the figure: width and text, painted.
    fn left_of(&self, line: &Line) -> (usize, String) {
        if self.bar && !line.bar.is_empty() {
            let text = format!("{} {}", paint(self.look, line.hue, &line.bar), line.left);
            return (chars(&line.bar) + 1 + chars(&line.left), text);
        }
        (chars(&line.left), line.left.clone())
    }

    fn resets_of(&self, line: &Line) -> String {
        match (line.countdown.is_empty(), self.countdown) {
            (false, true) => format!("{}, {}", line.resets, line.countdown),
            _ => line.resets.clone(),
        }
    }

    fn draw(&self, out: &mut String) {
        let [account, plan, state, window, left, _] = self.widths();
        // Whatever is still too wide is cut, the names first.
        let over = self.widths().iter().sum::<usize>().saturating_sub(self.look.width);
        let account = account.saturating_sub(over).max(9);
        let used = account + if self.plan { plan } else { 0 };
        for (index, line) in self.lines.iter().enumerate() {
            let mut row = pad(&line.account, account);
            if self.plan {
                row += &pad(&line.plan, plan);
            }
            let state_cell = pad(&line.state, state);
            row += &if index == 0 { state_cell } else { paint(self.look, line.hue, &state_cell) };
            row += &pad(&line.window, window);
            let (width, text) = self.left_of(line);
            row += &text;
            row += &" ".repeat(left.saturating_sub(width));
            let room = self.look.width.saturating_sub(used + state + window + left);
            row += pad(&self.resets_of(line), room + 1).trim_end();
            out.push_str(row.trim_end());
            out.push('\n');
            if let Some(note) = &line.note {
                wrapped(out, note, 2, self.look.width);
            }
        }
    }
}

fn account_lines(lines: &mut Vec<Line>, account: &AccountStatus, look: &Look, now: UnixMs) {
    let spent = account.windows.iter().any(|window| window.family.is_none() && window.is_spent());
    let (word, hue) = match account.state {
        State::Ready if spent => ("out", Hue::Out),
        State::Ready => ("ready", Hue::Fine),
        State::Cooling => ("cooling", Hue::Out),
        State::NeedsLogin => ("sign in", Hue::Bad),
        State::Paused => ("paused", Hue::Out),
        State::Checking => ("checking", Hue::Fine),
    };
    let first = lines.len();
    for window in &account.windows {
        lines.push(window_line(window, account, look, now));
    }
    if account.windows.is_empty() {
        lines.push(Line { window: "-".into(), left: "not known".into(), ..Line::default() });
    }
    let line = &mut lines[first];
    line.account = format!("{}/{}", account.provider, account.name);
    line.plan = account.plan.clone().unwrap_or_else(|| match account.kind {
        pool_core::AccountKind::ApiKey => "API key".into(),
        pool_core::AccountKind::Subscription => "not known".into(),
    });
    line.state = word.into();
    line.hue = hue;
    if let Some(last) = lines.last_mut() {
        last.note = note(account, look, now);
    }
}

/// Why an account is not ready and when that ends.
fn note(account: &AccountStatus, look: &Look, now: UnixMs) -> Option<String> {
    let until = account.until_ms.map(UnixMs).filter(|until| *until > now);
    let until = until.map(|until| format!("until {} (in {})", clock(until, now, &look.zone), until.since(now)));
    match (&account.reason, until) {
        (Some(reason), Some(until)) => Some(format!("{reason}; {until}")),
        (Some(reason), None) => Some(reason.clone()),
        (None, until) => until,
    }
}

fn window_line(window: &WindowStatus, account: &AccountStatus, look: &Look, now: UnixMs) -> Line {
    let blocker = account.windows.iter().find(|other| window.is_blocked_by(other));
    let name = match &window.family {
        // The family first: when the cell is cut, lines can still be told apart.
        Some(family) => format!("{} {}", family_word(family), window.name),
        None => window.name.clone(),
    };
    let mut line = Line {
        window: name,
        bar: bar(window, blocker.is_some(), look.ascii),
        left: format!("{:>3}% left", percent(window)),
        hue: if window.is_spent() || blocker.is_some() { Hue::Out } else { Hue::Fine },
        ..Line::default()
    };
    if let Some(blocker) = blocker {
        line.resets = format!("blocked by {}", blocker.name);
        return line;
    }
    match window.resets_at_ms.map(UnixMs) {
        Some(reset) if reset > now => {
            line.resets = clock(reset, now, &look.zone);
            line.countdown = format!("in {}", reset.since(now));
        }
        Some(_) => line.resets = "now".into(),
        None => line.resets = "not known".into(),
    }
    line
}

/// Whole percents left. Nearly nothing is not nothing, and nearly all is not all.
fn percent(window: &WindowStatus) -> u8 {
    let exact = window.left.get() * 100.0;
    match exact.round() as u8 {
        0 if !window.is_spent() => 1,
        100 if exact < 99.995 => 99,
        rounded => rounded,
    }
}

fn bar(window: &WindowStatus, blocked: bool, ascii: bool) -> String {
    const CELLS: usize = 8;
    let (full, empty, hatch) = if ascii { ('#', '.', '/') } else { ('█', '░', '▒') };
    if blocked {
        return std::iter::repeat_n(hatch, CELLS).collect();
    }
    let filled = (window.left.get() * CELLS as f64).round() as usize;
    let filled = if window.is_spent() { 0 } else { filled.clamp(1, CELLS) };
    std::iter::repeat_n(full, filled).chain(std::iter::repeat_n(empty, CELLS - filled)).collect()
}

/// `15:36` today, `Thu 09:00` within a week, `3 Dec 09:00` beyond.
pub(crate) fn clock(at: UnixMs, now: UnixMs, zone: &TimeZone) -> String {
    let stamp = |ms: UnixMs| jiff::Timestamp::from_millisecond(ms.0).map(|stamp| stamp.to_zoned(zone.clone()));
    let (Ok(at_zoned), Ok(now_zoned)) = (stamp(at), stamp(now)) else { return "not known".into() };
    let format = match () {
        () if at_zoned.date() == now_zoned.date() => "%H:%M",
        () if at.since(now) < Span::from_hours(6 * 24) => "%a %H:%M",
        () => "%-d %b %H:%M",
    };
    at_zoned.strftime(format).to_string()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hue {
    #[default]
    Fine,
    Out,
    Bad,
    Act,
}

fn paint(look: &Look, hue: Hue, text: &str) -> String {
    let code = match hue {
        Hue::Fine => "34",
        Hue::Out => "33",
        Hue::Bad => "31",
        Hue::Act => "35",
    };
    if look.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

pub(crate) fn chars(text: &str) -> usize {
    text.chars().count()
}

/// Exactly `width` columns: filled up, or cut with an ellipsis and one space.
pub(crate) fn pad(text: &str, width: usize) -> String {
    let len = chars(text);
    let shown = text.chars().map(harmless);
    if len < width {
        return shown.chain(std::iter::repeat_n(' ', width - len)).collect();
    }
    let kept: String = shown.take(width.saturating_sub(2)).collect();
    format!("{kept}… ")
}

/// Text in lines of at most `width`, each indented.
pub(crate) fn wrapped(out: &mut String, text: &str, indent: usize, width: usize) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let len = chars(word);
        if column > 0 && column + 1 + len > width {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.extend(word.chars().map(harmless));
        column += len;
    }
    out.push('\n');
}

/// Reasons, plans and window names may be a provider's words, which must not steer the terminal.
pub(crate) fn harmless(letter: char) -> char {
    if letter.is_control() { '\u{fffd}' } else { letter }
}

#[cfg(test)]
mod tests;
