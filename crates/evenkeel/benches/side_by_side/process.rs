//! Processes of a run, and what the kernel says of them: run time, memory, cores.

use rustix::process::{Pid, setpriority_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// Where everything else runs, so that no wake-up of another core is in a figure.
    Last,
    /// Alone, if the machine has two.
    First,
}

/// A server or proxy of this run that listens on a port; ended when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a program and waits until it accepts connections.
    pub(crate) fn start(command: &mut Command, port: u16) -> Process {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        let mut process = Process { child, port };
        let begin = Instant::now();
        while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
            if let Ok(Some(status)) = process.child.try_wait() {
                panic!("{program} ended before it listened on {port}: {status}");
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "{program} does not listen on {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        process
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Moves all threads to a core.
    pub(crate) fn stay_on(&self, core: Core) {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        for thread in threads.flatten() {
            let id = thread.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
            let _ = sched_setaffinity(id, &cores(core)); // it may have ended meanwhile
        }
    }

    /// Gives each worker of a gateway a core of its own, as far as there are as many.
    pub(crate) fn spread_workers(&self) {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        for thread in threads.flatten() {
            let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            let place =
                name.trim_end().strip_prefix("gateway-").and_then(|place| place.parse::<usize>().ok());
            let id = thread.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
            if let Some(place) = place {
                let mut core = CpuSet::new();
                core.set(place % count_cores());
                sched_setaffinity(id, &core).expect("a thread of our own");
            }
        }
    }

    /// Seconds that all threads have run.
    pub(crate) fn run_time(&self) -> f64 {
        run_time(self.pid())
    }

    /// KiB of memory in use.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS")
    }

    /// KiB of memory at its highest since `forget_peak`.
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM")
    }

    pub(crate) fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")
            .expect("the owner of a process may do that");
    }

    fn status(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = text.lines().find(|line| line.starts_with(name)).expect("Linux tells");
        line.split_whitespace().nth(1).and_then(|figure| figure.parse().ok()).expect("a number")
    }
}

/// This process and all that it starts stay on the last core.
pub(crate) fn stay_on_last_core() {
    sched_setaffinity(None, &cores(Core::Last)).expect("a process may choose its core");
}

/// Lifts this process and all that it starts over other work on the machine.
pub(crate) fn be_nice(value: i32) {
    setpriority_process(None, value).expect("a nice value below 0 takes root");
    // Where the kernel groups processes by terminal, what counts between groups is the value of the group.
    let group = fs::write("/proc/self/autogroup", value.to_string());
    group.unwrap_or_else(|error| eprintln!("the value holds inside this terminal's group only: {error}"));
}

/// How many cores the machine has, whichever this process stays on.
pub(crate) fn count_cores() -> usize {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").expect("Linux tells");
    // `0` or `0-63`
    online
        .trim()
        .rsplit(['-', ','])
        .next()
        .and_then(|last| last.parse::<usize>().ok())
        .map_or(1, |last| last + 1)
}

fn cores(core: Core) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(match core {
        Core::First => 0,
        Core::Last => count_cores() - 1,
    });
    set
}

/// A free port of which the bus port, 10000 above, is free as well.
pub(crate) fn free_port() -> u16 {
    for port in (20_000..30_000u16).step_by(7) {
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
    panic!("no free port between 20000 and 30000");
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
pub(crate) fn children_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux tells");
    let after_name = stat.rsplit(") ").next().expect("a name in brackets");
    let field =
        |at: usize| after_name.split(' ').nth(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (field(13) + field(14)) / 100.0 // cutime and cstime in ticks
}
