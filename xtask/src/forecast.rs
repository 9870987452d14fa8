//! `cargo xtask forecast`: plays the back-test.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pool_core::Span;
use pool_core::forecast::Manner;
use pool_sim::foresight::{self, JUDGED_BY, Month, Score, TUNED_ON, median};

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let d = Manner::default();
    let tune = arguments.first().is_some_and(|a| a == "tune");
    let mut manners = vec![("constant".to_owned(), Manner::CONSTANT), ("default".to_owned(), d)];
    if tune {
        manners.push(("middle 1.2".into(), Manner { middle: 1.2, ..d }));
        manners.push(("fade 240".into(), Manner { fade: Span::from_mins(240), ..d }));
        manners.push(("young 24".into(), Manner { young_fade: Span::from_hours(24), ..d }));
        manners.push(("wide".into(), Manner { level: 0.3, clump: 5.0, ..d }));
    }
    let seeds: Vec<u64> = if tune { TUNED_ON.to_vec() } else { JUDGED_BY.to_vec() };
    let months: Vec<Month> = seeds.iter().flat_map(|s| foresight::months(*s)).collect();
    let list: Vec<Manner> = manners.iter().map(|m| m.1).collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(m) = months.get(i) else { return };
                    let r = foresight::play(m, &list);
                    if let Ok(mut d) = done.lock() {
                        d.push((i, r));
                    }
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_default();
    for real in [false, true] {
        for part in [0, 1] {
            println!("real {real} part {part}");
            for (index, (name, _)) in manners.iter().enumerate() {
                let mut sum = Score::default();
                for (i, r) in &done {
                    if months[*i].real == real {
                        sum.add(r[index][part].clone());
                    }
                }
                let pct = |a: usize, b: usize| 100.0 * a as f64 / b.max(1) as f64;
                let mean = |v: &[f64]| v.iter().map(|x| x.min(720.0)).sum::<f64>() / v.len().max(1) as f64;
                println!(
                    "{name:14} spells {:4} foreseen {:5.1}% off1h {:6.0} {:6.0} off3h {:6.0} {:6.0} false {:5.1}% of {:5} inside {:5.1}% of {:4} length {:5.0}",
                    sum.spells,
                    pct(sum.foreseen, sum.spells),
                    median(&sum.off_1h).unwrap_or(0.0),
                    mean(&sum.off_1h),
                    median(&sum.off_3h).unwrap_or(0.0),
                    mean(&sum.off_3h),
                    pct(sum.false_alarms, sum.alarms),
                    sum.alarms,
                    pct(sum.inside, sum.ranged),
                    sum.ranged,
                    median(&sum.length_off).unwrap_or(0.0)
                );
            }
        }
    }
    ExitCode::SUCCESS
}
