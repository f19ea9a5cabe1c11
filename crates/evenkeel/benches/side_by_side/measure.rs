//! How it is measured: processor time of every process on the way, and what redis-benchmark says.

use crate::stage::{Stage, Target};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

/// One kind of load.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) command: &'static str,
    pub(crate) clients: u32,
    pub(crate) pipeline: u32,
    pub(crate) size: u32,
}

/// What one measurement gave; times in microseconds of processor time for a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) proxy_us: f64,
    pub(crate) servers_us: f64,
    pub(crate) client_us: f64,
}

impl Sample {
    pub(crate) fn everything_us(&self) -> f64 {
        self.proxy_us + self.servers_us + self.client_us
    }
}

/// This process and all that it starts stay on the last core.
pub(crate) fn stay_on_one_core() {
    let last = std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
    let mut cores = CpuSet::new();
    cores.set(last);
    sched_setaffinity(None, &cores).expect("a process may choose its core");
}

/// Runs one load against one target for about `seconds`.
pub(crate) fn measure(stage: &Stage, target: Target, workload: &Workload, seconds: f64) -> Sample {
    let trial = run(stage, target, workload, 20 * u64::from(workload.clients * workload.pipeline));
    let requests = (trial.per_second * seconds) as u64;
    run(stage, target, workload, requests.max(1000))
}

fn run(stage: &Stage, target: Target, workload: &Workload, requests: u64) -> Sample {
    let processes =
        || (stage.proxy(target).map_or(0.0, run_time), stage.servers(target).into_iter().map(run_time).sum());
    let (proxy, servers): (f64, f64) = processes();
    let client = children_time();
    let mut load = stage.load(target);
    load.args(["-t", workload.command, "--csv", "-c", &workload.clients.to_string()]).args([
        "-P",
        &workload.pipeline.to_string(),
        "-d",
        &workload.size.to_string(),
        "-n",
        &requests.to_string(),
    ]);
    let output = load.output().expect("redis-benchmark is installed");
    let (proxy_after, servers_after): (f64, f64) = processes();
    let said = String::from_utf8_lossy(&output.stdout);
    // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms",…
    let row = said.lines().rfind(|line| line.starts_with("\"GET\"") || line.starts_with("\"SET\""));
    let row = row.unwrap_or_else(|| panic!("redis-benchmark said\n{said}"));
    let fields: Vec<f64> =
        row.split(',').skip(1).filter_map(|field| field.trim_matches('"').parse().ok()).collect();
    let each = |time: f64| time * 1e6 / requests as f64;
    Sample {
        per_second: fields[0],
        p50_ms: fields[3],
        p99_ms: fields[5],
        proxy_us: each(proxy_after - proxy),
        servers_us: each(servers_after - servers),
        client_us: each(children_time() - client),
    }
}

/// Seconds that all threads of a process have run (`/proc/PID/task/TID/schedstat`).
fn run_time(pid: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    let nanos = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

/// Seconds that children have run which were waited for: the load generators so far.
fn children_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux tells");
    let after_name = stat.rsplit(") ").next().expect("a name in brackets");
    let field =
        |at: usize| after_name.split(' ').nth(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (field(13) + field(14)) / 100.0 // cutime and cstime in ticks
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// KiB that a connection costs once it was used and is idle, and KiB of the process before.
pub(crate) fn idle_memory(stage: &Stage, target: Target, connections: usize) -> (f64, u64) {
    let pid = stage.proxy(target).expect("a proxy");
    let rss = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("Linux tells");
        line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).expect("a number")
    };
    std::thread::sleep(std::time::Duration::from_secs(15)); // what the last load left is given back
    let before = rss();
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut client = TcpStream::connect(("127.0.0.1", stage.port(target))).expect("a connection");
        client.write_all(b"*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n").expect("sent");
        let mut reply = [0; 5];
        client.read_exact(&mut reply).expect("a reply");
        open.push(client);
    }
    std::thread::sleep(std::time::Duration::from_secs(5));
    (rss().saturating_sub(before) as f64 / connections as f64, before)
}
