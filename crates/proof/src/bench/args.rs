//! The command line of `evenkeel bench`, and the checked plan that is made from it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::BenchError;
use crate::link::Door;

/// Measure SET and GET against any Redis-compatible address, for value sizes from 128 bits to 4 Mbit.
///
/// Example: evenkeel bench --addr 127.0.0.1:7010 --quick --out results
///
/// Writes results-set-clientN.txt and results-get-clientN.txt (JSON, an object for each size: NUM OF BITS,
/// ERROR PERCENTAGE, IOPS, LATENCY in seconds per request, BANDWIDTH in bits of values per second),
/// results-raw-set-clientN.txt and results-raw-get-clientN.txt (JSON, an object for each 1000 requests),
/// report.html and report.json.
///
/// Exit status: 0 everything was answered rightly, 1 it could not run, 3 some requests failed, 4 a GET
/// answered a wrong value, 130 stopped early.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to measure
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7010")]
    pub addr: String,
    /// Seconds for each of SET and GET at each size
    #[arg(long, value_name = "N", default_value_t = 60.0, value_parser = seconds)]
    pub seconds: f64,
    /// 2 seconds for each instead
    #[arg(long, conflicts_with = "seconds")]
    pub quick: bool,
    /// Connections, each with its own requests in flight; 1 shows the bare round trip
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,
    /// Requests in flight on each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub pipeline: u16,
    /// Threads that the connections are spread over
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Smallest and largest value in bytes; sizes double from the first on
    #[arg(long, value_name = "FROM..TO", default_value = "16..524288", value_parser = sizes)]
    pub sizes: RangeInclusive<usize>,
    /// Number of this client in the names of its files, for several clients at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub client: u32,
    /// Directory for the results [default: bench-<time of start>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Most data to hold on the target at a time, e.g. 64mb
    #[arg(long, value_name = "SIZE", default_value = "256mb", value_parser = bytes)]
    pub max_data: u64,
    /// User to log in as; the password comes from --password-file or EVENKEEL_PASSWORD
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// File with the password in its first line
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Seconds without an answer after which a request counts as failed
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = seconds)]
    pub timeout: f64,
    /// Leave the keys on the target
    #[arg(long)]
    pub keep: bool,
    /// Print report.json to standard output
    #[arg(long)]
    pub json: bool,
}

/// What the keys' fate is after a size was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// They are removed.
    Remove,
    /// They stay.
    Keep,
}

/// What goes to standard output at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// A table for people.
    Table,
    /// The report for scripts.
    Json,
}

/// A checked command line.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) door: Door,
    pub(crate) time: Duration,
    pub(crate) connections: u64,
    pub(crate) pipeline: usize,
    pub(crate) threads: u64,
    pub(crate) sizes: Vec<usize>,
    pub(crate) client: u32,
    pub(crate) out: PathBuf,
    pub(crate) max_data: u64,
    pub(crate) afterwards: Afterwards,
    pub(crate) output: Output,
}

/// More than this is not in flight on one connection, whatever `--pipeline` says: deep pipelines of large
/// values would only measure the memory of both sides.
const MOST_IN_FLIGHT: usize = 8 << 20;

impl Plan {
    /// Checks the arguments; `env_password` is the value of EVENKEEL_PASSWORD, `started` names the directory
    /// where none was given.
    pub(crate) fn new(args: &Args, env_password: Option<String>, started: &str) -> Result<Plan, BenchError> {
        if args
            .addr
            .rsplit_once(':')
            .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            return Err(BenchError::Address(args.addr.clone()));
        }
        let password = match &args.password_file {
            Some(path) => Some(password(path)?),
            None => env_password.filter(|password| !password.is_empty()),
        };
        if args.user.is_some() && password.is_none() {
            return Err(BenchError::NoPassword);
        }
        let time = if args.quick { 2.0 } else { args.seconds };
        Ok(Plan {
            door: Door {
                addr: args.addr.clone(),
                user: args.user.clone(),
                password,
                patience: Duration::from_secs_f64(args.timeout),
            },
            time: Duration::from_secs_f64(time),
            connections: args.connections.into(),
            pipeline: args.pipeline.into(),
            threads: args.threads.min(args.connections).into(),
            sizes: doubling(args.sizes.clone()),
            client: args.client,
            out: args.out.clone().unwrap_or_else(|| PathBuf::from(format!("bench-{started}"))),
            max_data: args.max_data,
            afterwards: if args.keep { Afterwards::Keep } else { Afterwards::Remove },
            output: if args.json { Output::Json } else { Output::Table },
        })
    }

    /// Requests in flight on a connection for values of `size` bytes.
    pub(crate) fn depth(&self, size: usize) -> usize {
        self.pipeline.min((MOST_IN_FLIGHT / size).max(1))
    }

    /// Bytes that one size may hold on the target. Kept keys of all sizes share the bound.
    pub(crate) fn data_per_size(&self) -> u64 {
        match self.afterwards {
            Afterwards::Remove => self.max_data,
            Afterwards::Keep => self.max_data / self.sizes.len() as u64,
        }
    }
}

fn password(path: &PathBuf) -> Result<String, BenchError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| BenchError::PasswordFile { path: path.clone(), source })?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        Some(_) | None => Err(BenchError::PasswordEmpty(path.clone())),
    }
}

fn doubling(sizes: RangeInclusive<usize>) -> Vec<usize> {
    std::iter::successors(Some(*sizes.start()), |size| size.checked_mul(2))
        .take_while(|size| size <= sizes.end())
        .collect()
}

const LONGEST_VALUE: usize = 64 << 20;

fn sizes(text: &str) -> Result<RangeInclusive<usize>, String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (bytes(from)? as usize, bytes(to.trim_start_matches('='))? as usize);
    if from < 16 || to > LONGEST_VALUE || from > to {
        return Err(format!("sizes are {from}..{to}, expected FROM..TO within 16..{LONGEST_VALUE}"));
    }
    Ok(from..=to)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(seconds),
        Ok(_) | Err(_) => Err(format!("{text} is not a number of seconds, expected 0.1 to 86400")),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim().to_ascii_lowercase();
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match &text[number.len()..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        other => return Err(format!("{other} is not a unit, expected kb, mb or gb")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text} is not a size, expected e.g. 64mb"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is too large, expected e.g. 64mb"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches};

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("bench"));
        let matches =
            command.try_get_matches_from(std::iter::once("bench").chain(line.split_whitespace()))?;
        Args::from_arg_matches(&matches)
    }

    fn plan(line: &str) -> Plan {
        Plan::new(&parse(line).unwrap(), None, "then").unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_defaults_are_the_sixteen_sizes_for_a_minute_each() {
        let plan = plan("");
        assert_eq!(plan.sizes.len(), 16);
        assert_eq!((plan.sizes[0], plan.sizes[15]), (16, 524_288));
        assert_eq!((plan.time, plan.door.addr.as_str()), (Duration::from_secs(60), "127.0.0.1:7010"));
        assert_eq!((plan.connections, plan.pipeline, plan.threads, plan.client), (8, 1, 1, 1));
        assert_eq!((plan.afterwards, plan.output), (Afterwards::Remove, Output::Table));
        assert_eq!(plan.out, PathBuf::from("bench-then"));
    }

    #[test]
    fn sizes_double_from_the_first_and_take_units() {
        assert_eq!(plan("--sizes 100..1000").sizes, [100, 200, 400, 800]);
        assert_eq!(plan("--sizes 1k..4kb").sizes, [1024, 2048, 4096]);
        assert_eq!(plan("--sizes 64").sizes, [64]);
        for wrong in ["8..64", "64..32", "16..1gb", "a..b", "16..4x", ""] {
            assert!(parse(&format!("--sizes={wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quick_is_two_seconds_and_excludes_seconds() {
        assert_eq!(plan("--quick").time, Duration::from_secs(2));
        assert!(parse("--quick --seconds 5").is_err());
        for wrong in ["0", "-1", "nan", "1e9", "soon"] {
            assert!(parse(&format!("--seconds={wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn deep_pipelines_are_bounded_in_bytes() {
        let plan = plan("--pipeline 100");
        assert_eq!((plan.depth(16), plan.depth(524_288), plan.depth(64 << 20)), (100, 16, 1));
    }

    #[test]
    fn kept_keys_share_the_bound() {
        assert_eq!(plan("--max-data 160mb").data_per_size(), 160 << 20);
        assert_eq!(plan("--max-data 160mb --keep").data_per_size(), 10 << 20);
    }

    #[test]
    fn passwords_come_from_file_or_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "of the file\n").unwrap();
        let args = |line: &str| parse(line).unwrap();
        let from_file = args(&format!("--password-file {}", path.display()));
        let password = |args: &Args, env: Option<&str>| {
            Plan::new(args, env.map(str::to_owned), "").map(|plan| plan.door.password)
        };
        assert_eq!(password(&from_file, Some("env")).ok(), Some(Some("of the file".to_owned())));
        assert_eq!(password(&args(""), Some("env")).ok(), Some(Some("env".to_owned())));
        assert_eq!(password(&args(""), Some("")).ok(), Some(None));
        assert!(matches!(password(&args("--user me"), None), Err(BenchError::NoPassword)));
        std::fs::write(&path, "").unwrap();
        assert!(matches!(password(&from_file, None), Err(BenchError::PasswordEmpty(_))));
        assert!(matches!(
            password(&args("--password-file /none"), None),
            Err(BenchError::PasswordFile { .. })
        ));
    }

    #[test]
    fn an_address_needs_a_port() {
        for wrong in ["localhost", "localhost:", ":1", "a:b", "a:99999"] {
            let args = parse(&format!("--addr {wrong}")).unwrap();
            assert!(matches!(Plan::new(&args, None, ""), Err(BenchError::Address(_))), "{wrong}");
        }
        assert_eq!(plan("--addr [::1]:7010").door.addr, "[::1]:7010");
    }
}
