//! Numbers for Prometheus, in its text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>). Unknown is left out,
//! never zero.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::{HeaderValue, Response, StatusCode, header};

use super::reply::text;
use super::status::status_page;
use super::{Operator, Visit};
use crate::app::App;
use crate::relay::deliver::ReplyBody;
use crate::status::{State, StatusPage};

pub async fn show(visit: Visit<Operator>) -> Response<ReplyBody> {
    let mut response = text(StatusCode::OK, exposition(&visit.app).await);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

async fn exposition(app: &App) -> String {
    let mut out = Exposition::default();
    written(&mut out, &status_page(app).await);
    let mut people = BTreeMap::<&str, u64>::new();
    app.people.read(|directory| {
        for user in directory.users() {
            *people.entry(user.role.word()).or_default() += 1;
        }
    });
    out.family("codex_pool_people", "gauge", "People who may use the pool, by role.");
    for (role, count) in people {
        out.sample(&[("role", role)], count as f64);
    }
    out.0
}

fn written(out: &mut Exposition, page: &StatusPage) {
    out.family("codex_pool_build_info", "gauge", "Always 1; the label says which version runs.");
    out.sample(&[("version", &page.version)], 1.0);
    out.family("codex_pool_requests_in_flight", "gauge", "Requests and turns under way.");
    out.sample(&[], page.requests_in_flight as f64);
    out.family("codex_pool_accounts", "gauge", "Accounts by provider and state.");
    let mut counts = BTreeMap::<(&str, &str), u64>::new();
    for account in &page.accounts {
        for state in State::ALL {
            *counts.entry((&account.provider, state.word())).or_default() += u64::from(account.state == state);
        }
    }
    for ((provider, state), count) in counts {
        out.sample(&[("provider", provider), ("state", state)], count as f64);
    }
    out.family("codex_pool_account_requests_in_flight", "gauge", "Requests under way on an account.");
    for account in &page.accounts {
        out.sample(&[("account", &account.id), ("name", &account.name)], account.in_flight as f64);
    }
    out.family("codex_pool_window_left_ratio", "gauge", "What is left of a quota window, from 0 to 1, as last read.");
    for account in &page.accounts {
        for window in &account.windows {
            let family = window.family.as_deref().unwrap_or_default();
            let labels =
                [("account", &*account.id), ("name", &account.name), ("window", &window.name), ("family", family)];
            out.sample(&labels, window.left.get());
        }
    }
    out.family("codex_pool_files_with_faults", "gauge", "Files in the pool folder that somebody should look at.");
    out.sample(&[], page.files_with_faults.len() as f64);
    let ledger = &page.ledger;
    out.family("codex_pool_records_written_total", "counter", "Usage records written since the start.");
    out.sample(&[], ledger.written as f64);
    out.family(
        "codex_pool_records_dropped_total",
        "counter",
        "Usage records lost since the start: the queue was full.",
    );
    out.sample(&[], ledger.dropped as f64);
    out.family("codex_pool_records_queued", "gauge", "Usage records that wait to be written.");
    out.sample(&[], ledger.queued as f64);
    out.family("codex_pool_ledger_degraded", "gauge", "1 while the usage ledger cannot be written.");
    out.sample(&[], f64::from(u8::from(ledger.degraded.is_some())));
}

/// Families, each followed by its samples.
#[derive(Debug, Default)]
struct Exposition(String, &'static str);

impl Exposition {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self.1 = name;
    }

    /// One more of the family that was begun last.
    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(self.1);
        for (at, (name, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{name}=\"{}\"", if at == 0 { '{' } else { ',' }, escaped(text));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let mut out = Exposition::default();
        out.family("x_total", "counter", "Help.");
        out.sample(&[("a", "b\"} 5\nx_total{a=\"c"), ("d", "e\\")], 1.5);
        out.sample(&[], 3.0);
        assert_eq!(
            out.0,
            "# HELP x_total Help.\n# TYPE x_total counter\nx_total{a=\"b\\\"} 5\\nx_total{a=\\\"c\",d=\"e\\\\\"} 1.5\nx_total 3\n"
        );
    }
}
