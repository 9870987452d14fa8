//! What changes, line by line, without the secrets.

use std::fmt::Write as _;

/// Above this many pairs of lines only the changed middle is shown as a whole.
const MOST_PAIRS: usize = 4_000_000;

/// Removed lines with `-`, added ones with `+`.
pub(super) fn shown(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let start = old.iter().zip(&new).take_while(|(one, two)| one == two).count();
    let tail = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(one, two)| one == two).count();
    let (old, new) = (&old[start..old.len() - tail], &new[start..new.len() - tail]);
    let mut out = String::new();
    // What is gone and names nothing might be the rest of a secret.
    let names = |(mark, line): &(char, &str)| *mark == '+' || line.contains(['=', ':']);
    for (mark, line) in changes(old, new).into_iter().filter(names) {
        let _ = writeln!(out, "  {mark} {}", masked(line));
    }
    out
}

fn changes<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    if old.len().saturating_mul(new.len()) > MOST_PAIRS {
        let removed = old.iter().map(|line| ('-', *line));
        return removed.chain(new.iter().map(|line| ('+', *line))).collect();
    }
    // The longest common part from each pair of places on.
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            let skipped = common[i + 1][j].max(common[i][j + 1]);
            common[i][j] = if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { skipped };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            found.push(('-', old[i]));
            i += 1;
        } else {
            found.push(('+', new[j]));
            j += 1;
        }
    }
    found
}

/// What follows the name of a key, token, secret or password is not shown.
fn masked(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let secret = ["key", "token", "secret", "pass"].iter().any(|word| lower.contains(word));
    match line.find(['=', ':']).filter(|_| secret) {
        Some(at) => format!("{} (not shown)", &line[..=at]),
        None => line.chars().filter(|letter| !letter.is_control() || *letter == '\t').collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_and_secrets_are_not() {
        for (old, new, expected) in [
            ("a\nb=1\nc\n", "a\nx\nc\n", "  - b=1\n  + x\n"),
            ("", "a\n", "  + a\n"),
            ("a\nb:\nc\nd\n", "a\nc\nd\ne\n", "  - b:\n  + e\n"),
            ("API_KEY=canary\n", "API_KEY=canary2\n", "  - API_KEY= (not shown)\n  + API_KEY= (not shown)\n"),
            ("key = 'a\ncanary'\n", "", "  - key = (not shown)\n"),
            ("", "  \"apiKeyHelper\": \"canary\"\n", "  +   \"apiKeyHelper\": (not shown)\n"),
        ] {
            assert_eq!(shown(old, new), expected);
        }
    }
}
