//! What this process costs (Linux).

use std::time::Duration;

/// Resident memory in KiB.
pub fn resident_kib() -> u64 {
    field("/proc/self/statm", 1) * 4
}

/// Time spent on a processor so far.
pub fn cpu_time() -> Duration {
    // User and system, in ticks of 10 ms; the name before them may hold spaces.
    Duration::from_millis((field("/proc/self/stat", 13) + field("/proc/self/stat", 14)) * 10)
}

/// How many files may be open at one time.
pub fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX)
}

fn field(file: &str, at: usize) -> u64 {
    let text = std::fs::read_to_string(file).expect("Linux");
    text.split_whitespace().nth(at).and_then(|field| field.parse().ok()).expect("a number")
}
