//! House rules that the compiler does not know: `cargo test -p xtask` holds the sources against them, `cargo run -p xtask`
//! prints what is wrong.
//! `cargo xtask routing` plays the grid that our routing is judged by (see [`routing`]), `cargo xtask forecast` the months that
//! the forecast is judged by (see [`forecast`]).
//!
//! What stands in `xtask/tidy-allow.txt` is excused, with a reason; an excuse that is no longer needed is itself a fault.
//! (Settings are held against their documents where they live, in `crates/codex-pool/src/config/tests.rs`.)

mod allow;
mod forecast;
mod lexer;
mod routing;
mod rules;
mod tree;

use std::path::Path;
use std::process::ExitCode;

use allow::Allowed;
use tree::Tree;

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    rule: &'static str,
    /// Below the repository, with `/`.
    path: String,
    /// From 1; 0: the whole file.
    line: usize,
    what: String,
}

impl Fault {
    fn told(&self) -> String {
        format!("{}:{}: {} [{}]", self.path, self.line, self.what, self.rule)
    }
}

/// Everything that is wrong and not excused.
fn tidy() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tree = match Tree::read(&root) {
        Ok(tree) => tree,
        Err(error) => return vec![format!("the sources cannot be read: {error}")],
    };
    let allowed = Allowed::parse(tree.text(allow::PATH).unwrap_or_default());
    allowed.judge(rules::check(&tree))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("routing", rest)) => return routing::run(rest),
        Some(("forecast", rest)) => return forecast::run(rest),
        _ => {}
    }
    let faults = tidy();
    for fault in &faults {
        println!("{fault}");
    }
    ExitCode::from(u8::from(!faults.is_empty()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_house_is_tidy() {
        let faults = super::tidy();
        assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    }
}
