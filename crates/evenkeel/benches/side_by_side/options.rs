//! What a run is told on its command line.

use crate::loads::{Load, Proxy};
use crate::process::count_cores;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// The gateway beside direct access and other proxies
#[derive(Debug, Parser)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) mode: Option<Mode>,
    /// Rounds; the medians of them are shown
    #[arg(long, default_value_t = 5, global = true)]
    pub(crate) rounds: usize,
    /// Seconds of a measurement
    #[arg(long, default_value_t = 1.5, global = true)]
    pub(crate) seconds: f64,
    /// Nice value of everything that is started, and of this terminal's group; below 0 takes root
    #[arg(long, value_name = "N", allow_negative_numbers = true, global = true)]
    pub(crate) nice: Option<i32>,
    /// Only loads whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Vec<String>,
    /// One more proxy: haproxy-splice, predixy=PATH, or NAME[@one]=COMMAND with {port}, {seeds}, {one} (the server alone) and
    /// {dir} in it
    #[arg(long = "peer", value_name = "PEER")]
    pub(crate) peers: Vec<String>,
    /// Writes every sample to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draws the figures as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) chart: Option<PathBuf>,
    /// Measures nothing and reads what --json wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Counts no system calls, which takes perf and root
    #[arg(long)]
    pub(crate) no_calls: bool,
    /// Leaves out the memory of idle connections
    #[arg(long)]
    pub(crate) no_idle: bool,
    /// What cargo adds
    #[arg(long, hide = true, global = true)]
    bench: bool,
    /// What cargo asks
    #[arg(long, hide = true)]
    pub(crate) list: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Memory of 100 000 idle connections, or as many as files may be open
    Idle,
    /// 20 000 connections that arrive within a second
    Arrivals,
    /// Ten times as many requests at a time as are enough for full speed
    Overload,
    /// One client with a pipeline of 10 000 beside 100 without
    Fairness,
    /// Small GETs beside SETs of 512 KiB
    Large,
    /// Processor time of a request from 10 to 10 000 clients
    Clients,
    /// SETs that a replica confirms beside SETs that the primary acknowledges
    Durability,
    /// What the gateway costs the whole system, asked for the very same keys as direct access
    SameKeys,
    /// New encrypted connections with one worker and with two, and how soon `auto` takes the second
    Workers,
    /// The server that only answers
    #[command(hide = true)]
    Floor { port: u16 },
}

impl Options {
    /// The load as this run measures it; `None`: not at all.
    pub(crate) fn wanted(&self, mut load: Load) -> Option<Load> {
        if load.proxy == Proxy::Apart && count_cores() < 2 {
            eprintln!("left out, since this machine has one core: {}", load.name);
            return None;
        }
        if load.proxy == Proxy::TogetherCounted && self.no_calls {
            load.proxy = Proxy::Together;
        }
        let named = self.only.is_empty() || self.only.iter().any(|text| load.name.contains(text.as_str()));
        named.then_some(load)
    }
}
