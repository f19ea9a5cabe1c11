//! How it is measured: processor time of every process on the way, system calls, and what redis-benchmark says.

use crate::loads::{Load, Proxy};
use crate::process::{Core, Process, children_time};
use crate::record::Sample;
use crate::stage::{Stage, Target};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What redis-benchmark says of a run.
pub(crate) struct Said {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Runs one load against one target for about `seconds`.
pub(crate) fn measure(stage: &Stage, target: &Target, load: &Load, seconds: f64) -> Sample {
    let proxy = target.proxy.as_ref();
    if load.proxy == Proxy::Apart {
        proxy.inspect(|proxy| proxy.stay_on(Core::First));
    }
    let trial = said(load.command(target, (20 * u64::from(load.clients * load.pipeline)).max(500)));
    let requests = ((trial.per_second * seconds) as u64).max(200);
    let mut sample = timed(stage, target, load, requests);
    if let (Some(proxy), Proxy::TogetherCounted) = (proxy, load.proxy) {
        sample.calls = Some(system_calls(proxy, load.command(target, requests / 3)) / (requests / 3) as f64);
    }
    proxy.inspect(|proxy| proxy.stay_on(Core::Last));
    sample
}

fn timed(stage: &Stage, target: &Target, load: &Load, requests: u64) -> Sample {
    let proxy = target.proxy.as_ref();
    proxy.inspect(|proxy| proxy.forget_peak());
    let times = || [proxy.map_or(0.0, Process::run_time), stage.servers_time(target), children_time()];
    let before = times();
    let said = said(load.command(target, requests));
    let after = times();
    let each = |at: usize| (after[at] - before[at]) * 1e6 / requests as f64;
    Sample {
        per_second: said.per_second,
        p50_ms: said.p50_ms,
        p99_ms: said.p99_ms,
        proxy_us: each(0),
        servers_us: each(1),
        client_us: each(2),
        peak_mib: proxy.map(|proxy| proxy.peak() as f64 / 1024.0),
        calls: None,
    }
}

/// Runs a load to its end.
pub(crate) fn said(mut load: Command) -> Said {
    let output = load.stderr(Stdio::piped()).output().expect("redis-benchmark is installed");
    read(&output.stdout).unwrap_or_else(|| {
        let [said, why] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        panic!("redis-benchmark ended ({}) and said\n{said}{why}", output.status)
    })
}

/// "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
pub(crate) fn read(output: &[u8]) -> Option<Said> {
    let text = String::from_utf8_lossy(output);
    let row = text.lines().rfind(|line| line.starts_with('"') && !line.starts_with("\"test\""));
    // The name of the test can hold anything, so the figures are counted from the end.
    let figures: Vec<f64> =
        row?.rsplit(',').take(7).map(|field| field.trim_matches('"').parse().unwrap_or(f64::NAN)).collect();
    Some(Said { per_second: figures[6], p50_ms: figures[3], p99_ms: figures[1] })
}

/// System calls of a process while a load runs.
fn system_calls(proxy: &Process, load: Command) -> f64 {
    let counts = tempfile::NamedTempFile::new().expect("a file");
    let mut perf = Command::new("perf");
    perf.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &proxy.pid().to_string(), "-o"])
        .arg(counts.path());
    let done = perf.arg(load.get_program()).args(load.get_args()).stdout(Stdio::null()).status();
    let what_to_do = "system calls are counted by perf (apt-get install linux-perf), as root, with tracefs at \
                      /sys/kernel/tracing; --no-calls does without";
    assert!(done.expect(what_to_do).success(), "perf failed: {what_to_do}");
    let text = std::fs::read_to_string(counts.path()).expect("perf has written");
    let count = text.lines().find(|line| line.contains("sys_enter")).and_then(|line| line.split(',').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("perf said\n{text}\n{what_to_do}"))
}

/// KiB that a connection costs once it was used and is idle, and MiB of the process before.
pub(crate) fn idle_memory(proxy: &Process, connections: usize) -> (f64, f64) {
    std::thread::sleep(Duration::from_secs(15)); // what the last load left is given back
    let before = proxy.memory();
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port)).expect("a connection");
        client.write_all(b"*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n").expect("sent");
        let mut reply = [0; 5];
        client.read_exact(&mut reply).expect("a reply");
        open.push(client);
    }
    std::thread::sleep(Duration::from_secs(5));
    (proxy.memory().saturating_sub(before) as f64 / connections as f64, before as f64 / 1024.0)
}
