//! Instructions per request of the data path, counted by valgrind: a figure that repeats on a busy machine too.
//!
//! `cargo bench -p evenkeel-core --bench instructions` compares with `instructions.txt` beside this file and fails where
//! a figure is more than 3 % above the recorded one. After a change that is worth it: the same with `-- --record`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench starts a program and reads files; the crate that it measures does not"
)]

mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use world::{CLIENTS, Kind, World};

/// Turns of the shorter and the longer run; their difference leaves out what happens once.
const SHORT: usize = 20;
const LONG: usize = 60;
/// How far above the recorded figure one may be.
const TOLERANCE: f64 = 1.03;

/// Name, what is asked, bytes of the value, requests in a pipeline.
const WORKLOADS: [(&str, Kind, usize, usize); 6] = [
    ("get-64-pipeline-1", Kind::Get, 64, 1),
    ("set-64-pipeline-1", Kind::Set, 64, 1),
    ("get-64-pipeline-16", Kind::Get, 64, 16),
    ("set-64-pipeline-16", Kind::Set, 64, 16),
    ("get-16384-pipeline-1", Kind::Get, 16_384, 1),
    ("set-16384-pipeline-1", Kind::Set, 16_384, 1),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [run, name, turns] = args.as_slice()
        && run == "run"
    {
        play(name, turns.parse().expect("a number of turns"));
        return ExitCode::SUCCESS;
    }
    let counted: BTreeMap<&str, f64> = WORKLOADS.iter().map(|(name, ..)| (*name, count(name))).collect();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt");
    if args.iter().any(|arg| arg == "--record") {
        let lines = counted.iter().map(|(name, count)| format!("{name} {count:.0}\n"));
        std::fs::write(&path, lines.collect::<String>()).expect("the record can be written");
        println!("recorded in {}", path.display());
        return ExitCode::SUCCESS;
    }
    compare(&counted, &std::fs::read_to_string(&path).unwrap_or_default())
}

/// Prints a row for each workload; fails where one costs too much.
fn compare(counted: &BTreeMap<&str, f64>, record: &str) -> ExitCode {
    let recorded: BTreeMap<&str, f64> = record
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, count)| Some((name, count.parse().ok()?)))
        .collect();
    let mut verdict = ExitCode::SUCCESS;
    println!("{:<24} {:>12} {:>12}", "instructions a request", "counted", "recorded");
    for (name, count) in counted {
        let Some(before) = recorded.get(name) else {
            println!("{name:<24} {count:>12.0} {:>12}  not recorded: run this with `-- --record`", "-");
            verdict = ExitCode::FAILURE;
            continue;
        };
        let change = (count / before - 1.0) * 100.0;
        let note = if *count > before * TOLERANCE {
            verdict = ExitCode::FAILURE;
            "too many: make it cheaper, or run this with `-- --record` and say why in the commit"
        } else if *count * TOLERANCE < *before {
            "better: run this with `-- --record`"
        } else {
            ""
        };
        println!("{name:<24} {count:>12.0} {before:>12.0}  {change:+.1} %  {note}");
    }
    verdict
}

/// Instructions per request of a workload, by two runs of this program under valgrind.
fn count(name: &str) -> f64 {
    let depth = WORKLOADS.iter().find(|workload| workload.0 == name).map_or(1, |workload| workload.3);
    let (short, long) = (instructions(name, SHORT), instructions(name, LONG));
    (long - short) as f64 / ((LONG - SHORT) * CLIENTS * depth) as f64
}

fn instructions(name: &str, turns: usize) -> u64 {
    let this = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["run", name, &turns.to_string()])
        .output()
        .expect("valgrind is installed (apt-get install valgrind)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "valgrind failed:\n{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    collected.and_then(|(_, count)| count.trim().parse().ok()).expect("valgrind says what it has counted")
}

fn play(name: &str, turns: usize) {
    let workload = WORKLOADS.iter().find(|workload| workload.0 == name).expect("a known workload");
    let mut world = World::new(workload.3, workload.1, workload.2);
    (0..turns).for_each(|_| world.turn());
}
