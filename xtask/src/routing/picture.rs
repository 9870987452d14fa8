//! The picture of docs/ROUTING.md: every policy a row, every cell of the grid a dot, waiting at the left and lost tokens at the right.
//!
//! The colours change with the reader's theme, by the picture's own style sheet.

use std::fmt::Write as _;

use pool_sim::Outcome;
use pool_sim::grid::LOADS;

use super::play::Played;
use super::tell::{MOST_EXTRA, mean};

const ROW: f64 = 30.0;
const TOP: f64 = 64.0;
const NAMES: f64 = 140.0;
const PANEL: f64 = 330.0;
const GAP: f64 = 40.0;

/// A logarithmic axis. What is less than `least` stands at its beginning, which is labelled 0.
struct Axis {
    left: f64,
    title: &'static str,
    least: f64,
    most: f64,
    ticks: &'static [(f64, &'static str)],
    value: fn(&Outcome) -> f64,
}

const AXES: [Axis; 2] = [
    Axis {
        left: NAMES,
        title: "session-hours of waiting for quota",
        least: 0.1,
        most: 1e6,
        ticks: &[(0.1, "0"), (1.0, "1"), (10.0, "10"), (100.0, "100"), (1e3, "1k"), (1e4, "10k"), (1e5, "100k")],
        value: |outcome| outcome.blocked_hours,
    },
    Axis {
        left: NAMES + PANEL + GAP,
        title: "extra tokens, %",
        least: 0.003,
        most: 100.0,
        ticks: &[(0.003, "0"), (0.01, "0.01"), (0.1, "0.1"), (1.0, "1"), (10.0, "10"), (100.0, "100")],
        value: |outcome| outcome.extra_tokens_pct,
    },
];

impl Axis {
    fn x(&self, value: f64) -> f64 {
        let value = value.clamp(self.least, self.most);
        self.left + PANEL * (value / self.least).ln() / (self.most / self.least).ln()
    }
}

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#57606a}.t{font-weight:600;fill:#1f2328}.n{text-anchor:end}.m{text-anchor:middle}\
.g{stroke:#8c959f;stroke-opacity:.35}.d{stroke:#6e7781;stroke-opacity:.5}.o{stroke:#0969da;stroke-opacity:.75}\
.d,.o{stroke-width:5;stroke-linecap:round}.goal{stroke:#1a7f37;stroke-dasharray:4 3}\
@media(prefers-color-scheme:dark){text{fill:#9198a1}.t{fill:#f0f6fc}.d{stroke:#9198a1}.o{stroke:#4493f8}\
.goal{stroke:#3fb950}}";

pub(super) fn draw(results: &[Played]) -> String {
    let names: Vec<&str> = results
        .first()
        .map(|played| played.policies.iter().map(|(policy, _)| policy.name).collect())
        .unwrap_or_default();
    let (width, height) = (NAMES + PANEL + GAP + PANEL + 30.0, TOP + ROW * names.len() as f64 + 60.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-16 0 {} {height}\" role=\"img\">\n\
         <title>Waiting and extra tokens of each policy, one dot a cell of the grid</title>\n<style>{STYLE}</style>\n",
        // Some fonts are wider than ours.
        width + 16.0
    );
    for axis in &AXES {
        grid(&mut out, axis, names.len());
    }
    for (row, name) in names.iter().enumerate() {
        let middle = TOP + ROW * (row as f64 + 0.5);
        let _ = writeln!(out, "<text class=\"n t\" x=\"{}\" y=\"{:.0}\">{name}</text>", NAMES - 14.0, middle + 4.0);
        let class = if *name == "ours" { "o" } else { "d" };
        for axis in &AXES {
            let _ = writeln!(out, "<path class=\"{class}\" d=\"{}\"/>", dots(results, axis, row, middle));
        }
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{:.0}\">A dot is a cell, the mean of its seeds. In each row from top to bottom: loads {}.</text>\n</svg>",
        NAMES,
        height - 12.0,
        LOADS.map(|load| load.to_string()).join(", ")
    );
    out
}

fn grid(out: &mut String, axis: &Axis, rows: usize) {
    let bottom = TOP + ROW * rows as f64;
    let _ = writeln!(out, "<text class=\"t\" x=\"{}\" y=\"22\">{}</text>", axis.left, axis.title);
    for (value, label) in axis.ticks {
        let x = axis.x(*value);
        let _ = writeln!(
            out,
            "<path class=\"g\" d=\"M{x:.0} {TOP}V{bottom}\"/><text class=\"m\" x=\"{x:.0}\" y=\"{}\">{label}</text>",
            TOP - 10.0
        );
    }
    if axis.title.starts_with("extra") {
        let x = axis.x(MOST_EXTRA);
        let _ = writeln!(
            out,
            "<path class=\"goal\" d=\"M{x:.0} {TOP}V{bottom}\"/><text class=\"m\" x=\"{x:.0}\" y=\"{:.0}\">goal {MOST_EXTRA}</text>",
            bottom + 18.0
        );
    }
}

/// Strokes of no length with round ends.
fn dots(results: &[Played], axis: &Axis, row: usize, middle: f64) -> String {
    let mut path = String::new();
    for played in results {
        let Some((_, outcomes)) = played.policies.get(row) else { continue };
        let lane = LOADS.iter().position(|load| (load - played.cell.load).abs() < 1e-9).unwrap_or(0);
        let y = middle + 5.5 * (lane as f64 - 1.5);
        let _ = write!(path, "M{:.0} {y:.0}h0", axis.x(mean(outcomes, axis.value)));
    }
    path
}
