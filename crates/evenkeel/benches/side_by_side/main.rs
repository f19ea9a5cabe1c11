//! The gateway beside direct access and other proxies, in one run: `cargo bench -p evenkeel --bench side_by_side`.
//!
//! Real servers (3 primaries, 3 replicas, and one alone behind proxies that know no slots), redis-benchmark as the
//! load, everything on one core, so that no wake-up of another core is in the figures but where a row says so. Targets take
//! turns, the order changes every round, and ratios are made inside a round: absolute speed drifts with what else the
//! machine does. Processor time is the kernel's run time of every thread, before and after.
//!
//! `-- --help` lists what else it measures. Needs redis-server, redis-benchmark, haproxy, nutcracker and perf.

mod chart;
mod crowd;
mod durability;
mod floor;
mod loads;
mod measure;
mod options;
mod peers;
mod process;
mod record;
mod same_keys;
mod stage;
mod strain;
mod table;
mod workers;

use clap::Parser;
use loads::{LOADS, Load, Values};
use options::{Mode, Options};
use peers::Peer;
use record::{Idle, Line, Record, Table};
use stage::{FLOOR, Stage, Target};

fn main() {
    let options = Options::parse();
    if options.list {
        return; // cargo asks what tests a bench holds
    }
    if let Some(value) = options.nice {
        process::be_nice(value);
    }
    match options.mode {
        Some(Mode::Floor { port }) => floor::serve(port),
        Some(Mode::Idle) => crowd::idle(),
        Some(Mode::Arrivals) => crowd::arrivals(options.rounds),
        Some(Mode::Overload) => strain::overload(&options),
        Some(Mode::Fairness) => strain::fairness(&options),
        Some(Mode::Large) => strain::large(&options),
        Some(Mode::Durability) => durability::durability(&options),
        Some(Mode::Clients) => strain::clients(&options),
        Some(Mode::SameKeys) => same_keys::same_keys(&options),
        Some(Mode::Workers) => workers::workers(&options),
        None => side_by_side(&options),
    }
}

fn side_by_side(options: &Options) {
    let record = match &options.from {
        Some(path) => Record::read(path),
        None => measured(options),
    };
    if let Some(path) = &options.json {
        record.write(path);
    }
    if let Some(path) = &options.chart {
        std::fs::write(path, chart::svg(&record))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    table::print(&record);
}

fn measured(options: &Options) -> Record {
    process::stay_on_last_core();
    let mut peers = Peer::packaged();
    peers
        .extend(options.peers.iter().map(|text| Peer::parse(text).unwrap_or_else(|error| panic!("{error}"))));
    let stage = Stage::set(&peers);
    let loads: Vec<Load> = LOADS.into_iter().filter_map(|load| options.wanted(load)).collect();
    let sizes: Vec<Values> =
        Values::ALL.into_iter().filter(|values| loads.iter().any(|load| load.values == *values)).collect();
    stage.fill(&sizes);
    let mut tables: Vec<Table> = loads.iter().map(|load| empty(&stage, load)).collect();
    for round in 0..options.rounds {
        for (load, table) in loads.iter().zip(&mut tables) {
            let lines = table.lines.len();
            for turn in 0..lines {
                let line = &mut table.lines[(turn + round) % lines];
                let target = stage.target(&line.target);
                line.samples.push(measure::measure(&stage, target, load, options.seconds));
            }
            eprintln!("round {} of {}: {}", round + 1, options.rounds, load.name);
        }
    }
    let proxies = stage.targets.iter().filter(|target| target.name != FLOOR && !options.no_idle);
    let idle = proxies.filter_map(|target| {
        let (kib_each, mib_before) = measure::idle_memory(target.proxy.as_ref()?, 5000);
        Some(Idle { target: target.name.clone(), kib_each, mib_before })
    });
    Record { machine: machine(), tables, idle: idle.collect() }
}

/// The lines of a load: the floor only where it means something.
fn empty(stage: &Stage, load: &Load) -> Table {
    let takes_part = |target: &&Target| target.name != FLOOR || load.has_floor();
    let line = |target: &Target| Line { target: target.name.clone(), samples: Vec::new() };
    Table { load: load.name.to_owned(), lines: stage.targets.iter().filter(takes_part).map(line).collect() }
}

/// Processor, cores, kernel: what a figure without it says little.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{}, {} cores, Linux {}",
        processor.map_or("unknown processor", |(_, name)| name),
        process::count_cores(),
        kernel.trim()
    )
}
