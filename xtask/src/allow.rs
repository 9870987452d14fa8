//! Excuses: `rule path reason`, one a line. One excuse covers every breach of that rule in that file.

use crate::Fault;

pub(crate) const PATH: &str = "xtask/tidy-allow.txt";

pub(crate) struct Allowed<'a> {
    /// Line number, rule, path, reason.
    excuses: Vec<(usize, &'a str, &'a str, &'a str)>,
}

impl<'a> Allowed<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let excuse = |(index, line): (usize, &'a str)| {
            let mut words = line.splitn(3, ' ');
            let mut next = || words.next().unwrap_or_default().trim();
            (index + 1, next(), next(), next())
        };
        Self { excuses: lines.map(excuse).collect() }
    }

    /// The faults that are not excused, and the excuses that excuse nothing or give no reason.
    pub(crate) fn judge(&self, faults: Vec<Fault>) -> Vec<String> {
        let covers = |fault: &Fault| {
            self.excuses.iter().position(|(_, rule, path, _)| *rule == fault.rule && *path == fault.path)
        };
        let mut used = vec![false; self.excuses.len()];
        let mut told = Vec::new();
        for fault in faults {
            match covers(&fault) {
                Some(index) => used[index] = true,
                None => told.push(fault.told()),
            }
        }
        for ((line, rule, path, reason), used) in self.excuses.iter().zip(used) {
            if !used {
                told.push(format!("{PATH}:{line}: {path} no longer needs its excuse [{rule}]"));
            } else if reason.is_empty() {
                told.push(format!("{PATH}:{line}: the excuse of {path} gives no reason [{rule}]"));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excuses_need_a_reason_and_a_fault() {
        let fault = |path: &str| Fault { rule: "long", path: path.into(), line: 0, what: "600 lines".into() };
        let allowed = Allowed::parse("# a comment\nlong a.rs a table\nlong b.rs\nlong gone.rs why\n");
        let told = allowed.judge(vec![fault("a.rs"), fault("b.rs"), fault("c.rs")]);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("c.rs:0: 600 lines"), "{told:?}");
        assert!(told[1].contains("b.rs gives no reason") && told[2].contains("gone.rs no longer needs"), "{told:?}");
    }
}
