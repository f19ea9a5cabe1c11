//! What the gateway costs the whole system where it is asked for the very same keys as the servers are directly: three load
//! generators, each with keys of one primary.
//!
//! The large table cannot do that: redis-benchmark's cluster mode asks for keys of one slot of each primary, and a server
//! finds these with less work than keys all over its slots.

use crate::loads::{Ask, LOADS, Load, Proxy, Values};
use crate::options::Options;
use crate::process::{Process, children_time, stay_on_last_core};
use crate::stage::{DIRECT, GATEWAY, Stage, Target};
use crate::strain::{in_turns, median, shown};
use evenkeel_core::topology::{SLOTS, slot};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const PRIMARIES: usize = 3;
/// Keys of each primary.
const KEYS: u32 = 100_000;

/// Microseconds of a request, and requests a second.
struct Cost {
    servers: f64,
    gateway: f64,
    client: f64,
    per_second: f64,
}

impl Cost {
    fn whole(&self) -> f64 {
        self.servers + self.gateway + self.client
    }
}

pub(crate) fn same_keys(options: &Options) {
    stay_on_last_core();
    let stage = Stage::set(&[]);
    let tags = tags();
    let fill = Load { ask: Ask::Set, pipeline: 16, ..LOADS[0] };
    run(&stage, stage.target(DIRECT), &fill, &tags, 8 * u64::from(KEYS));
    println!(
        "| load | requests per processor second of everything, direct = 1 | requests/s, direct = 1 | servers µs: direct, gateway | \
         client µs: direct, gateway | gateway µs |\n|---|--:|--:|--:|--:|--:|"
    );
    let small = |load: &&Load| {
        let usual = matches!(load.ask, Ask::Get | Ask::Set) && load.clients > 1;
        usual && load.values == Values::Small && load.proxy != Proxy::Apart
    };
    for load in LOADS.iter().filter(small) {
        let cost = |target: &str| {
            let target = stage.target(target);
            let trial = run(&stage, target, load, &tags, 20 * u64::from(load.clients * load.pipeline));
            let wanted = (trial.per_second * options.seconds / PRIMARIES as f64) as u64;
            run(&stage, target, load, &tags, wanted.max(1000))
        };
        let rounds = in_turns(options.rounds, || cost(DIRECT), || cost(GATEWAY));
        let pair = |figure: fn(&Cost) -> f64| {
            let direct = median(rounds.iter().map(|(direct, _)| figure(direct)));
            format!("{direct:.2}, {:.2}", median(rounds.iter().map(|(_, gateway)| figure(gateway))))
        };
        println!(
            "| {} | {} | {} | {} | {} | {:.2} |",
            load.name,
            shown(rounds.iter().map(|(direct, gateway)| direct.whole() / gateway.whole())),
            shown(rounds.iter().map(|(direct, gateway)| gateway.per_second / direct.per_second)),
            pair(|cost| cost.servers),
            pair(|cost| cost.client),
            median(rounds.iter().map(|(_, gateway)| gateway.gateway)),
        );
    }
}

/// Has every generator ask so many times.
fn run(stage: &Stage, target: &Target, load: &Load, tags: &[String], each: u64) -> Cost {
    let gateway = target.proxy.as_ref();
    let times = || [stage.servers_time(target), gateway.map_or(0.0, Process::run_time), children_time()];
    let (before, begin) = (times(), Instant::now());
    let ports = stage.nodes().iter().map(|node| gateway.map_or(node.port, |gateway| gateway.port));
    let generators: Vec<Child> =
        ports.zip(tags).map(|(port, tag)| generator(port, load, tag, each)).collect();
    for mut generator in generators {
        assert!(generator.wait().expect("it was started").success(), "redis-benchmark failed");
    }
    let (took, after) = (begin.elapsed().as_secs_f64(), times());
    let requests = each as f64 * PRIMARIES as f64;
    let [servers, gateway, client] = [0, 1, 2].map(|at| (after[at] - before[at]) * 1e6 / requests);
    Cost { servers, gateway, client, per_second: requests / took }
}

fn generator(port: u16, load: &Load, tag: &str, requests: u64) -> Child {
    let mut command = Command::new("redis-benchmark");
    let (clients, pipeline) = (load.clients / PRIMARIES as u32, load.pipeline);
    for (option, value) in [
        ("-p", u64::from(port)),
        ("-c", u64::from(clients)),
        ("-P", u64::from(pipeline)),
        ("-n", requests),
        ("-r", u64::from(KEYS)),
    ] {
        command.args([option, &value.to_string()]);
    }
    let key = format!("key:{{{tag}}}:__rand_int__");
    match load.ask {
        Ask::Set => command.args(["SET", &key, &"x".repeat(load.values.bytes())]),
        Ask::Get | Ask::Hot | Ask::MultiGet => command.args(["GET", &key]),
    };
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().expect("redis-benchmark is installed")
}

/// A hash tag for each primary of a cluster that redis-cli has made: its slots are in the order of the nodes.
fn tags() -> Vec<String> {
    let share = usize::from(SLOTS).div_ceil(PRIMARIES);
    let of = |primary: usize| {
        let mut tags = (0..).map(|number: u32| format!("t{number}"));
        tags.find(|tag| usize::from(slot(tag.as_bytes())) / share == primary).expect("numbers do not end")
    };
    (0..PRIMARIES).map(of).collect()
}
