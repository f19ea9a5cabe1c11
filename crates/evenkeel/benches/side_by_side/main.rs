//! The gateway beside direct access and HAProxy, in one run: `cargo bench -p evenkeel --bench side_by_side`.
//!
//! Real servers (3 primaries, 3 replicas, and one alone behind HAProxy, which knows no slots), redis-benchmark as the
//! load, everything on one core, so that no wake-up of another core is in the figures. Targets take turns, the order
//! changes every round, and ratios are made inside a round: absolute speed drifts with what else the machine does.
//! Processor time is the kernel's run time of every thread, before and after.
//!
//! `EVENKEEL_ROUNDS` (5) and `EVENKEEL_SECONDS` (1.5) a measurement. Needs redis-server, redis-benchmark, haproxy.

mod measure;
mod stage;

use measure::{Sample, Workload, measure};
use stage::{Stage, Target};

const WORKLOADS: [Workload; 7] = [
    Workload { name: "GET 64 B, 50 connections", command: "get", clients: 50, pipeline: 1, size: 64 },
    Workload { name: "SET 64 B, 50 connections", command: "set", clients: 50, pipeline: 1, size: 64 },
    Workload {
        name: "GET 64 B, 50 connections, pipeline 16",
        command: "get",
        clients: 50,
        pipeline: 16,
        size: 64,
    },
    Workload {
        name: "SET 64 B, 50 connections, pipeline 16",
        command: "set",
        clients: 50,
        pipeline: 16,
        size: 64,
    },
    Workload { name: "GET 64 B, 500 connections", command: "get", clients: 500, pipeline: 1, size: 64 },
    Workload { name: "SET 64 B, 500 connections", command: "set", clients: 500, pipeline: 1, size: 64 },
    Workload { name: "GET 64 B, 1 connection", command: "get", clients: 1, pipeline: 1, size: 64 },
];
const TARGETS: [Target; 3] = [Target::Direct, Target::Haproxy, Target::Gateway];

fn main() {
    if std::env::args().any(|word| word == "--list") {
        return; // cargo asks what tests a bench holds
    }
    let rounds = setting("EVENKEEL_ROUNDS", 5.0) as usize;
    let seconds = setting("EVENKEEL_SECONDS", 1.5);
    measure::stay_on_one_core();
    let stage = Stage::set();
    let mut samples: Vec<Vec<[Sample; TARGETS.len()]>> = vec![Vec::new(); WORKLOADS.len()];
    for round in 0..rounds {
        for (at, workload) in WORKLOADS.iter().enumerate() {
            let mut row = [Sample::default(); TARGETS.len()];
            for turn in 0..TARGETS.len() {
                let place = (turn + round) % TARGETS.len();
                row[place] = measure(&stage, TARGETS[place], workload, seconds);
            }
            eprintln!("round {} of {rounds}: {}", round + 1, workload.name);
            samples[at].push(row);
        }
    }
    for (workload, rows) in WORKLOADS.iter().zip(&samples) {
        print_table(workload, rows);
    }
    print_memory(&stage);
}

fn print_table(workload: &Workload, rows: &[[Sample; TARGETS.len()]]) {
    println!("\n{}\n", workload.name);
    println!(
        "| target | requests/s | p50 ms | p99 ms | proxy µs | servers µs | client µs | proxy CPU / HAProxy | requests per CPU second of everything / direct |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    let median_of = |value: &dyn Fn(&[Sample; TARGETS.len()]) -> f64| measure::median(rows.iter().map(value));
    for (place, target) in TARGETS.iter().enumerate() {
        let of = |value: fn(&Sample) -> f64| median_of(&|row| value(&row[place]));
        let proxy_ratio = median_of(&|row| row[place].proxy_us / row[1].proxy_us);
        let whole_ratio = median_of(&|row| row[0].everything_us() / row[place].everything_us());
        println!(
            "| {} | {:.0} | {:.3} | {:.3} | {:.2} | {:.2} | {:.2} | {} | {whole_ratio:.2} |",
            target.name(),
            of(|sample| sample.per_second),
            of(|sample| sample.p50_ms),
            of(|sample| sample.p99_ms),
            of(|sample| sample.proxy_us),
            of(|sample| sample.servers_us),
            of(|sample| sample.client_us),
            if *target == Target::Direct { "-".to_owned() } else { format!("{proxy_ratio:.2}") },
        );
    }
}

fn print_memory(stage: &Stage) {
    println!("\nMemory of an idle connection that was used once (5000 of them), and at the start\n");
    println!("| target | KiB a connection | MiB at the start |\n|---|--:|--:|");
    for target in [Target::Haproxy, Target::Gateway] {
        let (each, start) = measure::idle_memory(stage, target, 5000);
        println!("| {} | {each:.2} | {:.1} |", target.name(), start as f64 / 1024.0);
    }
}

fn setting(name: &str, default: f64) -> f64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}
