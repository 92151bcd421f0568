//! What policies for spot machines come to on real traces: cost and time in parts of all on demand, and time of trials for nothing.
//!
//! `cargo run --release -p gridctl-sim --example replay` prints a table a case, and at the end one of all traces and what is promised
//! beside what comes out. `-- 4` plays four beginnings of each trace instead of 8; `-- 4 p3` only the traces with p3 in their names.

use std::fmt::Write as _;

use gridctl_sim::replay::{CASES, Figures, Trace, compared, summary, table, traces};

fn main() {
    let begins = std::env::args().nth(1).and_then(|number| number.parse().ok()).unwrap_or(8);
    let only = std::env::args().nth(2).unwrap_or_default();
    let all: Vec<Trace> = traces().into_iter().filter(|trace| trace.name.contains(&only)).collect();
    let (mut rows_of, mut promised) = (Vec::new(), String::new());
    for trace in &all {
        let mut cases = Vec::new();
        for (machines, hours) in CASES {
            let (rows, figures) = compared(trace, (machines, hours), begins);
            println!("## {}: {machines} machines, trials of {hours} h, {begins} beginnings\n", trace.name);
            println!("{}", table(&rows));
            let Figures { of_knowing, of_on_demand, slower, waste, missed, with_deadline, needless } =
                figures;
            let _ = writeln!(
                promised,
                "| {}, {machines} x {hours} h | {of_knowing:.3} | {of_on_demand:.3} | {slower:+.3} | {waste:.3} | {missed} | {:.2} | {:.2} ({}) |",
                trace.name, with_deadline.0, needless.0, needless.1,
            );
            cases.push(rows);
        }
        rows_of.push((trace.name, cases));
    }
    println!("## All traces: cost (time)\n\n{}", summary(&rows_of));
    println!("## What is promised\n");
    println!(
        "| case | of who knows | of on demand | slower | waste | late | with deadline | needless, at most |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|\n{promised}");
}
