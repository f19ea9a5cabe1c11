//! What the machine is that the load generator runs on, and how much processor time the generator uses.
//!
//! Reads `/proc`; what cannot be read is left empty.

use std::fs;

/// Facts about this machine for the report.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Machine {
    /// Name of the operating system.
    pub(crate) os: String,
    /// Version of the kernel.
    pub(crate) kernel: String,
    /// Model of the processor.
    pub(crate) cpu: String,
    /// Processors that this process may use.
    pub(crate) cores: usize,
    /// Memory in bytes.
    pub(crate) memory_bytes: u64,
    /// Load averages of the last 1, 5 and 15 minutes before the run.
    pub(crate) load_average: String,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn look() -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Machine {
            os: value(&read("/etc/os-release"), "PRETTY_NAME", '=').trim_matches('"').to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: value(&read("/proc/cpuinfo"), "model name", ':'),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kibibytes(&value(&read("/proc/meminfo"), "MemTotal", ':')),
            load_average: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        }
    }
}

impl Machine {
    /// Whether more than twice as much wanted to run in the last minute as there are processors: what takes long then
    /// says little.
    pub(crate) fn is_busy(&self) -> bool {
        let load = self.load_average.split(' ').next().and_then(|load| load.parse::<f64>().ok());
        load.is_some_and(|load| load > 2.0 * self.cores as f64)
    }
}

fn value(text: &str, name: &str, separator: char) -> String {
    let found = text.lines().find_map(|line| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then(|| value.trim().to_owned())
    });
    found.unwrap_or_default()
}

fn kibibytes(text: &str) -> u64 {
    text.trim_end_matches(" kB").parse().map_or(0, |number: u64| number * 1024)
}

/// Processor seconds that this process has used so far.
pub(crate) fn processor_seconds() -> f64 {
    ticks(&fs::read_to_string("/proc/self/stat").unwrap_or_default()) as f64 / TICKS_PER_SECOND
}

/// Unit of the times in `/proc/<pid>/stat`: Linux shows 100 to user space on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a `/proc/<pid>/stat` line (fields 14 and 15; the name in field 2 may hold spaces).
fn ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_known() {
        let busy =
            |load: &str| Machine { cores: 2, load_average: load.to_owned(), ..Machine::default() }.is_busy();
        assert!(busy("4.10 0.00 0.00") && !busy("3.90 9.00 9.00") && !busy(""));
    }

    #[test]
    fn this_machine_is_seen() {
        let machine = Machine::look();
        assert!(
            machine.cores > 0 && machine.memory_bytes > 1 << 20 && !machine.kernel.is_empty(),
            "{machine:?}"
        );
    }

    #[test]
    fn processor_time_is_read_past_odd_names() {
        assert_eq!(ticks("7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 30 0 0 20"), 280);
        assert_eq!(ticks(""), 0);
    }
}
